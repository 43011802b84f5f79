/* SPDX-License-Identifier: MIT
 *
 * thread_set.c - the calling thread's set, and the fence of its handshake.
 */
#define _GNU_SOURCE
#include "thread_set.h"

#include <linux/membarrier.h>
#include <string.h>

#include "os.h"
#include "rseq.h"

_Thread_local struct hk_set *hk_set
	__attribute__((tls_model("initial-exec"))) = &hk_cpu_sets.none;

static _Atomic bool registered;

void hk_thread_fence_init(void)
{
	atomic_store_explicit(&registered,
			      hk_os_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED),
			      memory_order_relaxed);
}

bool hk_thread_fence(void)
{
	return atomic_load_explicit(&registered, memory_order_relaxed) &&
	       hk_os_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

static inline bool enter(struct hk_set *set)
{
	atomic_store_explicit(&set->inside, true, HK_MARK_ORDER);
	atomic_signal_fence(memory_order_seq_cst);
	if (HK_LIKELY(!atomic_load_explicit(&set->stopped, HK_LOOK_ORDER)))
		return true;
	atomic_store_explicit(&set->inside, false, memory_order_release);
	return false;
}

static inline void leave(struct hk_set *set)
{
	atomic_store_explicit(&set->inside, false, memory_order_release);
}

static inline uint32_t pop(size_t kind, void **out, uint32_t n)
{
	struct hk_set *set = hk_set;
	uint32_t count = hk_set_count(set, kind);

	if (HK_UNLIKELY(!count || !enter(set)))
		return 0;
	count = hk_set_count(set, kind);
	n = n < count ? n : count;
	memcpy(out, hk_set_blocks(set, kind) + count - n, n * sizeof(void *));
	hk_set_put_count(set, kind, count - n);
	leave(set);
	return n;
}

static inline uint32_t push(size_t kind, void *const *in, uint32_t n)
{
	struct hk_set *set = hk_set;
	uint32_t capacity = hk_set_capacity(set, kind), count;

	if (HK_UNLIKELY(!capacity || !enter(set)))
		return 0;
	capacity = hk_set_capacity(set, kind);
	count = hk_set_count(set, kind);
	capacity = capacity > count ? capacity - count : 0;
	n = n < capacity ? n : capacity;
	if (HK_LIKELY(n)) {
		memcpy(hk_set_blocks(set, kind) + count, in, n * sizeof(void *));
		hk_set_put_count(set, kind, count + n); /* commit */
	}
	leave(set);
	return n;
}

/* The hits of this form; by chance elsewhere on its line, a push alone costs 5 % of bench/bulk. */
#define HIT __attribute__((aligned(64)))

HIT bool hk_thread_pop(size_t kind, void **block)
{
	return pop(kind, block, 1);
}

/* As the sequences do it: words told by their number, and at the bottom 0, which is no block. */
HIT enum hk_pushed hk_thread_push(size_t kind, void *block)
{
	struct hk_set *set = hk_set;
	struct hk_magazine *magazine = &set->magazine[kind];
	enum hk_pushed pushed = HK_NOT_PUSHED;
	void **words = (void **)set;
	uint32_t top;

	if (HK_UNLIKELY(!hk_set_capacity(set, kind) || !enter(set)))
		return HK_NOT_PUSHED;
	top = atomic_load_explicit(&magazine->top, memory_order_relaxed);
	if (HK_UNLIKELY(words[top] == block)) {
		pushed = HK_LIES_ON_TOP;
	} else if (HK_LIKELY(top < atomic_load_explicit(&magazine->limit,
							memory_order_relaxed))) {
		words[top + 1] = block;
		/* commit, as in hk_set_put_count() */
		atomic_store_explicit(&magazine->top, top + 1, memory_order_release);
		pushed = HK_PUSHED;
	}
	leave(set);
	return pushed;
}

uint32_t hk_thread_pop_batch(size_t kind, void **out, uint32_t n)
{
	return pop(kind, out, n);
}

uint32_t hk_thread_push_batch(size_t kind, void *const *in, uint32_t n)
{
	return push(kind, in, n);
}

bool hk_thread_set_limit(size_t kind, const struct hk_set *set, uint32_t old,
			 uint32_t new)
{
	struct hk_magazine *magazine = &hk_set->magazine[kind];
	bool same;

	if (set != hk_set || !enter(hk_set))
		return false;
	same = atomic_load_explicit(&magazine->limit, memory_order_relaxed) == old;
	if (same)
		atomic_store_explicit(&magazine->limit, new, memory_order_relaxed);
	leave(hk_set);
	return same;
}
