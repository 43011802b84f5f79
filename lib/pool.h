/* SPDX-License-Identifier: MIT
 *
 * pool.h - the shared pool: which SuperSlab gives the next run of slots, and when memory
 * goes back to the kernel.
 *
 * Every SuperSlab is on the list of its number of free slots; a run comes from the list of
 * the fewest that have one, so that the fullest fill up and the emptiest empty.  The list of
 * 32 free slots is the LRU cache: FREE SuperSlabs, the last freed first.  DRAINING ones
 * (superslab.h) have lists of their own.  In this order:
 *
 *   EMPTY slots of HOT SuperSlabs, then of FREE ones: their pages are resident already;
 *   UNUSED slots of HOT ones, which add to the resident size, then of FREE ones;
 *   EMPTY slots of DRAINING ones, then UNUSED ones, which keep from leaving what was to leave;
 *   but the EMPTY ones before any UNUSED while more than usual is kept, because demand swings
 *   (pulse.h): bench/bulk's peak is 8.9 MB so, and was 9.1 or 10.7 by chance;
 *   what of that there is when the classes' spare slots (spare.h) are taken back;
 *   a new SuperSlab.
 *
 * Pages of EMPTY slots stay resident for HAKMEM_PURGE_DELAY_MS, and never more of them than
 * a tenth of what is ACTIVE, plus 256 KiB.
 *
 * One lock, hk_pool_lock; below the classes' in the order of fork.h.  No system call is made
 * under it.  The functions say which of them make any; those must be called without locks.
 */
#ifndef HK_POOL_H
#define HK_POOL_H

#include "lock.h"
#include "superslab.h"

struct hk_pool_counters {
	uint64_t superslabs_mapped;
	uint64_t superslabs_unmapped;
	uint64_t purged_bytes;
	uint64_t thp_splits;
};

struct hk_pool_released {
	uint64_t superslabs;
	uint64_t bytes;
};

extern struct hk_lock hk_pool_lock;
extern struct hk_pool_counters hk_pool_counters; /* under the lock */
extern struct hk_superslab
	*hk_pool_superslabs; /* all of them, by all_next; under the lock */

/*
 * Where the walk of sparse.c is; under the lock.  A SuperSlab that is about to be unmapped
 * moves it on to the next, so that the walker, who remembers where he was, finds out.
 */
extern struct hk_superslab *hk_pool_cursor;

/*
 * A part of the SuperSlab is about to be purged; the caller holds the lock.  true: huge pages
 * were asked for, of which the kernel must split one; the caller then refuses them, without
 * the lock.  For khugepaged would fill the holes again: it makes a huge page wherever one of
 * 512 pages is there (max_ptes_none is 511).  Dense once more, the SuperSlab is asked again.
 */
bool hk_pool_split_locked(struct hk_superslab *superslab);

/*
 * A run of slots of that kind, ACTIVE, at a multiple of align slots; *zero tells whether its
 * pages read as zero.  NULL: no memory, or a limit is reached; the caller then frees what it
 * can and tries again with last_try, which passes the soft limit.  Makes system calls.
 */
struct hk_slab *hk_pool_take(unsigned kind, unsigned slots, unsigned align, bool last_try,
			     bool *zero);

/*
 * The same of just these slots, in a SuperSlab that stays mapped; *dirty: which of them do not
 * read as zero.  false: others have one of them.
 */
bool hk_pool_claim(struct hk_superslab *superslab, unsigned slot, unsigned slots,
		   unsigned kind, uint32_t *dirty);

/*
 * A claim may have been of its last slots: ask for huge pages, if that is wanted now.  The caller
 * has a block there, so that it stays mapped.  Makes a system call.
 */
void hk_pool_ask_for_huge_pages(struct hk_superslab *superslab);

/*
 * The run is EMPTY; or a spare, if a class gives it, which calls under its lock.  true:
 * hk_pool_tidy() has work, once the caller has dropped it.
 */
bool hk_pool_give(struct hk_slab *slab);

/* The same for a run that was a spare and is none any more. */
void hk_pool_give_spare(struct hk_slab *slab);

/* Purge and unmap what is over its time or its number.  Makes system calls. */
void hk_pool_tidy(void);

/* In how many milliseconds that has work, should nothing else happen; UINT64_MAX: never. */
uint64_t hk_pool_due_ms(void);

/* Purge and unmap all that is empty, now.  Makes system calls. */
void hk_pool_release(struct hk_pool_released *released);

/* So many slots are ACTIVE, and so many bytes of EMPTY ones not purged; takes the lock. */
void hk_pool_count(size_t *active, size_t *resident);

/* Purge the EMPTY slots of a SuperSlab; the caller holds the lock, which is dropped meanwhile. */
size_t hk_pool_purge_locked(struct hk_superslab *superslab);

/* In the child of fork(), under no lock: what another thread was purging is EMPTY again. */
void hk_pool_adopt(void);

/* The invariants of all lists and masks; the caller holds the lock. */
void hk_pool_check(void);

/* The tier follows the use: see superslab.h. */
void hk_pool_settle_tier(struct hk_superslab *superslab);

/* A slab has changed its weight.  The caller holds its class's lock. */
static inline void hk_pool_use(struct hk_superslab *superslab, int change)
{
	unsigned use = hk_superslab_add_use(superslab, change);
	enum hk_tier tier = (enum hk_tier)atomic_load_explicit(&superslab->tier,
							       memory_order_seq_cst);

	if (HK_UNLIKELY(hk_tier_next(tier, use) != tier))
		hk_pool_settle_tier(superslab);
}

/* May so many more bytes be mapped?  The soft limit is passed by last_try only. */
bool hk_pool_limits_allow(size_t bytes, bool last_try);

#endif /* HK_POOL_H */
