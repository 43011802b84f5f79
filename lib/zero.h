/* SPDX-License-Identifier: MIT
 *
 * zero.h - how calloc makes many pages zero: by clearing them, or by giving them back, so that
 * what the program touches is faulted in anew.
 *
 * Of 1 MiB, clearing takes 17 us here, whatever the program does with it then; pages from the
 * kernel take 1.4 us each, but only those that are touched, and the others are not resident.  So
 * the first is right for blocks that are filled, the second for those of which little is used,
 * and only the kernel knows.  But it takes longer to give back what is resident: 0.1 us a page
 * over less than 2 us.  One block at a time is watched: its pages are given back when it is
 * freed, and how long that took tells how much of it was touched.
 *
 * By size, four to a doubling: fresh pages, until a watched block turns out to have been filled;
 * then clear ones, but for a block after 1, 3, 7 .. 1,023 of them, which is watched again.
 *
 * Asking mincore(2) would be exact, but a sandbox made for glibc's malloc may not know it.
 *
 * A guess, so nothing is locked; each word is an atomic by itself.
 */
#ifndef HK_ZERO_H
#define HK_ZERO_H

#include <stdatomic.h>

#include "base.h"

/* Below, blocks are cleared. */
#define HK_ZERO_LEAST ((size_t)256 << 10)

extern _Atomic(const void *) hk_zero_watched;

/* Is a block of this size, at least HK_ZERO_LEAST, to be of fresh pages? */
bool hk_zero_wants_fresh(size_t size);

/* It is, and this is the block. */
void hk_zero_given(const void *block, size_t size);

/* Is it the block that is watched?  It is being freed. */
static inline bool hk_zero_is_watched(const void *block)
{
	return block == atomic_load_explicit(&hk_zero_watched, memory_order_relaxed);
}

/* To give all of its pages back took so long. */
void hk_zero_judge(size_t size, uint64_t ns);

#endif /* HK_ZERO_H */
