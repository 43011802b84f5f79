/* SPDX-License-Identifier: MIT
 *
 * options.h - HAKMEM_DEBUG: a list of words, separated by commas, some with a value after a
 * colon.  The table is in options.c.
 */
#ifndef HK_DEBUG_OPTIONS_H
#define HK_DEBUG_OPTIONS_H

#include "base.h"

enum hk_unwinder { HK_UNWIND_LIBUNWIND, HK_UNWIND_FP, HK_UNWIND_NONE };
enum hk_leak_mode { HK_LEAKS_NONE, HK_LEAKS_LOST, HK_LEAKS_ALL };

struct hk_debug_options {
	enum hk_unwinder unwinder; /* unwind:libunwind|fp|no */
	enum hk_leak_mode leaks;   /* leaks:no|lost|all: the report at exit */
	bool poison;               /* "none": off */
	bool json;                 /* json: reports as JSON, a line each */
	bool go_on;                /* continue: no abort() where that is safe */
	uint64_t guard;            /* guard:N: each Nth allocation; 0: none */
	uint64_t quarantine;       /* quarantine:BYTES */
	uint64_t quarantine_ms;    /* quarantine_ms:MS: 0: as long as the bytes allow */
	uint64_t exit_code;        /* exitcode:N: of a process with reports; 0: its own */
	char log[256];          /* log:FILE, %p in it is the process's id; else stderr */
	char suppressions[256]; /* suppressions:FILE */
	char symbols[256];      /* symbols:PROGRAM|no; empty: what is found */
};

extern struct hk_debug_options hk_debug_options;

/*
 * Parse the whole list; false: nothing has changed, and *word and *length tell what was not
 * understood, *nearest the word of the table that is next to it, with the value that it wants
 * ("guard:NUMBER"), until the next call.
 */
bool hk_debug_options_parse(const char *text, const char **word, size_t *length,
			    const char **nearest);

#endif /* HK_DEBUG_OPTIONS_H */
