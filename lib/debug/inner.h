/* SPDX-License-Identifier: MIT
 *
 * inner.h - what libunwind, and the loader that loads it, allocate for themselves: apart from
 * the program's blocks, so that no count, no RELEASE and no leak report has them.
 *
 * One range that only grows; nothing is given back, as little is ever freed.
 */
#ifndef HK_INNER_H
#define HK_INNER_H

#include <stdatomic.h>

#include "base.h"

#define HK_INNER_BYTES ((size_t)1 << 20)

extern _Atomic uintptr_t hk_inner_range HK_HIDDEN; /* mapped by the first who needs it */

/* Zeroed; NULL: no more room.  Lock-free. */
void *hk_inner_allocate(size_t alignment, size_t size);

/* Is it one of these?  Any address at all. */
HK_INLINE bool hk_inner_owns(const void *block)
{
	uintptr_t range = atomic_load_explicit(&hk_inner_range, memory_order_relaxed);

	return (uintptr_t)block - range < HK_INNER_BYTES && range;
}

/* What was asked for. */
size_t hk_inner_size(const void *block);

#endif /* HK_INNER_H */
