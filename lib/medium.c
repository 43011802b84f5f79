/* SPDX-License-Identifier: MIT
 *
 * medium.c - a block is a run.  Owns nothing: the run's slab record in the SuperSlab says
 * all there is to know, and is guarded by the pool's lock.
 */
#include "medium.h"

#include "fatal.h"
#include "os.h"
#include "pool.h"

static unsigned slots_for(size_t size)
{
	return (unsigned)((size + HK_SLOT_BYTES - 1) >> HK_SLOT_SHIFT);
}

void *hk_medium_allocate(size_t size, size_t alignment, bool last_try, bool *zero)
{
	size_t align = alignment > HK_SLOT_BYTES ? alignment >> HK_SLOT_SHIFT : 1;
	struct hk_slab *slab;

	slab = hk_pool_take(HK_KIND_MEDIUM, slots_for(size), (unsigned)align, last_try,
			    zero);
	if (!slab)
		return NULL;
	hk_lock(&hk_pool_lock);
	slab->bytes = hk_align_up(size, hk_os_page_size);
	hk_unlock(&hk_pool_lock);
	return hk_slab_base(slab);
}

static struct hk_slab *checked(const void *block, const char *function)
{
	struct hk_slab *slab = hk_slab_of(block);
	char *base = hk_slab_base(slab);

	if (HK_UNLIKELY(base != (const char *)block))
		hk_fatal(HK_INTERIOR_POINTER, function, block,
			 "%lu bytes into the %lu-byte block %p",
			 (unsigned long)((const char *)block - base),
			 (unsigned long)slab->bytes, (void *)base);
	return slab;
}

void hk_medium_free(void *block, const char *function)
{
	if (hk_pool_give(checked(block, function)))
		hk_pool_tidy();
}

size_t hk_medium_usable_size(const void *block, const char *function)
{
	return checked(block, function)->bytes;
}

bool hk_medium_resize(void *block, size_t size, const char *function)
{
	struct hk_slab *slab = checked(block, function);

	if (slots_for(size) != slab->slots)
		return false;
	hk_lock(&hk_pool_lock);
	slab->bytes = hk_align_up(size, hk_os_page_size);
	hk_unlock(&hk_pool_lock);
	return true;
}

void hk_medium_report_freed(const void *pointer, const char *function)
{
	size_t offset = (uintptr_t)pointer & (HK_SUPERSLAB_BYTES - 1);
	const char *start = (const char *)pointer - offset;
	struct hk_superslab *superslab = NULL;
	struct hk_slab *slab;

	hk_lock(&hk_pool_lock);
	/* Where a large block starts, the owner is that block's record. */
	if (hk_registry_kind(start) != HK_KIND_LARGE)
		superslab = hk_registry_owner(start);
	slab = superslab ? &superslab->slab[offset >> HK_SLOT_SHIFT] : NULL;
	/* ACTIVE, it is a spare, which is not the pool's to look at. */
	if (slab && !(superslab->active >> hk_slab_slot(slab) & 1) &&
	    slab->former == HK_KIND_MEDIUM && hk_slab_base(slab) == (const char *)pointer)
		hk_fatal(HK_DOUBLE_FREE, function, pointer, "%lu-byte block",
			 (unsigned long)slab->bytes);
	hk_unlock(&hk_pool_lock);
}
