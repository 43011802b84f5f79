/* SPDX-License-Identifier: MIT
 *
 * fill: of blocks that the program fills the pages are there when they are handed out, of
 * others they are not.
 */
#include "libcheck.h"

#include <sys/mman.h>

#include "fill.h"

enum { KIB = 1024, SIZE = 256 * KIB, MANY = 400 };

static char *blocks[MANY];

static void setup(void)
{
	hk_init();
	set_option("purge_delay_ms", "3600000");
	release_all();
}

static void teardown(void)
{
	for (size_t i = 0; i < MANY; i++) {
		hk_heap_free(blocks[i], "test");
		blocks[i] = NULL;
	}
	for (size_t i = 0; i < HK_FILL_SIZES; i++)
		ck_assert_uint_eq(hk_fill_watched[i], 0);
	release_all();
	check_all();
}

/* Whatever was asked takes so long that it tells this. */
static void let_all_be_filled(bool filled)
{
	hk_fill_ns_if_there = filled ? UINT64_MAX : 0;
}

static size_t resident(const char *block, size_t size)
{
	unsigned char pages[SIZE / 4096];
	size_t n = size / hk_os_page_size, there = 0;

	ck_assert_int_eq(mincore((void *)(uintptr_t)block, size, pages), 0);
	for (size_t i = 0; i < n; i++)
		there += pages[i] & 1;
	return there;
}

/* Of the blocks from first to end, which are handed out now, how many have all their pages. */
static size_t get(size_t first, size_t end)
{
	size_t there = 0;

	for (size_t i = first; i < end; i++) {
		blocks[i] = heap_block(SIZE);
		ck_assert_ptr_nonnull(blocks[i]);
		there += resident(blocks[i], SIZE) == SIZE / hk_os_page_size;
	}
	return there;
}

/* Older kernels cannot. */
static bool can_populate(void)
{
	char *page = hk_os_map(hk_os_page_size, hk_os_page_size, NULL);
	bool can = hk_os_populate(page, hk_os_page_size);

	ck_assert(hk_os_unmap(page, hk_os_page_size));
	return can;
}

START_TEST(filled_ones_are_faulted_in)
{
	size_t there;

	if (!can_populate())
		return;
	let_all_be_filled(true);
	/* One, then 1, one, 3, one, 7 .. and at the end of a SuperSlab the next one, too. */
	ck_assert_uint_eq(get(0, 1), 0);
	there = get(1, 100);
	ck_assert_uint_ge(there, 80);
	ck_assert_uint_lt(there, 99);
	ck_assert_uint_ge(get(100, 300), 190);
}
END_TEST

/* What was asked for is there, and no more; and it is ever less. */
START_TEST(others_are_not)
{
	size_t pages = 0;

	let_all_be_filled(false);
	ck_assert_uint_eq(get(0, MANY), 0);
	for (size_t i = 0; i < MANY; i++)
		pages += resident(blocks[i], SIZE);
	ck_assert_uint_le(pages, 12 * 64 * KIB / 4096);
}
END_TEST

START_TEST(it_may_change)
{
	if (!can_populate())
		return;
	let_all_be_filled(true);
	get(0, 200);
	let_all_be_filled(false);
	get(200, 300);
	ck_assert_uint_eq(get(300, MANY), 0);
}
END_TEST

/* Others, and such as are to be zero, are nobody's to guess about. */
START_TEST(small_ones_and_zeroed_ones_are_left)
{
	let_all_be_filled(true);
	get(0, 50);
	for (size_t i = 50; i < 60; i++) {
		blocks[i] = hk_heap_allocate_zeroed(SIZE);
		ck_assert_uint_lt(resident(blocks[i], SIZE), SIZE / hk_os_page_size);
	}
}
END_TEST

/* The program may protect pages of its own. */
START_TEST(pages_may_be_protected)
{
	let_all_be_filled(true);
	get(0, 1);
	ck_assert(hk_fill_is_watched(blocks[0]));
	ck_assert_int_eq(mprotect(blocks[0], SIZE, PROT_NONE), 0);
	ck_assert_uint_eq(get(1, 2), 0);
	ck_assert(!hk_fill_is_watched(blocks[0]));
	ck_assert_int_eq(mprotect(blocks[0], SIZE, PROT_READ | PROT_WRITE), 0);
}
END_TEST

/* Whose owner frees it before another is handed out. */
START_TEST(one_that_is_freed_is_judged)
{
	if (!can_populate())
		return;
	let_all_be_filled(true);
	get(0, 1);
	ck_assert(hk_fill_is_watched(blocks[0]));
	hk_heap_free(blocks[0], "test");
	blocks[0] = NULL;
	for (size_t i = 0; i < HK_FILL_SIZES; i++)
		ck_assert_uint_eq(hk_fill_watched[i], 0);
	release_all();
	ck_assert_uint_eq(get(0, 1), 1);
}
END_TEST

/* For real: no page of blocks that nobody touches is there because of others that are filled. */
START_TEST(sizes_are_apart)
{
	let_all_be_filled(true);
	get(0, 100);
	let_all_be_filled(false);
	for (size_t i = 100; i < 110; i++) {
		blocks[i] = heap_block(SIZE / 2);
		ck_assert_uint_lt(resident(blocks[i], SIZE / 2),
				  SIZE / 2 / hk_os_page_size);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fill");
	TCase *tcase = add_case(suite, "fill");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, filled_ones_are_faulted_in);
	tcase_add_test(tcase, others_are_not);
	tcase_add_test(tcase, it_may_change);
	tcase_add_test(tcase, small_ones_and_zeroed_ones_are_left);
	tcase_add_test(tcase, pages_may_be_protected);
	tcase_add_test(tcase, one_that_is_freed_is_judged);
	tcase_add_test(tcase, sizes_are_apart);
	return run_suite(suite);
}
