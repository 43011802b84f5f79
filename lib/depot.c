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
#define ROW_ALIGNMENT 8192
_Static_assert(ROW * sizeof(void *) % ROW_ALIGNMENT == 0,
	       "as the first row, so the others");

/*
 * Each class in pages of its own, where they are of 4 or 8 KiB.  Aligned by hand: the linker
 * would align all of .bss, and a process that does nothing would have a page more.
 */
static void *rows[(HK_CLASSES + 2) * ROW];

void hk_depot_place_locked(unsigned size_class)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;

	if (HK_UNLIKELY(!depot->blocks))
		depot->blocks = (void **)hk_align_up((uintptr_t)rows, ROW_ALIGNMENT) +
				(size_t)size_class * ROW;
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
