/* SPDX-License-Identifier: MIT
 *
 * heap.h - routing: a request to the magazines, the pool or a mapping of its own; a pointer
 * back to where it came from.
 *
 * The two inline functions are the fast paths of everything that allocates or frees.
 * function names the entry point in messages.  Takes no lock itself.
 */
#ifndef HK_HEAP_H
#define HK_HEAP_H

#include "magazine.h"
#include "registry.h"

__attribute__((noinline)) void *hk_heap_allocate_slow(size_t size, const char *function);
__attribute__((noinline)) void hk_heap_free_slow(void *block, const char *function);

/* It lies on top of its magazine; or NULL.  Not HK_COLD: that would lengthen the jump there. */
__attribute__((noinline)) void hk_heap_free_twice(void *block, const char *function);

/* A block of the magazine that serves this size; false: the slow path's. */
HK_INLINE bool hk_heap_hit(size_t size, void **block)
{
	size_t size_class;

	if (HK_LIKELY(size < hk_hit_sizes))
		size_class = hk_size_class_of_tiny(size);
	else if (size > HK_TINY_MAX && hk_rseq_area)
		size_class = hk_size_class_beyond_tiny(size);
	else
		return false;
	return hk_magazine_pop(size_class, block);
}

/* size bytes, or NULL with ENOMEM. */
HK_INLINE void *hk_heap_allocate(size_t size, const char *function)
{
	void *block;

	if (HK_UNLIKELY(!hk_heap_hit(size, &block)))
		return hk_heap_allocate_slow(size, function);
	return block;
}

/* NULL is free to be freed; keeps errno. */
HK_INLINE void hk_heap_free(void *block, const char *function)
{
	uintptr_t address = (uintptr_t)block;
	enum hk_pushed pushed = HK_NOT_PUSHED;

	if (HK_LIKELY(address >> HK_LEAF_SHIFT < hk_hit_tops))
		pushed = hk_magazine_push(hk_registry_kind_below(address), block);
	if (HK_UNLIKELY(pushed == HK_LIES_ON_TOP))
		hk_heap_free_twice(block, function);
	else if (HK_UNLIKELY(pushed == HK_NOT_PUSHED))
		hk_heap_free_slow(block, function);
}

void *hk_heap_allocate_zeroed(size_t size);

/* alignment: a power of two. */
void *hk_heap_allocate_aligned(size_t alignment, size_t size, const char *function);

/*
 * For the debug library, which puts a block of the program's inside: size is not 0, M_PERTURB is
 * not obeyed.  *zero: it reads as zero.
 */
void *hk_heap_allocate_room(size_t alignment, size_t size, bool *zero);
uint8_t hk_heap_perturb(void);

/* block and size are not 0.  NULL with ENOMEM leaves the block as it is. */
void *hk_heap_resize(void *block, size_t size, const char *function);

/* Bytes of the block that the program may use; 0 for NULL. */
size_t hk_heap_usable_size(const void *block, const char *function);

/* Flush, and give back all that is empty: what hakmem_release and malloc_trim() do. */
void hk_heap_release(struct hakmem_release *release, const char *function);

/* A program's mistake in sized deallocation, found at no cost to the right ones. */
void hk_heap_free_sized(void *block, size_t alignment, size_t size, const char *function);

/* M_PERTURB: 0, or the byte that freed blocks are filled with (new ones: its complement). */
void hk_heap_set_perturb(uint8_t value);

/* Requests answered with NULL so far. */
uint64_t hk_heap_failed(void);
uint64_t hk_heap_releases(void);

#endif /* HK_HEAP_H */
