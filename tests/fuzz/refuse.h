/* SPDX-License-Identifier: MIT
 *
 * refuse.h - system calls that fail, as the choices say: those that the library makes for
 * memory, while a thread is inside one of the functions under test.
 *
 * refuse-built.c, for the library's build for unit tests, uses its own means (lib/os.h);
 * refuse-trap.c catches the system calls of any library by seccomp(2), membarrier's and the
 * futex waits' as well.
 */
#ifndef FUZZ_REFUSE_H
#define FUZZ_REFUSE_H

#include <stdbool.h>

#include "choice.h"

/* false: it cannot be done here. */
bool refuse_init(void);

/* From now on some fail, for the calling thread at the least. */
void refuse_some(struct choice *choice);
void refuse_none(void);
bool refuse_any(void);

/* Around each call of a function under test. */
void refuse_enter(void);
void refuse_leave(void);

/* How many were refused in all. */
unsigned long refuse_count(void);

#endif /* FUZZ_REFUSE_H */
