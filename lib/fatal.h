/* SPDX-License-Identifier: MIT
 *
 * fatal.h - messages.  Their texts are in messages.def and in hakmem_debug(7).
 *
 * May be called from anywhere, under any lock: nothing here allocates or waits.
 */
#ifndef HK_FATAL_H
#define HK_FATAL_H

#include "base.h"
#include "text.h"

enum hk_message {
#define HK_MESSAGE(name, text) name,
#include "messages.def"
#undef HK_MESSAGE
};

const char *hk_message_text(enum hk_message message);

/* A message that is not the end: opens the line "hakmem: PROG[PID]: WHAT " on stderr. */
void hk_message_open(struct hk_text *text, enum hk_message message);

/*
 * A user's mistake (or a broken invariant): "hakmem: PROG[PID]: FUNCTION(): WHAT 0xADDRESS
 * (DETAILS)", in the debug library the stack, then abort().
 */
HK_COLD HK_PRINTF(4, 5) _Noreturn void hk_fatal(enum hk_message message,
						const char *function, const void *address,
						const char *details, ...);

#endif /* HK_FATAL_H */
