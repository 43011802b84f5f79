/* SPDX-License-Identifier: MIT
 *
 * fill.h - does the program fill the blocks of many pages that it gets?  Then their pages are
 * faulted in at once (MADV_POPULATE_WRITE), which takes 1.0 us a page here where faults take 1.3;
 * where it does not, they must not be resident.
 *
 * By size, one list for each doubling: a block is watched, and when it is freed, or the next
 * one is handed out beside it, asked for some of its pages again: of those that are there that
 * takes a fifth of the time.  If all were, the pages of the next 1, 3, 7 .. 63 blocks are faulted
 * in, then one is watched again; if not, none of them, nor is one watched, for 1, 3 .. 1,023.
 * So what a wrong guess makes resident is as rare as it is long since the last one was wrong;
 * and what the question itself does, 64 KiB of a block, rarer by as much.
 *
 * A block is asked about where it cannot be unmapped: its owner is freeing it, or another block
 * of its SuperSlab is being handed out.  In the meantime it may have been freed: then the pages
 * are those of free room, as if they had stayed.
 *
 * A guess, so nothing is locked; each word is an atomic by itself.
 */
#ifndef HK_FILL_H
#define HK_FILL_H

#include <stdatomic.h>

#include "base.h"

/* Of a block that was just handed out, the pages that have to be faulted in. */
struct hk_fill {
	char *pages;
	size_t bytes;
};

#define HK_FILL_SIZES 4 /* doublings, from 64 KiB to 1 MiB */

/* The blocks' addresses, and one less than their pages; or 0. */
extern _Atomic uintptr_t hk_fill_watched[HK_FILL_SIZES];

/*
 * Asking takes less if all of those pages are there: here 1.3 to 7 us, and 13 to 19 if few are.
 * Tests change it.
 */
extern uint64_t hk_fill_ns_if_there;

/* A block of so many bytes, more than 64 KiB, was handed out.  Makes system calls. */
void hk_fill_given(const void *block, size_t bytes, const struct hk_fill *fill);

/* A block that is watched is being freed; the caller still has it.  Makes system calls. */
void hk_fill_freed(const void *block);

static inline bool hk_fill_is_watched(const void *block)
{
	uintptr_t address = (uintptr_t)block;
	bool found = false;

	for (unsigned i = 0; i < HK_FILL_SIZES; i++)
		found |= (atomic_load_explicit(&hk_fill_watched[i],
					       memory_order_relaxed) ^
			  address) < 4096;
	return found;
}

#endif /* HK_FILL_H */
