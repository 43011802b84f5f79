/* SPDX-License-Identifier: MIT
 *
 * inner.c - see inner.h.  Each block has its size before it.
 */
#include "debug/inner.h"

#include <stdatomic.h>

#include "os.h"

#define RANGE_BYTES ((size_t)1 << 20)

static _Atomic uintptr_t range; /* mapped by the first who needs it */
static _Atomic size_t used;

static uintptr_t map_range(void)
{
	uintptr_t none = 0,
		  mapped = (uintptr_t)hk_os_map(RANGE_BYTES, hk_os_page_size, NULL);

	if (!mapped)
		return 0;
	if (!atomic_compare_exchange_strong(&range, &none, mapped)) {
		hk_os_unmap((void *)mapped, RANGE_BYTES);
		return none;
	}
	hk_os_uncount(RANGE_BYTES);
	return mapped;
}

void *hk_inner_allocate(size_t alignment, size_t size)
{
	uintptr_t start = atomic_load(&range), block;
	size_t need, at;

	if (!start)
		start = map_range();
	if (alignment < 16)
		alignment = 16;
	if (!start || size > RANGE_BYTES || alignment > RANGE_BYTES)
		return NULL;
	need = hk_align_up(size + alignment + sizeof(size_t), 16);
	at = atomic_fetch_add(&used, need);
	if (at > RANGE_BYTES || need > RANGE_BYTES - at)
		return NULL;
	block = hk_align_up(start + at + sizeof(size_t), alignment);
	((size_t *)block)[-1] = size;
	return (void *)block;
}

bool hk_inner_owns(const void *block)
{
	uintptr_t start = atomic_load_explicit(&range, memory_order_relaxed);

	return (uintptr_t)block - start < RANGE_BYTES && start;
}

size_t hk_inner_size(const void *block)
{
	return ((const size_t *)block)[-1];
}
