/* SPDX-License-Identifier: MIT
 *
 * set.h - the layout of a set of magazines: one CPU's, or, in the per-thread form, one
 * thread's.
 *
 *   blocks[kind] ---> | b0 | b1 | b2 | .. |    |    |
 *                                    ^ magazine[kind].count
 *                                               ^ .capacity
 *
 * Two arrays of 8-byte elements, so that an address of x86 reaches either of them from set
 * and kind without a shift or an addition.  The sequences of rseq-*.h know the offsets.
 */
#ifndef HK_SET_H
#define HK_SET_H

#include <stdatomic.h>

#include "base.h"

struct hk_magazine {
	_Atomic uint32_t count;
	_Atomic uint32_t capacity;
};

/* What the slow paths remember of a magazine, so that the idle ones can be found. */
struct hk_magazine_use {
	_Atomic uint32_t seen; /* its count at the last interval's end */
	_Atomic bool busy;     /* a slow path was taken since then */
};

struct hk_set {
	struct hk_magazine magazine[HK_KINDS];
	void **blocks[HK_KINDS];
	struct hk_magazine_use use[HK_KINDS];
	struct hk_set *next, *previous; /* all sets; under hk_sets_lock */
	_Atomic size_t budget; /* bytes by which capacities may grow; changed likewise */
	uint32_t id;           /* per-CPU form: whose it is */
	bool reached;          /* while stopped: it is the stopper's to change */
	_Atomic bool stopped;  /* per-thread form: its thread must keep off */
	_Atomic bool inside;   /* per-thread form: its thread is at it */
	_Atomic bool wanted;   /* per-thread form: to be flushed by its thread */
};

_Static_assert(offsetof(struct hk_set, magazine) == 0 &&
		       sizeof(struct hk_magazine) == 8 &&
		       offsetof(struct hk_magazine, capacity) == 4,
	       "the sequences know this layout");

#endif /* HK_SET_H */
