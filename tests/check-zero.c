/* SPDX-License-Identifier: MIT
 *
 * zero: which blocks of calloc's are of fresh pages, and which are cleared.
 */
#include "libcheck.h"

#include <stdlib.h>

#include "heap.h"
#include "zero.h"

enum { SIZE = 1 << 20, SPARSE = 1500, FULL = 30000 };

static char block;

/* How many of so many are cleared, each of which is freed before the next: after ns. */
static unsigned cleared_of(unsigned many, size_t size, uint64_t ns)
{
	unsigned cleared = 0;

	for (unsigned i = 0; i < many; i++) {
		if (!hk_zero_wants_fresh(size)) {
			cleared++;
			continue;
		}
		hk_zero_given(&block, size);
		if (hk_zero_is_watched(&block))
			hk_zero_judge(size, ns);
	}
	return cleared;
}

START_TEST(of_what_is_not_filled_all_is_fresh)
{
	ck_assert_uint_eq(cleared_of(10000, SIZE, SPARSE), 0);
	ck_assert_uint_eq(cleared_of(10000, HK_ZERO_LEAST, SPARSE), 0);
	ck_assert_uint_eq(cleared_of(10000, (size_t)1 << 46, SPARSE), 0);
}
END_TEST

/* One in 1,024 is tried, in the end. */
START_TEST(of_what_is_filled_next_to_none_is)
{
	unsigned cleared = cleared_of(10000, SIZE, FULL);

	ck_assert_uint_ge(cleared, 10000 - 25);
	ck_assert_uint_lt(cleared, 10000 - 10);
}
END_TEST

START_TEST(sizes_are_apart)
{
	cleared_of(100, SIZE, FULL);
	ck_assert_uint_eq(cleared_of(100, 4 * SIZE, SPARSE), 0);
	ck_assert_uint_ge(cleared_of(100, SIZE, FULL), 90);
}
END_TEST

START_TEST(it_may_change)
{
	cleared_of(100, SIZE, FULL);
	cleared_of(200, SIZE, SPARSE);
	ck_assert_uint_eq(cleared_of(100, SIZE, SPARSE), 0);
	ck_assert_uint_ge(cleared_of(200, SIZE, FULL), 100);
}
END_TEST

/* As long as the one that is watched lives, no other is judged. */
START_TEST(what_lives_is_not_judged)
{
	char others[8];

	ck_assert(hk_zero_wants_fresh(SIZE));
	hk_zero_given(&block, SIZE);
	ck_assert(hk_zero_is_watched(&block));
	for (int i = 0; i < 8; i++) {
		ck_assert(hk_zero_wants_fresh(SIZE));
		hk_zero_given(&others[i], SIZE);
		ck_assert(!hk_zero_is_watched(&others[i]));
	}
	for (int i = 0; i < 64; i++)
		hk_zero_given(&others[i % 8], SIZE);
	/* But not for ever. */
	ck_assert(!hk_zero_is_watched(&block));
}
END_TEST

/* By the heap: all sizes, whatever was there before. */
START_TEST(what_calloc_gives_is_zero)
{
	uint64_t seed = new_seed(), state = seed;
	unsigned char *volatile blocks[8] = { 0 };

	printf("TEST_SEED=%#llx\n", (unsigned long long)seed);
	for (int i = 0; i < 1500 / STRIDE(30); i++) {
		size_t k = random_below(&state, 8);
		size_t size = 200000 + random_below(&state, (size_t)2 << 20);

		hk_heap_free(blocks[k], "test");
		if (random_below(&state, 2)) {
			blocks[k] = hk_heap_allocate_aligned(16, size, "test");
		} else {
			blocks[k] = hk_heap_allocate_zeroed(size);
			ck_assert(all_bytes(blocks[k], 0, size));
		}
		ck_assert_ptr_nonnull(blocks[k]);
		memset(blocks[k], 0xa5, random_below(&state, 3) ? size : 9);
	}
	for (size_t k = 0; k < 8; k++)
		hk_heap_free(blocks[k], "test");
	check_all();
}
END_TEST

START_TEST(where_pages_cannot_be_given_back)
{
	fail_after(HK_OS_PURGE, 0);
	for (int i = 0; i < 40; i++) {
		unsigned char *made = hk_heap_allocate_zeroed(SIZE);

		ck_assert(all_bytes(made, 0, SIZE));
		memset(made, 0xa5, SIZE);
		hk_heap_free(made, "test");
	}
	fail_no_more();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("zero");
	TCase *tcase = add_case(suite, "zero");

	tcase_add_checked_fixture(tcase, hk_init, NULL);
	tcase_add_test(tcase, of_what_is_not_filled_all_is_fresh);
	tcase_add_test(tcase, of_what_is_filled_next_to_none_is);
	tcase_add_test(tcase, sizes_are_apart);
	tcase_add_test(tcase, it_may_change);
	tcase_add_test(tcase, what_lives_is_not_judged);
	tcase_add_test(tcase, what_calloc_gives_is_zero);
	tcase_add_test(tcase, where_pages_cannot_be_given_back);
	return run_suite(suite);
}
