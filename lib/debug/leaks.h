/* SPDX-License-Identifier: MIT
 *
 * leaks.h - blocks that live and that nobody can reach any more.
 */
#ifndef HK_LEAKS_H
#define HK_LEAKS_H

#include "base.h"

/*
 * HAKMEM_LEAKS: the report now, to a descriptor: 0, or an errno.  Groups by stack, the
 * largest first: count, bytes, age of the oldest.
 */
int hk_leaks(struct hakmem_leaks *leaks);

/* At exit: as HAKMEM_DEBUG=leaks:... says; counts as a report if there are any. */
void hk_leaks_at_exit(void);

#endif /* HK_LEAKS_H */
