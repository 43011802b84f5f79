/* SPDX-License-Identifier: MIT
 *
 * inner.h - what libunwind, and the loader that loads it, allocate for themselves: apart from
 * the program's blocks, so that no count, no RELEASE and no leak report has them.
 *
 * One range that only grows; nothing is given back, as little is ever freed.
 */
#ifndef HK_INNER_H
#define HK_INNER_H

#include "base.h"

/* Zeroed; NULL: no more room.  Lock-free. */
void *hk_inner_allocate(size_t alignment, size_t size);

/* Is it one of these?  Any address at all. */
bool hk_inner_owns(const void *block);

/* What was asked for. */
size_t hk_inner_size(const void *block);

#endif /* HK_INNER_H */
