/* SPDX-License-Identifier: MIT
 *
 * growth: what medium blocks make resident ends at the most that was in use, and a twentieth.
 */
#include "libcheck.h"

#include "growth.h"
#include "medium.h"
#include "pool.h"

enum { KIB = 1024, LIVE = 400, BLOCKS = 520, LARGEST = 512 * KIB };

static void *blocks[BLOCKS];

static void setup(void)
{
	hk_init();
	set_option("purge_delay_ms", "3600000");
	release_all();
}

static void teardown(void)
{
	fail_no_more();
	for (size_t i = 0; i < BLOCKS; i++) {
		hk_heap_free(blocks[i], "test");
		blocks[i] = NULL;
	}
	release_all();
	check_all();
	set_option("thp", "never");
}

/* Of medium blocks, and what is EMPTY. */
static size_t resident(void)
{
	size_t active, empty;

	hk_pool_count(&active, &empty);
	return empty + hk_growth.touched * 256;
}

static void replace(uint64_t *state, size_t i)
{
	hk_heap_free(blocks[i], "test");
	blocks[i] = heap_block(70000 + random_below(state, LARGEST - 70000));
	ck_assert_ptr_nonnull(blocks[i]);
}

/* Blocks come and go; the most that was resident, in thousandths of the most that was in use. */
static size_t churn(unsigned turns)
{
	uint64_t seed = new_seed(), state = seed;
	size_t used = 0, most = 0;

	printf("TEST_SEED=%#llx\n", (unsigned long long)seed);
	for (size_t i = 0; i < LIVE; i++)
		replace(&state, i);
	for (unsigned i = 0; i < turns; i++) {
		hk_growth.credit = 1 << 15;
		replace(&state, random_below(&state, LIVE));
		if (hk_growth.used > used)
			used = hk_growth.used;
		if (resident() > most)
			most = resident();
	}
	return most * 1000 / (used * 256);
}

/* A request of up to 512 KiB is served before what lies free is given back for it. */
START_TEST(it_ends_at_a_twentieth)
{
	size_t most = churn(20000 / STRIDE(40));

	ck_assert_uint_ge(most, 1030);
	ck_assert_uint_le(most, 1057);
}
END_TEST

/*
 * Half of what is resident lies free, in pieces too short for what is asked for next: by so many
 * bytes more is resident in the end.
 */
static size_t grow_beside(bool credit)
{
	size_t before;

	for (size_t i = 0; i < LIVE; i++)
		blocks[i] = heap_block(70000);
	before = resident();
	for (size_t i = 0; i < LIVE; i += 2) {
		hk_heap_free(blocks[i], "test");
		blocks[i] = NULL;
	}
	for (size_t i = LIVE; i < BLOCKS; i++) {
		hk_growth.credit = credit ? 1 << 15 : 0;
		blocks[i] = heap_block(100000);
	}
	return resident() - before;
}

/* Larger pages make both sizes the same. */
START_TEST(what_lies_free_makes_room)
{
	if (hk_os_page_size <= 16384)
		ck_assert_uint_le(grow_beside(true), 5 << 20);
}
END_TEST

/* Unless more would have to be given back for it than may be; and then that is the limit. */
START_TEST(without_credit_it_goes_on)
{
	if (hk_os_page_size > 16384)
		return;
	ck_assert_uint_ge(grow_beside(false), 7 << 20);
	hk_growth.credit = 1 << 15;
	hk_lock(&hk_medium_lock);
	ck_assert_uint_le(hk_growth_excess_locked(), 2 * 114688 / 256);
	hk_unlock(&hk_medium_lock);
}
END_TEST

/* As if a request had grown beyond what is wanted. */
static void *grow_by(size_t size)
{
	void *block;

	atomic_store(&hk_growth_is_over, true);
	block = heap_block(size);
	ck_assert(!atomic_load(&hk_growth_is_over));
	return block;
}

/* Half of the most that was in use beyond the size classes, and little of what is handed out. */
START_TEST(how_much_may_be_given_back)
{
	hk_growth.beyond = hk_growth.credit = hk_growth.handed = 0;
	for (size_t i = 0; i < LIVE; i++)
		blocks[i] = heap_block(64 * KIB);
	blocks[LIVE] = grow_by(64 * KIB);
	ck_assert_uint_eq(hk_growth.credit, 0);
	blocks[LIVE + 1] = grow_by(512 * KIB);
	ck_assert_uint_eq(hk_growth.credit, 1024);
	blocks[LIVE + 2] = grow_by(512 * KIB);
	ck_assert_uint_eq(hk_growth.credit, 2048);
	blocks[LIVE + 3] = heap_block(512 * KIB);
	ck_assert_uint_eq(hk_growth.credit, 2048);
	hk_growth.credit = 0;
	hk_heap_free(blocks[LIVE + 3], "test");
	blocks[LIVE + 3] = heap_block(512 * KIB);
	ck_assert_uint_eq(hk_growth.credit, 2);
	blocks[LIVE + 4] = heap_block(96 * KIB);
	ck_assert_uint_eq(hk_growth.credit, 2);
	ck_assert_uint_gt(hk_growth.handed, 0);
}
END_TEST

START_TEST(and_where_huge_pages_are_asked_for)
{
	set_option("thp", "always");
	churn(2000 / STRIDE(40));
	ck_assert(!atomic_load(&hk_growth_is_over));
	ck_assert_uint_eq(hk_growth.most, 0);
}
END_TEST

/* What the kernel refuses to take stays, and is tried again. */
START_TEST(the_kernel_may_refuse)
{
	fail_after(HK_OS_PURGE, 0);
	churn(2000 / STRIDE(40));
	check_all();
}
END_TEST

/* A small heap may have this much lie free. */
START_TEST(four_mib_are_nothing)
{
	for (unsigned i = 0; i < 2000; i++) {
		void *some[8];

		for (size_t k = 0; k < 8; k++)
			some[k] = heap_block(70000 + 1000 * ((i * 7 + k) % 100));
		for (size_t k = 0; k < 8; k++)
			hk_heap_free(some[k], "test");
		ck_assert_uint_eq(hk_growth.most, 0);
	}
}
END_TEST

/* Before anything of the kernel's is given back, what magazines and depots have goes home. */
START_TEST(magazines_yield)
{
	void *some[20];

	for (unsigned round = 0; round < 10; round++) {
		for (size_t k = 0; k < 20; k++)
			some[k] = heap_block(40000);
		for (size_t k = 0; k < 20; k++)
			hk_heap_free(some[k], "test");
	}
	ck_assert_uint_gt(stats_now().bytes_cached, 0);
	hk_heap_free(grow_by(LARGEST), "test");
	ck_assert_uint_eq(stats_now().bytes_cached, 0);
}
END_TEST

/* Room whose pages are there is preferred to a lesser one of which they are not. */
START_TEST(pages_that_are_there_come_first)
{
	char *small[2], *other;

	small[0] = heap_block(200 * KIB);
	blocks[0] = heap_block(100 * KIB);
	small[1] = heap_block(240 * KIB);
	blocks[1] = heap_block(100 * KIB);
	hk_heap_free(small[0], "test");
	release_all();
	hk_heap_free(small[1], "test");
	other = heap_block(196 * KIB);
	ck_assert_ptr_eq(other, small[1]);
	blocks[2] = other;
	/* But not at any price. */
	blocks[3] = heap_block(196 * KIB);
	ck_assert_ptr_eq(blocks[3], small[0]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("growth");
	TCase *tcase = add_case(suite, "growth");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, it_ends_at_a_twentieth);
	tcase_add_test(tcase, what_lies_free_makes_room);
	tcase_add_test(tcase, without_credit_it_goes_on);
	tcase_add_test(tcase, how_much_may_be_given_back);
	tcase_add_test(tcase, and_where_huge_pages_are_asked_for);
	tcase_add_test(tcase, the_kernel_may_refuse);
	tcase_add_test(tcase, four_mib_are_nothing);
	tcase_add_test(tcase, magazines_yield);
	tcase_add_test(tcase, pages_that_are_there_come_first);
	return run_suite(suite);
}
