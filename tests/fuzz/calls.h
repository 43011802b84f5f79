/* SPDX-License-Identifier: MIT
 *
 * calls.h - the interface under test, as one table: of whatever malloc the process runs on,
 * or of the library's build for unit tests, whose functions have names of their own.
 *
 * What a libc does not have is NULL.  Through pointers, so that no compiler leaves a call out
 * because it knows what malloc does.
 */
#ifndef FUZZ_CALLS_H
#define FUZZ_CALLS_H

#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "hakmem.h"

/* The forms of a C++ operator new, and the deletes that fit it; Itanium ABI. */
struct cxx_calls {
	void *(*make)(size_t size);
	void *(*make_nothrow)(size_t size, const void *tag);
	void *(*make_aligned)(size_t size, size_t alignment);
	void *(*make_aligned_nothrow)(size_t size, size_t alignment, const void *tag);
	void (*end)(void *block);
	void (*end_nothrow)(void *block, const void *tag);
	void (*end_sized)(void *block, size_t size);
	void (*end_aligned)(void *block, size_t alignment);
	void (*end_aligned_nothrow)(void *block, size_t alignment, const void *tag);
	void (*end_sized_aligned)(void *block, size_t size, size_t alignment);
};

/* tests/rename.h takes the tag for a function where a parenthesis follows it. */
typedef struct mallinfo2 heap_info;

struct calls {
	void *(*allocate)(size_t size);
	void *(*allocate_zeroed)(size_t count, size_t size);
	void *(*resize)(void *block, size_t size);
	void *(*resize_array)(void *block, size_t count, size_t size);
	void *(*allocate_aligned)(size_t alignment, size_t size);
	int (*allocate_posix)(void **result, size_t alignment, size_t size);
	void *(*allocate_memalign)(size_t alignment, size_t size);
	void *(*allocate_page)(size_t size);
	void *(*allocate_pages)(size_t size);
	void (*end)(void *block);
	void (*end_c)(void *block);
	void (*end_sized)(void *block, size_t size);
	void (*end_aligned_sized)(void *block, size_t alignment, size_t size);
	size_t (*usable_size)(void *block);
	int (*trim)(size_t pad);
	heap_info (*info)(void);
	int (*write_info)(int options, FILE *stream);
	int (*set_parameter)(int parameter, int value);
	struct cxx_calls cxx[2]; /* of new, and of new[] */
	int (*ctl)(enum hakmem_op op, void *arg, size_t size);

	size_t page;
	bool hakmem; /* else what only this library promises is not asked for */
	bool debug;  /* its debug library: a block's usable size is what was asked for */
};

extern struct calls calls;

void calls_find(void);

#endif /* FUZZ_CALLS_H */
