/* SPDX-License-Identifier: MIT
 *
 * size_class.h - from a request to a class of blocks, and the geometry of each class.
 *
 *   class  1      8 B                         (8-byte alignment; all others 16 and more)
 *   class  2..9   16, 32 .. 128               steps of 16
 *   class 10..81  144, 160 .. 65,536          8 to a doubling: at most 12.5 % apart
 *
 * The spacing is that of jemalloc's classes (Evans, "A Scalable Concurrent malloc(3)
 * Implementation for FreeBSD", 2006), twice as fine.  Up to 2 KiB, a class's blocks lie in
 * slabs: runs of the fewest slots whose tail wastes at most 3 %.  Larger ones lie among all
 * medium blocks (medium.h).
 *
 * Written by hk_size_class_init() and by hk_route_set(); read by everyone without a lock.
 */
#ifndef HK_SIZE_CLASS_H
#define HK_SIZE_CLASS_H

#include <stdatomic.h>

#include "base.h"

#define HK_BUCKETS 5u /* quarters of fullness; used >> bucket_shift may reach 4 */

struct hk_size_class {
	uint32_t size;   /* of a block, in bytes */
	uint16_t blocks; /* in one run; of classes in slabs, as all but slots, capacities */
	uint8_t slots;   /* of one run; or what a block takes at most */
	uint8_t bucket_shift; /* used blocks >> this: which quarter of fullness */
	uint16_t colours;     /* how many offsets the first block may have */
	uint16_t colour_step; /* bytes between them: keeps the class's natural alignment */
	uint16_t capacity;    /* the most blocks a magazine may hold ... */
	uint16_t capacity_one_way; /* ... that was not seen to run both empty and full */
	uint16_t depot_max;        /* and the depot */
	uint16_t bitmap_words;
	uint8_t weight[HK_BUCKETS + 1]; /* of a run, by bucket; the last: of a full one */
	uint32_t bitmap_base; /* where in a SuperSlab's record the run's bitmap lies ... */
	uint32_t bitmap_stride; /* ... plus this for each slot before the run's first */
	uint64_t reciprocal;    /* ceil(2^40 / size) */
};

extern struct hk_size_class hk_size_classes[HK_CLASSES + 1] HK_HIDDEN;

/* The class that serves a request of up to HK_TINY_MAX bytes. */
extern _Atomic uint8_t hk_tiny_class[HK_TINY_MAX + 1] HK_HIDDEN;

/* The largest request that the fast path serves from a class: HK_CLASS_MAX, or 0. */
extern _Atomic size_t hk_fast_max HK_HIDDEN;

enum hk_route { HK_TINY_ONLY, HK_TINY_FIRST, HK_POOL_ONLY };
enum hk_profile { HK_CONSERVATIVE, HK_HOT, HK_FULL, HK_OFF, HK_PROFILES };

void hk_size_class_init(void);

/*
 * Route the tiny classes.  A POOL_ONLY class's requests are served by the pool's own, wider
 * classes (powers of two): fewer slabs half in use.  TINY_FIRST falls back to any larger
 * class that has a block when no new slab can be had; TINY_ONLY fails then.
 */
void hk_route_set(enum hk_profile profile);
enum hk_route hk_route_of(unsigned size_class);

/* Off: every request takes the slow path (M_PERTURB). */
void hk_fast_path_set(bool on);

/* The smallest class for a size of 1 .. HK_CLASS_MAX, whatever the routes say. */
static inline unsigned hk_size_class_exact(size_t size)
{
	unsigned log;

	if (size <= 8)
		return 1;
	if (size <= 128)
		return 1 + (unsigned)((size + 15) >> 4);
	log = 63 - (unsigned)__builtin_clzl(size - 1);
	return (unsigned)((size - 1) >> (log - 3)) + 8 * (log - 7) + 2;
}

/*
 * The class that serves a request of up to HK_TINY_MAX, or one beyond, for the fast path: 0,
 * whose magazine never has a block, for sizes beyond HK_CLASS_MAX, before the library is
 * initialised and while the fast path is off.
 */
static inline size_t hk_size_class_of_tiny(size_t size)
{
	return atomic_load_explicit(&hk_tiny_class[size], memory_order_relaxed);
}

static inline size_t hk_size_class_beyond_tiny(size_t size)
{
	if (HK_LIKELY(size <= atomic_load_explicit(&hk_fast_max, memory_order_relaxed)))
		return hk_size_class_exact(size);
	return 0;
}

/* The same for the slow path: always the class, of a size up to HK_CLASS_MAX. */
unsigned hk_size_class_routed(size_t size);

static inline bool hk_class_is_medium(unsigned size_class)
{
	return size_class > HK_SLAB_CLASSES;
}

/* Of the slots in which its blocks lie. */
static inline unsigned hk_class_kind(unsigned size_class)
{
	return hk_class_is_medium(size_class) ? HK_KIND_MEDIUM : size_class;
}

/* Of the registry: of a MEDIUM slot, whether a block of a class begins in the window or not? */
static inline bool hk_kind_is_medium(size_t kind)
{
	return kind > HK_SLAB_CLASSES && kind <= HK_KIND_MEDIUM;
}

static inline const struct hk_size_class *hk_class_info(unsigned size_class)
{
	return &hk_size_classes[size_class];
}

static inline size_t hk_class_size(unsigned size_class)
{
	return hk_size_classes[size_class].size;
}

/*
 * Has every block of the class this alignment, a power of two?  In a slab it has that of the
 * largest power of two that divides its size, among medium blocks that of their grains as well.
 */
static inline bool hk_class_is_aligned(unsigned size_class, size_t alignment)
{
	size_t grain = hk_class_is_medium(size_class) ? (size_t)1 << HK_GRAIN_SHIFT : 0;

	return !((hk_class_size(size_class) | grain) & (alignment - 1));
}

/*
 * Which block of a run lies at this offset from the first.  Exact for every offset below
 * 2 MiB: the error of the reciprocal is below size / 2^40, and 2^21 * 2^16 < 2^40.
 */
static inline unsigned hk_block_index(const struct hk_size_class *info, size_t offset)
{
	return (unsigned)((offset * info->reciprocal) >> 40);
}

#endif /* HK_SIZE_CLASS_H */
