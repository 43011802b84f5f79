/* SPDX-License-Identifier: MIT
 *
 * pretend.h - test builds only: the kernel as it might be elsewhere.
 *
 * TEST_PAGE_SIZE=16384 (or 65536): with pages of that size.  Mappings begin at multiples of it,
 * and a call whose address or length is none ends the process.
 * TEST_REFUSE=CALL:N,...: map, unmap, purge, remap, give or reach fail after N successes, as in
 * hk_os_fail.
 *
 * Included behind <sys/mman.h> by those who call it; other builds find nothing here.
 */
#ifndef HK_PRETEND_H
#define HK_PRETEND_H

#include "base.h"

#if HK_TEST
#include <sys/types.h>

/* Reads the environment; the page size from now on, of a kernel that has pages of real. */
size_t hk_pretend_init(size_t real);

void *hk_pretend_mmap(void *hint, size_t size, int protection, int flags, int fd,
		      off_t offset);
int hk_pretend_munmap(void *base, size_t size);
int hk_pretend_mprotect(void *base, size_t size, int protection);
int hk_pretend_madvise(void *base, size_t size, int advice);
void *hk_pretend_mremap(void *base, size_t old_size, size_t size, int flags, ...);

/* The same memory at an address of more than 48 bits, and back. */
#define HK_PRETEND_HIGH ((uintptr_t)1 << 52)

static inline void *hk_pretend_high(void *base)
{
	return (void *)((uintptr_t)base | HK_PRETEND_HIGH);
}

static inline void *hk_pretend_low(void *base)
{
	return (void *)((uintptr_t)base & ~HK_PRETEND_HIGH);
}

#ifndef HK_PRETEND_ITSELF
#define mmap hk_pretend_mmap
#define munmap hk_pretend_munmap
#define mprotect hk_pretend_mprotect
#define madvise hk_pretend_madvise
#define mremap hk_pretend_mremap
#endif
#else
#define hk_pretend_init(real) (real)
#define hk_pretend_high(base) (base)
#define hk_pretend_low(base) (base)
#endif

#endif /* HK_PRETEND_H */
