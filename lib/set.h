/* SPDX-License-Identifier: MIT
 *
 * set.h - the layout of a set of magazines: one CPU's, or, in the per-thread form, one
 * thread's.
 *
 *   word of the set:  bottom[kind]               magazine[kind].limit
 *                        v                          v
 *               ...   |  0  | b0 | b1 | .. | bn |    |   ...
 *                                            ^ magazine[kind].top
 *
 * A magazine's blocks lie in the set's own record, and are told by their words' numbers from
 * the set's first.  The word at the bottom is 0 for ever: that is what is on top of an empty
 * magazine.  Where a magazine has never been, be it that of a kind which is no class, or any
 * of hk_cpu_sets.none, top, limit and bottom are 0, and word 0, that of kind 0, is 0 as well.
 *
 * Arrays of 8-byte elements, so that an address of x86 reaches each of them from set and kind
 * without a shift or an addition.  The sequences of rseq-*.h know the offsets.
 */
#ifndef HK_SET_H
#define HK_SET_H

#include <stdatomic.h>

#include "base.h"

/*
 * What came of a push.  Not: there is no room, or no set, or the sequence was aborted.  A block
 * that lies on top already is being freed for the second time; that is told of a full magazine,
 * too.  On top of the kinds that are no class lies NULL.
 */
enum hk_pushed { HK_NOT_PUSHED, HK_PUSHED, HK_LIES_ON_TOP };

struct hk_magazine {
	_Atomic uint32_t top;
	_Atomic uint32_t limit;
};

/* How a magazine came to need a slow path. */
enum hk_miss { HK_NO_MISS, HK_RAN_EMPTY, HK_RAN_FULL };

/* What the slow paths remember of a magazine, so that the idle ones can be found. */
struct hk_magazine_use {
	_Atomic uint32_t seen; /* its count at the last interval's end */
	_Atomic uint8_t miss;  /* the last one since then */
};

struct hk_set {
	struct hk_magazine magazine[HK_KINDS];
	uint64_t bottom[HK_KINDS]; /* as long as the set lives */
	struct hk_magazine_use use[HK_KINDS];
	struct hk_set *next, *previous; /* all sets; under hk_sets_lock */
	_Atomic size_t budget; /* bytes by which capacities may grow; changed likewise */
	size_t limit;          /* what the capacities' bytes and the budget come to */
	uint32_t id;           /* per-CPU form: whose it is */
	bool reached;          /* while stopped: it is the stopper's to change */
	_Atomic bool stopped;  /* per-thread form: its thread must keep off */
	_Atomic bool inside;   /* per-thread form: its thread is at it */
	_Atomic bool wanted;   /* per-thread form: to be flushed by its thread */
};

_Static_assert(offsetof(struct hk_set, magazine) == 0 &&
		       sizeof(struct hk_magazine) == 8 &&
		       offsetof(struct hk_magazine, limit) == 4,
	       "the sequences know this layout");

/* Both change under the reader, unless the set has been stopped. */
static inline uint32_t hk_set_count(const struct hk_set *set, size_t kind)
{
	return atomic_load_explicit(&set->magazine[kind].top, memory_order_relaxed) -
	       (uint32_t)set->bottom[kind];
}

static inline uint32_t hk_set_capacity(const struct hk_set *set, size_t kind)
{
	return atomic_load_explicit(&set->magazine[kind].limit, memory_order_relaxed) -
	       (uint32_t)set->bottom[kind];
}

/* For whom the set belongs to. */
static inline void hk_set_put_count(struct hk_set *set, size_t kind, uint32_t count)
{
	/* A child of fork(), or a reader, that sees it finds the blocks. */
	atomic_store_explicit(&set->magazine[kind].top,
			      (uint32_t)set->bottom[kind] + count, memory_order_release);
}

static inline void hk_set_put_capacity(struct hk_set *set, size_t kind, uint32_t capacity)
{
	atomic_store_explicit(&set->magazine[kind].limit,
			      (uint32_t)set->bottom[kind] + capacity,
			      memory_order_relaxed);
}

static inline void **hk_set_blocks(struct hk_set *set, size_t kind)
{
	return (void **)set + set->bottom[kind] + 1;
}

#endif /* HK_SET_H */
