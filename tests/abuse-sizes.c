/* SPDX-License-Identifier: MIT
 *
 * Requests that cannot be served: ENOMEM, and the block that was to grow stays as it was.
 */
#include "libabuse.h"

#include <limits.h>

#define NOT_SERVED(call)                                                      \
	do {                                                                  \
		void *answer;                                                 \
		errno = 0;                                                    \
		answer = opaque(call);                                        \
		ok(!answer && errno == ENOMEM, "%s: NULL and ENOMEM", #call); \
		free(answer);                                                 \
	} while (0)

int main(void)
{
	const size_t over = opaque_size((size_t)PTRDIFF_MAX + 1);
	const size_t half = opaque_size(SIZE_MAX / 2 + 1);
	const size_t most = opaque_size(PTRDIFF_MAX);
	const size_t all = opaque_size(SIZE_MAX);
	const size_t two = opaque_size(2);
	const size_t one = opaque_size(1);
	static const size_t sizes[] = { 24, 5000, 131072, (size_t)4 << 20 };
	struct hakmem_stats before, after;

	require_library();
	before = stats_now();
	NOT_SERVED(malloc(over));
	NOT_SERVED(malloc(all));
	NOT_SERVED(malloc(all - 15));
	NOT_SERVED(malloc(all - 65535));
	NOT_SERVED(malloc(most));
	NOT_SERVED(malloc(most - 65536));
	NOT_SERVED(calloc(one, over));
	NOT_SERVED(calloc(over, one));
	NOT_SERVED(calloc(half, two));
	NOT_SERVED(calloc(two, half));
	NOT_SERVED(calloc(all, all));
	NOT_SERVED(calloc(opaque_size((size_t)1 << 32), opaque_size((size_t)1 << 32)));
	NOT_SERVED(reallocarray(NULL, half, two));
	NOT_SERVED(reallocarray(NULL, over, one));
	NOT_SERVED(realloc(NULL, over));
	NOT_SERVED(aligned_alloc(opaque_size(16), over));
	NOT_SERVED(aligned_alloc(opaque_size(4096), all - 4096 + 1));
	NOT_SERVED(memalign(opaque_size(64), all - 63));
	NOT_SERVED(memalign(opaque_size((size_t)1 << 62), one));
	NOT_SERVED(memalign(opaque_size((size_t)2 << 20), most));
	NOT_SERVED(valloc(over));
	NOT_SERVED(valloc(all));
	NOT_SERVED(pvalloc(over));
	NOT_SERVED(pvalloc(all));
	NOT_SERVED(pvalloc(all - 4095));
	NOT_SERVED(pvalloc(most));
	after = stats_now();
	ok(after.failed_total - before.failed_total == 26,
	   "failed_total counted %llu of 26",
	   (unsigned long long)(after.failed_total - before.failed_total));

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t size = sizes[i], usable;
		char *block = opaque(malloc(size));
		char *answer;

		memset(block, 0x5a, size);
		usable = malloc_usable_size(block);
		errno = 0;
		answer = realloc(opaque(block), over);
		ok(!answer && errno == ENOMEM,
		   "realloc of %zu bytes to PTRDIFF_MAX + 1: ENOMEM", size);
		errno = 0;
		answer = realloc(opaque(block), most);
		ok(!answer && errno == ENOMEM,
		   "realloc of %zu bytes to PTRDIFF_MAX: ENOMEM", size);
		errno = 0;
		answer = reallocarray(opaque(block), half, two);
		ok(!answer && errno == ENOMEM,
		   "reallocarray of %zu bytes, overflow: ENOMEM", size);
		errno = 0;
		answer = reallocarray(opaque(block), opaque_size(SIZE_MAX / 16 + 2),
				      opaque_size(16));
		ok(!answer && errno == ENOMEM,
		   "reallocarray of %zu bytes, product wraps to 16: ENOMEM", size);
		ok(all_bytes(block, 0x5a, size) && malloc_usable_size(block) == usable,
		   "the block of %zu bytes is as it was", size);
		free(opaque(block));
	}
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	return tap_end();
}
