/* SPDX-License-Identifier: MIT
 *
 * depot.h - free blocks of a class between the magazines and the slabs, so that producers
 * and consumers on different CPUs move a batch for the price of one block.
 *
 * A stack of blocks per class, under the class's lock and in its cache line.  Batches of up to
 * HK_BATCH go to and from its top; a batch that makes it more than the class's depot_max goes
 * on to the slabs, and so does what lies at its bottom untouched for an interval (the working
 * set of Bonwick and Adams, USENIX 2001, section 3.2).
 */
#ifndef HK_DEPOT_H
#define HK_DEPOT_H

#include "base.h"

#define HK_BATCH 512u
#define HK_DEPOT_MAX 2048

struct hk_depot {
	uint32_t count;
	uint32_t low;  /* the least count since the last interval's end */
	void **blocks; /* NULL: there never was one */
};

/* All: the caller holds the class's lock. */

/* Before the first block: what no program touches of the classes costs it no memory. */
void hk_depot_place_locked(unsigned size_class);

/*
 * Give the n blocks at the bottom to their slabs.  true: hk_pool_tidy() is due once the lock
 * is dropped.
 */
bool hk_depot_drain_locked(unsigned size_class, uint32_t n, const char *function);

/* Some were put on top: drain what is too much. */
bool hk_depot_settle_locked(unsigned size_class, const char *function);

/* Some were taken from the top. */
static inline void hk_depot_taken_locked(struct hk_depot *depot, uint32_t n)
{
	depot->count -= n;
	if (depot->count < depot->low)
		depot->low = depot->count;
}

/* The end of an interval: drain what nobody has touched in it. */
bool hk_depot_age_locked(unsigned size_class, const char *function);

/* Where it is empty, the pages that its blocks were noted in go back. */
void hk_depot_purge_locked(unsigned size_class);

#endif /* HK_DEPOT_H */
