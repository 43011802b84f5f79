/* SPDX-License-Identifier: MIT
 *
 * Alignments that are none: what each page of the manual says, and nothing else happens.
 *
 * glibc's memalign() and aligned_alloc() are not of one mind over its releases: up to
 * 2.37 both round an odd alignment up; from 2.38 on aligned_alloc() answers EINVAL.
 * Here both give EINVAL for what is not a power of two, which is what memalign(3) says.
 */
#include "libabuse.h"

static void *untouched(void)
{
	return (void *)(uintptr_t)0x5eed;
}

static void posix(size_t alignment, size_t size, int wanted)
{
	void *block = untouched();
	int answer;

	errno = EXDEV;
	answer = posix_memalign(&block, opaque_size(alignment), opaque_size(size));
	ok(answer == wanted && block == untouched() && errno == EXDEV,
	   "posix_memalign(%zu, %zu): %d, *memptr and errno as they were", alignment,
	   size, wanted);
}

static void other(const char *name, void *(*function)(size_t, size_t), size_t alignment)
{
	void *answer;

	errno = 0;
	answer = opaque(function(opaque_size(alignment), opaque_size(100)));
	ok(!answer && errno == EINVAL, "%s(%zu, 100): NULL and EINVAL", name, alignment);
}

int main(void)
{
	static const size_t odd[] = { 3,
				      17,
				      24,
				      48,
				      100,
				      4095,
				      4097,
				      6144,
				      ((size_t)1 << 20) - 1,
				      (size_t)3 << 20,
				      SIZE_MAX,
				      ((size_t)1 << 63) + 1 };
	void *block;

	require_library();
	posix(0, 100, EINVAL);
	posix(1, 100, EINVAL);
	posix(2, 100, EINVAL);
	posix(4, 100, EINVAL);
	posix(12, 100, EINVAL);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		posix(odd[i], 100, EINVAL);
		other("aligned_alloc", aligned_alloc, odd[i]);
		other("memalign", memalign, odd[i]);
	}
	posix(16, (size_t)PTRDIFF_MAX + 1, ENOMEM);
	posix(16, SIZE_MAX, ENOMEM);
	posix((size_t)1 << 62, 1, ENOMEM);
	posix((size_t)1 << 63, 1, ENOMEM);

	block = untouched();
	ok(posix_memalign(&block, sizeof(void *), opaque_size(0)) == 0 &&
		   block != untouched(),
	   "posix_memalign(%zu, 0) succeeds", sizeof(void *));
	free(block);
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	return tap_end();
}
