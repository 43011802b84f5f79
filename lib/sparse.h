/* SPDX-License-Identifier: MIT
 *
 * sparse.h - purging inside slots in use: the pages on which nothing is.
 *
 * Of blocks freed at random hardly a slab becomes empty, but many a page does; a pass gives
 * those back.  It works on one slab at a time, or on the medium blocks' slots of one SuperSlab,
 * with grains for blocks and their lock for the class's:
 *
 *   class locked    the pages are found, the free blocks that touch them are held: taken from
 *                   the bitmap, so that nobody can be given them
 *   nothing locked  the pages are purged
 *   class locked    the pages are recorded as purged, the blocks given back
 *
 * The release guard: blocks held are used ones, and there is one for each page, so meanwhile
 * the slab cannot become empty, its slots stay ACTIVE and its SuperSlab stays mapped.  What
 * is purged is thus the slab's own, and no block of the program's or of a magazine touches it.
 *
 *   purged[slot]   a page that was purged, and no block on it was handed out since: by
 *                  hk_slab_take_locked(), under the class's lock
 *   idle[slot]     a page that had only free blocks when the last tick came by
 *   slab->purged   one of the slab's purged[] is not 0
 *
 * The parts of a slab that no block has, before its first and after its last, count as theirs;
 * so every page is touched by a block.
 *
 * hk_sparse_lock is held throughout a pass, system calls included, and by all who must not see
 * blocks held: fork(), the snapshots, HAKMEM_QUERY, a release and the last effort before
 * ENOMEM.  It comes first in the order of fork.h.  The slow paths only try it.
 */
#ifndef HK_SPARSE_H
#define HK_SPARSE_H

#include "lock.h"
#include "superslab.h"

extern struct hk_lock hk_sparse_lock;

/*
 * How much a tick may do: SuperSlabs looked at, and calls of madvise(2).  On a slow path some
 * tenths of a millisecond; on a thread of its own a hundredth of its time.
 */
struct hk_sparse_effort {
	unsigned superslabs, calls;
};

extern const struct hk_sparse_effort hk_sparse_slow_path, hk_sparse_thread;

/*
 * The pages of all slabs that are sparse, and of the medium blocks' slots of a SuperSlab that are;
 * of others there long runs; the caller holds hk_sparse_lock, and no other.  How many bytes.
 */
size_t hk_sparse_release_locked(const char *function);

/*
 * The end of an interval: go on with the walk over the SuperSlabs, and purge the pages that
 * were found idle the last time already, HAKMEM_PURGE_DELAY_MS ago or more.  Two looks half a
 * second apart or more rarely find the same page of a busy slab idle; and if they do, it costs
 * a page fault in so long a time.
 * Nothing if a pass is under way.  Under no lock.  true: another tick may have more to do.
 */
bool hk_sparse_tick(const struct hk_sparse_effort *effort);

/*
 * As much of what is free of medium blocks and of EMPTY slots as hk_growth_excess_locked() tells,
 * from the SuperSlabs to which nothing was given back for longest.  Makes system calls, under no
 * lock.  Nothing if a pass is under way, or in debug builds.
 */
void hk_sparse_trim(void);

/*
 * The pages of the slab that could be purged, by slots: only free blocks on them, not purged,
 * and, unless huge pages may have brought them along, touched since the kernel gave them.
 * false: none.  The caller holds the class's lock.
 */
bool hk_sparse_find_locked(struct hk_slab *slab, size_t page_size, bool huge,
			   uint16_t *pages);

/* Purged pages have only free blocks; the caller holds all locks. */
void hk_sparse_check(void);

#endif /* HK_SPARSE_H */
