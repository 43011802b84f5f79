/* SPDX-License-Identifier: MIT
 *
 * block.c - from an address to what is known of the block there.
 */
#include "debug/block.h"

#include <string.h>

#include "debug/guard.h"
#include "large.h"
#include "medium.h"
#include "pool.h"
#include "slab.h"

/* 2 MiB of addresses for a SuperSlab's records, of which those of blocks in use are touched. */
#define TABLE_SHIFT 21
_Static_assert((size_t)HK_SLOTS *HK_RECORDS_PER_SLOT * sizeof(struct hk_block_record) <=
		       (size_t)1 << TABLE_SHIFT,
	       "a SuperSlab's records are one record of hk_block_records");

#define WINDOWS_PER_SLOT (HK_GRAINS / HK_GRAINS_PER_WINDOW)

struct hk_records hk_block_records = { .shift = TABLE_SHIFT,
				       .chunk_shift = TABLE_SHIFT + 2,
				       .uncounted = true };

_Atomic uint32_t hk_mark = 1;

static unsigned place_in_window(uint64_t word)
{
	return (unsigned)(word >> HK_WORD_GRAIN & (HK_GRAINS_PER_WINDOW - 1));
}

/* ---- the tables ---- */

static struct hk_block_record *first_record(const struct hk_slab *slab)
{
	struct hk_block_record *table = hk_slab_superslab(slab)->blocks;

	return table ? table + (size_t)hk_slab_slot(slab) * HK_RECORDS_PER_SLOT : NULL;
}

bool hk_block_map(struct hk_superslab *superslab)
{
	superslab->blocks = hk_record_take(&hk_block_records);
	return superslab->blocks != NULL;
}

void hk_block_unmap(struct hk_superslab *superslab)
{
	hk_record_give(&hk_block_records, superslab->blocks);
	superslab->blocks = NULL;
}

void hk_block_reset(const struct hk_slab *slab)
{
	struct hk_block_record *record = first_record(slab);

	hk_slab_superslab(slab)->colour[hk_slab_slot(slab)] = slab->colour;
	/* Most were never written, and a page that is only read stays the kernel's zero page. */
	for (unsigned i = 0; i < slab->blocks; i++, record++) {
		if (record->word || record->allocated)
			memset(record, 0, sizeof(*record));
	}
}

/* ---- finding ---- */

/* That of the window in which this address lies. */
static struct hk_block_record *window_record(const void *address)
{
	const struct hk_superslab *superslab = hk_registry_owner(address);
	size_t offset = (uintptr_t)address & (HK_SUPERSLAB_BYTES - 1);
	size_t slot = offset >> HK_SLOT_SHIFT;

	return (struct hk_block_record *)superslab->blocks + slot * HK_RECORDS_PER_SLOT +
	       ((offset & (HK_SLOT_BYTES - 1)) >> HK_WINDOW_SHIFT);
}

static bool find_medium(const void *address, struct hk_block *block)
{
	block->room = hk_medium_block_of(address, &block->room_size);
	if (!block->room)
		return false;
	block->record = window_record(block->room);
	return true;
}

/*
 * Of a medium block: the record of the window may be another room's, or of what was here before
 * this one was.
 */
static bool has_history(const struct hk_block *block)
{
	uint64_t word = atomic_load_explicit(&block->record->word, memory_order_acquire);

	return !(word & HK_WORD_GONE) &&
	       place_in_window(word) == ((uintptr_t)block->room >> HK_GRAIN_SHIFT &
					 (HK_GRAINS_PER_WINDOW - 1));
}

void hk_block_gone(char *room)
{
	atomic_fetch_or_explicit(&window_record(room)->word, HK_WORD_GONE,
				 memory_order_relaxed);
}

static bool find_large_locked(const void *address, struct hk_block *block)
{
	struct hk_large *large = hk_large_find_locked(address);

	if (!large)
		return false;
	block->record = &large->block;
	block->room = large->base;
	block->room_size = large->bytes;
	hk_block_read(block);
	return true;
}

/* Not yet known: is it in a large block? */
static bool find_in_slabs(const void *address, struct hk_block *block, bool *large)
{
	unsigned kind = (unsigned)hk_registry_kind(address);
	bool found;

	*large = kind == HK_KIND_NONE || kind == HK_KIND_LARGE;
	if (*large)
		return false;
	if (hk_kind_is_slab(kind))
		return hk_block_find_small(address, kind, block);
	found = find_medium(address, block);
	if (found) {
		hk_block_read(block);
		if (!has_history(block))
			block->state = HK_BLOCK_NEVER;
	}
	return found;
}

bool hk_block_find_locked(const void *address, struct hk_block *block)
{
	bool large;

	return hk_guard_find(address, block) || find_in_slabs(address, block, &large) ||
	       (large && find_large_locked(address, block));
}

bool hk_block_find_other(const void *address, struct hk_block *block)
{
	bool large, found;

	if (hk_guard_find(address, block))
		return true;
	found = find_in_slabs(address, block, &large);
	if (large) {
		hk_lock(&hk_large_lock);
		found = find_large_locked(address, block);
		hk_unlock(&hk_large_lock);
	}
	return found;
}

/* A medium block that is no more, by the records of the windows up to the address's own. */
static bool find_gone(struct hk_superslab *superslab, const char *address,
		      struct hk_block *block)
{
	size_t window = (size_t)(address - superslab->base) >> HK_WINDOW_SHIFT;
	size_t windows = HK_MEDIUM_MAX >> HK_WINDOW_SHIFT;

	for (size_t i = 0; i <= windows && i <= window; i++) {
		char *start = superslab->base + ((window - i) << HK_WINDOW_SHIFT);
		const struct hk_slab
			*slab = &superslab->slab[(window - i) / WINDOWS_PER_SLOT];
		unsigned kind = slab->kind ? slab->kind : slab->former;

		if (kind != HK_KIND_MEDIUM)
			continue;
		block->record = window_record(start);
		block->room = start + ((size_t)place_in_window(block->record->word)
				       << HK_GRAIN_SHIFT);
		block->room_size = 0;
		hk_block_read(block);
		block->room_size = (size_t)(block->start - block->room) + block->size;
		if (block->state == HK_BLOCK_FREED && block->room <= address &&
		    address < block->room + block->room_size)
			return true;
	}
	return false;
}

bool hk_block_find_former(const void *address, struct hk_block *block)
{
	struct hk_superslab *superslab = hk_registry_owner(address);
	size_t offset = (uintptr_t)address & (HK_SUPERSLAB_BYTES - 1);
	const char *base = (const char *)address - offset;
	const struct hk_size_class *info;
	struct hk_slab *slab;
	size_t index;

	if (!superslab || hk_registry_kind(base) == HK_KIND_LARGE)
		return false;
	slab = &superslab->slab[superslab->slab[offset >> HK_SLOT_SHIFT].first];
	if ((slab->kind ? slab->kind : slab->former) == HK_KIND_MEDIUM)
		return find_gone(superslab, address, block);
	if (slab->kind || !slab->former)
		return false;
	info = hk_class_info(slab->former);
	block->room = hk_slab_base(slab) + slab->colour;
	if ((const char *)address < block->room)
		return false;
	index = (size_t)((const char *)address - block->room) / info->size;
	if (index >= info->blocks || index >= HK_RECORDS_PER_SLOT)
		return false;
	block->room += index * info->size;
	block->record = first_record(slab) + index;
	block->room_size = info->size;
	hk_block_read(block);
	return block->state != HK_BLOCK_NEVER;
}

void hk_block_of_other_room(char *room, struct hk_block *block)
{
	bool large, found = find_in_slabs(room, block, &large);

	if (!found) {
		/* A large block that is ours does not go away, so neither does its record. */
		struct hk_large *owner = hk_registry_owner(room);

		block->record = &owner->block;
		block->room = owner->base;
		block->room_size = owner->bytes;
		hk_block_read(block);
	}
}

/* ---- all of them ---- */

static void visit_one(struct hk_block *block,
		      void (*visit)(const struct hk_block *block, void *context),
		      void *context)
{
	hk_block_read(block);
	if (block->state == HK_BLOCK_LIVE || block->state == HK_BLOCK_QUARANTINED)
		visit(block, context);
}

static void visit_slab(struct hk_slab *slab,
		       void (*visit)(const struct hk_block *block, void *context),
		       void *context)
{
	struct hk_block_record *record = first_record(slab);

	if (slab->kind < 1 || slab->kind > HK_SLAB_CLASSES)
		return;
	for (unsigned i = 0; i < slab->blocks; i++) {
		size_t size = hk_class_size(slab->kind);

		visit_one(
			&(struct hk_block){ .record = record + i,
					    .room = hk_slab_first_block(slab) + i * size,
					    .room_size = size },
			visit, context);
	}
}

static void visit_medium(struct hk_superslab *superslab,
			 void (*visit)(const struct hk_block *block, void *context),
			 void *context)
{
	struct hk_block block;
	unsigned grain = 0;

	while ((block.room = hk_medium_next_locked(superslab, &grain,
						   &block.room_size))) {
		block.record = window_record(block.room);
		if (has_history(&block))
			visit_one(&block, visit, context);
	}
}

struct visitor {
	void (*visit)(const struct hk_block *block, void *context);
	void *context;
};

/* Just allocated, or just freed, its canaries are not there: then the word is not LIVE. */
static void visit_guarded(const struct hk_block *block, void *context)
{
	const struct visitor *visitor = context;
	uint64_t word = atomic_load_explicit(&block->record->word, memory_order_acquire);

	if (block->state != HK_BLOCK_LIVE || (word & 3) == HK_BLOCK_LIVE)
		visitor->visit(block, visitor->context);
}

void hk_block_visit(void (*visit)(const struct hk_block *block, void *context),
		    void *context)
{
	struct visitor visitor = { visit, context };

	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next) {
		for (uint32_t left = s->active; left; left &= left - 1) {
			struct hk_slab *slab = &s->slab[__builtin_ctz(left)];

			if (slab->kind && slab->first == hk_slab_slot(slab))
				visit_slab(slab, visit, context);
		}
		visit_medium(s, visit, context);
	}
	for (struct hk_large *large = hk_large_blocks; large; large = large->next)
		visit_one(&(struct hk_block){ .record = &large->block,
					      .room = large->base,
					      .room_size = large->bytes },
			  visit, context);
	hk_guard_visit(visit_guarded, &visitor);
}

uint32_t hk_block_next_mark(void)
{
	uint32_t mark = hk_block_mark();

	/* The last stays: what is allocated since then is told, and some before it. */
	while (mark < HK_MARK_MOST && !atomic_compare_exchange_weak_explicit(
					      &hk_mark, &mark, mark + 1,
					      memory_order_relaxed, memory_order_relaxed))
		;
	return hk_block_mark();
}
