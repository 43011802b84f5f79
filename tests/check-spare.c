/* SPDX-License-Identifier: MIT
 *
 * spare: the slot that a class has emptied serves it again first, and is bounded in number
 * and time; to everyone else it is an EMPTY one.
 */
#include "libcheck.h"

#include "init.h"
#include "medium.h"
#include "medium.h"
#include "pool.h"
#include "slab.h"
#include "spare.h"

enum { MOST = 8192 };

static void *blocks[MOST];
static struct hk_slab *keeper;

/* A SuperSlab that stays: half of it is in use by others. */
static void setup(void)
{
	bool zero;

	hk_init();
	set_option("purge_delay_ms", "3600000");
	set_option("lru_superslabs", "2");
	release_all();
	keeper = hk_pool_take(HK_KIND_MEDIUM, HK_SLOTS / 2, 1, false, &zero);
	ck_assert_ptr_nonnull(keeper);
}

static void teardown(void)
{
	fail_no_more();
}

static void give_keeper(void)
{
	if (hk_pool_give(keeper))
		hk_pool_tidy();
}

/* A slab of the class, all of whose blocks are out. */
static struct hk_slab *open_slab(unsigned size_class, void **into)
{
	const struct hk_size_class *info = hk_class_info(size_class);
	struct hk_slab *slab;
	bool zero, ignored;

	slab = hk_pool_take(size_class, info->slots, 1, false, &zero);
	ck_assert_ptr_nonnull(slab);
	hk_lock(&hk_classes[size_class].lock);
	ck_assert_uint_eq(hk_slab_start_locked(size_class, slab, zero, into, info->blocks,
					       &ignored),
			  info->blocks);
	hk_unlock(&hk_classes[size_class].lock);
	return slab;
}

static void give_blocks(unsigned size_class, void **from, unsigned n)
{
	hk_lock(&hk_classes[size_class].lock);
	hk_slab_give_locked(size_class, from, n, "test");
	hk_unlock(&hk_classes[size_class].lock);
}

static void close_slab(unsigned size_class, void **from)
{
	give_blocks(size_class, from, hk_class_info(size_class)->blocks);
}

/* The class has one, in this slab's place. */
static struct hk_slab *make_spare(unsigned size_class)
{
	struct hk_slab *slab = open_slab(size_class, blocks);

	ck_assert_ptr_eq(hk_slab_superslab(slab), hk_slab_superslab(keeper));
	close_slab(size_class, blocks);
	ck_assert(hk_spare_has(slab));
	check_all();
	return slab;
}

static struct hakmem_query ask(const void *address)
{
	struct hakmem_query query = { .address = address };

	ck_assert_int_eq(hakmem_ctl(HAKMEM_QUERY, &query, sizeof(query)), 0);
	return query;
}

static void nothing_is_left(void)
{
	struct hakmem_stats stats;

	release_all();
	check_all();
	stats = stats_now();
	ck_assert_uint_eq(hk_spare_slots(), 0);
	ck_assert_uint_eq(stats.superslabs_live, 0);
	ck_assert_uint_eq(stats.slabs_empty, 0);
	ck_assert_uint_eq(stats.slabs_active, 0);
}

START_TEST(to_others_it_is_empty)
{
	unsigned i = hk_size_class_exact(1024);
	struct hakmem_stats before = stats_now(), after;
	struct hk_slab *slab = make_spare(i), *other;
	uint32_t slot = (uint32_t)1 << hk_slab_slot(slab);
	bool zero;

	after = stats_now();
	ck_assert_uint_eq(after.slabs_active, before.slabs_active);
	ck_assert_uint_eq(after.slabs_empty, before.slabs_empty + 1);
	ck_assert_uint_eq(hk_registry_kind(hk_slab_base(slab)), HK_KIND_NONE);
	ck_assert_uint_eq(ask(blocks[3]).state, HAKMEM_FREE);
	ck_assert_uint_eq(ask(blocks[3]).kind, HAKMEM_NONE);
	ck_assert_uint_eq(hk_classes[i].slabs, 0);
	/* But none of them gets it. */
	for (unsigned k = 0; k < HK_SLOTS / 2 - 1; k++) {
		other = hk_pool_take(HK_KIND_MEDIUM, 1, 1, false, &zero);
		ck_assert_ptr_eq(hk_slab_superslab(other), hk_slab_superslab(keeper));
		ck_assert_ptr_ne(other, slab);
		blocks[k] = other;
	}
	ck_assert(hk_slab_superslab(slab)->active & slot);
	check_all();
	for (unsigned k = 0; k < HK_SLOTS / 2 - 1; k++)
		hk_pool_give(blocks[k]);
	give_keeper();
	nothing_is_left();
}
END_TEST

START_TEST(its_class_gets_it_without_the_pools_lock)
{
	unsigned i = hk_size_class_exact(1024);
	struct hk_slab *slab = make_spare(i);
	uint64_t acquired;
	char *block;

	memset(hk_slab_base(slab), 1, HK_SLOT_BYTES);
	free(malloc(1)); /* The first call makes the set. */
	release_all();
	slab = make_spare(i);
	acquired = hk_pool_lock.acquired;
	block = malloc(1024);
	ck_assert_uint_eq(hk_pool_lock.acquired, acquired);
	ck_assert_ptr_eq(hk_slab_of(block), slab);
	ck_assert_uint_eq(hk_spare_slots(), 0);
	check_all();
	free(block);
	/* Its pages are as they were, so calloc has to clear them. */
	release_all();
	slab = open_slab(i, blocks);
	memset(hk_slab_base(slab), 1, HK_SLOT_BYTES);
	close_slab(i, blocks);
	ck_assert(hk_spare_has(slab));
	block = calloc(1, 1024);
	ck_assert_ptr_eq(hk_slab_of(block), slab);
	ck_assert(all_bytes(block, 0, 1024));
	free(block);
	give_keeper();
	nothing_is_left();
}
END_TEST

START_TEST(there_are_no_more_than_eight_slots)
{
	struct hk_superslab *superslab = hk_slab_superslab(keeper);
	unsigned slots = 0;

	for (unsigned i = 2; i <= HK_SLAB_CLASSES; i++) {
		unsigned more = hk_class_info(i)->slots;
		struct hk_slab *slab;

		if (superslab->free_slots < more)
			continue;
		slab = open_slab(i, blocks);
		close_slab(i, blocks);
		if (hk_slab_superslab(slab) != superslab)
			continue;
		ck_assert(hk_spare_has(slab) == (slots + more <= 8));
		slots += hk_spare_has(slab) ? more : 0;
		ck_assert_uint_eq(hk_spare_slots(), slots);
	}
	ck_assert_uint_eq(slots, 8);
	check_all();
	give_keeper();
	nothing_is_left();
}
END_TEST

START_TEST(a_class_has_one)
{
	unsigned i = hk_size_class_exact(64);
	struct hk_slab *first = open_slab(i, blocks), *second;

	second = open_slab(i, blocks + 2048);
	close_slab(i, blocks);
	close_slab(i, blocks + 2048);
	ck_assert(hk_spare_has(first));
	ck_assert(!hk_spare_has(second));
	ck_assert(hk_slab_superslab(second)->empty >> hk_slab_slot(second) & 1);
	check_all();
	give_keeper();
	nothing_is_left();
}
END_TEST

START_TEST(the_last_of_a_superslab_is_none)
{
	unsigned i = hk_size_class_exact(64);
	struct hk_slab *slab;

	give_keeper();
	release_all();
	slab = open_slab(i, blocks);
	ck_assert_uint_eq(hk_slab_superslab(slab)->tier, HK_TIER_FRESH);
	close_slab(i, blocks);
	ck_assert_uint_eq(hk_spare_slots(), 0);
	ck_assert_uint_eq(stats_now().superslabs_live, 0);
	ck_assert_uint_eq(hk_slab_superslab(slab)->tier, HK_TIER_FREE);
	check_all();
}
END_TEST

/* 9 slots: with the last of them the SuperSlab falls to a quarter. */
START_TEST(none_is_kept_in_a_superslab_that_drains)
{
	unsigned i = hk_size_class_exact(64);
	bool zero;
	struct hk_slab *other = hk_pool_take(HK_KIND_MEDIUM, 8, 1, false, &zero), *slab;

	ck_assert_ptr_eq(hk_slab_superslab(other), hk_slab_superslab(keeper));
	slab = open_slab(i, blocks);
	give_keeper();
	ck_assert_uint_eq(hk_slab_superslab(slab)->tier, HK_TIER_HOT);
	close_slab(i, blocks);
	ck_assert_uint_eq(hk_spare_slots(), 0);
	ck_assert_uint_eq(hk_slab_superslab(slab)->tier, HK_TIER_DRAINING);
	check_all();
	hk_pool_give(other);
	nothing_is_left();
}
END_TEST

START_TEST(nor_taken_from_one_that_has_come_to)
{
	unsigned i = hk_size_class_exact(64);
	bool zero;
	struct hk_slab *other = hk_pool_take(HK_KIND_MEDIUM, 4, 1, false, &zero);
	struct hk_slab *slab = make_spare(i);

	give_keeper();
	ck_assert_uint_eq(hk_slab_superslab(slab)->tier, HK_TIER_DRAINING);
	hk_lock(&hk_classes[i].lock);
	ck_assert_ptr_null(hk_spare_take(i));
	hk_unlock(&hk_classes[i].lock);
	ck_assert_uint_eq(hk_spare_slots(), 0);
	ck_assert(hk_slab_superslab(slab)->empty >> hk_slab_slot(slab) & 1);
	check_all();
	hk_pool_give(other);
	nothing_is_left();
}
END_TEST

START_TEST(it_goes_back_after_its_time)
{
	struct hk_slab *slab = make_spare(hk_size_class_exact(64));

	hk_pool_tidy();
	ck_assert(hk_spare_has(slab));
	ck_assert_uint_gt(hk_pool_due_ms(), 1000000);
	set_option("purge_delay_ms", "50");
	ck_assert_uint_le(hk_pool_due_ms(), 50);
	usleep(100000);
	ck_assert_uint_eq(hk_pool_due_ms(), 0);
	hk_pool_tidy();
	ck_assert_uint_eq(hk_spare_slots(), 0);
	check_all();
	give_keeper();
	nothing_is_left();
}
END_TEST

START_TEST(it_goes_back_before_another_superslab_is_mapped)
{
	struct hk_slab *slab = make_spare(hk_size_class_exact(64)), *other;
	uint64_t mapped = hk_pool_counters.superslabs_mapped;
	bool zero;

	/* All that is left besides, and one more. */
	other = hk_pool_take(HK_KIND_MEDIUM, HK_SLOTS / 2 - 1, 1, false, &zero);
	ck_assert(hk_spare_has(slab));
	ck_assert_ptr_eq(hk_pool_take(HK_KIND_MEDIUM, 1, 1, false, &zero), slab);
	ck_assert(!zero);
	ck_assert_uint_eq(hk_pool_counters.superslabs_mapped, mapped);
	ck_assert_uint_eq(hk_spare_slots(), 0);
	check_all();
	hk_pool_give(slab);
	hk_pool_give(other);
	give_keeper();
	nothing_is_left();
}
END_TEST

static unsigned freed_class;

static void give_again(void *argument)
{
	(void)argument;
	give_blocks(freed_class, blocks, 1);
}

static void free_again(void *block)
{
	free(block);
}

START_TEST(its_blocks_are_freed)
{
	freed_class = hk_size_class_exact(64);
	make_spare(freed_class);
	ck_death(give_again, NULL,
		 "test(): double free of %p (64-byte block, found at spill)", blocks[0]);
	ck_death(free_again, blocks[0],
		 "free(): invalid pointer %p (not a block of this allocator)", blocks[0]);
	give_keeper();
	nothing_is_left();
}
END_TEST

/* The slot was a medium block's once, which is not to be told of it any more. */
START_TEST(what_was_there_before_is_forgotten)
{
	bool zero;
	char *base = hk_medium_allocate(131072, 1, false, &zero, NULL);
	struct hk_slab *medium = hk_slab_of(base), *slab;

	hk_medium_free(base, "free");
	ck_death(free_again, base, "free(): double free of %p (131072-byte block)",
		 (void *)base);
	slab = make_spare(hk_size_class_exact(64));
	ck_assert_ptr_eq(slab, medium);
	ck_death(free_again, base,
		 "free(): invalid pointer %p (not a block of this allocator)",
		 (void *)base);
	give_keeper();
	nothing_is_left();
}
END_TEST

START_TEST(a_child_has_it)
{
	unsigned i = hk_size_class_exact(1024);
	struct hk_slab *slab = make_spare(i);
	int status;
	pid_t pid;

	free(malloc(1));
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		void *block = malloc(1024);
		bool same = hk_slab_of(block) == slab;

		check_all();
		free(block);
		give_keeper();
		nothing_is_left();
		_exit(same ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	give_keeper();
	nothing_is_left();
}
END_TEST

/* Slabs come and go, of a few classes, while others take the spares away. */
static _Atomic bool done;
static _Atomic unsigned bad;

static void *churn(void *argument)
{
	uint64_t random = (uintptr_t)argument;
	static _Thread_local unsigned char *held[64];

	for (unsigned step = 0; step < 20000; step++) {
		size_t k = random_below(&random, 64);

		if (held[k]) {
			bad += *held[k] != (unsigned char)k;
			free(held[k]);
			held[k] = NULL;
		} else {
			held[k] = malloc((size_t)8192 << random_below(&random, 4));
			if (held[k])
				*held[k] = (unsigned char)k;
		}
	}
	for (size_t k = 0; k < 64; k++)
		free(held[k]);
	return NULL;
}

static void *disturb(void *unused)
{
	struct hk_pool_released released;

	while (!done) {
		hk_pool_release(&released);
		check_all();
		hakmem_ctl(HAKMEM_FLUSH, NULL, 0);
	}
	return unused;
}

START_TEST(threads_keep_and_take)
{
	pthread_t threads[3], other;

	set_option("purge_delay_ms", "0");
	done = false;
	pthread_create(&other, NULL, disturb, NULL);
	for (uintptr_t k = 0; k < 3; k++)
		pthread_create(&threads[k], NULL, churn, (void *)(k + 1));
	for (size_t k = 0; k < 3; k++)
		pthread_join(threads[k], NULL);
	done = true;
	pthread_join(other, NULL);
	ck_assert_uint_eq(bad, 0);
	give_keeper();
	nothing_is_left();
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, to_others_it_is_empty);
	tcase_add_test(tcase, its_class_gets_it_without_the_pools_lock);
	tcase_add_test(tcase, there_are_no_more_than_eight_slots);
	tcase_add_test(tcase, a_class_has_one);
	tcase_add_test(tcase, the_last_of_a_superslab_is_none);
	tcase_add_test(tcase, none_is_kept_in_a_superslab_that_drains);
	tcase_add_test(tcase, nor_taken_from_one_that_has_come_to);
	tcase_add_test(tcase, it_goes_back_after_its_time);
	tcase_add_test(tcase, it_goes_back_before_another_superslab_is_mapped);
	tcase_add_test(tcase, its_blocks_are_freed);
	tcase_add_test(tcase, what_was_there_before_is_forgotten);
	tcase_add_test(tcase, a_child_has_it);
	tcase_add_test(tcase, threads_keep_and_take);
}

int main(void)
{
	Suite *suite = suite_create("spare");

	add_both_forms(suite, setup, teardown, add_tests);
	return run_suite(suite);
}
