/* SPDX-License-Identifier: MIT
 *
 * large.c - the list of large blocks and their mappings.
 *
 * A mapping that the kernel will not unmap (vm.max_map_count) is purged and kept: the next
 * request that it fits gets it, and hk_large_release() tries again.
 */
#include "large.h"

#include "fatal.h"
#include "os.h"
#include "pool.h"
#include "registry.h"

struct hk_lock hk_large_lock;
/* The debug library's have the record of block.h in them. */
#define RECORD_SHIFT (HK_DEBUG ? 7 : 6)
_Static_assert(sizeof(struct hk_large) <= 1 << RECORD_SHIFT,
	       "a record is a large block's");

/* How much a kept mapping may exceed what it is taken for: block.h tells of less than 2 MiB. */
#define EXCESS_MOST (HK_DEBUG ? HK_MEDIUM_MAX : SIZE_MAX)

struct hk_records hk_large_records = HK_RECORDS(RECORD_SHIFT, 16, 1 << RECORD_SHIFT);
struct hk_large *hk_large_blocks;
uint64_t hk_large_count, hk_large_bytes;

static struct hk_large *kept;

static void push(struct hk_large **list, struct hk_large *large)
{
	large->previous = NULL;
	large->next = *list;
	if (*list)
		(*list)->previous = large;
	*list = large;
}

static void unlink_from(struct hk_large **list, struct hk_large *large)
{
	if (large->next)
		large->next->previous = large->previous;
	if (large->previous)
		large->previous->next = large->next;
	else
		*list = large->next;
}

/* Under the lock: the block is the program's from now on. */
static void enlist(struct hk_large *large)
{
	push(&hk_large_blocks, large);
	hk_large_count++;
	hk_large_bytes += large->bytes;
	hk_registry_set_owner(large->base, large);
	hk_registry_set_kind(large->base, 1, HK_KIND_LARGE);
}

static void delist(struct hk_large *large)
{
	unlink_from(&hk_large_blocks, large);
	hk_large_count--;
	hk_large_bytes -= large->bytes;
	hk_registry_set_kind(large->base, 1, HK_KIND_NONE);
	hk_registry_set_owner(large->base, NULL);
}

static struct hk_large *take_kept(size_t bytes, size_t alignment)
{
	struct hk_large *large;

	for (large = kept; large; large = large->next) {
		if (large->bytes >= bytes && large->bytes / 2 <= bytes &&
		    large->bytes - bytes <= EXCESS_MOST &&
		    ((uintptr_t)large->base & (alignment - 1)) == 0) {
			unlink_from(&kept, large);
			return large;
		}
	}
	return NULL;
}

static struct hk_large *map(size_t bytes, size_t alignment, bool last_try)
{
	struct hk_large *large;

	if (!hk_pool_limits_allow(bytes, last_try))
		return NULL;
	large = hk_record_take(&hk_large_records);
	if (!large)
		return NULL;
	large->bytes = bytes;
	large->zero = true;
	large->base = hk_os_map(bytes, alignment, NULL);
	if (large->base && !hk_registry_reserve(large->base, bytes)) {
		hk_os_unmap(large->base, bytes);
		large->base = NULL;
	}
	if (!large->base) {
		hk_record_give(&hk_large_records, large);
		return NULL;
	}
	return large;
}

void *hk_large_allocate(size_t size, size_t alignment, bool last_try, bool *zero)
{
	size_t bytes = hk_align_up(size, hk_os_page_size);
	struct hk_large *large;

	if (alignment < HK_SUPERSLAB_BYTES)
		alignment = HK_SUPERSLAB_BYTES;
	hk_lock(&hk_large_lock);
	large = take_kept(bytes, alignment);
	hk_unlock(&hk_large_lock);
	if (!large)
		large = map(bytes, alignment, last_try);
	if (!large)
		return NULL;
	*zero = large->zero;
	hk_lock(&hk_large_lock);
	enlist(large);
	hk_unlock(&hk_large_lock);
	return large->base;
}

static struct hk_large *checked(const void *block, const char *function)
{
	struct hk_large *large = hk_registry_owner(block);

	if (HK_UNLIKELY(!large))
		hk_fatal(HK_INVALID_POINTER, function, block,
			 "not a block of this allocator");
	if (HK_UNLIKELY(large->base != (const char *)block))
		hk_fatal(HK_INTERIOR_POINTER, function, block,
			 "%lu bytes into the %lu-byte block %p",
			 (unsigned long)((const char *)block - large->base),
			 (unsigned long)large->bytes, (void *)large->base);
	return large;
}

void hk_large_free(void *block, const char *function)
{
	struct hk_large *large;

	hk_lock(&hk_large_lock);
	large = checked(block, function);
	delist(large);
	hk_unlock(&hk_large_lock);
	if (hk_os_unmap(large->base, large->bytes)) {
		hk_record_give(&hk_large_records, large);
		return;
	}
	large->zero = hk_os_purge(large->base, large->bytes);
	hk_lock(&hk_large_lock);
	push(&kept, large);
	hk_unlock(&hk_large_lock);
}

size_t hk_large_usable_size(const void *block, const char *function)
{
	return checked(block, function)->bytes;
}

static bool resize_in_place(struct hk_large *large, size_t bytes)
{
	if (!hk_registry_reserve(large->base, bytes) ||
	    !hk_os_resize(large->base, large->bytes, bytes))
		return false;
	hk_lock(&hk_large_lock);
	hk_large_bytes += bytes - large->bytes;
	large->bytes = bytes;
	hk_unlock(&hk_large_lock);
	return true;
}

static bool move(struct hk_large *large, size_t bytes)
{
	char *target = hk_os_map(bytes, HK_SUPERSLAB_BYTES, NULL);
	bool moved;

	if (!target)
		return false;
	if (!hk_registry_reserve(target, bytes)) {
		hk_os_unmap(target, bytes);
		return false;
	}
	/*
	 * Off the list meanwhile: the old addresses may be another mapping's the moment the
	 * kernel has moved the pages away.
	 */
	hk_lock(&hk_large_lock);
	delist(large);
	hk_unlock(&hk_large_lock);
	moved = hk_os_move(large->base, large->bytes, bytes, target);
	hk_lock(&hk_large_lock);
	if (moved) {
		large->base = target;
		large->bytes = bytes;
	}
	enlist(large);
	hk_unlock(&hk_large_lock);
	if (!moved)
		hk_os_unmap(target, bytes);
	return moved;
}

void *hk_large_resize(void *block, size_t size, const char *function)
{
	struct hk_large *large = checked(block, function);
	size_t bytes = hk_align_up(size, hk_os_page_size);

	if (bytes == large->bytes)
		return block;
	if (bytes > large->bytes && !hk_pool_limits_allow(bytes - large->bytes, false))
		return NULL;
	if (resize_in_place(large, bytes) || move(large, bytes))
		return large->base;
	return NULL;
}

size_t hk_large_release(void)
{
	size_t bytes = 0;
	struct hk_large *large;

	do {
		hk_lock(&hk_large_lock);
		large = kept;
		if (large)
			unlink_from(&kept, large);
		hk_unlock(&hk_large_lock);
		if (!large)
			break;
		if (hk_os_unmap(large->base, large->bytes)) {
			bytes += large->bytes;
			hk_record_give(&hk_large_records, large);
			continue;
		}
		hk_lock(&hk_large_lock);
		push(&kept, large);
		hk_unlock(&hk_large_lock);
		break;
	} while (true);
	return bytes;
}

struct hk_large *hk_large_find_locked(const void *address)
{
	struct hk_large *large;

	for (large = hk_large_blocks; large; large = large->next) {
		if ((uintptr_t)address - (uintptr_t)large->base < large->bytes)
			return large;
	}
	return NULL;
}
