/* SPDX-License-Identifier: MIT
 *
 * large.c - the list of large blocks.
 */
#include "large.h"

#include "chunks.h"
#include "fatal.h"
#include "os.h"
#include "registry.h"
#include "spans.h"

struct hk_lock hk_large_lock;
/* The debug library's have the record of block.h in them. */
#define RECORD_SHIFT (HK_DEBUG ? 7 : 6)
_Static_assert(sizeof(struct hk_large) <= 1 << RECORD_SHIFT,
	       "a record is a large block's");

struct hk_records hk_large_records = HK_RECORDS(RECORD_SHIFT, 16, 1 << RECORD_SHIFT);
struct hk_large *hk_large_blocks;
uint64_t hk_large_count, hk_large_bytes;

/* Under the lock: the block is the program's from now on. */
static void enlist(struct hk_large *large)
{
	hk_large_link(&hk_large_blocks, large);
	hk_large_count++;
	hk_large_bytes += large->bytes;
	hk_registry_set_owner(large->base, large);
	hk_registry_set_kind(large->base, 1, HK_KIND_LARGE);
}

static void delist(struct hk_large *large)
{
	hk_large_unlink(&hk_large_blocks, large);
	hk_large_count--;
	hk_large_bytes -= large->bytes;
	hk_registry_set_kind(large->base, 1, HK_KIND_NONE);
	hk_registry_set_owner(large->base, NULL);
}

void *hk_large_allocate(size_t size, size_t alignment, bool last_try, bool *zero)
{
	struct hk_large *large;

	if (alignment < HK_SUPERSLAB_BYTES)
		alignment = HK_SUPERSLAB_BYTES;
	large = hk_chunks_take(hk_align_up(size, hk_os_page_size), alignment, last_try,
			       zero);
	if (!large)
		return NULL;
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
	hk_spans_give(large);
}

size_t hk_large_usable_size(const void *block, const char *function)
{
	return checked(block, function)->bytes;
}

/*
 * Off the list meanwhile: the old addresses may be another mapping's the moment the kernel has
 * moved the pages away.
 */
static bool move(struct hk_large *large, size_t bytes, bool last_try)
{
	bool moved;

	hk_lock(&hk_large_lock);
	delist(large);
	hk_unlock(&hk_large_lock);
	moved = hk_chunks_move(large, bytes, last_try);
	hk_lock(&hk_large_lock);
	enlist(large);
	hk_unlock(&hk_large_lock);
	return moved;
}

void *hk_large_resize(void *block, size_t size, bool last_try, const char *function)
{
	struct hk_large *large = checked(block, function);
	size_t bytes = hk_align_up(size, hk_os_page_size);

	if (bytes == large->bytes || hk_chunks_resize(large, bytes, last_try) ||
	    move(large, bytes, last_try))
		return large->base;
	return NULL;
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
