/* SPDX-License-Identifier: MIT
 *
 * malloc.c - the interposed entry points of C, POSIX and the GNU library: argument checks
 * and routing, nothing else.
 *
 * Semantics are glibc's where standards leave a choice: malloc(0) is a unique pointer,
 * realloc(p, 0) frees and gives NULL, free() keeps errno.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "front.h"
#include "os.h"

#define EXPORT HK_ENTRY

static bool is_power_of_two(size_t value)
{
	return value && !(value & (value - 1));
}

static void *fail(int error)
{
	errno = error;
	return NULL;
}

EXPORT void *malloc(size_t size)
{
	return hk_front_allocate(size, HK_BY_MALLOC, "malloc");
}

EXPORT void *calloc(size_t count, size_t size)
{
	size_t bytes;

	if (HK_UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
		bytes = SIZE_MAX; /* fails, and is counted, like any other */
	return hk_front_allocate_zeroed(bytes, "calloc");
}

EXPORT void free(void *block)
{
	hk_front_free(block, HK_BY_MALLOC, "free");
}

static void *reallocate(void *block, size_t size, const char *function)
{
	if (!block)
		return hk_front_allocate(size, HK_BY_MALLOC, function);
	if (!size) {
		hk_front_free(block, HK_BY_MALLOC, function);
		return NULL;
	}
	return hk_front_resize(block, size, function);
}

EXPORT void *realloc(void *block, size_t size)
{
	return reallocate(block, size, "realloc");
}

EXPORT void *reallocarray(void *block, size_t count, size_t size)
{
	size_t bytes;

	if (HK_UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
		bytes = SIZE_MAX;
	return reallocate(block, bytes, "reallocarray");
}

void cfree(void *block);

/* Gone from glibc's headers since 2.26; old binaries still call it. */
EXPORT void cfree(void *block)
{
	hk_front_free(block, HK_BY_MALLOC, "cfree");
}

void free_sized(void *block, size_t size);
void free_aligned_sized(void *block, size_t alignment, size_t size);

/* C23 */
EXPORT void free_sized(void *block, size_t size)
{
	hk_front_free_sized(block, 1, size, HK_BY_MALLOC, "free_sized");
}

EXPORT void free_aligned_sized(void *block, size_t alignment, size_t size)
{
	hk_front_free_sized(block, alignment, size, HK_BY_MALLOC, "free_aligned_sized");
}

EXPORT void *memalign(size_t alignment, size_t size)
{
	if (!is_power_of_two(alignment))
		return fail(EINVAL);
	return hk_front_allocate_aligned(alignment, size, HK_BY_MALLOC, "memalign");
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	if (!is_power_of_two(alignment))
		return fail(EINVAL);
	return hk_front_allocate_aligned(alignment, size, HK_BY_MALLOC, "aligned_alloc");
}

EXPORT int posix_memalign(void **result, size_t alignment, size_t size)
{
	int kept = errno;
	void *block;

	if (!is_power_of_two(alignment) || alignment % sizeof(void *))
		return EINVAL;
	block = hk_front_allocate_aligned(alignment, size, HK_BY_MALLOC,
					  "posix_memalign");
	errno = kept;
	if (!block)
		return ENOMEM;
	*result = block;
	return 0;
}

EXPORT void *valloc(size_t size)
{
	return hk_front_allocate_aligned(hk_os_page_size, size, HK_BY_MALLOC, "valloc");
}

EXPORT void *pvalloc(size_t size)
{
	size_t pages = hk_align_up(size ? size : 1, hk_os_page_size);

	/* Rounded past the end of the address space: let it fail for what was asked. */
	return hk_front_allocate_aligned(hk_os_page_size, pages ? pages : size,
					 HK_BY_MALLOC, "pvalloc");
}

EXPORT size_t malloc_usable_size(void *block)
{
	return hk_front_usable_size(block, "malloc_usable_size");
}
