/* SPDX-License-Identifier: MIT
 *
 * magazine: refill, spill, flush, and what becomes of them when threads end or fork; in
 * both forms.
 */
#include "libcheck.h"

#include "depot.h"
#include "magazine.h"
#include "pool.h"
#include "slab.h"

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

/* In all magazines, and in the depot. */
static uint64_t cached_blocks(unsigned size_class)
{
	uint64_t blocks_cached;

	hk_lock(&hk_sets_lock);
	hk_sets_stop();
	hk_lock(&hk_classes[size_class].lock);
	blocks_cached = hk_sets_count_locked(size_class);
	hk_unlock(&hk_classes[size_class].lock);
	hk_sets_resume();
	hk_unlock(&hk_sets_lock);
	return blocks_cached;
}

static bool is_in_a_magazine(unsigned size_class, const void *block)
{
	bool found = false;

	hk_lock(&hk_sets_lock);
	hk_sets_stop();
	for (struct hk_set *set = hk_sets; set; set = set->next)
		for (uint32_t i = 0; i < set->magazine[size_class].count; i++)
			found |= set->blocks[size_class][i] == block;
	hk_sets_resume();
	hk_unlock(&hk_sets_lock);
	return found;
}

static struct hk_flushed flush(bool all)
{
	struct hk_flushed flushed;

	hk_magazine_flush(all, &flushed, "test");
	return flushed;
}

static void *run_thread(void *(*function)(void *), void *argument)
{
	pthread_t thread;
	void *result = NULL;

	ck_assert_int_eq(pthread_create(&thread, NULL, function, argument), 0);
	pthread_join(thread, &result);
	return result;
}

static void *get(unsigned size_class)
{
	void *block = NULL;
	bool zero;

	if (!hk_magazine_pop(size_class, &block))
		block = hk_magazine_refill(size_class, &zero);
	ck_assert_ptr_nonnull(block);
	return block;
}

static void put(unsigned size_class, void *block)
{
	if (!hk_magazine_push(size_class, block))
		hk_magazine_spill(size_class, block, "test");
}

START_TEST(kinds_that_are_no_class_have_none)
{
	static const unsigned kinds[] = { HK_KIND_NONE, HK_KIND_MEDIUM, HK_KIND_LARGE };
	void *block = get(5), *none = NULL;

	put(5, block);
	for (size_t i = 0; i < 3; i++) {
		ck_assert(!hk_magazine_pop(kinds[i], &none));
		ck_assert(!hk_thread_pop(kinds[i], &none));
		ck_assert(!hk_magazine_push(kinds[i], block));
		ck_assert(!hk_thread_push(kinds[i], block));
	}
	ck_assert_ptr_null(none);
	check_all();
}
END_TEST

/* The last one freed is the next one served: it is warm. */
START_TEST(what_is_put_is_got)
{
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		void *block = get(i);

		ck_assert_uint_eq(hk_registry_kind(block), i);
		ck_assert(!is_in_a_magazine(i, block));
		flush(false);
		put(i, block);
		ck_assert(is_in_a_magazine(i, block));
		ck_assert_ptr_eq(get(i), block);
		ck_assert(!is_in_a_magazine(i, block));
		put(i, block);
	}
	check_all();
}
END_TEST

enum { MANY = 20000 };

static void *blocks[MANY];

START_TEST(blocks_are_distinct_and_all_come_back)
{
	static const unsigned classes[] = { 1, 2, 5, 10, 25, 40 };

	for (size_t c = 0; c < sizeof(classes) / sizeof(classes[0]); c++) {
		unsigned i = classes[c];
		uint64_t used = hk_classes[i].used - cached_blocks(i);

		for (size_t k = 0; k < MANY / 4; k++) {
			blocks[k] = get(i);
			*(size_t *)blocks[k] = k;
		}
		ck_assert_uint_eq(hk_classes[i].used - cached_blocks(i), used + MANY / 4);
		for (size_t k = 0; k < MANY / 4; k++) {
			ck_assert_uint_eq(*(size_t *)blocks[k], k);
			put(i, blocks[k]);
		}
		ck_assert_uint_eq(hk_classes[i].used - cached_blocks(i), used);
	}
	check_all();
	flush(true);
	for (size_t c = 0; c < sizeof(classes) / sizeof(classes[0]); c++)
		ck_assert_uint_eq(cached_blocks(classes[c]), 0);
	check_all();
}
END_TEST

START_TEST(a_full_magazine_spills_and_keeps_some)
{
	unsigned i = hk_size_class_exact(64);
	uint64_t spills;

	for (size_t k = 0; k < MANY; k++)
		blocks[k] = get(i);
	flush(false);
	spills = hk_classes[i].spills;
	for (size_t k = 0; k < MANY; k++) {
		put(i, blocks[k]);
		if (k % 16)
			continue;
		ck_assert(is_in_a_magazine(i, blocks[k]));
		ck_assert_uint_le(cached_blocks(i), hk_class_info(i)->capacity +
							    hk_class_info(i)->depot_max);
	}
	ck_assert_uint_gt(hk_classes[i].spills, spills);
	ck_assert_uint_lt(hk_classes[i].spills - spills, MANY / 8);
	ck_assert_uint_ge(cached_blocks(i), hk_class_info(i)->capacity / 4);
	flush(false);
	ck_assert(!is_in_a_magazine(i, blocks[MANY - 1]));
	check_all();
}
END_TEST

/* Its own, or its CPU's, magazines; depots are everyone's. */
START_TEST(a_flush_of_ones_own_leaves_the_depots)
{
	unsigned i = hk_size_class_exact(64);
	uint64_t cached, in_depot;
	struct hk_flushed flushed;

	for (size_t k = 0; k < 4000; k++)
		blocks[k] = get(i);
	for (size_t k = 0; k < 4000; k++)
		put(i, blocks[k]);
	cached = cached_blocks(i);
	in_depot = hk_classes[i].depot.count;
	ck_assert_uint_gt(in_depot, 0);
	flushed = flush(false);
	ck_assert_uint_eq(cached_blocks(i), in_depot);
	ck_assert_uint_eq(flushed.blocks, cached - in_depot);
	ck_assert_uint_eq(flushed.bytes, 64 * flushed.blocks);
	check_all();
	flushed = flush(true);
	ck_assert_uint_eq(flushed.blocks, in_depot);
	ck_assert_uint_eq(cached_blocks(i), 0);
}
END_TEST

START_TEST(a_flush_tells_what_it_did)
{
	struct hk_flushed flushed;
	uint64_t count = 0, bytes = 0;

	for (unsigned i = 1; i <= HK_CLASSES; i += 3)
		put(i, get(i));
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		count += cached_blocks(i);
		bytes += cached_blocks(i) * hk_class_size(i);
	}
	ck_assert_uint_gt(count, 0);
	flushed = flush(true);
	ck_assert_uint_eq(flushed.blocks, count);
	ck_assert_uint_eq(flushed.bytes, bytes);
	ck_assert_uint_eq(flushed.unreached, 0);
	flushed = flush(true);
	ck_assert_uint_eq(flushed.blocks + flushed.bytes + flushed.unreached, 0);
}
END_TEST

static void *cache_some(void *argument)
{
	unsigned *size_class = argument;

	for (size_t k = 0; k < 500; k++)
		blocks[k] = get(*size_class);
	for (size_t k = 0; k < 500; k++)
		put(*size_class, blocks[k]);
	return (void *)(uintptr_t)cached_blocks(*size_class);
}

START_TEST(threads_that_end_leave_nothing_of_their_own)
{
	unsigned i = hk_size_class_exact(112);
	size_t sets;

	flush(true);
	ck_assert_ptr_ne(run_thread(cache_some, &i), NULL);
	sets = hk_set_records.in_use;
	for (int k = 0; k < 200; k++)
		run_thread(cache_some, &i);
	/* Per CPU, each CPU may have got its own meanwhile. */
	ck_assert_uint_le(hk_set_records.in_use,
			  is_per_cpu() ? (size_t)sysconf(_SC_NPROCESSORS_CONF) : sets);
	ck_assert_uint_le(cached_blocks(i), 2 * (500 + HK_BATCH));
	if (!is_per_cpu())
		ck_assert_uint_eq(cached_blocks(i), hk_classes[i].depot.count);
	check_all();
	flush(true);
	ck_assert_uint_eq(hk_classes[i].used, 0);
}
END_TEST

static pthread_barrier_t gate;

static void *cache_and_sleep(void *argument)
{
	cache_some(argument);
	pthread_barrier_wait(&gate);
	pthread_barrier_wait(&gate);
	return NULL;
}

static pthread_t start_sleeper(unsigned *size_class)
{
	pthread_t thread;

	pthread_barrier_init(&gate, NULL, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, cache_and_sleep, size_class), 0);
	pthread_barrier_wait(&gate);
	return thread;
}

static void end_sleeper(pthread_t thread)
{
	pthread_barrier_wait(&gate);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&gate);
}

START_TEST(a_sleeping_thread_is_reached)
{
	unsigned i = hk_size_class_exact(112);
	struct hk_flushed flushed;
	pthread_t thread;
	uint64_t cached;

	flush(true);
	thread = start_sleeper(&i);
	cached = cached_blocks(i);
	ck_assert_uint_ge(cached, 500);
	flushed = flush(true);
	ck_assert_uint_eq(flushed.unreached, 0);
	ck_assert_uint_eq(flushed.blocks, cached);
	ck_assert_uint_eq(cached_blocks(i), 0);
	ck_assert_uint_eq(hk_classes[i].used, 0);
	end_sleeper(thread);
	check_all();
}
END_TEST

START_TEST(magazines_may_hold_nothing)
{
	set_option("magazine_bytes", "0");
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 1; i <= HK_CLASSES; i += 5) {
			for (size_t k = 0; k < 50; k++)
				blocks[k] = get(i);
			for (size_t k = 0; k < 50; k++) {
				put(i, blocks[k]);
				ck_assert(!is_in_a_magazine(i, blocks[k]));
			}
			ck_assert_uint_le(cached_blocks(i), hk_class_info(i)->depot_max);
		}
	check_all();
	set_option("magazine_bytes", "2M");
	for (size_t k = 0; k < 50; k++)
		blocks[k] = get(5);
	for (size_t k = 0; k < 50; k++)
		put(5, blocks[k]);
	ck_assert(is_in_a_magazine(5, blocks[49]));
}
END_TEST

START_TEST(the_budget_is_kept)
{
	uint64_t bytes = 0;

	set_option("magazine_bytes", "256K");
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		size_t n = 4 * (size_t)hk_class_info(i)->capacity;

		if (n > MANY)
			n = MANY;
		for (size_t k = 0; k < n; k++)
			blocks[k] = get(i);
		for (size_t k = 0; k < n; k++)
			put(i, blocks[k]);
	}
	for (unsigned i = 1; i <= HK_CLASSES; i++)
		bytes += (cached_blocks(i) - hk_classes[i].depot.count) *
			 hk_class_size(i);
	/* All that was given out by then is in use. */
	ck_assert_uint_gt(bytes, 128 * 1024);
	ck_assert_uint_le(bytes, 256 * 1024 * hk_set_records.in_use);
	check_all();
}
END_TEST

START_TEST(they_can_be_disabled)
{
	hk_magazine_disable(true);
	for (size_t k = 0; k < 100; k++) {
		void *block = get(7), *none;

		ck_assert(!hk_magazine_push(7, block));
		put(7, block);
		ck_assert(!is_in_a_magazine(7, block));
		ck_assert(!hk_magazine_pop(7, &none));
	}
	hk_magazine_disable(false);
	for (size_t k = 0; k < 100; k++)
		blocks[k] = get(7);
	for (size_t k = 0; k < 100; k++)
		put(7, blocks[k]);
	ck_assert(is_in_a_magazine(7, blocks[99]));
}
END_TEST

/* The child of fork() has the magazines of threads that it does not have. */
START_TEST(a_child_has_the_others_magazines)
{
	unsigned i = hk_size_class_exact(112);
	pthread_t thread = start_sleeper(&i);
	int status;
	pid_t pid;

	ck_assert_uint_gt(cached_blocks(i), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct hk_flushed flushed;
		int bad = 0;

		alarm(20);
		if (hakmem_ctl(HAKMEM_CHECK, NULL, 0))
			bad |= 1;
		/* Per thread, home or in the depot; per CPU, they are the child's. */
		if (!is_per_cpu() && cached_blocks(i) != hk_classes[i].depot.count)
			bad |= 2;
		put(i, get(i));
		flushed = flush(true);
		if (flushed.unreached || cached_blocks(i) || hk_classes[i].used)
			bad |= 4;
		_exit(bad);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_gt(cached_blocks(i), 0);
	end_sleeper(thread);
}
END_TEST

/* No memory for a set, nor for a slab: NULL, and everything as before. */
static void *without_memory(void *argument)
{
	size_t *served = argument;
	void *block;
	bool zero;

	fail_after(HK_OS_MAP, 0);
	while ((block = hk_magazine_refill(hk_size_class_exact(4096), &zero)) != NULL) {
		*(void **)block = blocks[0];
		blocks[0] = block;
		++*served;
	}
	fail_no_more();
	while (blocks[0]) {
		block = blocks[0];
		blocks[0] = *(void **)block;
		put(hk_registry_kind(block), block);
	}
	return NULL;
}

START_TEST(no_memory)
{
	size_t served = 0;

	set_option("tiny_profile", "full");
	blocks[0] = NULL;
	release_all();
	run_thread(without_memory, &served);
	check_all();
	set_option("tiny_profile", "conservative");
	put(3, get(3));
}
END_TEST

static _Atomic int bad;

static void *churn(void *argument)
{
	uint64_t random = (uintptr_t)argument;
	static __thread struct {
		size_t *block;
		unsigned size_class;
	} held[200];

	for (unsigned step = 0; step < 60000; step++) {
		size_t k = random_below(&random, 200);

		if (held[k].block) {
			bad += *held[k].block != (uintptr_t)argument + k;
			put(held[k].size_class, held[k].block);
			held[k].block = NULL;
		} else {
			held[k].size_class = (unsigned)random_below(&random, 40) + 1;
			held[k].block = get(held[k].size_class);
			*held[k].block = (uintptr_t)argument + k;
		}
		if (step % 10000 == 0)
			flush(true);
	}
	for (size_t k = 0; k < 200; k++)
		if (held[k].block)
			put(held[k].size_class, held[k].block);
	return NULL;
}

START_TEST(threads_side_by_side)
{
	pthread_t threads[4];

	for (uintptr_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, churn,
						(void *)((i + 1) << 20)),
				 0);
	for (unsigned i = 0; i < 50; i++) {
		check_all();
		usleep(1000);
	}
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(bad, 0);
	check_all();
	flush(true);
	for (unsigned i = 1; i <= 40; i++)
		ck_assert_uint_eq(cached_blocks(i), 0);
}
END_TEST

static void *miss(void *argument)
{
	unsigned size_class = *(unsigned *)argument;

	for (unsigned i = 0; i < 300; i++) {
		struct hk_pool_released released;
		void *block;

		pthread_barrier_wait(&gate);
		block = get(size_class);
		if (pthread_barrier_wait(&gate) == PTHREAD_BARRIER_SERIAL_THREAD)
			hakmem_ctl(HAKMEM_CHECK, NULL, 0);
		pthread_barrier_wait(&gate);
		put(size_class, block);
		flush(false);
		/* So that the next one is mapped: time enough to come in between. */
		hk_pool_release(&released);
	}
	return NULL;
}

/*
 * All find their magazine and the slabs empty at once, and each brings a slab of its own:
 * those that are not needed must not stay behind, attached and unused.
 */
START_TEST(threads_that_miss_together)
{
	static const size_t sizes[] = { 64, 3000, 57344 };
	pthread_t threads[4];

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		unsigned i = hk_size_class_exact(sizes[s]);

		release_all();
		pthread_barrier_init(&gate, NULL, 4);
		for (size_t k = 0; k < 4; k++)
			ck_assert_int_eq(pthread_create(&threads[k], NULL, miss, &i), 0);
		for (size_t k = 0; k < 4; k++)
			pthread_join(threads[k], NULL);
		pthread_barrier_destroy(&gate);
		flush(true);
		check_all();
		ck_assert_uint_eq(hk_classes[i].used, 0);
		ck_assert_uint_eq(hk_classes[i].slabs, 0);
	}
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, kinds_that_are_no_class_have_none);
	tcase_add_test(tcase, what_is_put_is_got);
	tcase_add_test(tcase, blocks_are_distinct_and_all_come_back);
	tcase_add_test(tcase, a_full_magazine_spills_and_keeps_some);
	tcase_add_test(tcase, a_flush_of_ones_own_leaves_the_depots);
	tcase_add_test(tcase, a_flush_tells_what_it_did);
	tcase_add_test(tcase, threads_that_end_leave_nothing_of_their_own);
	tcase_add_test(tcase, a_sleeping_thread_is_reached);
	tcase_add_test(tcase, magazines_may_hold_nothing);
	tcase_add_test(tcase, the_budget_is_kept);
	tcase_add_test(tcase, they_can_be_disabled);
	tcase_add_test(tcase, a_child_has_the_others_magazines);
	tcase_add_test(tcase, no_memory);
	tcase_add_test(tcase, threads_side_by_side);
	tcase_add_test(tcase, threads_that_miss_together);
}

int main(void)
{
	Suite *suite = suite_create("magazine");

	add_both_forms(suite, setup, teardown, add_tests);
	return run_suite(suite);
}
