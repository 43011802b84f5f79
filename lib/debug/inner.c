/* SPDX-License-Identifier: MIT
 *
 * inner.c - see inner.h.  Each block has its size before it.
 */
#include "debug/inner.h"

#include "os.h"

_Atomic uintptr_t hk_inner_range;
static _Atomic size_t used;

static uintptr_t map_range(void)
{
	uintptr_t none = 0,
		  mapped = (uintptr_t)hk_os_map(HK_INNER_BYTES, hk_os_page_size, NULL);

	if (!mapped)
		return 0;
	if (!atomic_compare_exchange_strong(&hk_inner_range, &none, mapped)) {
		hk_os_unmap((void *)mapped, HK_INNER_BYTES);
		return none;
	}
	hk_os_uncount(HK_INNER_BYTES);
	return mapped;
}

void *hk_inner_allocate(size_t alignment, size_t size)
{
	uintptr_t start = atomic_load(&hk_inner_range), block;
	size_t need, at;

	if (!start)
		start = map_range();
	if (alignment < 16)
		alignment = 16;
	if (!start || size > HK_INNER_BYTES || alignment > HK_INNER_BYTES)
		return NULL;
	need = hk_align_up(size + alignment + sizeof(size_t), 16);
	at = atomic_fetch_add(&used, need);
	if (at > HK_INNER_BYTES || need > HK_INNER_BYTES - at)
		return NULL;
	block = hk_align_up(start + at + sizeof(size_t), alignment);
	((size_t *)block)[-1] = size;
	return (void *)block;
}

size_t hk_inner_size(const void *block)
{
	return ((const size_t *)block)[-1];
}
