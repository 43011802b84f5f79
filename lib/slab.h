/* SPDX-License-Identifier: MIT
 *
 * slab.h - the blocks of a size class: which are free, and where the next batch comes from.
 *
 * Per class one lock and four lists of partial slabs, by quarters of fullness; a batch comes
 * from the fullest, so that the emptiest become empty.  Slabs in DRAINING SuperSlabs are on
 * four lists of their own, and serve when no others can, but before a slot of the pool: were
 * that the other way round, they would be resident besides (README tells by how much).  Where a
 * tier changes, the lists follow late: a slab moves when it changes its quarter, or when it
 * is next in line to serve (of those, a few at a time: STALE_MAX).
 *
 * A slab's free blocks are a bitmap, out of band: a bit that is already set, or a pointer
 * that is no block's start, is a double or an invalid free, and is told.
 *
 *   used + popcount(bitmap) = blocks        for each slab
 *   sum of used - blocks in magazines = live blocks        for each class
 *
 * A slab is on a list exactly when 0 < used < blocks; a full one is on none, an empty one
 * goes to the pool at once, or is the class's spare.
 */
#ifndef HK_SLAB_H
#define HK_SLAB_H

#include "depot.h"
#include "lock.h"
#include "superslab.h"

/* An exchange with the depot finds all it needs in the first cache line. */
struct hk_class {
	struct hk_lock lock;
	struct hk_depot depot;
	uint64_t refills, spills;
	struct hk_slab *partial[HK_BUCKETS] __attribute__((aligned(64)));
	uint64_t slabs;
	uint64_t used;   /* blocks not in slabs */
	uint32_t colour; /* of the next slab */
	struct hk_slab *draining[HK_BUCKETS] __attribute__((aligned(64)));
} __attribute__((aligned(64)));

extern struct hk_class hk_classes[HK_CLASSES + 1];

/* All _locked functions: the caller holds the class's lock. */

/*
 * Take up to n blocks into blocks[], the lowest address last, since magazines are emptied
 * from the end; from DRAINING SuperSlabs if no others have any.  Fewer than n when the
 * fullest slabs have no more; none only when there is no partial slab.  *zero: the last one reads as zero.
 */
unsigned hk_slab_take_locked(unsigned size_class, void **blocks, unsigned n, bool *zero);

/*
 * Take up to n neighbours, as they come first in the fullest slab; 0 only when there is no
 * partial slab.  *zero: the lowest reads as zero.  Not for debug builds: poisons nothing.
 */
unsigned hk_slab_take_run_locked(unsigned size_class, unsigned n, char **lowest,
				 bool *zero);

/* Is there a partial slab in a SuperSlab that is not DRAINING? */
bool hk_slab_ready_locked(unsigned size_class);

/* Make a run from the pool a slab of the class. */
void hk_slab_attach_locked(unsigned size_class, struct hk_slab *slab, bool zero);

/* The same, and take up to n blocks of it, as hk_slab_take_locked() does. */
unsigned hk_slab_start_locked(unsigned size_class, struct hk_slab *slab, bool slab_zero,
			      void **blocks, unsigned n, bool *zero);

/* And as hk_slab_take_run_locked() does. */
unsigned hk_slab_start_run_locked(unsigned size_class, struct hk_slab *slab,
				  bool slab_zero, unsigned n, char **lowest, bool *zero);

/* Put n blocks back; function names the caller in a message.  true: hk_pool_tidy() is due. */
bool hk_slab_give_locked(unsigned size_class, void **blocks, unsigned n,
			 const char *function);

/* The same for n neighbours, from the lowest on. */
bool hk_slab_give_run_locked(unsigned size_class, char *lowest, unsigned n,
			     const char *function);

/*
 * For a pass of sparse.c: take these blocks of one slab, which are free, a bit for each; and
 * give them back, as hk_slab_give_locked() does.
 */
void hk_slab_hold_locked(struct hk_slab *slab, const uint64_t *held);
bool hk_slab_unhold_locked(struct hk_slab *slab, const uint64_t *held,
			   const char *function);

/* The slab's first block. */
static inline char *hk_slab_first_block(const struct hk_slab *slab)
{
	return hk_slab_base(slab) + slab->colour;
}

/* The start of the block in which an address of the slab lies; NULL: in none. */
void *hk_slab_block_of(const struct hk_slab *slab, const void *pointer);

/* Does this slab's bitmap say that the block is free? */
bool hk_slab_is_free_locked(struct hk_slab *slab, const void *block);

/* For walks only, which must undo it: mark a block as free or not; returns what it was. */
bool hk_slab_mark_locked(struct hk_slab *slab, const void *block, bool is_free);

/* The invariants of the class's slabs; the caller holds all locks. */
void hk_slab_check(void);

#endif /* HK_SLAB_H */
