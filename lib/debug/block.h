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
#include "record.h"

struct hk_superslab;
struct hk_slab;

#if HK_DEBUG

#define HK_RECORDS_PER_SLOT 2048 /* the smallest room has 32 bytes */

enum hk_block_state {
	HK_BLOCK_NEVER, /* not handed out since its slab was made */
	HK_BLOCK_LIVE,
	HK_BLOCK_QUARANTINED, /* freed, and kept from reuse */
	HK_BLOCK_FREED        /* back in the heap */
};

struct hk_block_record {
	_Atomic uint64_t word; /* state, family, front, size: block.c packs them */
	hk_stack allocated;
	uint32_t allocator;    /* kernel's thread id */
	uint32_t allocated_at; /* hk_debug_now() */
	uint32_t mark;         /* of HAKMEM_LEAKS, when it was allocated */
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

_Static_assert(sizeof(struct hk_block_record) == 40, "there is one for each block");

/* A block, as an address has found it. */
struct hk_block {
	struct hk_block_record *record;
	enum hk_block_state state;
	enum hk_family family;
	char *start; /* the program's first byte */
	size_t size; /* as the program asked */
	char *room;
	size_t room_size;
};

/*
 * The block in whose room this address lies, any address at all; false: in none.  Lock-free,
 * except beyond the first 64 KiB of large blocks, where it takes hk_large_lock.
 */
bool hk_block_find(const void *address, struct hk_block *block);

/* The same for who holds all locks. */
bool hk_block_find_locked(const void *address, struct hk_block *block);

/*
 * A room of the heap is about to be the program's, or is its already: what its record says.
 * Nothing but room and room_size need be right before.
 */
void hk_block_of_room(char *room, struct hk_block *block);

/* The record's word, for the owner: LIVE; or, by compare-and-swap, from LIVE.  false: it is not. */
void hk_block_begin(struct hk_block *block);
bool hk_block_end(struct hk_block *block);

/* From QUARANTINED to FREED. */
void hk_block_leave(struct hk_block *block);

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

/* The mark of now: blocks allocated from here on carry it; and begin the next. */
uint32_t hk_block_mark(void);
uint32_t hk_block_next_mark(void);
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
