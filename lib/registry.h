/* SPDX-License-Identifier: MIT
 *
 * registry.h - is this address ours, and what is it: O(1), no syscall, and without touching
 * the address.
 *
 *   root[address >> 32]  --->  leaf (4 GiB of addresses)
 *                                kind[2^21]    a byte for each 2 KiB window
 *                                owner[2048]   for each 2 MiB: the SuperSlab's or the large
 *                                              block's record
 *
 * The root holds distances from a leaf that is all zeros, and read-only, so that an untouched
 * root (zeros) means "nothing here" and a lookup needs no test for a missing leaf.  Both levels
 * are plain arrays over the whole address space: the registry cannot become full.
 *
 * Readers take no lock.  A byte that is not 0 stays what it is while a block of its slab is
 * in use (or cached), so whoever holds a block may rely on it; anyone else must look again
 * under the lock that guards the change: the class's, the pool's or that of large.
 */
#ifndef HK_REGISTRY_H
#define HK_REGISTRY_H

#include <stdatomic.h>

#include "base.h"

#define HK_LEAF_SHIFT 32
#define HK_ROOT_ENTRIES ((size_t)1 << 16) /* 48 bits of address */

struct hk_leaf {
	_Atomic uint8_t kind[(size_t)1 << (HK_LEAF_SHIFT - HK_WINDOW_SHIFT)];
	_Atomic(void *) owner[(size_t)1 << (HK_LEAF_SHIFT - HK_SUPERSLAB_SHIFT)];
};

struct hk_registry {
	struct hk_leaf none;
	_Atomic uintptr_t root[HK_ROOT_ENTRIES + 1]; /* the last entry stays 0 */
};

extern struct hk_registry hk_registry HK_HIDDEN;

/*
 * Relaxed loads, the first in consume's sense.  GCC computes the address of an atomic object
 * apart from the load, which is three instructions of 27 in free().
 */
#if defined(__x86_64__) && !HK_TSAN
static inline uintptr_t hk_load_distance(const _Atomic uintptr_t *from)
{
	uintptr_t value;

	__asm__("movq %1, %0" : "=r"(value) : "m"(*from));
	return value;
}

static inline size_t hk_load_kind(const _Atomic uint8_t *from)
{
	size_t value;

	__asm__("movzbl %1, %k0" : "=r"(value) : "m"(*from));
	return value;
}
#else
static inline uintptr_t hk_load_distance(const _Atomic uintptr_t *from)
{
	return atomic_load_explicit(from, HK_CONSUME);
}

static inline size_t hk_load_kind(const _Atomic uint8_t *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}
#endif

static inline struct hk_leaf *hk_registry_leaf_at(uintptr_t top)
{
	uintptr_t registry = (uintptr_t)&hk_registry;
	uintptr_t distance;

	/* One address for root and leaf: the compiler would compute each by itself. */
	__asm__("" : "+r"(registry));
	/* Pairs with the release in add_leaf(). */
	distance = hk_load_distance(&((struct hk_registry *)registry)->root[top]);
	return &((struct hk_registry *)(registry + distance))->none;
}

static inline struct hk_leaf *hk_registry_leaf(uintptr_t address)
{
	uintptr_t top = address >> HK_LEAF_SHIFT;

	/* Addresses that no user mapping can have. */
	if (HK_UNLIKELY(top >= HK_ROOT_ENTRIES))
		top = HK_ROOT_ENTRIES;
	return hk_registry_leaf_at(top);
}

/* Of an address whose upper half is below HK_ROOT_ENTRIES. */
static inline size_t hk_registry_kind_below(uintptr_t address)
{
	struct hk_leaf *leaf = hk_registry_leaf_at(address >> HK_LEAF_SHIFT);

	return hk_load_kind(&leaf->kind[(uint32_t)address >> HK_WINDOW_SHIFT]);
}

static inline size_t hk_registry_kind(const void *pointer)
{
	uintptr_t address = (uintptr_t)pointer;

	if (HK_UNLIKELY(address >> HK_LEAF_SHIFT >= HK_ROOT_ENTRIES))
		return 0;
	return hk_registry_kind_below(address);
}

static inline void *hk_registry_owner(const void *pointer)
{
	uintptr_t address = (uintptr_t)pointer;
	struct hk_leaf *leaf = hk_registry_leaf(address);

	return atomic_load_explicit(&leaf->owner[(uint32_t)address >> HK_SUPERSLAB_SHIFT],
				    memory_order_acquire);
}

/* Once, before anything is registered. */
void hk_registry_init(void);

/* Make sure that the leaf for this range exists; false: no memory for it. */
bool hk_registry_reserve(const void *base, size_t size);

/* The leaf must exist.  The caller holds the lock that guards the owner. */
void hk_registry_set_owner(const void *base, void *owner);
void hk_registry_set_kind(const void *base, size_t slots, unsigned kind);
void hk_registry_set_window(const void *address, unsigned kind);

/* For checks: what all windows of a slot say, HK_KIND_MEDIUM whatever begins in them. */
unsigned hk_registry_kind_of_slot(const char *base);

/* Those that what is registered now has touched, about. */
size_t hk_registry_bytes(void);

#endif /* HK_REGISTRY_H */
