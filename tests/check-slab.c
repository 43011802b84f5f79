/* SPDX-License-Identifier: MIT
 *
 * slab: every block of a slab of every class, in bitmaps; double and interior frees are
 * told.
 */
#include "libcheck.h"

#include "debug/poison.h"
#include "init.h"
#include "pool.h"
#include "slab.h"

enum { MANY = 8192 };

static void *blocks[2 * MANY];

static void setup(void)
{
	hk_init();
	release_all();
}

static void teardown(void)
{
	fail_no_more();
}

static struct hk_slab *attach(unsigned size_class, bool *zero)
{
	struct hk_slab *slab = hk_pool_take(size_class, hk_class_info(size_class)->slots,
					    1, false, zero);

	ck_assert_ptr_nonnull(slab);
	hk_lock(&hk_classes[size_class].lock);
	hk_slab_attach_locked(size_class, slab, *zero);
	hk_unlock(&hk_classes[size_class].lock);
	return slab;
}

static unsigned take(unsigned size_class, void **into, unsigned n, bool *zero)
{
	unsigned taken;

	hk_lock(&hk_classes[size_class].lock);
	taken = hk_slab_take_locked(size_class, into, n, zero);
	hk_unlock(&hk_classes[size_class].lock);
	return taken;
}

static void give(unsigned size_class, void **from, unsigned n)
{
	bool tidy;

	hk_lock(&hk_classes[size_class].lock);
	tidy = hk_slab_give_locked(size_class, from, n, "test");
	hk_unlock(&hk_classes[size_class].lock);
	if (tidy)
		hk_pool_tidy();
}

START_TEST(every_block_of_every_class)
{
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		const struct hk_size_class *info = hk_class_info(i);
		bool zero, block_zero = false;
		struct hk_slab *slab = attach(i, &zero);
		char *base = hk_slab_base(slab);
		uint64_t used = hk_classes[i].used;

		/* More than there are: as many as there are. */
		ck_assert_uint_eq(take(i, blocks, info->blocks + 5u, &block_zero),
				  info->blocks);
		ck_assert_uint_eq(slab->used, info->blocks);
		ck_assert_uint_eq(hk_classes[i].used, used + info->blocks);
		ck_assert(HK_POISON || block_zero == zero);
		/*
		 * The lowest address is the last, so that a magazine hands it out
		 * first.
		 */
		ck_assert_ptr_eq(blocks[info->blocks - 1], hk_slab_first_block(slab));
		for (unsigned k = 0; k < info->blocks; k++) {
			char *block = blocks[info->blocks - 1 - k];
			size_t natural = info->size & -(size_t)info->size;

			ck_assert_ptr_eq(block, hk_slab_first_block(slab) +
							(size_t)k * info->size);
			ck_assert_aligned(block, natural < HK_SLOT_BYTES ? natural
									 : HK_SLOT_BYTES);
			ck_assert(block >= base &&
				  block + info->size <=
					  base + info->slots * HK_SLOT_BYTES);
			ck_assert_ptr_eq(hk_slab_of(block), slab);
			ck_assert_ptr_eq(hk_slab_block_of(slab, block), block);
			ck_assert_ptr_eq(hk_slab_block_of(slab, block + info->size - 1),
					 block);
		}
		ck_assert_uint_eq(take(i, blocks + MANY, 1, &block_zero), 0);
		check_all();
		/* Back in one batch: the slab is empty, and the pool's again. */
		give(i, blocks, info->blocks);
		ck_assert_uint_eq(slab->kind, HK_KIND_NONE);
		ck_assert_uint_eq(hk_registry_kind(base), HK_KIND_NONE);
		ck_assert_uint_eq(hk_classes[i].used, used);
		check_all();
	}
}
END_TEST

START_TEST(batches_in_any_order)
{
	uint64_t seed = new_seed(), random = seed;

	for (unsigned i = 1; i <= HK_CLASSES; i += 4) {
		unsigned held = 0, slabs = 0;
		bool zero;

		for (unsigned step = 0; step < 300; step++) {
			unsigned n = (unsigned)random_below(&random, 40) + 1;

			if (random_below(&random, 5) < 3 && held + n < MANY) {
				unsigned got = take(i, blocks + held, n, &zero);

				if (got < n && slabs++ < 100)
					attach(i, &zero);
				for (unsigned k = held; k < held + got; k++) {
					struct hk_slab *slab = hk_slab_of(blocks[k]);

					hk_lock(&hk_classes[i].lock);
					ck_assert(
						!hk_slab_is_free_locked(slab, blocks[k]));
					hk_unlock(&hk_classes[i].lock);
					*(uint32_t *)blocks[k] = k;
				}
				held += got;
			} else if (held) {
				if (n > held)
					n = held;
				/*
				 * From a random place, so that slabs fill and empty
				 * unevenly.
				 */
				for (unsigned k = 0; k < n; k++) {
					size_t j = random_below(&random, held - k);
					void *block = blocks[j];

					blocks[j] = blocks[held - k - 1];
					*(uint32_t *)blocks[j] = (uint32_t)j;
					blocks[held - k - 1] = block;
				}
				held -= n;
				give(i, blocks + held, n);
			}
			for (unsigned k = 0; k < held; k += 7)
				ck_assert_msg(*(uint32_t *)blocks[k] == k,
					      "TEST_SEED=%lu", seed);
		}
		give(i, blocks, held);
		/*
		 * A slab that was attached and never used is the caller's mistake; use
		 * them up.
		 */
		while ((held = take(i, blocks, MANY, &zero)) != 0)
			give(i, blocks, held);
		check_all();
	}
}
END_TEST

START_TEST(the_fullest_slab_serves_first)
{
	unsigned i = hk_size_class_exact(1024);
	const struct hk_size_class *info = hk_class_info(i);
	struct hk_slab *first, *second;
	bool zero;

	first = attach(i, &zero);
	ck_assert_uint_eq(take(i, blocks, info->blocks, &zero), info->blocks);
	second = attach(i, &zero);
	ck_assert_uint_eq(take(i, blocks + info->blocks, info->blocks, &zero),
			  info->blocks);
	/* One block of the second is free, and all but one of the first. */
	give(i, blocks + info->blocks, 1);
	give(i, blocks + 1, info->blocks - 1u);
	ck_assert_uint_eq(take(i, blocks + info->blocks, 1, &zero), 1);
	ck_assert_ptr_eq(hk_slab_of(blocks[info->blocks]), second);
	ck_assert_uint_eq(take(i, blocks + 1, 1, &zero), 1);
	ck_assert_ptr_eq(hk_slab_of(blocks[1]), first);
	give(i, blocks, 2);
	give(i, blocks + info->blocks, info->blocks);
	check_all();
}
END_TEST

/* By how much the use that the moves between quarters have kept may be wrong. */
START_TEST(the_use_of_a_superslab_is_that_of_its_slabs)
{
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		const struct hk_size_class *info = hk_class_info(i);
		unsigned step = info->blocks / 37 + 1, held = 0;
		bool zero;
		struct hk_slab *slab = attach(i, &zero);
		struct hk_superslab *superslab = hk_slab_superslab(slab);

		while (held < info->blocks) {
			unsigned exact, n = take(i, blocks + held, step, &zero);

			ck_assert_uint_ge(n, 1);
			held += n;
			exact = 8 * info->slots * held / info->blocks;
			ck_assert_uint_le(superslab->use, exact + 2 * info->slots);
			ck_assert_uint_ge(superslab->use + 2 * info->slots, exact);
			check_all();
		}
		ck_assert_uint_eq(superslab->use, 8 * info->slots);
		while (held) {
			unsigned n = held < step ? held : step, exact;

			held -= n;
			give(i, blocks + held, n);
			exact = 8 * info->slots * held / info->blocks;
			ck_assert_uint_le(superslab->use, exact + 2 * info->slots);
			ck_assert_uint_ge(superslab->use + 2 * info->slots, exact);
			check_all();
		}
		ck_assert_uint_eq(superslab->use, 0);
		release_all();
	}
}
END_TEST

/* All but one slot of the SuperSlab that this is in, or of a new one. */
static struct hk_slab *take_rest(void)
{
	bool zero;
	struct hk_slab *slab = hk_pool_take(HK_KIND_MEDIUM, HK_SLOTS - 1, 1, false,
					    &zero);

	ck_assert_ptr_nonnull(slab);
	slab->bytes = HK_SLOT_BYTES;
	return slab;
}

START_TEST(slabs_in_draining_superslabs_serve_last)
{
	unsigned i = hk_size_class_exact(1024), n = hk_class_info(i)->blocks;
	struct hk_slab *rest = take_rest(), *first, *second, *other;
	bool zero;

	first = attach(i, &zero);
	ck_assert_ptr_eq(hk_slab_superslab(first), hk_slab_superslab(rest));
	ck_assert_uint_eq(take(i, blocks, n, &zero), n);
	other = take_rest();
	second = attach(i, &zero);
	ck_assert_ptr_eq(hk_slab_superslab(second), hk_slab_superslab(other));
	ck_assert_uint_eq(take(i, blocks + n, n, &zero), n);
	/* The one with more in use, but its SuperSlab drains: known only when it is its turn. */
	give(i, blocks + n - 8, 8);
	give(i, blocks + n, 60);
	hk_pool_give(rest);
	ck_assert_uint_eq(hk_slab_superslab(first)->tier, HK_TIER_DRAINING);
	ck_assert_uint_eq(first->bucket, 3);
	for (unsigned k = 0; k < 60; k++) {
		ck_assert(hk_slab_ready_locked(i));
		ck_assert_uint_eq(take(i, blocks + n + k, 1, &zero), 1);
		ck_assert_ptr_eq(hk_slab_of(blocks[n + k]), second);
	}
	ck_assert_uint_eq(first->bucket, 3 | HK_BUCKET_DRAINING);
	check_all();
	ck_assert(!hk_slab_ready_locked(i));
	ck_assert_uint_eq(take(i, blocks + n - 8, 1, &zero), 1);
	ck_assert_ptr_eq(hk_slab_of(blocks[n - 8]), first);
	/* Its SuperSlab is wanted again: that is seen when the class has no other. */
	rest = take_rest();
	ck_assert_ptr_eq(hk_slab_superslab(rest), hk_slab_superslab(first));
	ck_assert_uint_eq(hk_slab_superslab(first)->tier, HK_TIER_HOT);
	ck_assert_uint_eq(first->bucket, 3 | HK_BUCKET_DRAINING);
	ck_assert(hk_slab_ready_locked(i));
	ck_assert_uint_eq(first->bucket, 3);
	check_all();
	give(i, blocks, n - 7);
	give(i, blocks + n, n);
	hk_pool_give(rest);
	hk_pool_give(other);
	check_all();
	release_all();
	ck_assert_uint_eq(stats_now().superslabs_live, 0);
}
END_TEST

/* A batch does not fall back on them, once it has some blocks. */
START_TEST(a_batch_of_both)
{
	unsigned i = hk_size_class_exact(1024), n = hk_class_info(i)->blocks;
	struct hk_slab *rest = take_rest(), *first, *second;
	bool zero;

	first = attach(i, &zero);
	ck_assert_uint_eq(take(i, blocks, n, &zero), n);
	take_rest();
	second = attach(i, &zero);
	ck_assert_uint_eq(take(i, blocks + n, n, &zero), n);
	give(i, blocks + n - 8, 8);
	give(i, blocks + n, 3);
	hk_pool_give(rest);
	ck_assert_uint_eq(take(i, blocks + n, 9, &zero), 3);
	ck_assert_ptr_eq(hk_slab_of(blocks[n]), second);
	ck_assert_uint_eq(take(i, blocks + n - 8, 9, &zero), 8);
	ck_assert_ptr_eq(hk_slab_of(blocks[n - 8]), first);
	check_all();
}
END_TEST

/*
 * Many SuperSlabs have come to drain at once: one call puts a few of their slabs aside, and
 * the next ones the others.
 */
START_TEST(late_lists_are_put_right_a_few_at_a_time)
{
	enum { SUPERSLABS = 30 };
	unsigned i = hk_size_class_exact(1024), n = hk_class_info(i)->blocks, late = 0;
	static struct hk_slab *rests[SUPERSLABS], *slabs[SUPERSLABS];
	bool zero;

	for (unsigned k = 0; k < SUPERSLABS; k++) {
		rests[k] = take_rest();
		slabs[k] = attach(i, &zero);
		ck_assert_uint_eq(take(i, blocks + k * n, n, &zero), n);
	}
	for (unsigned k = 0; k < SUPERSLABS; k++)
		give(i, blocks + k * n, 1);
	for (unsigned k = 0; k < SUPERSLABS; k++)
		hk_pool_give(rests[k]);
	ck_assert(hk_slab_ready_locked(i));
	for (unsigned k = 0; k < SUPERSLABS; k++)
		late += slabs[k]->bucket == 3;
	ck_assert_uint_gt(late, SUPERSLABS / 2);
	ck_assert_uint_lt(late, SUPERSLABS);
	for (unsigned calls = 0; calls < SUPERSLABS; calls++)
		hk_slab_ready_locked(i);
	for (unsigned k = 0; k < SUPERSLABS; k++)
		ck_assert_uint_eq(slabs[k]->bucket, 3 | HK_BUCKET_DRAINING);
	check_all();
}
END_TEST

START_TEST(first_blocks_are_coloured)
{
	unsigned i = hk_size_class_exact(1280);
	const struct hk_size_class *info = hk_class_info(i);
	static struct hk_slab *slabs[16];
	unsigned different = 0, n = info->colours < 16 ? info->colours : 16;
	bool zero;

	ck_assert_uint_gt(info->colours, 1);
	for (unsigned k = 0; k < n; k++) {
		slabs[k] = attach(i, &zero);
		ck_assert_uint_eq(take(i, blocks + k * info->blocks, info->blocks, &zero),
				  info->blocks);
		for (unsigned j = 0; j < k; j++)
			different += slabs[j]->colour != slabs[k]->colour;
	}
	ck_assert_uint_eq(different, n * (n - 1) / 2);
	give(i, blocks, n * info->blocks);
}
END_TEST

/* calloc need not clear what was never handed out; what was, it must. */
START_TEST(only_fresh_blocks_are_zero)
{
	unsigned i = hk_size_class_exact(4096);
	bool zero;
	struct hk_slab *slab;

	/* However slow the machine, an empty run is not purged before it is looked at. */
	set_option("purge_delay_ms", "3600000");
	release_all();
	slab = attach(i, &zero);
	ck_assert(zero);
	ck_assert_uint_eq(take(i, blocks, 1, &zero), 1);
	ck_assert(zero == !HK_POISON);
	ck_assert(HK_POISON || all_bytes(blocks[0], 0, 4096));
	memset(blocks[0], 1, 4096);
	ck_assert_uint_eq(take(i, blocks + 1, 1, &zero), 1);
	ck_assert(zero == !HK_POISON);
	give(i, blocks, 1);
	ck_assert_uint_eq(take(i, blocks, 1, &zero), 1);
	ck_assert(!zero);
	give(i, blocks, 2);
	ck_assert_uint_eq(slab->kind, HK_KIND_NONE);

	/* The slab's run, EMPTY, comes back with what was in it. */
	slab = attach(i, &zero);
	ck_assert(!zero);
	ck_assert_uint_eq(take(i, blocks, 1, &zero), 1);
	ck_assert(!zero);
	give(i, blocks, 1);
}
END_TEST

static void give_blocks(void *argument)
{
	unsigned *n = argument;

	give(hk_size_class_exact(32), blocks, *n);
}

/*
 * Two slabs side by side: the last block of one touches the first of the next.  Runs of
 * neighbours are freed, upwards and downwards, with gaps; one block of each slab stays.
 */
static void free_runs(size_t size, uint64_t *random)
{
	unsigned i = hk_size_class_exact(size), n = 2 * hk_class_info(i)->blocks,
		 left = n;
	static bool is_free[MANY];
	void *batch[100];
	struct hk_slab *slab;
	char *first;
	bool zero;

	release_all();
	slab = attach(i, &zero);
	ck_assert_ptr_eq(attach(i, &zero), slab + 1);
	first = hk_slab_first_block(slab);
	ck_assert_ptr_eq(hk_slab_first_block(slab + 1), first + n / 2 * size);
	ck_assert_uint_eq(take(i, blocks, n, &zero), n);
	memset(is_free, 0, sizeof(is_free));
	for (unsigned round = 0; round < 3000 && left > 2; round++) {
		unsigned k = (unsigned)random_below(random, n), count = 0;
		bool up = random_below(random, 2);

		for (; count < 100 && k > 0 && k < n - 1; k += up ? 1 : -1u) {
			if (is_free[k] || random_below(random, 20) == 0)
				continue;
			batch[count++] = first + k * size;
			is_free[k] = true;
		}
		give(i, batch, count);
		left -= count;
		hk_lock(&hk_classes[i].lock);
		for (k = 0; k < n; k++) {
			char *block = first + k * size;

			ck_assert(hk_slab_is_free_locked(hk_slab_of(block), block) ==
				  is_free[k]);
		}
		hk_unlock(&hk_classes[i].lock);
	}
	check_all();
	ck_assert_uint_eq(left, 2);
	batch[0] = first;
	batch[1] = first + (n - 1) * size;
	give(i, batch, 2);
}

START_TEST(neighbours_in_either_order)
{
	uint64_t seed = new_seed(), random = seed;

	free_runs(16, &random);
	free_runs(64, &random);
	free_runs(4096, &random);
}
END_TEST

/* The one that is free already is named, wherever in the run it lies. */
START_TEST(a_free_one_among_neighbours)
{
	unsigned i = hk_size_class_exact(32), n = 20;
	bool zero;

	attach(i, &zero);
	ck_assert_uint_eq(take(i, blocks, 20, &zero), 20);
	give(i, blocks + 7, 1);
	ck_death(give_blocks, &n,
		 "test(): double free of %p (32-byte block, found at spill)", blocks[7]);
	for (unsigned k = 0; k < 10; k++) {
		void *other = blocks[k];

		blocks[k] = blocks[19 - k];
		blocks[19 - k] = other;
	}
	ck_death(give_blocks, &n,
		 "test(): double free of %p (32-byte block, found at spill)", blocks[12]);
}
END_TEST

/* Slabs with a block each: a batch visits no more than a few of them. */
START_TEST(a_batch_from_nearly_full_slabs)
{
	unsigned i = hk_size_class_exact(4096), per_slab = hk_class_info(i)->blocks, n;
	bool zero;

	for (unsigned k = 0; k < 10; k++) {
		attach(i, &zero);
		ck_assert_uint_eq(take(i, blocks + k * per_slab, per_slab, &zero),
				  per_slab);
	}
	for (unsigned k = 0; k < 10; k++)
		give(i, blocks + k * per_slab, 1);
	n = take(i, blocks + MANY, 10, &zero);
	ck_assert_uint_ge(n, 1);
	ck_assert_uint_lt(n, 10);
	check_all();
	while (n < 10) {
		unsigned more = take(i, blocks + MANY, 10, &zero);

		ck_assert_uint_ge(more, 1);
		n += more;
	}
	ck_assert_uint_eq(take(i, blocks + MANY, 1, &zero), 0);
}
END_TEST

START_TEST(a_block_twice_in_a_batch)
{
	unsigned i = hk_size_class_exact(32), n = 3;
	bool zero;

	attach(i, &zero);
	ck_assert_uint_eq(take(i, blocks, 4, &zero), 4);
	blocks[4] = blocks[2];
	blocks[2] = blocks[0];
	ck_death(give_blocks, &n,
		 "test(): double free of %p (32-byte block, found at spill)", blocks[0]);
	blocks[2] = blocks[4];
	give(i, blocks, 4);
}
END_TEST

START_TEST(a_block_that_lies_in_its_slab)
{
	unsigned i = hk_size_class_exact(32), n = 1;
	bool zero;

	attach(i, &zero);
	ck_assert_uint_eq(take(i, blocks, 2, &zero), 2);
	give(i, blocks, 1);
	ck_death(give_blocks, &n,
		 "test(): double free of %p (32-byte block, found at spill)", blocks[0]);
	give(i, blocks + 1, 1);
}
END_TEST

START_TEST(a_block_whose_slab_is_gone)
{
	unsigned i = hk_size_class_exact(32), n = 1;
	bool zero;

	attach(i, &zero);
	ck_assert_uint_eq(take(i, blocks, 1, &zero), 1);
	give(i, blocks, 1);
	ck_death(give_blocks, &n,
		 "test(): double free of %p (32-byte block, found at spill)", blocks[0]);
}
END_TEST

START_TEST(a_pointer_into_a_block)
{
	unsigned i = hk_size_class_exact(32), n = 1;
	char *block;
	bool zero;

	attach(i, &zero);
	ck_assert_uint_eq(take(i, blocks, 1, &zero), 1);
	block = blocks[0];
	for (unsigned offset = 1; offset < 32; offset += 6) {
		blocks[0] = block + offset;
		ck_death(
			give_blocks, &n,
			"test(): interior pointer %p (%u bytes into the 32-byte block %p, "
			"found at spill)",
			blocks[0], offset, (void *)block);
	}
	blocks[0] = block;
	give(i, blocks, 1);
}
END_TEST

/* Beside the blocks: before the first, where the slab is coloured, and after the last. */
static unsigned odd_class;

static void give_odd(void *argument)
{
	(void)argument;
	give(odd_class, blocks, 1);
}

START_TEST(a_pointer_beside_all_blocks)
{
	const struct hk_size_class *info;
	struct hk_slab *slab;
	char *block;
	bool zero;

	odd_class = hk_size_class_exact(1280);
	info = hk_class_info(odd_class);
	do {
		slab = attach(odd_class, &zero);
		ck_assert_uint_eq(take(odd_class, blocks, 1, &zero), 1);
	} while (slab->colour == 0);
	block = blocks[0];
	blocks[0] = hk_slab_base(slab);
	ck_assert_ptr_null(hk_slab_block_of(slab, blocks[0]));
	ck_death(
		give_odd, NULL,
		"test(): invalid pointer %p (in a slab of 1280-byte blocks but in none of them, "
		"found at spill)",
		blocks[0]);
	blocks[0] = hk_slab_base(slab) + info->slots * HK_SLOT_BYTES - 1;
	if (!hk_slab_block_of(slab, blocks[0]))
		ck_death(
			give_odd, NULL,
			"test(): invalid pointer %p (in a slab of 1280-byte blocks but in none "
			"of them, found at spill)",
			blocks[0]);
	blocks[0] = block;
	give(odd_class, blocks, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("slab");
	TCase *tcase = add_case(suite, "slab");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, every_block_of_every_class);
	tcase_add_test(tcase, batches_in_any_order);
	tcase_add_test(tcase, the_fullest_slab_serves_first);
	tcase_add_test(tcase, the_use_of_a_superslab_is_that_of_its_slabs);
	tcase_add_test(tcase, slabs_in_draining_superslabs_serve_last);
	tcase_add_test(tcase, a_batch_of_both);
	tcase_add_test(tcase, late_lists_are_put_right_a_few_at_a_time);
	tcase_add_test(tcase, first_blocks_are_coloured);
	tcase_add_test(tcase, only_fresh_blocks_are_zero);
	tcase_add_test(tcase, neighbours_in_either_order);
	tcase_add_test(tcase, a_free_one_among_neighbours);
	tcase_add_test(tcase, a_batch_from_nearly_full_slabs);
	tcase_add_test(tcase, a_block_twice_in_a_batch);
	tcase_add_test(tcase, a_block_that_lies_in_its_slab);
	tcase_add_test(tcase, a_block_whose_slab_is_gone);
	tcase_add_test(tcase, a_pointer_into_a_block);
	tcase_add_test(tcase, a_pointer_beside_all_blocks);
	return run_suite(suite);
}
