/* SPDX-License-Identifier: MIT
 *
 * depot.c - see depot.h.  Under the class's lock; makes no system call.
 */
#include "depot.h"

#include <string.h>

#include "slab.h"

static void *blocks_of[HK_CLASSES + 1][HK_DEPOT_MAX + HK_BATCH + 1];

void hk_depot_place_locked(unsigned size_class)
{
	if (HK_UNLIKELY(!hk_classes[size_class].depot.blocks))
		hk_classes[size_class].depot.blocks = blocks_of[size_class];
}

bool hk_depot_drain_locked(unsigned size_class, uint32_t n, const char *function)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;
	bool tidy;

	hk_assert(n <= depot->count);
	if (!n)
		return false;
	tidy = hk_slab_give_locked(size_class, depot->blocks, n, function);
	depot->count -= n;
	depot->low = depot->low > n ? depot->low - n : 0;
	memmove(depot->blocks, depot->blocks + n, depot->count * sizeof(void *));
	hk_classes[size_class].spills++;
	return tidy;
}

bool hk_depot_settle_locked(unsigned size_class, const char *function)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;
	uint32_t most = hk_class_info(size_class)->depot_max, excess;
	bool tidy;

	if (depot->count <= most)
		return false;
	/* Those that just came, not those below: they are warm, and no more than a batch. */
	excess = depot->count - most;
	tidy = hk_slab_give_locked(size_class, &depot->blocks[most], excess, function);
	depot->count = most;
	hk_classes[size_class].spills++;
	return tidy;
}

bool hk_depot_age_locked(unsigned size_class, const char *function)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;
	bool tidy = hk_depot_drain_locked(size_class, depot->low, function);

	depot->low = depot->count;
	return tidy;
}
