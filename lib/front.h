/* SPDX-License-Identifier: MIT
 *
 * front.h - what the entry points call: the heap, or in the debug library what watches over it
 * (debug/watch.h).
 */
#ifndef HK_FRONT_H
#define HK_FRONT_H

#include <errno.h>

#include "family.h"
#include "heap.h"

#if HK_DEBUG
#include "debug/watch.h"
#else

/* The process's start, when the environment has been read, and its end; fork(). */
static inline void hk_front_init(void)
{
}

static inline void hk_front_exit(void)
{
}

static inline void hk_front_fork_prepare(void)
{
}

static inline void hk_front_fork_parent(void)
{
}

static inline void hk_front_fork_child(void)
{
}

/*
 * HAKMEM_FLUSH, HAKMEM_CHECK, HAKMEM_QUERY and HAKMEM_LEAKS, as far as they concern it.  A flush
 * adds what it gave to the heap, whose own flush is due then; false: nothing.
 */
static inline bool hk_front_flush(struct hk_flushed *flushed, const char *function)
{
	(void)flushed;
	(void)function;
	return false;
}

static inline void hk_front_check(const char *function)
{
	(void)function;
}

static inline void hk_front_query(struct hakmem_query *query)
{
	(void)query;
}

static inline int hk_front_leaks(struct hakmem_leaks *leaks)
{
	(void)leaks;
	return ENOTSUP;
}

/* Blocks that the program has freed, but not the heap; the caller holds all locks. */
static inline void hk_front_count_locked(uint64_t *blocks, uint64_t *bytes)
{
	*blocks = *bytes = 0;
}

HK_INLINE void *hk_front_allocate(size_t size, enum hk_family family,
				  const char *function)
{
	(void)family;
	return hk_heap_allocate(size, function);
}

HK_INLINE void *hk_front_allocate_zeroed(size_t size, const char *function)
{
	(void)function;
	return hk_heap_allocate_zeroed(size);
}

HK_INLINE void *hk_front_allocate_aligned(size_t alignment, size_t size,
					  enum hk_family family, const char *function)
{
	(void)family;
	return hk_heap_allocate_aligned(alignment, size, function);
}

HK_INLINE void hk_front_free(void *block, enum hk_family family, const char *function)
{
	(void)family;
	hk_heap_free(block, function);
}

HK_INLINE void hk_front_free_sized(void *block, size_t alignment, size_t size,
				   enum hk_family family, const char *function)
{
	(void)family;
	hk_heap_free_sized(block, alignment, size, function);
}

HK_INLINE void *hk_front_resize(void *block, size_t size, const char *function)
{
	return hk_heap_resize(block, size, function);
}

HK_INLINE size_t hk_front_usable_size(const void *block, const char *function)
{
	return hk_heap_usable_size(block, function);
}
#endif

#endif /* HK_FRONT_H */
