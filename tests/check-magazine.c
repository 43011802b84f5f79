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

static ptrdiff_t kept_id;

static void setup(void)
{
	hk_init();
	kept_id = hk_rseq_id;
	set_option("magazine_bytes", "2M");
	release_all();
}

static void teardown(void)
{
	fail_no_more();
	hk_rseq_id = kept_id;
	chosen_id = 0;
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
		for (uint32_t i = 0; i < hk_set_count(set, size_class); i++)
			found |= hk_set_blocks(set, size_class)[i] == block;
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

	if (!pop_hit(size_class, &block))
		block = hk_magazine_refill(size_class, &zero);
	ck_assert_ptr_nonnull(block);
	return block;
}

static void put(unsigned size_class, void *block)
{
	if (!push_hit(size_class, block))
		hk_magazine_spill(size_class, block, "test");
}

START_TEST(kinds_that_are_no_class_have_none)
{
	static const unsigned kinds[] = { HK_KIND_NONE, HK_KIND_MEDIUM, HK_KIND_LARGE };
	void *block = get(5), *none = NULL;

	put(5, block);
	for (size_t i = 0; i < 3; i++) {
		ck_assert(!pop_hit(kinds[i], &none));
		ck_assert(!hk_thread_pop(kinds[i], &none));
		ck_assert(!push_hit(kinds[i], block));
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

/* Freed, it goes to a magazine whose class has never had a refill nor a spill. */
START_TEST(one_that_came_from_no_magazine)
{
	size_t size = hk_class_size(HK_SLAB_CLASSES) + 1;
	unsigned i = hk_size_class_exact(size);
	struct hk_flushed flushed;
	void *block;

	/* So that there is a set. */
	put(1, get(1));
	block = memalign(4096, size);
	ck_assert_aligned(block, 4096);
	ck_assert_uint_eq(hk_registry_kind(block), i);
	free(block);
	ck_assert_uint_eq(cached_blocks(i), 1);
	flushed = flush(false);
	ck_assert_uint_ge(flushed.blocks, 1);
	ck_assert_uint_eq(cached_blocks(i), 0);
	check_all();
}
END_TEST

/* Where there is no slab to be had, a block of a larger class has the alignment, too. */
START_TEST(one_of_a_larger_class_is_aligned)
{
	static const size_t alignments[] = { 32, 128, 512, 1024, 2048 };
	size_t alignment = alignments[_i], larger = 0, unaligned = 0;
	unsigned size_class = hk_size_class_exact(alignment);
	unsigned last = hk_size_class_exact(4096);
	void *block, *list = NULL;

	release_all();
	for (unsigned i = size_class + 1; i <= last; i++)
		blocks[i] = get(i);
	fail_after(HK_OS_MAP, 0);
	while ((block = memalign(alignment, alignment)) != NULL) {
		unaligned += (uintptr_t)block % alignment != 0;
		larger += hk_registry_kind(block) != size_class;
		*(void **)block = list;
		list = block;
	}
	/* Without such a wish more can be granted. */
	block = malloc(alignment);
	fail_no_more();
	ck_assert_uint_eq(unaligned, 0);
	/* Beyond 2 KiB blocks have the alignment of a grain. */
	ck_assert_uint_eq(larger > 0, alignment < 2048);
	ck_assert_ptr_nonnull(block);
	free(block);
	while (list) {
		block = list;
		list = *(void **)block;
		free(block);
	}
	for (unsigned i = size_class + 1; i <= last; i++)
		put(i, blocks[i]);
	check_all();
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
	/* All that was given out by then is in use; but that magazines age, if it takes long. */
	ck_assert_uint_gt(bytes, (RUNNING_ON_VALGRIND ? 32 : 128) * 1024);
	ck_assert_uint_le(bytes, 256 * 1024 * hk_set_records.in_use);
	check_all();
}
END_TEST

static void free_twice(void *block)
{
	put(7, block);
	put(7, block);
}

/* Also where there is no room for another. */
static void fill_up_and_free_twice(void *block)
{
	struct hk_set *set = hk_sets_current();
	size_t k = 0;

	while (hk_set_count(set, 7) + 1 < hk_set_capacity(set, 7))
		put(7, blocks[k++]);
	put(7, block);
	if (hk_set_count(set, 7) == hk_set_capacity(set, 7))
		put(7, block);
}

START_TEST(they_tell_of_a_block_that_lies_on_top)
{
	void *block;

	/* The children's, too. */
	choose_ids();
	block = get(7);
	for (size_t k = 0; k < MANY; k++)
		blocks[k] = get(7);
	flush(true);
	ck_death(free_twice, block, "test(): double free of %p (96-byte block)", block);
	ck_death(fill_up_and_free_twice, block,
		 "test(): double free of %p (96-byte block)", block);
	put(7, block);
	for (size_t k = 0; k < MANY; k++)
		put(7, blocks[k]);
	check_all();
}
END_TEST

START_TEST(they_can_be_disabled)
{
	hk_magazine_disable(true);
	for (size_t k = 0; k < 100; k++) {
		void *block = get(7), *none;

		ck_assert(!push_hit(7, block));
		put(7, block);
		ck_assert(!is_in_a_magazine(7, block));
		ck_assert(!pop_hit(7, &none));
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

/* ---- in bulk ---- */

enum { BULK = 8000 };

/* What comes from fresh slabs comes as its neighbours lie, lowest first. */
START_TEST(a_bulk_fill_goes_upwards)
{
	static const size_t sizes[] = { 16, 64, 256, 2048 };

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		unsigned i = hk_size_class_exact(sizes[s]);
		size_t ordered = 0;

		release_all();
		for (size_t k = 0; k < BULK; k++) {
			blocks[k] = get(i);
			ordered += k && (char *)blocks[k] - (char *)blocks[k - 1] ==
						(ptrdiff_t)sizes[s];
		}
		/* But for slabs' ends, and CPUs that were changed. */
		ck_assert_uint_gt(ordered, BULK - BULK / 10);
		for (size_t k = 0; k < BULK; k++)
			put(i, blocks[k]);
		check_all();
	}
}
END_TEST

static void swap(size_t one, size_t other)
{
	void *block = blocks[one];

	blocks[one] = blocks[other];
	blocks[other] = block;
}

static void turn(size_t from, size_t to)
{
	while (from < to)
		swap(from++, --to);
}

enum order { UPWARDS, DOWNWARDS, BY_TURNS, EVERY_OTHER, SHORT_RUNS, NO_ORDER, ORDERS };

static void bring_into(enum order order, uint64_t *random)
{
	switch (order) {
	case UPWARDS:
		break;
	case DOWNWARDS:
		turn(0, BULK);
		break;
	case BY_TURNS:
		for (size_t k = 0; k < BULK; k += 100)
			if (k / 100 % 2)
				turn(k, k + 100);
		break;
	case EVERY_OTHER:
		for (size_t k = 0; k < BULK / 2; k += 2)
			swap(k, BULK - 2 - k);
		break;
	case SHORT_RUNS:
		/* About as long as is worth a sequence: a little less or more. */
		for (size_t k = 0; k + 40 < BULK; k += random_below(random, 30) + 3)
			swap(k, random_below(random, BULK));
		break;
	default:
		for (size_t k = BULK; k > 1; k--)
			swap(k - 1, random_below(random, k));
	}
}

START_TEST(a_bulk_drain_in_every_order)
{
	static const size_t sizes[] = { 8, 16, 48, 64, 1024, 2048 };
	uint64_t seed = new_seed(), random = seed;
	unsigned i = hk_size_class_exact(sizes[(size_t)_i / ORDERS]);
	enum order order = (enum order)(_i % ORDERS);

	for (size_t k = 0; k < BULK; k++)
		blocks[k] = get(i);
	bring_into(order, &random);
	for (unsigned round = 0; round < 2; round++) {
		uint64_t before = hk_classes[i].used - cached_blocks(i);

		for (size_t k = 0; k < BULK; k++)
			*(size_t *)blocks[k] = k;
		for (size_t k = 0; k < BULK; k++) {
			ck_assert_msg(*(size_t *)blocks[k] == k, "TEST_SEED=%lu", seed);
			put(i, blocks[k]);
			if (k % 1000 == 0)
				ck_assert_uint_eq(hk_classes[i].used - cached_blocks(i),
						  before - k - 1);
		}
		ck_assert_uint_le(hk_classes[i].depot.count, hk_class_info(i)->depot_max);
		check_all();
		/* In whatever order they come now, again, and once more. */
		for (size_t k = 0; k < BULK; k++)
			blocks[k] = get(i);
		check_all();
	}
	for (size_t k = 0; k < BULK; k++)
		put(i, blocks[k]);
	flush(true);
	ck_assert_uint_eq(hk_classes[i].used, 0);
	ck_assert_uint_eq(hk_classes[i].slabs, 0);
	check_all();
}
END_TEST

/*
 * What follows looks at a single refill or spill.  The thread's set is its own, so that only
 * two things may come between: a preemption, which aborts a sequence, and the end of an
 * interval.  Neither comes each time, so what should be is tried a few times.
 */
enum { ATTEMPTS = 10 };

static const size_t bulk_sizes[] = { 16, 64, 256, 2048 };

enum { BULK_SIZES = sizeof(bulk_sizes) / sizeof(bulk_sizes[0]) };

/* Nothing cached, and the magazine at its full capacity; that of the calling thread. */
static struct hk_set *make_ready(unsigned size_class)
{
	size_t n = 4 * (size_t)hk_class_info(size_class)->capacity;
	struct hk_set *set;

	if (is_per_cpu()) {
		choose_ids();
		chosen_id = 3;
	}
	/* Of what is beyond one_way, each turn from empty to full gains a step. */
	for (unsigned turns = 0; turns < 4; turns++) {
		for (size_t k = 0; k < n; k++)
			blocks[k] = get(size_class);
		for (size_t k = 0; k < n; k++)
			put(size_class, blocks[k]);
	}
	release_all();
	set = hk_sets_current();
	ck_assert_ptr_nonnull(set);
	ck_assert_uint_eq(hk_set_capacity(set, size_class),
			  hk_class_info(size_class)->capacity);
	ck_assert_uint_eq(cached_blocks(size_class), 0);
	return set;
}

/* n blocks, straight from the slabs, lowest first. */
static void hold(unsigned size_class, void **held, uint32_t n)
{
	while (n) {
		struct hk_slab *slab;
		unsigned got;
		bool zero;

		hk_lock(&hk_classes[size_class].lock);
		got = hk_slab_take_locked(size_class, held, n, &zero);
		hk_unlock(&hk_classes[size_class].lock);
		for (unsigned k = 0; k < got / 2; k++) {
			void *block = held[k];

			held[k] = held[got - 1 - k];
			held[got - 1 - k] = block;
		}
		held += got;
		n -= got;
		if (got)
			continue;
		slab = hk_pool_take(size_class, hk_class_info(size_class)->slots, 1,
				    false, &zero);
		ck_assert_ptr_nonnull(slab);
		hk_lock(&hk_classes[size_class].lock);
		hk_slab_attach_locked(size_class, slab, zero);
		hk_unlock(&hk_classes[size_class].lock);
	}
}

static void give_home(unsigned size_class, void **held, uint32_t n)
{
	if (!n)
		return;
	hk_lock(&hk_classes[size_class].lock);
	hk_slab_give_locked(size_class, held, n, "test");
	hk_unlock(&hk_classes[size_class].lock);
	hk_pool_tidy();
}

static bool is_home(unsigned size_class, void *block)
{
	bool home = hk_registry_kind(block) != size_class;

	hk_lock(&hk_classes[size_class].lock);
	home = home || hk_slab_is_free_locked(hk_slab_of(block), block);
	hk_unlock(&hk_classes[size_class].lock);
	return home;
}

static bool is_in_depot(unsigned size_class, const void *block)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;

	for (uint32_t k = 0; k < depot->count; k++)
		if (depot->blocks[k] == block)
			return true;
	return false;
}

/*
 * A magazine full of neighbours spills into a depot with little room: as many as there is
 * room for stay, the others go home, and the depot's old blocks lie where they lay.
 */
static bool spill_beside(unsigned size_class, uint32_t room, enum order order)
{
	static void *in_depot[HK_DEPOT_MAX], *spilled[HK_BATCH];
	const struct hk_size_class *info = hk_class_info(size_class);
	struct hk_set *set = make_ready(size_class);
	struct hk_depot *depot = &hk_classes[size_class].depot;
	uint32_t full = info->capacity, n = full / 2 > HK_BATCH ? HK_BATCH : full / 2;
	uint32_t kept = 0, count, old;
	bool good;

	if (room > info->depot_max)
		room = info->depot_max;
	old = info->depot_max - room;
	hold(size_class, in_depot, old);
	hold(size_class, blocks, full + 1);
	if (order == DOWNWARDS)
		turn(0, full + 1);
	else if (order == SHORT_RUNS)
		/* Two runs, of which one is not worth it, or both, or neither. */
		swap(full - 1 - room % n, 0);
	hk_lock(&hk_classes[size_class].lock);
	memcpy(depot->blocks, in_depot, old * sizeof(void *));
	depot->count = old;
	hk_unlock(&hk_classes[size_class].lock);
	for (uint32_t k = 0; k < full; k++)
		put(size_class, blocks[k]);
	good = hk_set_count(set, size_class) == full && depot->count == old;
	memcpy(spilled, blocks + full - n, n * sizeof(void *));
	put(size_class, blocks[full]);
	count = hk_set_count(set, size_class);

	/* What is left of a spill that took most of it stays in the magazine. */
	good &= count >= full - n + 1 && count <= full - n / 2 + 1 &&
		hk_set_blocks(set, size_class)[count - 1] == blocks[full];
	good &= order == SHORT_RUNS || count == full - n + 1;
	for (uint32_t k = 0; k < count - 1; k++)
		good &= hk_set_blocks(set, size_class)[k] == blocks[k];
	good &= !memcmp(depot->blocks, in_depot, old * sizeof(void *));
	for (uint32_t k = count - 1 - (full - n); k < n; k++) {
		bool stays = is_in_depot(size_class, spilled[k]);

		kept += stays;
		good &= stays != is_home(size_class, spilled[k]);
	}
	good &= kept == depot->count - old && depot->count <= info->depot_max;
	good &= kept == (room < full + 1 - count ? room : full + 1 - count);
	for (uint32_t k = old + 1; k < depot->count && order != SHORT_RUNS; k++) {
		ptrdiff_t step = (char *)depot->blocks[k] - (char *)depot->blocks[k - 1];

		good &= step == (ptrdiff_t)info->size || step == -(ptrdiff_t)info->size;
	}
	check_all();
	flush(true);
	ck_assert_uint_eq(hk_classes[size_class].used, 0);
	check_all();
	return good;
}

START_TEST(a_spill_into_a_depot_that_is_nearly_full)
{
	static const uint32_t rooms[] = { 0, 1, 2, 3, 5, 15, 16, 17, 31, 40, 500, 2048 };
	unsigned i = hk_size_class_exact(bulk_sizes[_i]);

	for (size_t r = (size_t)_i % STRIDE(4); r < sizeof(rooms) / sizeof(rooms[0]);
	     r += STRIDE(4)) {
		static const enum order orders[] = { UPWARDS, DOWNWARDS, SHORT_RUNS };

		for (size_t o = 0; o < 3; o++) {
			bool good = false;

			for (unsigned k = 0; k < ATTEMPTS && !good; k++)
				good = spill_beside(i, rooms[r], orders[o]);
			ck_assert_msg(good, "room for %u of %u bytes, order %d", rooms[r],
				      hk_class_info(i)->size, orders[o]);
		}
	}
}
END_TEST

/* The magazine is filled, but for some room, while its thread waits for the class's lock. */
static struct filler {
	struct hk_set *set;
	unsigned size_class;
	uint32_t room;
	_Atomic bool ready;
} filler;

static void *fill_meanwhile(void *argument)
{
	struct hk_lock *lock = &hk_classes[filler.size_class].lock;
	uint32_t count = hk_set_capacity(filler.set, filler.size_class) - filler.room;

	(void)argument;
	hk_lock(lock);
	filler.ready = true;
	/* 2: there is someone who waits in the kernel. */
	while (atomic_load(&lock->state) != 2)
		sched_yield();
	memcpy(hk_set_blocks(filler.set, filler.size_class), blocks,
	       count * sizeof(void *));
	hk_set_put_count(filler.set, filler.size_class, count);
	hk_unlock(lock);
	return NULL;
}

/*
 * A refill that finds the magazine nearly full, by others who came in between: the caller
 * gets the lowest, the magazine the highest there is room for, the depot those between, so
 * that of either the lowest is popped first.
 */
static bool refill_beside(unsigned size_class, uint32_t room, bool broken)
{
	static void *found[HK_BATCH], *partly[8192];
	const struct hk_size_class *info = hk_class_info(size_class);
	struct hk_set *set = make_ready(size_class);
	struct hk_depot *depot = &hk_classes[size_class].depot;
	uint32_t full = info->capacity, n = full / 2 > HK_BATCH ? HK_BATCH : full / 2;
	uint32_t held = 0, pushed, rest;
	pthread_t thread;
	char *block;
	bool zero, good;

	hold(size_class, blocks, full);
	/* Use up what is left in part, so that the next comes from where is known. */
	hk_lock(&hk_classes[size_class].lock);
	while (held < 8192 &&
	       hk_slab_take_locked(size_class, &partly[held], 1, &zero) == 1)
		held++;
	hk_unlock(&hk_classes[size_class].lock);
	if (broken) {
		void **free_again = partly + held;
		uint32_t back = 0;

		hold(size_class, free_again, info->blocks);
		/* Ten in a row, then every other one. */
		for (uint32_t k = 0; k < info->blocks; k++) {
			block = free_again[k];
			if ((k > 10 && k % 2 == 0) || back == n || k == info->blocks - 1u)
				partly[held++] = block;
			else
				found[back++] = block;
		}
		n = back;
		give_home(size_class, found, n);
	}
	filler = (struct filler){ .set = set, .size_class = size_class, .room = room };
	ck_assert_int_eq(pthread_create(&thread, NULL, fill_meanwhile, NULL), 0);
	while (!filler.ready)
		sched_yield();
	block = hk_magazine_refill(size_class, &zero);
	pthread_join(thread, NULL);
	if (!broken) {
		uint32_t most = info->blocks;

		n = n < most ? n : most;
		for (uint32_t k = 0; k < n; k++)
			found[k] = block + (size_t)k * info->size;
	}

	pushed = room < n - 1 ? room : n - 1;
	rest = n - 1 - pushed;
	good = block == found[0] && depot->count == rest &&
	       hk_set_count(set, size_class) == full - room + pushed;
	for (uint32_t k = 0; good && k < pushed; k++)
		good &= hk_set_blocks(set, size_class)[full - room + k] ==
			found[n - 1 - k];
	for (uint32_t k = 0; good && k < rest; k++)
		good &= depot->blocks[k] == found[rest - k];
	check_all();
	put(size_class, block);
	flush(true);
	give_home(size_class, blocks + full - room, room);
	give_home(size_class, partly, held);
	ck_assert_uint_eq(hk_classes[size_class].used, 0);
	check_all();
	return good;
}

START_TEST(a_refill_of_a_magazine_with_little_room)
{
	unsigned i = hk_size_class_exact(bulk_sizes[_i]);
	uint32_t full = hk_class_info(i)->capacity;
	uint32_t n = full / 2 > HK_BATCH ? HK_BATCH : full / 2;
	const uint32_t rooms[] = { 0,     1,     2,     3, 4,     5,   9,
				   n / 2, n - 2, n - 1, n, n + 1, full };

	for (size_t r = (size_t)_i % STRIDE(4); r < sizeof(rooms) / sizeof(rooms[0]);
	     r += STRIDE(4))
		for (int broken = 0; broken < 2; broken++) {
			bool good = false;

			for (unsigned k = 0; k < ATTEMPTS && !good; k++)
				good = refill_beside(i, rooms[r], broken);
			ck_assert_msg(good, "room for %u of %u bytes%s", rooms[r],
				      hk_class_info(i)->size, broken ? ", broken" : "");
		}
}
END_TEST

/* calloc must clear the block it gets, whatever the others of the batch are. */
START_TEST(only_a_fresh_block_of_a_refill_is_zero)
{
	unsigned i = hk_size_class_exact(64);
	char *block;
	bool zero;

	make_ready(i);
	block = hk_magazine_refill(i, &zero);
	ck_assert(zero);
	put(i, block);
	release_all();
	/* Ten that were used, then those that never were. */
	hold(i, blocks, 20);
	give_home(i, blocks, 10);
	zero = true;
	block = hk_magazine_refill(i, &zero);
	ck_assert_ptr_eq(block, blocks[0]);
	ck_assert(!zero);
	ck_assert_uint_gt(cached_blocks(i), 10);
	put(i, block);
	give_home(i, blocks + 10, 10);
	check_all();
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, kinds_that_are_no_class_have_none);
	tcase_add_test(tcase, what_is_put_is_got);
	tcase_add_test(tcase, blocks_are_distinct_and_all_come_back);
	tcase_add_test(tcase, a_full_magazine_spills_and_keeps_some);
	tcase_add_test(tcase, a_flush_of_ones_own_leaves_the_depots);
	tcase_add_test(tcase, one_that_came_from_no_magazine);
	tcase_add_loop_test(tcase, one_of_a_larger_class_is_aligned, 0, 5);
	tcase_add_test(tcase, a_flush_tells_what_it_did);
	tcase_add_test(tcase, threads_that_end_leave_nothing_of_their_own);
	tcase_add_test(tcase, a_sleeping_thread_is_reached);
	tcase_add_test(tcase, magazines_may_hold_nothing);
	tcase_add_test(tcase, the_budget_is_kept);
	tcase_add_test(tcase, they_tell_of_a_block_that_lies_on_top);
	tcase_add_test(tcase, they_can_be_disabled);
	tcase_add_test(tcase, a_child_has_the_others_magazines);
	tcase_add_test(tcase, no_memory);
	tcase_add_test(tcase, threads_side_by_side);
	tcase_add_test(tcase, threads_that_miss_together);
	tcase_add_test(tcase, a_bulk_fill_goes_upwards);
	tcase_add_loop_test(tcase, a_bulk_drain_in_every_order, 0, 6 * ORDERS);
	tcase_add_loop_test(tcase, a_spill_into_a_depot_that_is_nearly_full, 0,
			    BULK_SIZES);
	tcase_add_loop_test(tcase, a_refill_of_a_magazine_with_little_room, 0,
			    BULK_SIZES);
	tcase_add_test(tcase, only_a_fresh_block_of_a_refill_is_zero);
}

int main(void)
{
	Suite *suite = suite_create("magazine");

	add_both_forms(suite, setup, teardown, add_tests);
	return run_suite(suite);
}
