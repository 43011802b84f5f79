/* SPDX-License-Identifier: MIT
 *
 * superslab.c - maps and unmaps SuperSlabs.  Owns their records; takes no lock but that of
 * the records.
 */
#include "superslab.h"

#include "debug/block.h"

#include "config.h"
#include "os.h"
#include "record.h"

/* A slab of small blocks touches the first page and about half of the bitmaps' four. */
struct hk_records hk_superslab_records = HK_RECORDS(HK_SUPERSLAB_RECORD_SHIFT, 20, 12288);

/* Below the last one mapped there is often room, and it is aligned. */
static _Atomic uintptr_t hint;

/* true: asked for. */
static bool apply_huge_pages(void *base)
{
	switch (hk_config_thp()) {
	case HK_THP_NEVER:
		hk_os_huge_pages(base, HK_SUPERSLAB_BYTES, false);
		break;
	case HK_THP_ALWAYS:
		hk_os_huge_pages(base, HK_SUPERSLAB_BYTES, true);
		return true;
	case HK_THP_DENSE:
		break; /* asked for when it has become dense: pool.c */
	}
	return false;
}

bool hk_superslab_wants_huge_pages(struct hk_superslab *superslab)
{
	if (superslab->huge || superslab->active != HK_ALL_SLOTS ||
	    hk_config_thp() == HK_THP_NEVER ||
	    hk_superslab_purged(superslab, HK_ALL_SLOTS))
		return false;
	superslab->huge = true;
	return true;
}

void hk_superslab_forget_purged(struct hk_superslab *superslab, uint32_t slots)
{
	for (; slots; slots &= slots - 1)
		atomic_store_explicit(&superslab->purged[__builtin_ctz(slots)], 0,
				      memory_order_relaxed);
}

struct hk_superslab *hk_superslab_map(void)
{
	struct hk_superslab *superslab = hk_record_take(&hk_superslab_records);
	void *below = (void *)atomic_load_explicit(&hint, memory_order_relaxed);
	char *base;

	if (!superslab)
		return NULL;
	base = hk_os_map(HK_SUPERSLAB_BYTES, HK_SUPERSLAB_BYTES, below);
	if (base && !hk_registry_reserve(base, HK_SUPERSLAB_BYTES)) {
		hk_os_unmap(base, HK_SUPERSLAB_BYTES);
		base = NULL;
	}
	if (base && !hk_block_map(superslab)) {
		hk_os_unmap(base, HK_SUPERSLAB_BYTES);
		base = NULL;
	}
	if (!base) {
		hk_record_give(&hk_superslab_records, superslab);
		return NULL;
	}
	atomic_store_explicit(&hint, (uintptr_t)base - HK_SUPERSLAB_BYTES,
			      memory_order_relaxed);
	superslab->huge = apply_huge_pages(base);
	superslab->base = base;
	superslab->unused = HK_ALL_SLOTS;
	superslab->free_slots = HK_SLOTS;
	hk_registry_set_owner(base, superslab);
	return superslab;
}

bool hk_superslab_unmap(struct hk_superslab *superslab)
{
	hk_assert(!superslab->active && !superslab->busy);
	/* Cleared first: the moment it is unmapped, another thread may get the addresses. */
	hk_registry_set_owner(superslab->base, NULL);
	if (!hk_os_unmap(superslab->base, HK_SUPERSLAB_BYTES)) {
		hk_registry_set_owner(superslab->base, superslab);
		return false;
	}
	hk_block_unmap(superslab);
	hk_record_give(&hk_superslab_records, superslab);
	return true;
}

HK_STARTUP void hk_bitmap_place(struct hk_size_class *info)
{
	if (info->bitmap_words <= HK_BITMAP_INLINE_WORDS) {
		info->bitmap_base = offsetof(struct hk_superslab, slab[0].bitmap);
		info->bitmap_stride = sizeof(struct hk_slab);
	} else if (info->bitmap_words <= HK_BITMAP_WORDS) {
		info->bitmap_base = offsetof(struct hk_superslab, bitmap);
		info->bitmap_stride = sizeof(uint64_t) * HK_BITMAP_WORDS;
	} else {
		info->bitmap_base = offsetof(struct hk_superslab, wide_bitmap);
		info->bitmap_stride = sizeof(uint64_t) * HK_BITMAP_WIDE_WORDS;
	}
}
