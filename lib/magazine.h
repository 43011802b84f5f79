/* SPDX-License-Identifier: MIT
 *
 * magazine.h - bounded arrays of free blocks, one per size class and thread; the fast paths
 * of malloc and free pop and push here and nowhere else (Bonwick and Adams, "Magazines and
 * Vmem", USENIX 2001).
 *
 * hk_set points to the calling thread's set of magazines, from the first instruction of the
 * thread on: until the thread's first slow path, and again after its exit hook, to a set
 * whose magazines all have neither blocks nor room.  So the fast paths test for a full or
 * an empty magazine and for nothing else.  The kinds that are no class (0: not ours, medium,
 * large) have such a magazine in every set, for the same reason.
 *
 * Only its thread changes a set.  Others read its counts (statistics), and leave a wish in
 * it (flush), which the thread grants at its next slow path.
 *
 * fork(): a magazine is changed by one store of count, which follows the store of the block
 * (push) or of nothing (pop); batches move under the class's lock, which fork() holds.  So
 * the child, which sees each thread's stores in order, finds every set consistent and can
 * empty those of the threads that it does not have.
 */
#ifndef HK_MAGAZINE_H
#define HK_MAGAZINE_H

#include <stdatomic.h>

#include "lock.h"
#include "record.h"
#include "size_class.h"

struct hk_magazine {
	_Atomic uint32_t count;
	uint32_t capacity;
	void **blocks;
};

struct hk_set {
	struct hk_magazine magazine[HK_KINDS];
	struct hk_set *next, *previous; /* under the lock of all sets */
	size_t limit;  /* HAKMEM_MAGAZINE_BYTES, as the capacities were laid out */
	size_t budget; /* what is left of it for capacities to grow */
	_Atomic bool flush_wanted;
};

/* Found without a call: the library must be loaded at start, not by a late dlopen(). */
extern _Thread_local struct hk_set *hk_set __attribute__((tls_model("initial-exec")));

extern struct hk_lock hk_sets_lock;
extern struct hk_records hk_set_records;

/* What hk_magazine_flush() did. */
struct hk_flushed {
	uint64_t blocks, bytes, unreached;
};

/* Blocks in all magazines, by class. */
struct hk_cached {
	uint64_t blocks[HK_CLASSES + 1];
};

/* false: the magazine is empty, or this kind has none. */
static inline bool hk_magazine_pop(size_t kind, void **block)
{
	struct hk_magazine *magazine = &hk_set->magazine[kind];
	size_t count = atomic_load_explicit(&magazine->count, memory_order_relaxed);

	if (HK_UNLIKELY(count == 0))
		return false;
	count--;
	atomic_store_explicit(&magazine->count, (uint32_t)count, memory_order_relaxed);
	*block = magazine->blocks[count];
	return true;
}

/* false: the magazine is full, or this kind has none. */
static inline bool hk_magazine_push(size_t kind, void *block)
{
	struct hk_magazine *magazine = &hk_set->magazine[kind];
	size_t count = atomic_load_explicit(&magazine->count, memory_order_relaxed);

	if (HK_UNLIKELY(count >= magazine->capacity))
		return false;
	magazine->blocks[count] = block;
	/* The commit: fork() and readers must find the block when they see the count. */
	atomic_store_explicit(&magazine->count, (uint32_t)count + 1,
			      memory_order_release);
	return true;
}

/*
 * The slow paths.  Refill the magazine and pop from it; NULL: no memory.  *zero: the block
 * reads as zero.  Spill half of the magazine and push.  function names the entry point in
 * messages.
 */
void *hk_magazine_refill(unsigned size_class, bool *zero);
void hk_magazine_spill(unsigned size_class, void *block, const char *function);

/*
 * Send every block home: of the calling thread (all = false), or of all threads.  Of the
 * others this form can only ask; unreached counts those that have not yet answered.
 */
void hk_magazine_flush(bool all, struct hk_flushed *flushed, const char *function);

/* Count what lies in magazines.  The caller holds the lock of all sets. */
void hk_magazine_count(struct hk_cached *cached);

/* Is this block in the calling thread's magazine of that class? */
bool hk_magazine_holds(unsigned size_class, const void *block);

/* The invariants of the calling thread's set; the caller holds all locks. */
void hk_magazine_check(void);

/*
 * Magazines without room, in every thread from its next slow path on, so that every block
 * passes the slow paths; or as HAKMEM_MAGAZINE_BYTES says.
 */
void hk_magazine_disable(bool disable);

/* Once, before the first set: the key whose destructor is the thread-exit hook. */
void hk_magazine_init(void);

/* In the child of fork(), under no lock: empty the sets of the threads that are gone. */
void hk_magazine_adopt(void);

#endif /* HK_MAGAZINE_H */
