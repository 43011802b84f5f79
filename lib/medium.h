/* SPDX-License-Identifier: MIT
 *
 * medium.h - blocks of more than 2 KiB up to 1 MiB: runs of grains, 256 bytes each, in slots
 * that all medium blocks share.
 *
 * A slab has blocks of one class; of blocks as large as a page, many such slabs would be held
 * by a few blocks each after the mix of sizes has changed.  Here any size fits wherever there
 * is room, and neighbours that are free are one room (Knuth's boundary tags, out of band):
 *
 *   slot            MEDIUM           MEDIUM          other         MEDIUM
 *   grains    |aaaaaaaabbbb....|ccccccccccccc...|            |......dddddddd...|
 *   free       000000000000 1111 0000000000000 111              111111 0...0 111
 *   last       00000001 0001 ?   0000000000001 ?                ?      0...1 ?
 *
 * Neighbouring MEDIUM slots of a SuperSlab are one space; a block may span them.  A slot all of
 * whose grains are free goes back to the pool at once.  But what is the pool's is room for blocks
 * as the free grains beside it are: a block goes to the least run of room that is enough (best
 * fit), and takes the slots of it that are the pool's from that.
 *
 *   room = free grains, and all of the slots that are not ACTIVE, in SuperSlabs with MEDIUM slots
 *   used = grains of the slot that are not free           superslab->slab[slot].used
 *   longest[slot]: of the runs of room that begin in the slot; the list that it is on follows
 *   from that.  It may be more, which a search finds out; it may be less than what a run has
 *   become by slots that others gave back to the pool; a run of free grains alone is known, by its
 *   slot or by one before it from which on all is room
 *   the bit last of a grain that is not free: it ends its block.  Of a free grain it is left as
 *   it was, or set where pages were held that end there: a second free of the block that ended
 *   there can be told by its size
 *
 * hk_medium_lock guards all of that; it is taken under a class's, and the pool's under it.
 * Blocks of up to 64 KiB are of a size class and come and go through its magazines, a batch
 * under the class's lock; larger ones come from here at each call.  The registry's byte of the
 * window in which such a block begins is its class, so free() need not look here: no two begin in
 * the same window, as each is longer than one.  Of all other windows it is HK_KIND_MEDIUM.
 *
 * Without the lock, whoever has a block may ask for its size: its own grains' bits do not change
 * while it lives.  Whether a pointer is a block's start depends on the grain before it as well,
 * so if that looks wrong it is looked at again under the lock.
 */
#ifndef HK_MEDIUM_H
#define HK_MEDIUM_H

#include "fill.h"
#include "lock.h"
#include "superslab.h"

extern struct hk_lock hk_medium_lock;

/* Blocks of more than 64 KiB, which no class counts; under the lock. */
extern uint64_t hk_medium_count, hk_medium_bytes;

/*
 * Up to n blocks of the class into blocks[], the lowest address last; 0: there is no room in the
 * MEDIUM slots.  *zero: the last one reads as zero.  The caller holds the class's lock.
 */
unsigned hk_medium_take_locked(unsigned size_class, void **blocks, unsigned n,
			       bool *zero);

/* The same, with a slot from the pool. */
unsigned hk_medium_start_locked(unsigned size_class, struct hk_slab *slab, bool slab_zero,
				void **blocks, unsigned n, bool *zero);

/* Put n blocks of the class back.  true: hk_pool_tidy() is due. */
bool hk_medium_give_locked(unsigned size_class, void **blocks, unsigned n,
			   const char *function);

/*
 * A block of any size up to 1 MiB at a multiple of alignment, a power of two up to 2 MiB; *zero:
 * it reads as zero.  One of up to 64 KiB is of its class, as hk_magazine_refill() would give it;
 * of a larger one *fill is set, unless all of its pages are there; or fill is NULL.
 * Makes system calls.
 */
void *hk_medium_allocate(size_t size, size_t alignment, bool last_try, bool *zero,
			 struct hk_fill *fill);

/*
 * A class has taken a run before this slot, or the pool has this one again; the caller may hold
 * the class's lock.  Of the SuperSlab only the record is looked at: it may be gone.
 */
void hk_medium_look(struct hk_superslab *superslab, unsigned slot);

/* These report a pointer that is not the start of a live medium block. */
void hk_medium_free(void *block, const char *function);
size_t hk_medium_usable_size(const void *block, const char *function);

/* Make it this big, more than 64 KiB, without moving it; false: it does not fit. */
bool hk_medium_resize(void *block, size_t size, const char *function);

/* Is it the start of a medium block that was freed, whose slots nobody has taken since? */
void hk_medium_report_freed(const void *pointer, const char *function);

/*
 * The block in which the address lies, and its bytes; NULL: in none.  Right under the lock, or
 * under all; without, of a block that lives, but for what is said above.
 */
char *hk_medium_block_of(const void *address, size_t *bytes);

/* For walks, the caller holding all locks, or the one of medium blocks. */

/* Mark the block as free or not, which must be undone; returns what it was. */
bool hk_medium_mark_locked(const void *block, bool is_free);

/* The next block of a SuperSlab, whose first grain is at least *grain; NULL: no other. */
char *hk_medium_next_locked(struct hk_superslab *superslab, unsigned *grain,
			    size_t *bytes);

/* The invariants; the caller holds all locks. */
void hk_medium_check(void);

#endif /* HK_MEDIUM_H */
