/* SPDX-License-Identifier: MIT
 *
 * zero.c - see zero.h.
 */
#include "zero.h"

#define BUCKETS 64
#define BACKOFF_MOST 1023
#define REST 63 /* fresh blocks between those that are watched */

/* The least that it takes to give back what is resident, and the most to give back nothing. */
#define NS_OF_PAGE 15
#define NS_OF_CALL 2000

struct bucket {
	_Atomic bool filled;      /* the last one that was watched */
	_Atomic uint16_t wait;    /* so many blocks are not watched */
	_Atomic uint16_t backoff; /* and of those that were filled so many are cleared */
};

static struct bucket buckets[BUCKETS];

_Atomic(const void *) hk_zero_watched;

static struct bucket *bucket_of(size_t size)
{
	unsigned log = 63 - (unsigned)__builtin_clzl(size);
	unsigned bucket = (log - 18) * 4 + (unsigned)(size >> (log - 2) & 3);

	return &buckets[bucket < BUCKETS ? bucket : BUCKETS - 1];
}

static unsigned get(_Atomic uint16_t *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

static void set(_Atomic uint16_t *to, unsigned value)
{
	atomic_store_explicit(to, (uint16_t)value, memory_order_relaxed);
}

bool hk_zero_wants_fresh(size_t size)
{
	struct bucket *bucket = bucket_of(size);
	unsigned wait = get(&bucket->wait);

	if (!atomic_load_explicit(&bucket->filled, memory_order_relaxed) || !wait)
		return true;
	set(&bucket->wait, wait - 1);
	return false;
}

void hk_zero_given(const void *block, size_t size)
{
	struct bucket *bucket = bucket_of(size);
	unsigned wait = get(&bucket->wait);

	if (wait) {
		set(&bucket->wait, wait - 1);
		return;
	}
	/* Whatever was watched may live for ever. */
	atomic_store_explicit(&hk_zero_watched, block, memory_order_relaxed);
	set(&bucket->wait, get(&bucket->backoff) ? get(&bucket->backoff) : REST);
}

void hk_zero_judge(size_t size, uint64_t ns)
{
	struct bucket *bucket = bucket_of(size);
	bool filled = ns > NS_OF_CALL + size / 4096 * NS_OF_PAGE;
	unsigned backoff = filled ? 2 * get(&bucket->backoff) + 1 : 0;

	atomic_store_explicit(&hk_zero_watched, NULL, memory_order_relaxed);
	atomic_store_explicit(&bucket->filled, filled, memory_order_relaxed);
	if (backoff > BACKOFF_MOST)
		backoff = BACKOFF_MOST;
	set(&bucket->backoff, backoff);
	set(&bucket->wait, filled ? backoff : REST);
}
