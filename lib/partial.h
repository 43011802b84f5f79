/* SPDX-License-Identifier: MIT
 *
 * partial.h - the lists of a class's partial slabs: which serves next.
 *
 * By quarters of fullness, those in DRAINING SuperSlabs apart; slab.h has the policy.  A slab
 * remembers as which quarter it is listed, and its SuperSlab's use (superslab.h) changes with
 * that.  All of it under the class's lock.
 */
#ifndef HK_PARTIAL_H
#define HK_PARTIAL_H

#include "slab.h"

/* A new slab, no block of which is used yet. */
void hk_partial_add(struct hk_class *class, struct hk_slab *slab);

/* It is listed no more, if it was; the quarter that it counts as stays. */
void hk_partial_remove(struct hk_class *class, struct hk_slab *slab);

/* Put the slab where its number of used blocks says. */
void hk_partial_sort_in(struct hk_class *class, const struct hk_size_class *info,
			struct hk_slab *slab);

/*
 * The fullest in a SuperSlab that is not DRAINING, or NULL.  Those whose SuperSlab has become
 * so are put aside, a few at a time.
 */
struct hk_slab *hk_partial_fullest(struct hk_class *class);

/* The fullest of those put aside, or NULL. */
struct hk_slab *hk_partial_fullest_draining(struct hk_class *class);

/* Is there one of the former kind, perhaps because a SuperSlab has become HOT again? */
bool hk_partial_ready(struct hk_class *class);

/* The invariants of the class's lists; how many slabs are on them.  With all locks held. */
uint64_t hk_partial_check(unsigned size_class);

#endif /* HK_PARTIAL_H */
