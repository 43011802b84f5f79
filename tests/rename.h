/* SPDX-License-Identifier: MIT
 *
 * rename.h - put before everything else (-include) where the library is compiled for
 * the unit tests: its entry points get names of their own, so that the test framework,
 * libc and a sanitizer's run time do not live on the allocator under test.
 *
 * The system's headers come first, under their own names.  The macros take arguments, so
 * that struct mallinfo and a field called free stay what they are.
 */
#ifndef HKT_RENAME_H
#define HKT_RENAME_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *hkt_malloc(size_t size);
void *hkt_calloc(size_t count, size_t size);
void *hkt_realloc(void *block, size_t size);
void *hkt_reallocarray(void *block, size_t count, size_t size);
void hkt_free(void *block);
void hkt_cfree(void *block);
void hkt_free_sized(void *block, size_t size);
void hkt_free_aligned_sized(void *block, size_t alignment, size_t size);
void *hkt_aligned_alloc(size_t alignment, size_t size);
int hkt_posix_memalign(void **result, size_t alignment, size_t size);
void *hkt_memalign(size_t alignment, size_t size);
void *hkt_valloc(size_t size);
void *hkt_pvalloc(size_t size);
size_t hkt_malloc_usable_size(void *block);
int hkt_malloc_trim(size_t pad);
struct mallinfo hkt_mallinfo(void);
struct mallinfo2 hkt_mallinfo2(void);
int hkt_malloc_info(int options, FILE *stream);
void hkt_malloc_stats(void);
int hkt_mallopt(int parameter, int value);

#define malloc(...) hkt_malloc(__VA_ARGS__)
#define calloc(...) hkt_calloc(__VA_ARGS__)
#define realloc(...) hkt_realloc(__VA_ARGS__)
#define reallocarray(...) hkt_reallocarray(__VA_ARGS__)
#define free(...) hkt_free(__VA_ARGS__)
#define cfree(...) hkt_cfree(__VA_ARGS__)
#define free_sized(...) hkt_free_sized(__VA_ARGS__)
#define free_aligned_sized(...) hkt_free_aligned_sized(__VA_ARGS__)
#define aligned_alloc(...) hkt_aligned_alloc(__VA_ARGS__)
#define posix_memalign(...) hkt_posix_memalign(__VA_ARGS__)
#define memalign(...) hkt_memalign(__VA_ARGS__)
#define valloc(...) hkt_valloc(__VA_ARGS__)
#define pvalloc(...) hkt_pvalloc(__VA_ARGS__)
#define malloc_usable_size(...) hkt_malloc_usable_size(__VA_ARGS__)
#define malloc_trim(...) hkt_malloc_trim(__VA_ARGS__)
#define mallinfo(...) hkt_mallinfo(__VA_ARGS__)
#define mallinfo2(...) hkt_mallinfo2(__VA_ARGS__)
#define malloc_info(...) hkt_malloc_info(__VA_ARGS__)
#define malloc_stats(...) hkt_malloc_stats(__VA_ARGS__)
#define mallopt(...) hkt_mallopt(__VA_ARGS__)

#endif /* HKT_RENAME_H */
