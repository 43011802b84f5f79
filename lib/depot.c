/* SPDX-License-Identifier: MIT
 *
 * depot.c - see depot.h.  Under the class's lock; only the purge makes a system call.
 */
#include "depot.h"

#include <string.h>

#include "os.h"
#include "slab.h"

/* What may come on top before it is settled is a batch and one more. */
#define ROW (HK_DEPOT_MAX + 2 * HK_BATCH)

/* Each class in pages of its own, where they are of 4 or 8 KiB. */
static _Alignas(8192) void *blocks_of[HK_CLASSES + 1][ROW];

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

void hk_depot_purge_locked(unsigned size_class)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;
	uintptr_t page = hk_os_page_size, first, end;

	if (depot->count || !depot->blocks)
		return;
	first = hk_align_up((uintptr_t)depot->blocks, page);
	end = (uintptr_t)(depot->blocks + ROW) & ~(page - 1);
	if (first < end)
		hk_os_purge((void *)first, end - first);
}
