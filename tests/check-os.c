/* SPDX-License-Identifier: MIT
 *
 * os: mappings of any alignment, the count of mapped bytes, and every call's failure.
 */
#include "libcheck.h"

enum { MIB = 1 << 20 };

static void teardown(void)
{
	fail_no_more();
}

/* Can it be touched?  madvise(2) tells without touching. */
static bool is_mapped(void *base, size_t size)
{
	return madvise(base, size, MADV_NORMAL) == 0;
}

START_TEST(mappings_are_aligned_zero_and_counted)
{
	size_t before = hk_os_mapped();

	for (size_t alignment = hk_os_page_size; alignment <= (size_t)64 * MIB;
	     alignment *= 4) {
		for (size_t size = hk_os_page_size; size <= (size_t)8 * MIB; size *= 8) {
			char *base = hk_os_map(size, alignment, NULL);

			ck_assert_ptr_nonnull(base);
			ck_assert_aligned(base, alignment);
			ck_assert_uint_eq(hk_os_mapped(), before + size);
			ck_assert(all_bytes(base, 0, size));
			memset(base, 0xff, size);
			ck_assert(hk_os_unmap(base, size));
			ck_assert(!is_mapped(base, size));
			ck_assert_uint_eq(hk_os_mapped(), before);
		}
	}
}
END_TEST

START_TEST(many_at_once_do_not_overlap)
{
	enum { MANY = 100 };
	char *bases[MANY];
	size_t before = hk_os_mapped();

	for (size_t i = 0; i < MANY; i++) {
		bases[i] = hk_os_map(2 * MIB, 2 * MIB, i ? bases[i - 1] - 2 * MIB : NULL);
		ck_assert_ptr_nonnull(bases[i]);
		ck_assert_aligned(bases[i], 2 * MIB);
		memset(bases[i], (int)i, hk_os_page_size);
	}
	ck_assert_uint_eq(hk_os_mapped(), before + MANY * 2 * MIB);
	for (size_t i = 0; i < MANY; i++) {
		ck_assert(all_bytes(bases[i], (int)i, hk_os_page_size));
		ck_assert(hk_os_unmap(bases[i], 2 * MIB));
	}
	ck_assert_uint_eq(hk_os_mapped(), before);
}
END_TEST

/* A guess that is taken, or not aligned, costs nothing but the guess. */
START_TEST(a_hint_is_only_a_hint)
{
	char *first = hk_os_map(2 * MIB, 2 * MIB, NULL);
	char *second = hk_os_map(2 * MIB, 2 * MIB, first);
	char *third = hk_os_map(2 * MIB, 2 * MIB, first + hk_os_page_size);

	ck_assert_ptr_nonnull(second);
	ck_assert_ptr_nonnull(third);
	ck_assert_ptr_ne(second, first);
	ck_assert_aligned(second, 2 * MIB);
	ck_assert_aligned(third, 2 * MIB);
	ck_assert(hk_os_unmap(first, 2 * MIB));
	ck_assert(hk_os_unmap(second, 2 * MIB));
	ck_assert(hk_os_unmap(third, 2 * MIB));
}
END_TEST

START_TEST(purged_pages_read_as_zero)
{
	size_t page = hk_os_page_size, before;
	char *base = hk_os_map(16 * page, page, NULL);

	memset(base, 1, 16 * page);
	before = hk_os_mapped();
	ck_assert(hk_os_purge(base + 4 * page, 8 * page));
	ck_assert_uint_eq(hk_os_mapped(), before);
	ck_assert(all_bytes(base, 1, 4 * page));
	ck_assert(all_bytes(base + 4 * page, 0, 8 * page));
	ck_assert(all_bytes(base + 12 * page, 1, 4 * page));
	ck_assert(hk_os_unmap(base, 16 * page));
}
END_TEST

START_TEST(shrinking_in_place)
{
	size_t page = hk_os_page_size, before = hk_os_mapped();
	char *base = hk_os_map(16 * page, page, NULL);

	memset(base, 1, 16 * page);
	ck_assert(hk_os_resize(base, 16 * page, 4 * page));
	ck_assert_uint_eq(hk_os_mapped(), before + 4 * page);
	ck_assert(all_bytes(base, 1, 4 * page));
	ck_assert(!is_mapped(base + 4 * page, page));
	ck_assert(hk_os_unmap(base, 4 * page));
}
END_TEST

START_TEST(growing_in_place_where_there_is_room)
{
	size_t page = hk_os_page_size, before = hk_os_mapped();
	char *base = hk_os_map(8 * MIB, 2 * MIB, NULL);

	/* Room is made by giving back the upper half. */
	ck_assert(hk_os_resize(base, 8 * MIB, 4 * MIB));
	memset(base, 1, page);
	ck_assert(hk_os_resize(base, 4 * MIB, 6 * MIB));
	ck_assert_uint_eq(hk_os_mapped(), before + 6 * MIB);
	ck_assert(all_bytes(base, 1, page));
	ck_assert(all_bytes(base + 4 * MIB, 0, 2 * MIB));
	ck_assert(hk_os_unmap(base, 6 * MIB));
	ck_assert_uint_eq(hk_os_mapped(), before);
}
END_TEST

START_TEST(growing_in_place_where_there_is_none)
{
	size_t page = hk_os_page_size, before = hk_os_mapped();
	char *base = hk_os_map(16 * page, page, NULL);

	/* The upper half of a mapping is in the way of the lower. */
	memset(base, 1, 16 * page);
	ck_assert_int_eq(mprotect(base + 8 * page, 8 * page, PROT_READ), 0);
	ck_assert(!hk_os_resize(base, 8 * page, 12 * page));
	ck_assert_uint_eq(hk_os_mapped(), before + 16 * page);
	ck_assert(all_bytes(base, 1, 16 * page));
	ck_assert(hk_os_unmap(base, 16 * page));
}
END_TEST

START_TEST(a_size_beyond_all_memory)
{
	size_t before = hk_os_mapped();

	ck_assert_ptr_null(
		hk_os_map((size_t)PTRDIFF_MAX & ~(size_t)65535, 2 * MIB, NULL));
	ck_assert_ptr_null(hk_os_map(~(size_t)65535, hk_os_page_size, NULL));
	ck_assert_ptr_null(hk_os_map((size_t)1 << 48, 2 * MIB, NULL));
	ck_assert_uint_eq(hk_os_mapped(), before);
}
END_TEST

START_TEST(every_call_can_be_made_to_fail)
{
	size_t page = hk_os_page_size, before = hk_os_mapped();
	char *base;

	errno = EXDEV;
	fail_after(HK_OS_MAP, 0);
	ck_assert_ptr_null(hk_os_map(page, page, NULL));
	ck_assert_ptr_null(hk_os_map(page, page, NULL));
	fail_no_more();
	base = hk_os_map(4 * page, page, NULL);
	memset(base, 1, 4 * page);

	fail_after(HK_OS_UNMAP, 0);
	ck_assert(!hk_os_unmap(base, 4 * page));
	ck_assert(all_bytes(base, 1, 4 * page));
	fail_after(HK_OS_PURGE, 0);
	ck_assert(!hk_os_purge(base, 4 * page));
	ck_assert(all_bytes(base, 1, 4 * page));
	fail_after(HK_OS_REMAP, 0);
	ck_assert(!hk_os_resize(base, 4 * page, 2 * page));
	ck_assert(all_bytes(base, 1, 4 * page));
	ck_assert_uint_eq(hk_os_mapped(), before + 4 * page);
	ck_assert_int_eq(errno, EXDEV);
	fail_no_more();
	ck_assert(hk_os_unmap(base, 4 * page));
	ck_assert_uint_eq(hk_os_mapped(), before);
}
END_TEST

START_TEST(failure_comes_after_so_many_successes)
{
	size_t page = hk_os_page_size;
	char *bases[4];

	fail_after(HK_OS_MAP, 3);
	for (size_t i = 0; i < 3; i++) {
		bases[i] = hk_os_map(page, page, NULL);
		ck_assert_ptr_nonnull(bases[i]);
	}
	ck_assert_ptr_null(hk_os_map(page, page, NULL));
	ck_assert_ptr_null(hk_os_map(page, page, NULL));
	fail_no_more();
	for (size_t i = 0; i < 3; i++)
		ck_assert(hk_os_unmap(bases[i], page));
}
END_TEST

/*
 * Whatever of map, unmap fails on the way to an aligned mapping: all of it, or nothing.
 */
START_TEST(a_failure_halfway_to_alignment)
{
	for (int maps = 0; maps < 3; maps++) {
		size_t before = hk_os_mapped();
		char *base;

		fail_after(HK_OS_MAP, maps);
		base = hk_os_map(hk_os_page_size, (size_t)1 << 30, NULL);
		fail_no_more();
		if (base) {
			ck_assert_aligned(base, (size_t)1 << 30);
			ck_assert(hk_os_unmap(base, hk_os_page_size));
		}
		ck_assert_uint_eq(hk_os_mapped(), before);
	}
}
END_TEST

START_TEST(system_calls_keep_errno)
{
	char *base;

	errno = EXDEV;
	base = hk_os_map(hk_os_page_size, hk_os_page_size, NULL);
	hk_os_huge_pages(base, hk_os_page_size, true);
	hk_os_huge_pages(base, hk_os_page_size, false);
	ck_assert(!hk_os_unmap(base, 0));
	ck_assert(hk_os_unmap(base, hk_os_page_size));
	ck_assert(!hk_os_purge(base, hk_os_page_size));
	/* valgrind may not survive it, where nothing is. */
	if (!RUNNING_ON_VALGRIND)
		ck_assert(!hk_os_resize(base, hk_os_page_size, 2 * hk_os_page_size));
	hk_os_map((size_t)1 << 48, hk_os_page_size, NULL);
	ck_assert_int_eq(errno, EXDEV);
}
END_TEST

START_TEST(time_does_not_run_backwards)
{
	uint64_t then = hk_os_now_ms();

	usleep(30000);
	ck_assert_uint_ge(hk_os_now_ms(), then + 10);
	ck_assert_uint_eq(hk_os_thread_id(), (uint64_t)gettid());
}
END_TEST

START_TEST(writing_tells_its_error)
{
	char text[8] = { 0 };
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(hk_os_write(ends[1], "words", 5), 0);
	ck_assert_int_eq(read(ends[0], text, sizeof(text)), 5);
	ck_assert_str_eq(text, "words");
	close(ends[0]);
	close(ends[1]);
	errno = EXDEV;
	ck_assert_int_eq(hk_os_write(ends[1], "words", 5), EBADF);
	ck_assert_int_eq(errno, EXDEV);
	ck_assert_int_eq(hk_os_write(-1, "", 0), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("os");
	TCase *tcase = add_case(suite, "os");

	tcase_add_checked_fixture(tcase, NULL, teardown);
	tcase_add_test(tcase, mappings_are_aligned_zero_and_counted);
	tcase_add_test(tcase, many_at_once_do_not_overlap);
	tcase_add_test(tcase, a_hint_is_only_a_hint);
	tcase_add_test(tcase, purged_pages_read_as_zero);
	tcase_add_test(tcase, shrinking_in_place);
	tcase_add_test(tcase, growing_in_place_where_there_is_room);
	tcase_add_test(tcase, growing_in_place_where_there_is_none);
	tcase_add_test(tcase, a_size_beyond_all_memory);
	tcase_add_test(tcase, every_call_can_be_made_to_fail);
	tcase_add_test(tcase, failure_comes_after_so_many_successes);
	tcase_add_test(tcase, a_failure_halfway_to_alignment);
	tcase_add_test(tcase, system_calls_keep_errno);
	tcase_add_test(tcase, time_does_not_run_backwards);
	tcase_add_test(tcase, writing_tells_its_error);
	return run_suite(suite);
}
