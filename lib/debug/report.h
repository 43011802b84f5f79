/* SPDX-License-Identifier: MIT
 *
 * report.h - what the debug library has to say of a mistake: the message, then the stacks of
 * every party; as text, or as one line of JSON.
 *
 * One report at a time, whole: others wait for the lock.  Called under no lock of the heap's.
 */
#ifndef HK_REPORT_H
#define HK_REPORT_H

#include "debug/stacks.h"
#include "fatal.h"

#define HK_PARTIES 5

/* "allocated by thread 17, 12.3 s ago", and its stack. */
struct hk_party {
	const char *did; /* "allocated", "freed first", "freed again" */
	hk_stack stack;
	uint32_t thread; /* kernel's id; 0: not known */
	uint32_t time;   /* hk_debug_now(); 0: not known */
};

/* In units of 10 ms since the library's start, from 1 on. */
uint32_t hk_debug_now(void);

/* What follows a report: abort(); that, unless HAKMEM_DEBUG=continue; the caller. */
enum hk_after { HK_THE_END, HK_MAY_GO_ON, HK_CALLER };

/* "hakmem: PROG[PID]: FUNCTION(): WHAT 0xADDRESS (DETAILS)" and the parties. */
HK_PRINTF(7, 8)
void hk_report(enum hk_message message, const char *function, const void *address,
	       const struct hk_party *parties, size_t count, enum hk_after after,
	       const char *details, ...);

/* For reports of other shapes (leaks): the lock, and where to write. */
int hk_report_begin(void); /* a descriptor: the log, or stderr */
void hk_report_end(void);

/* The stack of this call, for a message that is the end: called under any lock. */
void hk_report_here(void);

/* "0.01 s": how much earlier that was. */
void hk_report_age(struct hk_text *text, uint32_t then, uint32_t now);

extern struct hk_lock hk_report_lock;

/* Each frame of the stacks, as lines "    #N ...", behind a heading for each from the caller. */
void hk_report_stacks(struct hk_text *text, const hk_stack *stacks, size_t count,
		      void (*heading)(void *context, struct hk_text *text, size_t stack),
		      void *context);

/* The same as JSON: [{"pc":...,"object":...,"offset":...,"function":...,...},...]. */
void hk_report_json_frames(struct hk_text *text, hk_stack stack);

/* Reports written so far, for HAKMEM_DEBUG=exitcode. */
unsigned hk_report_count(void);
void hk_report_counted(void);

#endif /* HK_REPORT_H */
