/* SPDX-License-Identifier: MIT
 *
 * spare.h - the slot that a class has just emptied, kept for the class itself: the next slab
 * it wants is made of that, without the pool's lock and in pages that are resident.
 *
 * One run for each class, and at most HK_SPARE_SLOTS slots in all of them together, so that
 * what they hold is bounded.  None is kept in a DRAINING SuperSlab, nor the last one in use
 * of any: both are to leave.  The pool takes them back after HAKMEM_PURGE_DELAY_MS, before it
 * maps a SuperSlab, and at a release.
 *
 * Each is one pointer, and an exchange of it decides who has the run.  keep and take run
 * under the class's lock, remove under the pool's; so with all locks held nothing is on its
 * way, as fork() and the snapshots want it.
 */
#ifndef HK_SPARE_H
#define HK_SPARE_H

#include "superslab.h"

#define HK_SPARE_SLOTS 8

/* The run has no block in use any more.  false: it is not kept, and is for the pool. */
bool hk_spare_keep(struct hk_slab *slab);

/* The class's run, as one from the pool that is to be attached; NULL: it has none. */
struct hk_slab *hk_spare_take(unsigned size_class);

/*
 * One that was kept at that time or before, and is no longer; NULL: there is none left.  The
 * caller holds the pool's lock, and counts the run as EMPTY.
 */
struct hk_slab *hk_spare_remove_locked(uint64_t before_ms);

/* How many slots are kept; exact with all locks held. */
unsigned hk_spare_slots(void);

/* When the oldest was kept; UINT64_MAX: there is none. */
uint64_t hk_spare_since(void);

/* Is it one of them?  With all locks held, or where nothing else runs. */
bool hk_spare_has(const struct hk_slab *slab);

/* The invariants; the caller holds all locks. */
void hk_spare_check(void);

#endif /* HK_SPARE_H */
