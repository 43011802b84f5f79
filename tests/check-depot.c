/* SPDX-License-Identifier: MIT
 *
 * depot: what lies there, which end leaves first, and how much may stay.
 */
#include "libcheck.h"

#include <sys/mman.h>

#include "slab.h"
#include "magazine.h"
#include "pool.h"

static void setup(void)
{
	hk_init();
	set_option("magazine_bytes", "2M");
	release_all();
}

static void teardown(void)
{
	fail_no_more();
}

/* Under the class's lock: n more blocks, from its slabs, on top of the depot. */
static void stack(unsigned size_class, uint32_t n)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;

	hk_depot_place_locked(size_class);
	while (n) {
		bool zero;
		uint32_t got = hk_slab_take_locked(
			size_class, &depot->blocks[depot->count], n, &zero);
		struct hk_slab *slab;

		depot->count += got;
		n -= got;
		if (!n)
			break;
		hk_unlock(&hk_classes[size_class].lock);
		slab = hk_pool_take(size_class, hk_class_info(size_class)->slots, 1,
				    false, &zero);
		ck_assert_ptr_nonnull(slab);
		hk_lock(&hk_classes[size_class].lock);
		hk_slab_attach_locked(size_class, slab, zero);
	}
}

static bool is_free(void *block)
{
	return hk_slab_is_free_locked(hk_slab_of(block), block);
}

static void drain_rest(unsigned size_class)
{
	hk_depot_drain_locked(size_class, hk_classes[size_class].depot.count, "test");
	hk_unlock(&hk_classes[size_class].lock);
	hk_pool_tidy();
	check_all();
}

START_TEST(the_bottom_leaves_first)
{
	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i += 8) {
		struct hk_depot *depot = &hk_classes[i].depot;
		void *blocks[40];
		uint64_t used;

		hk_lock(&hk_classes[i].lock);
		ck_assert_uint_eq(depot->count, 0);
		stack(i, 40);
		used = hk_classes[i].used;
		memcpy(blocks, depot->blocks, sizeof(blocks));
		hk_depot_drain_locked(i, 0, "test");
		ck_assert_uint_eq(depot->count, 40);
		hk_depot_drain_locked(i, 15, "test");
		ck_assert_uint_eq(depot->count, 25);
		ck_assert_uint_eq(hk_classes[i].used, used - 15);
		for (unsigned k = 15; k < 40; k++) {
			ck_assert_ptr_eq(depot->blocks[k - 15], blocks[k]);
			ck_assert(!is_free(blocks[k]));
		}
		hk_depot_drain_locked(i, 25, "test");
		ck_assert_uint_eq(depot->count, 0);
		ck_assert_uint_eq(hk_classes[i].used, used - 40);
		drain_rest(i);
	}
}
END_TEST

START_TEST(what_is_too_much_goes_on_from_the_top)
{
	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i += 16) {
		struct hk_depot *depot = &hk_classes[i].depot;
		uint32_t most = hk_class_info(i)->depot_max;
		void *first, *last, *excess[2];
		uint64_t used;

		ck_assert_uint_ge(most, 2);
		hk_lock(&hk_classes[i].lock);
		stack(i, most);
		used = hk_classes[i].used;
		hk_depot_settle_locked(i, "test");
		ck_assert_uint_eq(depot->count, most);
		ck_assert_uint_eq(hk_classes[i].used, used);
		first = depot->blocks[0];
		last = depot->blocks[most - 1];
		stack(i, 2);
		excess[0] = depot->blocks[most];
		excess[1] = depot->blocks[most + 1];
		hk_depot_settle_locked(i, "test");
		ck_assert_uint_eq(depot->count, most);
		ck_assert_uint_eq(hk_classes[i].used, used);
		ck_assert_ptr_eq(depot->blocks[0], first);
		ck_assert_ptr_eq(depot->blocks[most - 1], last);
		/* Unless they were the last of their slab, it knows them as free. */
		for (unsigned k = 0; k < 2; k++)
			ck_assert(hk_registry_kind(excess[k]) != i || is_free(excess[k]));
		drain_rest(i);
	}
}
END_TEST

/* It never holds more bytes of a class than this, and one batch that is on its way. */
START_TEST(it_is_bounded_in_bytes)
{
	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i++) {
		size_t most = hk_class_info(i)->depot_max;

		ck_assert_uint_gt(most, 0);
		ck_assert_uint_le(most, HK_DEPOT_MAX);
		ck_assert_uint_le(most * hk_class_size(i), 256 * 1024);
	}
}
END_TEST

/* What lay below the lowest count of the interval was touched by nobody. */
START_TEST(what_was_not_touched_leaves)
{
	unsigned i = hk_size_class_exact(64);
	struct hk_depot *depot = &hk_classes[i].depot;
	void *kept[30];

	hk_lock(&hk_classes[i].lock);
	stack(i, 100);
	hk_depot_age_locked(i, "test");
	/* New in this interval: it has had none to lie idle in. */
	ck_assert_uint_eq(depot->count, 100);
	hk_depot_taken_locked(depot, 30);
	ck_assert_uint_eq(depot->low, 70);
	stack(i, 10);
	ck_assert_uint_eq(depot->low, 70);
	hk_depot_taken_locked(depot, 5);
	ck_assert_uint_eq(depot->low, 70);
	stack(i, 25);
	ck_assert_uint_eq(depot->count, 100);
	memcpy(kept, &depot->blocks[70], sizeof(kept));
	hk_depot_age_locked(i, "test");
	ck_assert_uint_eq(depot->count, 30);
	for (unsigned k = 0; k < 30; k++)
		ck_assert_ptr_eq(depot->blocks[k], kept[k]);
	/* An interval in which nothing happened takes the rest. */
	hk_depot_age_locked(i, "test");
	ck_assert_uint_eq(depot->count, 0);
	ck_assert_uint_eq(depot->low, 0);
	drain_rest(i);
}
END_TEST

START_TEST(a_drain_lowers_the_mark)
{
	unsigned i = hk_size_class_exact(64);
	struct hk_depot *depot = &hk_classes[i].depot;

	hk_lock(&hk_classes[i].lock);
	stack(i, 50);
	hk_depot_age_locked(i, "test");
	ck_assert_uint_eq(depot->low, 50);
	hk_depot_drain_locked(i, 20, "test");
	ck_assert_uint_eq(depot->low, 30);
	stack(i, 50);
	hk_depot_age_locked(i, "test");
	ck_assert_uint_eq(depot->count, 50);
	drain_rest(i);
}
END_TEST

/* Pages of the first n notes that are resident. */
static size_t resident_pages(const struct hk_depot *depot, size_t n)
{
	uintptr_t first = hk_align_up((uintptr_t)depot->blocks, hk_os_page_size);
	uintptr_t end = (uintptr_t)(depot->blocks + n) & ~(hk_os_page_size - 1);
	unsigned char there[16];
	size_t pages = (end - first) / hk_os_page_size, count = 0;

	ck_assert_uint_le(pages, sizeof(there));
	ck_assert_int_eq(mincore((void *)first, end - first, there), 0);
	for (size_t k = 0; k < pages; k++)
		count += there[k] & 1u;
	return count;
}

START_TEST(an_empty_ones_pages_go_back)
{
	unsigned i = hk_size_class_exact(16);
	struct hk_depot *depot = &hk_classes[i].depot;
	void *last;

	if (hk_os_page_size > 8192)
		return;
	hk_lock(&hk_classes[i].lock);
	stack(i, HK_DEPOT_MAX);
	last = depot->blocks[HK_DEPOT_MAX - 1];
	hk_depot_purge_locked(i);
	ck_assert_uint_eq(resident_pages(depot, HK_DEPOT_MAX),
			  HK_DEPOT_MAX * sizeof(void *) / hk_os_page_size);
	ck_assert_ptr_eq(depot->blocks[HK_DEPOT_MAX - 1], last);
	hk_depot_drain_locked(i, HK_DEPOT_MAX, "test");
	hk_depot_purge_locked(i);
	ck_assert_uint_eq(resident_pages(depot, HK_DEPOT_MAX), 0);
	stack(i, HK_DEPOT_MAX);
	ck_assert_uint_gt(resident_pages(depot, HK_DEPOT_MAX), 0);
	hk_unlock(&hk_classes[i].lock);
	release_all();
	ck_assert_uint_eq(resident_pages(depot, HK_DEPOT_MAX), 0);
	check_all();
}
END_TEST

static void drain_twice_in(void *argument)
{
	unsigned i = *(unsigned *)argument;

	hk_lock(&hk_classes[i].lock);
	stack(i, 2);
	hk_classes[i].depot.blocks[1] = hk_classes[i].depot.blocks[0];
	hk_depot_drain_locked(i, 2, "test");
}

START_TEST(a_block_that_lies_there_twice_is_told)
{
	unsigned i = hk_size_class_exact(64);
	void *block;

	/* The child takes the same block: the first that a fresh slab has. */
	hk_lock(&hk_classes[i].lock);
	stack(i, 2);
	block = hk_classes[i].depot.blocks[0];
	hk_depot_drain_locked(i, 1, "test");
	hk_depot_drain_locked(i, 1, "test");
	stack(i, 2);
	block = hk_classes[i].depot.blocks[0];
	hk_depot_drain_locked(i, 2, "test");
	hk_unlock(&hk_classes[i].lock);
	ck_death(drain_twice_in, &i,
		 "test(): double free of %p (64-byte block, found at spill)", block);
}
END_TEST

/* ---- through it from magazine to magazine ---- */

enum { MANY = 4000 };

static void *blocks[MANY];
static uint64_t taken_from_slabs;

/* Consumer: frees what the other allocated, more than a magazine holds. */
static void *free_all(void *argument)
{
	unsigned i = *(unsigned *)argument;

	for (size_t k = 0; k < MANY; k++)
		if (!push_hit(i, blocks[k]))
			hk_magazine_spill(i, blocks[k], "test");
	return NULL;
}

/* Producer: what the other spilled serves it, without a visit to the slabs. */
static void *allocate_some(void *argument)
{
	unsigned i = *(unsigned *)argument;
	uint64_t used = hk_classes[i].used;

	for (size_t k = 0; k < 200; k++) {
		bool zero;

		if (!pop_hit(i, &blocks[k]))
			blocks[k] = hk_magazine_refill(i, &zero);
	}
	taken_from_slabs = hk_classes[i].used - used;
	return NULL;
}

static void *allocate_all(void *argument)
{
	unsigned i = *(unsigned *)argument;

	for (size_t k = 0; k < MANY; k++) {
		bool zero;

		if (!pop_hit(i, &blocks[k]))
			blocks[k] = hk_magazine_refill(i, &zero);
	}
	return NULL;
}

static void run_thread(void *(*function)(void *), void *argument)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, function, argument), 0);
	pthread_join(thread, NULL);
}

START_TEST(one_threads_spill_is_anothers_refill)
{
	unsigned i = hk_size_class_exact(64);

	run_thread(allocate_all, &i);
	run_thread(free_all, &i);
	ck_assert_uint_gt(hk_classes[i].depot.count, 200);
	taken_from_slabs = 1;
	run_thread(allocate_some, &i);
	ck_assert_uint_eq(taken_from_slabs, 0);
	for (size_t k = 0; k < 200; k++)
		hk_magazine_spill(i, blocks[k], "test");
	check_all();
	release_all();
	ck_assert_uint_eq(hk_classes[i].depot.count, 0);
	ck_assert_uint_eq(hk_classes[i].used, 0);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, one_threads_spill_is_anothers_refill);
}

int main(void)
{
	Suite *suite = suite_create("depot");
	TCase *tcase = add_case(suite, "depot");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, the_bottom_leaves_first);
	tcase_add_test(tcase, what_is_too_much_goes_on_from_the_top);
	tcase_add_test(tcase, it_is_bounded_in_bytes);
	tcase_add_test(tcase, what_was_not_touched_leaves);
	tcase_add_test(tcase, a_drain_lowers_the_mark);
	tcase_add_test(tcase, an_empty_ones_pages_go_back);
	tcase_add_test(tcase, a_block_that_lies_there_twice_is_told);
	add_both_forms(suite, setup, teardown, add_tests);
	return run_suite(suite);
}
