/* SPDX-License-Identifier: MIT
 *
 * superslab.h - 2 MiB of user data, and its record elsewhere.
 *
 * The record (64 KiB of addresses, of which a working SuperSlab touches 4 to 20 KiB):
 *
 *        0  slab[32]      one cache line each: fields, and the bitmap of up to 256 blocks
 *     2048  the masks, the links, where medium blocks end
 *     4096  bitmaps of up to 4,096 blocks, 512 B for each slot
 *    20480  bitmaps of 8,192 blocks (8 B), 1 KiB for each slot
 *
 * A slot's states, who changes them and under what:
 *
 *               pool_take, pool_claim           slab or MEDIUM slot empty: pool_give
 *     UNUSED ---------------->  ACTIVE  ------------------------------------> EMPTY
 *       ^                       |  ^  ^                                       ^ |
 *       |             spare_keep|  |  +------------- pool_take ---------------|-+
 *       |                       v  | spare_take                               | |
 *       |                      SPARE --------------- pool_reclaim ------------+ |
 *       +-- purged -- BUSY <------------------------ pool_tidy -----------------+
 *
 * Those of the masks under the pool's lock.  UNUSED: its pages read as zero and hold no
 * memory.  EMPTY: pages may be resident.  BUSY: a thread purges it without the lock; nobody
 * else may have it, and its SuperSlab stays mapped.  ACTIVE slots belong to their class (under
 * the class's lock) or are MEDIUM (under the lock of medium.h).
 *
 * SPARE: an EMPTY slot, or run of such, that waits for its class alone (spare.h).  The masks
 * have it as ACTIVE, since nobody else may take it; its kind is 0, in the registry too.  Into
 * SPARE and back under the class's lock, to EMPTY under the pool's: one atomic exchange says
 * who has it.
 *
 * A SuperSlab's tiers:
 *
 *              a slot is taken          use > 1/4            use <= 1/4
 *        FREE ------------------> FRESH ----------->  HOT  ------------->  DRAINING
 *          ^                        |                  |  <-------------      |
 *          |                        |                  |     use > 3/8        |
 *          +------------------------+------------------+----------------------+
 *                       no slot of it is ACTIVE or BUSY any more
 *
 * HOT and FRESH ones give new slabs, DRAINING ones only when nothing else is mapped, or to a
 * medium block for which the room there is the least that will do; FREE ones leave: to the LRU
 * cache, or unmapped.  What lies between a quarter and three eighths stays what it was, so that a
 * slab that comes and goes changes nothing.
 *
 * use is the sum of the weights of the SuperSlab's slabs, in eighths of a slot: for a slab the
 * middle of the quarter of fullness by which it is listed, for a MEDIUM slot the eighths in use,
 * but whole until it is filled.  It is added to, atomically, where a slab changes between these
 * (under its class's lock or that of medium blocks) or comes and goes (under the pool's), so a
 * batch within a quarter does not touch it.
 *
 * tier is stored under the pool's lock only.  Whoever changes use reads tier after that, and
 * where the two do not agree takes that lock and stores what follows from use, until they do.
 * A storer reads use again after its store, an adder tier after its addition, all of it
 * sequentially consistent: so of a storer and an adder that cross, at least one sees what the
 * other did (Dekker), and with every lock held they agree.
 *
 * Invariants: the four masks are disjoint and cover all slots; a SuperSlab with neither
 * ACTIVE nor BUSY slots is FREE, and only such a one is unmapped.
 */
#ifndef HK_SUPERSLAB_H
#define HK_SUPERSLAB_H

#include "lock.h"
#include "record.h"
#include "registry.h"
#include "size_class.h"

#define HK_BITMAP_INLINE_WORDS 4
#define HK_BITMAP_WORDS 64
#define HK_BITMAP_WIDE_WORDS 128

enum hk_tier { HK_TIER_FREE, HK_TIER_FRESH, HK_TIER_HOT, HK_TIER_DRAINING };

#define HK_SLOT_WEIGHT 8u /* of a slot all in use */
#define HK_USE_LOW (HK_SLOTS * HK_SLOT_WEIGHT / 4)
#define HK_USE_HIGH (HK_SLOTS * HK_SLOT_WEIGHT * 3 / 8)

/* In bucket: the slab is on the list of those in DRAINING SuperSlabs. */
#define HK_BUCKET_DRAINING 8u

struct hk_slab {
	struct hk_slab *next, *previous; /* in its class's list of partial slabs */
	uint8_t kind;                    /* of an ACTIVE run's first slot, else 0 */
	uint8_t slots;                   /* of the run */
	uint8_t first;                   /* any slot of the run: where the run begins */
	uint8_t bucket; /* its quarter, and which list it is on; HK_BUCKETS: none (full) */
	uint16_t blocks; /* in the run; or HK_GRAINS */
	uint16_t used;   /* not set in the bitmap: live, or in a magazine */
	uint16_t colour; /* offset of the first block, in bytes */
	uint16_t hint;   /* no free block in the bitmap's words below this */
	uint16_t fresh;  /* blocks (grains) from here on were never handed out */
	bool zero : 1;   /* and those read as zero */
	bool purged : 1; /* some of its pages are: see sparse.h */
	uint8_t former;  /* its kind before it was given back, for messages */
	union {
		uint64_t bitmap[HK_BITMAP_INLINE_WORDS]; /* a set bit is a free block */
		_Atomic uint64_t grains[HK_GRAINS / 64]; /* the same of a MEDIUM slot */
	};
};

_Static_assert(sizeof(struct hk_slab) == 64,
	       "a slab's fields and bitmap are one cache line");

/* A slot, in the list of those with as long a run of room (grains.h). */
struct hk_room {
	struct hk_room *next, *previous;
};

struct hk_superslab {
	struct hk_slab slab[HK_SLOTS];
	/* One line: what a search, a claim and a gift look at. */
	char *base;
	struct hk_superslab *next, *previous; /* in the pool's list by free slots */
	/* Masks of slots; the first is a hint to those who do not hold the pool's lock. */
	_Atomic uint32_t active;
	_Atomic uint32_t empty;
	uint32_t unused, busy;
	uint8_t free_slots,
		empty_slots;  /* popcount(empty | unused), the list it is on; of empty */
	_Atomic uint16_t use; /* sum of the weights of its slabs */
	_Atomic uint8_t tier;
	bool huge;               /* huge pages are asked for */
	_Atomic uint32_t medium; /* mask of the slots that are MEDIUM, under their lock */
	/* Under the same; others take them for hints. */
	_Atomic uint16_t slack; /* grains that are free, on pages that were touched */
	_Atomic uint32_t given; /* the number of the last gift of grains to it */
	/* By where it begins, a run of room, under the same; a line: grains.h. */
	_Alignas(64) uint16_t longest[HK_SLOTS];
	struct hk_superslab *dirty_next,
		*dirty_previous; /* in the list of those with EMPTY slots */
	struct hk_superslab *all_next, *all_previous;
	uint64_t dirty_since;  /* when its oldest EMPTY slot became so, in ms */
	uint64_t cached_bytes; /* scratch of the walk in stats.c */
	uint64_t cached_blocks;
	/* By slots, a bit for each page, under the lock of the slab's class: sparse.h. */
	_Atomic uint16_t purged[HK_SLOTS];
	uint16_t idle[HK_SLOTS];
	uint64_t idle_since;       /* when that was seen, in ms; 0: nothing was */
	void *blocks;              /* debug library: the records of block.h, */
	uint16_t colour[HK_SLOTS]; /* and the slabs' colours, in few lines */
	/* Under the lock of medium.h, as the grains of its slots are. */
	struct hk_room room[HK_SLOTS]; /* places in the lists by longest */
	_Atomic uint64_t last[HK_SLOTS][HK_GRAINS / 64]; /* a block ends there */
	char pad[4096 - 2048 - 64 - 64 - 56 - 128 - 8 - 8 - 64 - 512 - 1024];
	uint64_t bitmap[HK_SLOTS][HK_BITMAP_WORDS];
	uint64_t wide_bitmap[HK_SLOTS][HK_BITMAP_WIDE_WORDS];
};

#define HK_SUPERSLAB_RECORD_SHIFT 16
_Static_assert(offsetof(struct hk_superslab, longest) == 2048 + 64,
	       "what is on one line");
_Static_assert(offsetof(struct hk_superslab, bitmap) == 4096,
	       "slabs and masks share a page");
_Static_assert(sizeof(struct hk_superslab) <= (size_t)1 << HK_SUPERSLAB_RECORD_SHIFT,
	       "a record is aligned to more than its size, so a slab finds it by a mask");

extern struct hk_records hk_superslab_records;

/* Map one, all slots UNUSED, known to the registry; NULL: the kernel refused. */
struct hk_superslab *hk_superslab_map(void);

/*
 * Unmap one that is FREE and on no list.  false: the kernel refused and it stays as it was,
 * its pages purged where that was possible.
 */
bool hk_superslab_unmap(struct hk_superslab *superslab);

/*
 * Is it to be asked for huge pages now?  HAKMEM_THP=dense: when all its slots are in use; or
 * always: when purged pages have come back.  The caller holds the pool's lock, and asks
 * without it.
 */
bool hk_superslab_wants_huge_pages(struct hk_superslab *superslab);

/* From now on the slots' pages are taken for resident, or the slots are UNUSED. */
void hk_superslab_forget_purged(struct hk_superslab *superslab, uint32_t slots);

/* How many pages of these slots are purged, of those that are not UNUSED. */
static inline unsigned hk_superslab_purged(const struct hk_superslab *superslab,
					   uint32_t slots)
{
	unsigned pages = 0, purged;

	for (; slots; slots &= slots - 1) {
		purged = atomic_load_explicit(&superslab->purged[__builtin_ctz(slots)],
					      memory_order_relaxed);
		if (purged)
			pages += (unsigned)__builtin_popcount(purged);
	}
	return pages;
}

/* A run of slots, as a mask. */
static inline uint32_t hk_run_mask(unsigned slot, unsigned slots)
{
	return (uint32_t)((((uint64_t)1 << slots) - 1) << slot);
}

/* Where the bitmaps of a class lie; fills in info's bitmap_base and bitmap_stride. */
void hk_bitmap_place(struct hk_size_class *info);

static inline struct hk_superslab *hk_slab_superslab(const struct hk_slab *slab)
{
	uintptr_t mask = ((uintptr_t)1 << HK_SUPERSLAB_RECORD_SHIFT) - 1;

	return (struct hk_superslab *)((uintptr_t)slab & ~mask);
}

static inline unsigned hk_slab_slot(const struct hk_slab *slab)
{
	return (unsigned)(slab - hk_slab_superslab(slab)->slab);
}

/* The first byte of the slab; its first block is slab->colour further on. */
static inline char *hk_slab_base(const struct hk_slab *slab)
{
	return hk_slab_superslab(slab)->base +
	       ((size_t)hk_slab_slot(slab) << HK_SLOT_SHIFT);
}

static inline uint64_t *hk_slab_bitmap(struct hk_slab *slab,
				       const struct hk_size_class *info)
{
	return (uint64_t *)((char *)hk_slab_superslab(slab) + info->bitmap_base +
			    (size_t)hk_slab_slot(slab) * info->bitmap_stride);
}

static inline enum hk_tier hk_superslab_tier(const struct hk_superslab *superslab)
{
	return (enum hk_tier)atomic_load_explicit(&superslab->tier, memory_order_relaxed);
}

static inline bool hk_slab_is_draining(const struct hk_slab *slab)
{
	return hk_superslab_tier(hk_slab_superslab(slab)) == HK_TIER_DRAINING;
}

/* What it is then. */
static inline unsigned hk_superslab_add_use(struct hk_superslab *superslab, int change)
{
	unsigned use;

	if (hk_is_alone()) {
		use = atomic_load_explicit(&superslab->use, memory_order_relaxed);
		use = (uint16_t)(use + (unsigned)change);
		atomic_store_explicit(&superslab->use, (uint16_t)use,
				      memory_order_relaxed);
		return use;
	}
	use = atomic_fetch_add_explicit(&superslab->use, (uint16_t)change,
					memory_order_seq_cst);
	return (uint16_t)(use + (unsigned)change);
}

/* What follows from the use of a SuperSlab that is not FREE. */
static inline enum hk_tier hk_tier_next(enum hk_tier tier, unsigned use)
{
	switch (tier) {
	case HK_TIER_FRESH:
		return use > HK_USE_LOW ? HK_TIER_HOT : tier;
	case HK_TIER_HOT:
		return use <= HK_USE_LOW ? HK_TIER_DRAINING : tier;
	case HK_TIER_DRAINING:
		return use > HK_USE_HIGH ? HK_TIER_HOT : tier;
	default:
		return tier;
	}
}

/* What a MEDIUM slot with so many grains in use counts for in the use of its SuperSlab. */
static inline unsigned hk_grains_weight(unsigned used)
{
	return (used + HK_GRAINS / HK_SLOT_WEIGHT - 1) * HK_SLOT_WEIGHT / HK_GRAINS;
}

/*
 * And any run.  Its fields are asked for one by one: where one load takes two that were stored
 * apart just before, a CPU waits until all of the program's stores before those are done.
 */
static inline unsigned hk_slab_weight(const struct hk_slab *slab)
{
	if (slab->kind == HK_KIND_MEDIUM) {
		if (!slab->blocks)
			return slab->slots * HK_SLOT_WEIGHT;
		return hk_grains_weight(slab->used);
	}
	if (slab->kind == HK_KIND_NONE)
		return 0;
	return hk_class_info(slab->kind)->weight[slab->bucket & ~HK_BUCKET_DRAINING];
}

/* The slab (a run's first) in which this address lies; it must be in an ACTIVE slot. */
static inline struct hk_slab *hk_slab_of(const void *pointer)
{
	struct hk_superslab *superslab = hk_registry_owner(pointer);
	size_t offset = (uintptr_t)pointer & (HK_SUPERSLAB_BYTES - 1);

	return &superslab->slab[superslab->slab[offset >> HK_SLOT_SHIFT].first];
}

#endif /* HK_SUPERSLAB_H */
