/* SPDX-License-Identifier: MIT
 *
 * large: the blocks themselves.  Where their memory comes from, and goes: check-chunks.c.
 */
#include "libcheck.h"

#include "init.h"
#include "large.h"
#include "registry.h"
#include "spans.h"

static void *allocate(size_t size, size_t alignment, bool last_try)
{
	bool zero = false;
	char *block = hk_large_allocate(size, alignment, last_try, &zero);

	/* What is told to be zero is so, at least at both ends of each page. */
	for (size_t i = 0; block && zero && i < size; i += 4096)
		ck_assert(!block[i] && !block[i + 4095 < size ? i + 4095 : size - 1]);
	return block;
}

enum { MIB = 1 << 20 };

static void setup(void)
{
	hk_init();
	release_all();
}

static void teardown(void)
{
	fail_no_more();
	set_option("hard_limit", "0");
	set_option("soft_limit", "0");
}

/* Bytes of a pattern at both ends and each page between. */
static void mark(char *block, size_t size, char value)
{
	for (size_t i = 0; i < size; i += hk_os_page_size)
		block[i] = value;
	block[size - 1] = value;
}

static bool is_marked(const char *block, size_t size, char value)
{
	for (size_t i = 0; i < size; i += hk_os_page_size)
		if (block[i] != value)
			return false;
	return true;
}

START_TEST(sizes_and_alignments)
{
	for (size_t alignment = 16; alignment <= (size_t)64 * MIB; alignment *= 4) {
		for (size_t size = 1; size <= (size_t)40 * MIB; size = size * 3 + 5000) {
			size_t mapped = hk_os_mapped();
			uint64_t count = hk_large_count, bytes = hk_large_bytes;
			char *block = allocate(size, alignment, false);
			size_t usable = hk_large_usable_size(block, "test");

			ck_assert_ptr_nonnull(block);
			ck_assert_aligned(block, alignment);
			ck_assert_aligned(block, HK_SUPERSLAB_BYTES);
			ck_assert_uint_eq(usable, hk_align_up(size, hk_os_page_size));
			ck_assert_uint_eq(hk_registry_kind(block), HK_KIND_LARGE);
			ck_assert_uint_eq(hk_large_count, count + 1);
			ck_assert_uint_eq(hk_large_bytes, bytes + usable);
			ck_assert(is_marked(block, usable, 0));
			mark(block, usable, 1);
			check_all();
			hk_large_free(block, "test");
			ck_assert_uint_eq(hk_registry_kind(block), HK_KIND_NONE);
			ck_assert_ptr_null(hk_registry_owner(block));
			ck_assert_uint_eq(hk_large_count, count);
			ck_assert_uint_eq(hk_large_bytes, bytes);
			hk_spans_release();
			/* The leaf of the first one, and a chunk of records, stay. */
			ck_assert_uint_le(hk_os_mapped(), mapped + 4 * MIB);
		}
	}
}
END_TEST

START_TEST(any_address_inside_finds_it)
{
	char *blocks[5];

	for (size_t i = 0; i < 5; i++)
		blocks[i] = allocate((i + 2) * MIB, 1, false);
	hk_lock(&hk_large_lock);
	for (size_t i = 0; i < 5; i++) {
		ck_assert_ptr_eq(hk_large_find_locked(blocks[i])->base, blocks[i]);
		ck_assert_ptr_eq(
			hk_large_find_locked(blocks[i] + (i + 2) * MIB - 1)->base,
			blocks[i]);
	}
	ck_assert_ptr_null(hk_large_find_locked(&blocks));
	ck_assert_ptr_null(hk_large_find_locked(NULL));
	hk_unlock(&hk_large_lock);
	for (size_t i = 0; i < 5; i++)
		hk_large_free(blocks[i], "test");
}
END_TEST

START_TEST(growing_keeps_the_contents)
{
	size_t size = 2 * MIB;
	char *block = allocate(size, 1, false), *before = NULL;

	mark(block, size, 7);
	while (size < (size_t)100 * MIB) {
		size_t more = size + size / 2;

		block = hk_large_resize(block, more, false, "test");
		ck_assert_ptr_nonnull(block);
		ck_assert_aligned(block, HK_SUPERSLAB_BYTES);
		ck_assert(is_marked(block, size, 7));
		more = hk_large_usable_size(block, "test");
		ck_assert(is_marked(block + hk_align_up(size, hk_os_page_size),
				    more - hk_align_up(size, hk_os_page_size), 0));
		mark(block, more, 7);
		size = more;
		check_all();
	}
	while (size > 2 * MIB) {
		size_t less = hk_align_up(size / 2, hk_os_page_size);

		before = block;
		block = hk_large_resize(block, less, false, "test");
		ck_assert_ptr_eq(block, before);
		ck_assert(is_marked(block, less, 7));
		ck_assert_uint_eq(hk_large_usable_size(block, "test"), less);
		size = less;
		check_all();
	}
	hk_large_free(block, "test");
}
END_TEST

/* In the way of growing in place: the block moves, page tables and all. */
START_TEST(moving_keeps_the_contents)
{
	char *block = allocate(4 * MIB, 1, false), *moved;
	void *wall = mmap(block + 4 * MIB, hk_os_page_size, PROT_READ,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mark(block, 4 * MIB, 7);
	moved = hk_large_resize(block, 6 * MIB, false, "test");
	ck_assert_ptr_nonnull(moved);
	if (wall == block + 4 * MIB)
		ck_assert_ptr_ne(moved, block);
	ck_assert_aligned(moved, HK_SUPERSLAB_BYTES);
	ck_assert(is_marked(moved, 4 * MIB, 7));
	ck_assert(is_marked(moved + 4 * MIB, 2 * MIB, 0));
	if (moved != block)
		ck_assert_uint_eq(hk_registry_kind(block), HK_KIND_NONE);
	ck_assert_uint_eq(hk_registry_kind(moved), HK_KIND_LARGE);
	check_all();
	munmap(wall, hk_os_page_size);
	hk_large_free(moved, "test");
}
END_TEST

START_TEST(what_cannot_grow_stays_as_it_is)
{
	char *block = allocate(4 * MIB, 1, false);
	size_t mapped = held_now();
	char limit[32];

	mark(block, 4 * MIB, 7);
	fail_after(HK_OS_REMAP, 0);
	fail_after(HK_OS_MAP, 0);
	ck_assert_ptr_null(hk_large_resize(block, 60 * MIB, false, "test"));
	fail_no_more();
	fail_after(HK_OS_REMAP, 0);
	ck_assert_ptr_null(hk_large_resize(block, 60 * MIB, false, "test"));
	fail_no_more();
	ck_assert_uint_eq(held_now(), mapped);
	snprintf(limit, sizeof(limit), "%zu", hk_os_mapped() + MIB);
	set_option("hard_limit", limit);
	ck_assert_ptr_null(hk_large_resize(block, 60 * MIB, false, "test"));
	set_option("hard_limit", "0");
	ck_assert_uint_eq(hk_large_usable_size(block, "test"), 4 * MIB);
	ck_assert(is_marked(block, 4 * MIB, 7));
	ck_assert_uint_eq(hk_registry_kind(block), HK_KIND_LARGE);
	check_all();
	hk_large_free(block, "test");
}
END_TEST

START_TEST(no_memory)
{
	size_t mapped;
	uint64_t count = hk_large_count;

	hk_large_free(allocate(3 * MIB, 1, false), "test");
	hk_spans_release();
	mapped = held_now();
	fail_after(HK_OS_MAP, 0);
	ck_assert_ptr_null(allocate(3 * MIB, 1, true));
	fail_no_more();
	ck_assert_ptr_null(allocate((size_t)1 << 50, 1, true));
	ck_assert_uint_eq(hk_large_count, count);
	ck_assert_uint_eq(held_now(), mapped);
}
END_TEST

static void free_it(void *block)
{
	hk_large_free(block, "test");
}

START_TEST(interior_pointers_are_told)
{
	char *block = allocate(3 * MIB, 1, false);

	ck_death(free_it, block + 16,
		 "test(): interior pointer %p (16 bytes into the 3145728-byte block %p)",
		 (void *)(block + 16), (void *)block);
	hk_large_free(block, "test");
}
END_TEST

START_TEST(a_block_that_is_gone_is_told)
{
	char *block = allocate(3 * MIB, 1, false);

	hk_large_free(block, "test");
	hk_spans_release();
	ck_death(free_it, block,
		 "test(): invalid pointer %p (not a block of this allocator)",
		 (void *)block);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("large");
	TCase *tcase = add_case(suite, "large");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, sizes_and_alignments);
	tcase_add_test(tcase, any_address_inside_finds_it);
	tcase_add_test(tcase, growing_keeps_the_contents);
	tcase_add_test(tcase, moving_keeps_the_contents);
	tcase_add_test(tcase, what_cannot_grow_stays_as_it_is);
	tcase_add_test(tcase, no_memory);
	tcase_add_test(tcase, interior_pointers_are_told);
	tcase_add_test(tcase, a_block_that_is_gone_is_told);
	return run_suite(suite);
}
