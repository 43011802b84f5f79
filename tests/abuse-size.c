/* SPDX-License-Identifier: MIT
 *
 * C23's free_sized() and free_aligned_sized() with another size or alignment than the block
 * was asked for.
 */
#include "libabuse.h"

STEP void drop_sized(void *block, size_t size)
{
	static void (*free_sized_)(void *, size_t);

	*(void **)&free_sized_ = dlsym(RTLD_DEFAULT, "free_sized");
	free_sized_(opaque(block), opaque_size(size));
	STAY();
}

STEP void drop_aligned_sized(void *block, size_t alignment, size_t size)
{
	static void (*free_aligned_sized_)(void *, size_t, size_t);

	*(void **)&free_aligned_sized_ = dlsym(RTLD_DEFAULT, "free_aligned_sized");
	free_aligned_sized_(opaque(block), opaque_size(alignment), opaque_size(size));
	STAY();
}

STEP void *make_aligned(size_t alignment, size_t size)
{
	void *block = aligned_alloc(opaque_size(alignment), opaque_size(size));

	return opaque(block);
}

STEP void wrong(size_t size, size_t given, const char *found)
{
	void *block = make(size);

	expect_fatal(
		"free_sized(): size mismatch for %p (size %zu, but the block has %zu "
		"bytes)",
		block, given, size);
	expect_party("freed", found);
	expect_party("allocated", "make; wrong");
	drop_sized(block, given);
	STAY();
}

STEP void smaller(void)
{
	wrong(32, 31, "drop_sized; wrong; smaller; commit; main");
	STAY();
}

STEP void larger(void)
{
	wrong(32, 33, "drop_sized; wrong; larger; commit; main");
	STAY();
}

STEP void medium(void)
{
	wrong(100000, 100001, "drop_sized; wrong; medium; commit; main");
	STAY();
}

STEP void aligned_smaller(void)
{
	void *block = make_aligned(64, 128);

	expect_fatal("free_aligned_sized(): size mismatch for %p (size 64, but the block "
		     "has 128 bytes)",
		     block);
	expect_party("freed", "drop_aligned_sized; aligned_smaller; commit; main");
	expect_party("allocated", "make_aligned; aligned_smaller; commit; main");
	drop_aligned_sized(block, 64, 64);
	STAY();
}

STEP void wrong_alignment(size_t alignment, size_t given, const char *found)
{
	void *block = make_aligned(alignment, 128);

	expect_fatal("free_aligned_sized(): alignment mismatch for %p (alignment %zu)",
		     block, given);
	expect_party("freed", found);
	expect_party("allocated", "make_aligned; wrong_alignment");
	drop_aligned_sized(block, given, 128);
	STAY();
}

STEP void alignment_larger(void)
{
	wrong_alignment(64, 128,
			"drop_aligned_sized; wrong_alignment; alignment_larger; commit");
	STAY();
}

STEP void alignment_smaller(void)
{
	wrong_alignment(4096, 64,
			"drop_aligned_sized; wrong_alignment; alignment_smaller; commit");
	STAY();
}

STEP void alignment_of_plain(void)
{
	void *block = make(128);

	expect_fatal("free_aligned_sized(): alignment mismatch for %p (alignment 64)",
		     block);
	expect_party("freed", "drop_aligned_sized; alignment_of_plain; commit; main");
	expect_party("allocated", "make; alignment_of_plain; commit; main");
	drop_aligned_sized(block, 64, 128);
	STAY();
}

static const struct crime crimes[] = {
	{ "smaller", NULL, smaller },
	{ "larger", NULL, larger },
	{ "medium", NULL, medium },
	{ "aligned-smaller", NULL, aligned_smaller },
	{ "alignment-larger", NULL, alignment_larger },
	{ "alignment-smaller", NULL, alignment_smaller },
	{ "alignment-of-plain", NULL, alignment_of_plain },
};

FAMILY(crimes)
