/* SPDX-License-Identifier: MIT
 *
 * heap.c - the slow halves of allocation: sizes and alignments that no magazine serves, the
 * last effort before ENOMEM, and the pointers that are not ours.
 */
#include "heap.h"

#include <errno.h>
#include <string.h>

#include "config.h"
#include "fatal.h"
#include "fill.h"
#include "front.h"
#include "growth.h"
#include "init.h"
#include "large.h"
#include "medium.h"
#include "os.h"
#include "pool.h"
#include "slab.h"
#include "spans.h"
#include "sparse.h"
#include "zero.h"

static _Atomic uint8_t perturb;
static _Atomic uint64_t failed, releases;

HK_COLD static void *fail(void)
{
	atomic_fetch_add_explicit(&failed, 1, memory_order_relaxed);
	errno = ENOMEM;
	return NULL;
}

/* sparse: also the pages of slabs in use. */
static void give_back(struct hakmem_release *release, bool sparse, const char *function)
{
	struct hk_flushed flushed = { 0 };
	struct hk_pool_released released;
	size_t bytes = 0;

	hk_front_flush(&flushed, function);
	hk_magazine_release(&flushed, function);
	/* A slab of which a pass holds blocks would not look empty, so that must end first. */
	hk_lock(&hk_sparse_lock);
	if (sparse)
		bytes = hk_sparse_release_locked(function);
	hk_pool_release(&released);
	hk_unlock(&hk_sparse_lock);
	release->superslabs = released.superslabs;
	release->bytes = bytes + released.bytes + hk_spans_release();
	atomic_fetch_add_explicit(&releases, 1, memory_order_relaxed);
}

static void *try_beyond(size_t size, size_t alignment, bool last_try, bool *zero,
			struct hk_fill *fill)
{
	if (size <= HK_MEDIUM_MAX && alignment <= HK_SUPERSLAB_BYTES)
		return hk_medium_allocate(size, alignment, last_try, zero, fill);
	return hk_large_allocate(size, alignment, last_try, zero);
}

/* 0: no class's magazines have such blocks. */
static unsigned class_for(size_t size, size_t alignment)
{
	unsigned size_class;

	if (size > HK_CLASS_MAX)
		return 0;
	if (alignment <= 8)
		return hk_size_class_routed(size);
	if (alignment > HK_CLASS_MAX)
		return 0;
	/*
	 * A multiple of a power of two is a class's size itself, or below one that is a multiple
	 * of a larger: classes are steps of a power of two apart.
	 */
	size_class = hk_size_class_exact(hk_align_up(size, alignment));
	hk_assert(!(hk_class_size(size_class) & (alignment - 1)));
	return hk_class_is_aligned(size_class, alignment) ? size_class : 0;
}

/* Before medium blocks take up more than is wanted: see growth.h. */
HK_COLD static void hold_growth(void)
{
	atomic_store_explicit(&hk_growth_is_over, false, memory_order_relaxed);
	hk_magazine_yield("malloc");
	hk_lock(&hk_medium_lock);
	hk_growth_settle_locked(hk_medium_bytes >> HK_GRAIN_SHIFT);
	hk_unlock(&hk_medium_lock);
	hk_sparse_trim();
}

static void check_growth(void)
{
	if (HK_UNLIKELY(atomic_load_explicit(&hk_growth_is_over, memory_order_relaxed)))
		hold_growth();
}

/* Of a size class, no magazine hit. */
static void *allocate_of_class(unsigned size_class, size_t alignment, bool *zero)
{
	struct hk_flushed flushed = { 0 };
	void *block = hk_magazine_refill(size_class, zero);

	if (!block && hk_front_flush(&flushed, "malloc"))
		block = hk_magazine_refill(size_class, zero);
	if (!block)
		block = hk_magazine_take_larger(size_class, alignment, zero);
	check_growth();
	return block ? block : fail();
}

/* Beyond the size classes. */
static void *allocate_beyond(size_t size, size_t alignment, bool *zero)
{
	struct hakmem_release released;
	struct hk_fill fill = { 0 };
	bool wants_zero = *zero;
	void *block;

	hk_magazine_tick(true);
	block = try_beyond(size, alignment, false, zero, &fill);
	if (!block) {
		/* Limits and kernel count addresses: pages inside slabs would be no help. */
		give_back(&released, false, "malloc");
		block = try_beyond(size, alignment, true, zero, &fill);
	}
	check_growth();
	if (fill.bytes && !wants_zero)
		hk_fill_given(block, hk_medium_usable_size(block, "malloc"), &fill);
	return block ? block : fail();
}

/* Any size, any alignment, no magazine hit.  *zero: is it to be zero; is it. */
static void *allocate(size_t size, size_t alignment, bool *zero)
{
	unsigned size_class;

	if (HK_UNLIKELY(size > PTRDIFF_MAX || alignment > PTRDIFF_MAX))
		return fail();
	hk_init();
	if (!size)
		size = 1;
	size_class = class_for(size, alignment);
	return size_class ? allocate_of_class(size_class, alignment, zero)
			  : allocate_beyond(size, alignment, zero);
}

static void *perturbed(void *block, const char *function)
{
	uint8_t byte = atomic_load_explicit(&perturb, memory_order_relaxed);

	if (HK_UNLIKELY(byte) && block)
		memset(block, byte ^ 0xff, hk_heap_usable_size(block, function));
	return block;
}

void *hk_heap_allocate_slow(size_t size, const char *function)
{
	bool zero = false;

	return perturbed(allocate(size, 1, &zero), function);
}

/* Huge pages would have to be split, which a SuperSlab's may be. */
static bool can_give_pages_back(const void *block)
{
	return hk_registry_kind(block) == HK_KIND_LARGE ||
	       hk_config_thp() == HK_THP_NEVER;
}

/* Fresh from the kernel, it is zero already, and touching it would cost its pages. */
static void *make_zero(void *block, size_t size, bool zero, bool fresh)
{
	if (!block)
		return NULL;
	if (!zero) {
		fresh = fresh && can_give_pages_back(block) &&
			hk_os_purge(block, hk_align_up(size, hk_os_page_size));
		if (!fresh)
			memset(block, 0, size);
	}
	if (fresh)
		hk_zero_given(block, size);
	return block;
}

/* Beyond the size classes, so whole pages. */
static void *allocate_zeroed_pages(size_t size)
{
	size_t bytes = hk_align_up(size, hk_os_page_size);
	bool fresh = hk_zero_wants_fresh(bytes), zero = fresh;
	void *block = allocate(size, 1, &zero);

	return make_zero(block, bytes, zero, fresh);
}

void *hk_heap_allocate_zeroed(size_t size)
{
	bool zero = false;
	void *block;

	if (HK_UNLIKELY(size >= HK_ZERO_LEAST && size <= PTRDIFF_MAX))
		return allocate_zeroed_pages(size);
	if (HK_UNLIKELY(!hk_heap_hit(size, &block)))
		block = allocate(size, 1, &zero);
	return make_zero(block, size, zero, false);
}

#if HK_DEBUG
void *hk_heap_allocate_room(size_t alignment, size_t size, bool *zero)
{
	void *block;

	*zero = false;
	return alignment <= 16 && hk_heap_hit(size, &block)
		       ? block
		       : allocate(size, alignment, zero);
}

uint8_t hk_heap_perturb(void)
{
	return atomic_load_explicit(&perturb, memory_order_relaxed);
}
#endif

void *hk_heap_allocate_aligned(size_t alignment, size_t size, const char *function)
{
	bool zero = false;

	if (alignment <= 16 && (alignment <= 8 || size > 8))
		return hk_heap_allocate(size, function);
	return perturbed(allocate(size, alignment, &zero), function);
}

/* ---- free ---- */

static void *checked_small(const void *block, const char *function)
{
	struct hk_slab *slab = hk_slab_of(block);
	char *start = hk_slab_block_of(slab, block);

	if (HK_LIKELY(start == (const char *)block))
		return start;
	if (!start)
		hk_fatal(HK_INVALID_POINTER, function, block,
			 "in a slab of %lu-byte blocks but in none of them",
			 (unsigned long)hk_class_size(slab->kind));
	hk_fatal(HK_INTERIOR_POINTER, function, block,
		 "%lu bytes into the %lu-byte block %p",
		 (unsigned long)((const char *)block - start),
		 (unsigned long)hk_class_size(slab->kind), (void *)start);
}

/* Say what a pointer that is no block's start is; large blocks are known by their list. */
HK_COLD static void report_foreign(const void *block, const char *function)
{
	struct hk_large *large;
	size_t bytes;

	hk_lock(&hk_large_lock);
	large = hk_large_find_locked(block);
	if (large)
		hk_fatal(HK_INTERIOR_POINTER, function, block,
			 "%lu bytes into the %lu-byte block %p",
			 (unsigned long)((const char *)block - large->base),
			 (unsigned long)large->bytes, (void *)large->base);
	bytes = hk_spans_freed_locked(block);
	if (bytes)
		hk_fatal(HK_DOUBLE_FREE, function, block, "%lu-byte block",
			 (unsigned long)bytes);
	hk_unlock(&hk_large_lock);
	hk_medium_report_freed(block, function);
	hk_fatal(HK_INVALID_POINTER, function, block, "not a block of this allocator");
}

/* calloc's, of fresh pages: how many have been touched?  See zero.h. */
HK_COLD static void judge(void *block, const char *function)
{
	size_t bytes = hk_heap_usable_size(block, function);
	uint64_t start = hk_os_now_ns();

	if (can_give_pages_back(block) && hk_os_purge(block, bytes))
		hk_zero_judge(bytes, hk_os_now_ns() - start);
}

/* Looks the kind up again, so that the fast path need not keep it. */
void hk_heap_free_slow(void *block, const char *function)
{
	unsigned kind = hk_registry_kind(block);
	uint8_t byte = atomic_load_explicit(&perturb, memory_order_relaxed);

	if (!block)
		return;
	/* The debug library's blocks keep their own pattern, which is looked at. */
	if (HK_UNLIKELY(byte) && kind != HK_KIND_NONE && !HK_DEBUG)
		memset(block, byte, hk_heap_usable_size(block, function));
	switch (kind) {
	case HK_KIND_NONE:
		report_foreign(block, function);
		break;
	case HK_KIND_MEDIUM:
		hk_magazine_tick(false);
		if (HK_UNLIKELY(hk_zero_is_watched(block)))
			judge(block, function);
		if (HK_UNLIKELY(hk_fill_is_watched(block)))
			hk_fill_freed(block);
		hk_medium_free(block, function);
		break;
	case HK_KIND_LARGE:
		hk_magazine_tick(false);
		if (HK_UNLIKELY(hk_zero_is_watched(block)))
			judge(block, function);
		hk_large_free(block, function);
		break;
	default:
		hk_magazine_spill(kind, block, function);
	}
}

void hk_heap_free_twice(void *block, const char *function)
{
	if (block)
		hk_magazine_report_twice(hk_registry_kind(block), block, function);
}

void hk_heap_free_sized(void *block, size_t alignment, size_t size, const char *function)
{
	unsigned kind = hk_registry_kind(block);

	if (HK_LIKELY(kind != HK_KIND_NONE)) {
		size_t usable = kind <= HK_CLASSES ? hk_class_size(kind)
						   : hk_heap_usable_size(block, function);

		if (HK_UNLIKELY(size > usable))
			hk_fatal(HK_SIZE_MISMATCH, function, block,
				 "size %lu, but the block has %lu bytes",
				 (unsigned long)size, (unsigned long)usable);
		if (HK_UNLIKELY((uintptr_t)block & (alignment - 1)))
			hk_fatal(HK_ALIGNMENT_MISMATCH, function, block, "alignment %lu",
				 (unsigned long)alignment);
	}
	hk_heap_free(block, function);
}

void hk_heap_set_perturb(uint8_t value)
{
	atomic_store_explicit(&perturb, value, memory_order_relaxed);
	/* The fast paths need not know of it: they are given nothing to do. */
	hk_fast_path_set(!value);
	hk_magazine_disable(value);
}

/* ---- size and resize ---- */

size_t hk_heap_usable_size(const void *block, const char *function)
{
	unsigned kind = hk_registry_kind(block);

	if (!block)
		return 0;
	switch (kind) {
	case HK_KIND_NONE:
		report_foreign(block, function);
		return 0;
	case HK_KIND_MEDIUM:
		return hk_medium_usable_size(block, function);
	case HK_KIND_LARGE:
		return hk_large_usable_size(block, function);
	default:
		if (hk_class_is_medium(kind))
			return hk_medium_usable_size(block, function);
		checked_small(block, function);
		return hk_class_size(kind);
	}
}

static bool fits_in_place(void *block, unsigned kind, size_t usable, size_t size,
			  const char *function)
{
	if (kind == HK_KIND_MEDIUM && usable > HK_CLASS_MAX)
		return size > HK_CLASS_MAX && size <= HK_MEDIUM_MAX &&
		       hk_medium_resize(block, size, function);
	if (kind == HK_KIND_LARGE)
		return false;
	/* A block that would be less than half full moves to a smaller class. */
	return size <= usable && (size >= usable / 2 || usable <= 32);
}

void *hk_heap_resize(void *block, size_t size, const char *function)
{
	unsigned kind = hk_registry_kind(block);
	size_t usable = hk_heap_usable_size(block, function);
	struct hakmem_release released;
	int kept = errno;
	void *moved;

	if (HK_UNLIKELY(size > PTRDIFF_MAX))
		return fail();
	if (fits_in_place(block, kind, usable, size, function))
		return block;
	if (kind == HK_KIND_LARGE && size > HK_MEDIUM_MAX) {
		moved = hk_large_resize(block, size, false, function);
		if (moved)
			return moved;
		give_back(&released, false, function);
		moved = hk_large_resize(block, size, true, function);
		if (moved)
			return moved;
	}
	moved = hk_heap_allocate(size, function);
	if (!moved && size <= usable) {
		/* Not to be able to shrink is no failure. */
		errno = kept;
		return block;
	}
	if (!moved)
		return NULL;
	memcpy(moved, block, usable < size ? usable : size);
	hk_heap_free(block, function);
	return moved;
}

/* ---- release ---- */

void hk_heap_release(struct hakmem_release *release, const char *function)
{
	give_back(release, true, function);
}

uint64_t hk_heap_failed(void)
{
	return atomic_load_explicit(&failed, memory_order_relaxed);
}

uint64_t hk_heap_releases(void)
{
	return atomic_load_explicit(&releases, memory_order_relaxed);
}
