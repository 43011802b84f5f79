/* SPDX-License-Identifier: MIT
 *
 * block.h - what is known of each block, out of band.
 *
 * A block of the heap (its "room") has the program's block inside:
 *
 *   room                    block                 block + size           room's end
 *   |      ...      | canary |  size bytes of use  | canary  ...           |
 *   |<-- front: 16, or the alignment -->|          |<-- at least 8 -->|
 *
 * Its record is found from any address by arithmetic alone: each SuperSlab has a table of
 * HK_RECORDS_PER_SLOT records a slot, of which the block with index i of a run has number i
 * from the run's first slot on; a medium block that of the 2 KiB window of its slot in which it
 * begins, where no other does; a large block's record is in struct hk_large.
 *
 * word is the one thing that changes while others look: whoever frees a block changes it from
 * LIVE by a compare-and-swap, so of two who free it at a time, one is told.  The other fields
 * belong to whoever has the block: the allocating thread before it stores LIVE (release), the
 * freeing one after its swap.
 */
#ifndef HK_BLOCK_H
#define HK_BLOCK_H

#include <stdatomic.h>

#include "debug/stacks.h"
#include "family.h"
#include "superslab.h"

#if HK_DEBUG

#define HK_RECORDS_PER_SLOT 2048 /* the smallest room has 32 bytes */

enum hk_block_state {
	HK_BLOCK_NEVER, /* not handed out since its slab was made */
	HK_BLOCK_LIVE,
	HK_BLOCK_QUARANTINED, /* freed, and kept from reuse */
	HK_BLOCK_FREED        /* back in the heap */
};

struct hk_block_record {
	_Atomic uint64_t word; /* state, family, front, mark, size: below */
	hk_stack allocated;
	uint32_t allocator;    /* kernel's thread id */
	uint32_t allocated_at; /* hk_debug_now() */
	union {
		struct { /* while it is LIVE: the life before, if there was one */
			hk_stack before_allocated, before_freed;
		};
		struct { /* from then on */
			hk_stack freed;
			uint32_t freer, freed_at;
		};
	};
};

_Static_assert(sizeof(struct hk_block_record) == 32,
	       "there is one for each block, and none lies in two cache lines");

/* A block, as an address has found it. */
struct hk_block {
	struct hk_block_record *record;
	enum hk_block_state state;
	enum hk_family family;
	char *start; /* the program's first byte */
	size_t size; /* as the program asked */
	char *room;
	size_t room_size;
	uint64_t word; /* the record's, of which state, family, start and size are */
};

/*
 * The word:
 *
 *   bits 0-1 state, 2-3 family, 4-9 log2 of front, 10-12 the room's grain in its window,
 *   13 the room is gone, 14-42 mark, 43-63 size; of a large block, how much of its room lies
 *   behind it
 */
#define HK_WORD_FAMILY 2
#define HK_WORD_FRONT 4
#define HK_WORD_GRAIN 10
#define HK_WORD_GONE ((uint64_t)1 << 13)
#define HK_WORD_MARK 14
#define HK_WORD_SIZE 43
#define HK_MARK_MOST (((uint32_t)1 << (HK_WORD_SIZE - HK_WORD_MARK)) - 1)

/* No two blocks of more than 2 KiB begin in the same 2 KiB. */
#define HK_GRAINS_PER_WINDOW (1u << (HK_WINDOW_SHIFT - HK_GRAIN_SHIFT))

_Static_assert(HK_MEDIUM_MAX < (uint64_t)1 << (64 - HK_WORD_SIZE), "a size has 21 bits");

/* record, room and room_size are right: the rest by the record. */
HK_INLINE void hk_block_read(struct hk_block *block)
{
	uint64_t word = atomic_load_explicit(&block->record->word, memory_order_acquire);
	size_t front = (size_t)1 << (word >> HK_WORD_FRONT & 63);

	block->word = word;
	block->state = (enum hk_block_state)(word & 3);
	block->family = (enum hk_family)(word >> HK_WORD_FAMILY & 3);
	block->start = block->room + front;
	block->size = (size_t)(word >> HK_WORD_SIZE);
	if (HK_UNLIKELY(block->room_size > HK_MEDIUM_MAX))
		block->size = block->room_size - front - block->size;
}

/*
 * The slab may become another class's while we look, if the address is none of a block in use:
 * then what is found is as good as any other answer about such an address, so long as nothing
 * outside of the tables is read.
 */
HK_INLINE bool hk_block_find_small(const void *address, size_t kind,
				   struct hk_block *block)
{
	const struct hk_size_class *info = hk_class_info((unsigned)kind);
	const struct hk_superslab *superslab = hk_registry_owner(address);
	size_t slot = (uintptr_t)address >> HK_SLOT_SHIFT & (HK_SLOTS - 1);
	size_t in_slot = (uintptr_t)address & (HK_SLOT_BYTES - 1);
	size_t offset = in_slot - superslab->colour[slot];
	struct hk_block_record *table = superslab->blocks;
	unsigned index;

	/* A SuperSlab that is being unmapped has none; before the first block, offset wraps. */
	if (HK_UNLIKELY(offset >= HK_SLOT_BYTES || !table))
		return false;
	index = hk_block_index(info, offset);
	if (HK_UNLIKELY(index >= info->blocks || index >= HK_RECORDS_PER_SLOT))
		return false;
	block->record = table + slot * HK_RECORDS_PER_SLOT + index;
	block->room = (char *)address - (offset - (size_t)index * info->size);
	block->room_size = info->size;
	hk_block_read(block);
	return true;
}

HK_INLINE bool hk_kind_is_slab(size_t kind)
{
	return kind - 1 < HK_SLAB_CLASSES;
}

bool hk_block_find_other(const void *address, struct hk_block *block);
void hk_block_of_other_room(char *room, struct hk_block *block);

/*
 * The block in whose room this address lies, any address at all; false: in none.  Lock-free,
 * except beyond the first 64 KiB of large blocks, where it takes hk_large_lock.
 */
HK_INLINE bool hk_block_find(const void *address, struct hk_block *block)
{
	size_t kind = hk_registry_kind(address);

	return HK_LIKELY(hk_kind_is_slab(kind))
		       ? hk_block_find_small(address, kind, block)
		       : hk_block_find_other(address, block);
}

/* The same for who holds all locks. */
bool hk_block_find_locked(const void *address, struct hk_block *block);

/*
 * A room of the heap is about to be the program's, or is its already: what its record says.
 * Nothing but room and room_size need be right before.
 */
HK_INLINE void hk_block_of_room(char *room, struct hk_block *block)
{
	size_t kind = hk_registry_kind(room);

	if (HK_UNLIKELY(!hk_kind_is_slab(kind) ||
			!hk_block_find_small(room, kind, block)))
		hk_block_of_other_room(room, block);
	hk_assert(block->room == room);
}

/* The mark of now: blocks allocated from here on carry it; and begin the next. */
extern _Atomic uint32_t hk_mark HK_HIDDEN;

static inline uint32_t hk_block_mark(void)
{
	return atomic_load_explicit(&hk_mark, memory_order_relaxed);
}

uint32_t hk_block_next_mark(void);

static inline uint32_t hk_record_mark(const struct hk_block_record *record)
{
	return (uint32_t)(atomic_load_explicit(&record->word, memory_order_relaxed) >>
			  HK_WORD_MARK) &
	       HK_MARK_MOST;
}

/*
 * The record's word, for the owner: LIVE, with the mark of now.  Release: whoever sees it LIVE sees
 * the rest of the record.
 */
HK_INLINE void hk_block_begin(struct hk_block *block)
{
	size_t front = (size_t)(block->start - block->room), size = block->size;

	if (HK_UNLIKELY(block->room_size > HK_MEDIUM_MAX))
		size = block->room_size - front - size;
	hk_assert_slow(size < (uint64_t)1 << (64 - HK_WORD_SIZE));
	block->state = HK_BLOCK_LIVE;
	/* Guarded blocks have any front, or none: theirs is not read from here. */
	block->word = (uint64_t)HK_BLOCK_LIVE |
		      (uint64_t)block->family << HK_WORD_FAMILY |
		      (uint64_t)(front ? __builtin_ctzl(front) : 0) << HK_WORD_FRONT |
		      (uint64_t)((uintptr_t)block->room >> HK_GRAIN_SHIFT &
				 (HK_GRAINS_PER_WINDOW - 1))
			      << HK_WORD_GRAIN |
		      (uint64_t)hk_block_mark() << HK_WORD_MARK |
		      (uint64_t)size << HK_WORD_SIZE;
	atomic_store_explicit(&block->record->word, block->word, memory_order_release);
}

/*
 * A LIVE one becomes QUARANTINED, by compare-and-swap: of two that free it at a time, one finds its
 * word changed.
 */
HK_INLINE bool hk_block_end(struct hk_block *block)
{
	uint64_t ended = block->word ^ HK_BLOCK_LIVE ^ HK_BLOCK_QUARANTINED;

	/* A guarded block's state is not from the word, which may have changed before it was read. */
	if (HK_UNLIKELY((block->word & 3) != HK_BLOCK_LIVE ||
			!atomic_compare_exchange_strong_explicit(
				&block->record->word, &block->word, ended,
				memory_order_acq_rel, memory_order_acquire)))
		return false;
	block->word = ended;
	block->state = HK_BLOCK_QUARANTINED;
	return true;
}

/* From QUARANTINED to FREED. */
HK_INLINE void hk_block_leave(struct hk_block *block)
{
	block->word |= HK_BLOCK_FREED;
	block->state = HK_BLOCK_FREED;
	atomic_store_explicit(&block->record->word, block->word, memory_order_release);
}

/*
 * visit each block that is LIVE or QUARANTINED.  The caller has stopped the world, or holds all
 * locks (hk_lock_all()).
 */
void hk_block_visit(void (*visit)(const struct hk_block *block, void *context),
		    void *context);

/*
 * A block whose slots are back in the pool, or a medium one whose grains are free, by what is left
 * of its record; for reports.
 */
bool hk_block_find_former(const void *address, struct hk_block *block);

/* The records of a SuperSlab that is being mapped or unmapped; false: no memory. */
bool hk_block_map(struct hk_superslab *superslab);
void hk_block_unmap(struct hk_superslab *superslab);

/* A run has become a slab: its blocks have no history. */
void hk_block_reset(const struct hk_slab *slab);

/* A medium block's room is one no more: who gets one that begins there has nothing of it. */
void hk_block_gone(char *room);

extern struct hk_records hk_block_records;
#else
static inline bool hk_block_map(struct hk_superslab *superslab)
{
	(void)superslab;
	return true;
}

static inline void hk_block_unmap(struct hk_superslab *superslab)
{
	(void)superslab;
}

static inline void hk_block_reset(const struct hk_slab *slab)
{
	(void)slab;
}

static inline void hk_block_gone(char *room)
{
	(void)room;
}
#endif

#endif /* HK_BLOCK_H */
