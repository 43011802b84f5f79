/* SPDX-License-Identifier: MIT
 *
 * registry.c - adds leaves; they are never removed, so readers need no lock.
 */
#include "registry.h"

#include "os.h"
#include "size_class.h"

struct hk_registry hk_registry;

static _Atomic size_t leaves, owners;

HK_STARTUP void hk_registry_init(void)
{
	uintptr_t page = hk_os_page_size;
	uintptr_t first = hk_align_up((uintptr_t)&hk_registry.none, page);
	uintptr_t end = (uintptr_t)(&hk_registry.none + 1) & -page;

	hk_os_stay_zero((void *)first, end - first);
}

/*
 * Commits by compare-and-swap: two threads may both map a leaf, one of them gives its own
 * back, so no lock is needed here and fork() has none to care for.
 */
static bool add_leaf(uintptr_t top)
{
	size_t bytes = hk_align_up(sizeof(struct hk_leaf), hk_os_page_size);
	struct hk_leaf *leaf;
	uintptr_t none = 0;

	if (atomic_load_explicit(&hk_registry.root[top], memory_order_relaxed))
		return true;
	leaf = hk_os_map(bytes, hk_os_page_size, NULL);
	if (!leaf)
		return false;
	/* A page of it in use is not to become 2 MiB. */
	hk_os_huge_pages(leaf, bytes, false);
	if (!atomic_compare_exchange_strong_explicit(
		    &hk_registry.root[top], &none,
		    (uintptr_t)leaf - (uintptr_t)&hk_registry.none, memory_order_release,
		    memory_order_relaxed))
		hk_os_unmap(leaf, bytes);
	else
		atomic_fetch_add_explicit(&leaves, 1, memory_order_relaxed);
	return true;
}

bool hk_registry_reserve(const void *base, size_t size)
{
	uintptr_t first = (uintptr_t)base >> HK_LEAF_SHIFT;
	uintptr_t last = ((uintptr_t)base + size - 1) >> HK_LEAF_SHIFT;

	if (last >= HK_ROOT_ENTRIES)
		return false;
	for (uintptr_t top = first; top <= last; top++) {
		if (!add_leaf(top))
			return false;
	}
	return true;
}

void hk_registry_set_owner(const void *base, void *owner)
{
	uintptr_t address = (uintptr_t)base;
	struct hk_leaf *leaf = hk_registry_leaf(address);

	hk_assert(leaf != &hk_registry.none);
	atomic_fetch_add_explicit(&owners, owner ? 1 : (size_t)-1, memory_order_relaxed);
	atomic_store_explicit(&leaf->owner[(uint32_t)address >> HK_SUPERSLAB_SHIFT],
			      owner, memory_order_release);
}

void hk_registry_set_window(const void *address, unsigned kind)
{
	uint32_t window = (uint32_t)(uintptr_t)address >> HK_WINDOW_SHIFT;

	atomic_store_explicit(&hk_registry_leaf((uintptr_t)address)->kind[window],
			      (uint8_t)kind, memory_order_release);
}

/* Eight at a time, of which each reader sees one. */
typedef uint64_t __attribute__((may_alias)) windows;

void hk_registry_set_kind(const void *base, size_t slots, unsigned kind)
{
	uintptr_t address = (uintptr_t)base;
	struct hk_leaf *leaf = hk_registry_leaf(address);
	windows *eight = (windows *)&leaf->kind[(uint32_t)address >> HK_WINDOW_SHIFT];

	hk_assert(leaf != &hk_registry.none);
	for (size_t i = 0; i < slots << (HK_SLOT_SHIFT - HK_WINDOW_SHIFT) >> 3; i++)
		__atomic_store_n(&eight[i], kind * UINT64_C(0x0101010101010101),
				 __ATOMIC_RELEASE);
}

unsigned hk_registry_kind_of_slot(const char *base)
{
	size_t kind = hk_registry_kind(base);

	for (size_t at = 0; at < HK_SLOT_BYTES; at += (size_t)1 << HK_WINDOW_SHIFT) {
		size_t other = hk_registry_kind(base + at);

		hk_assert(other == kind ||
			  (hk_kind_is_medium(kind) && hk_kind_is_medium(other)));
	}
	return hk_kind_is_medium(kind) ? HK_KIND_MEDIUM : (unsigned)kind;
}

size_t hk_registry_bytes(void)
{
	return atomic_load_explicit(&leaves, memory_order_relaxed) *
		       sizeof(hk_registry.none.owner) +
	       atomic_load_explicit(&owners, memory_order_relaxed) *
		       (HK_SUPERSLAB_BYTES >> HK_WINDOW_SHIFT);
}
