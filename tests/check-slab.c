/* SPDX-License-Identifier: MIT
 *
 * slab: every block of a slab of every class, in bitmaps; double and interior frees are
 * told.
 */
#include "libcheck.h"

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

static unsigned take_run(unsigned size_class, unsigned n, char **lowest, bool *zero)
{
	unsigned taken;

	hk_lock(&hk_classes[size_class].lock);
	taken = hk_slab_take_run_locked(size_class, n, lowest, zero);
	hk_unlock(&hk_classes[size_class].lock);
	return taken;
}

static void give_run(unsigned size_class, char *lowest, unsigned n)
{
	bool tidy;

	hk_lock(&hk_classes[size_class].lock);
	tidy = hk_slab_give_run_locked(size_class, lowest, n, "test");
	hk_unlock(&hk_classes[size_class].lock);
	if (tidy)
		hk_pool_tidy();
}

START_TEST(every_block_of_every_class)
{
	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i++) {
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
		ck_assert(block_zero == zero);
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

	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i += 4) {
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
	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i++) {
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
	unsigned i = hk_size_class_exact(2048);
	bool zero;
	struct hk_slab *slab;

	/* However slow the machine, an empty run is not purged before it is looked at. */
	set_option("purge_delay_ms", "3600000");
	release_all();
	slab = attach(i, &zero);
	ck_assert(zero);
	ck_assert_uint_eq(take(i, blocks, 1, &zero), 1);
	ck_assert(zero);
	ck_assert(all_bytes(blocks[0], 0, 2048));
	memset(blocks[0], 1, 2048);
	ck_assert_uint_eq(take(i, blocks + 1, 1, &zero), 1);
	ck_assert(zero);
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

	if (!RUNNING_ON_VALGRIND)
		free_runs(16, &random);
	free_runs(64, &random);
	free_runs(2048, &random);
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
	unsigned i = hk_size_class_exact(2048), per_slab = hk_class_info(i)->blocks, n;
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

/* Of other tests in this process there may be partial slabs: none from here on. */
static void use_up(unsigned size_class)
{
	char *lowest;
	bool zero;

	while (take_run(size_class, MANY, &lowest, &zero))
		;
}

/* ---- runs, beside a model of the bitmaps ---- */

enum { SLABS = 5 };

/* A slab as it should be: which blocks are out, and from where on none ever was. */
static struct model {
	struct hk_slab *slab; /* NULL: none */
	char *first;
	bool out[MANY];
	unsigned used, fresh;
	bool zero;
} models[SLABS];

static const struct hk_size_class *model_info;
static unsigned model_class;
static uint64_t model_seed;

/* Check notes each of its assertions, also those that hold; of these there are millions. */
#define ck_model(condition)                                                     \
	do {                                                                    \
		if (!(condition))                                               \
			ck_abort_msg("%s: class %u, TEST_SEED=%lu", #condition, \
				     model_class, model_seed);                  \
	} while (0)

/* NULL: no block starts there. */
static struct model *model_of(const char *block, unsigned *index)
{
	for (struct model *model = models; model < models + SLABS; model++) {
		size_t offset = (size_t)(block - model->first);

		if (!model->slab || block < model->first ||
		    offset >= (size_t)model_info->blocks * model_info->size)
			continue;
		*index = (unsigned)(offset / model_info->size);
		return offset % model_info->size ? NULL : model;
	}
	return NULL;
}

static bool is_out(const char *block)
{
	unsigned index;
	struct model *model = model_of(block, &index);

	return model && model->out[index];
}

static void note_taken(char *block)
{
	unsigned index;
	struct model *model = model_of(block, &index);

	ck_model(model && !model->out[index]);
	model->out[index] = true;
	model->used++;
	if (index >= model->fresh)
		model->fresh = index + 1;
}

static void note_given(char *block)
{
	unsigned index;
	struct model *model = model_of(block, &index);

	ck_model(model && model->out[index]);
	model->out[index] = false;
	if (--model->used == 0)
		model->slab = NULL;
}

/*
 * From a slab as full as any that has a block left, of those in SuperSlabs that do not drain or
 * of those in others, and there the first one.
 */
static struct model *ck_first_of_fullest(char *block, bool zero)
{
	unsigned index, shift = model_info->bucket_shift;
	struct model *from = model_of(block, &index);

	ck_model(from && !from->out[index]);
	for (unsigned k = 0; k < index; k++)
		ck_model(from->out[k]);
	for (struct model *model = models; model < models + SLABS; model++)
		ck_model(!model->slab || model->used == model_info->blocks ||
			 hk_slab_is_draining(model->slab) !=
				 hk_slab_is_draining(from->slab) ||
			 model->used >> shift <= from->used >> shift);
	ck_model(zero == (from->zero && index >= from->fresh));
	return from;
}

static bool model_take_run(unsigned n)
{
	unsigned taken, index;
	struct model *from;
	char *lowest, *end;
	bool zero = false;

	taken = take_run(model_class, n, &lowest, &zero);
	if (!taken)
		return false;
	ck_model(taken <= n);
	from = ck_first_of_fullest(lowest, zero);
	end = lowest + (size_t)taken * model_info->size;
	for (char *block = lowest; block < end; block += model_info->size) {
		ck_model(model_of(block, &index) == from);
		note_taken(block);
	}
	/* All there were side by side. */
	ck_model(taken == n || model_of(end, &index) != from || from->out[index]);
	return true;
}

static bool model_take(unsigned n)
{
	bool zero = false;
	unsigned taken = take(model_class, blocks, n, &zero);

	if (!taken)
		return false;
	ck_first_of_fullest(blocks[taken - 1], zero);
	for (unsigned k = taken; k--;)
		note_taken(blocks[k]);
	return true;
}

/* None is partial: a new one, or if there are enough of them, no more. */
static void model_attach(void)
{
	struct model *model = models;
	bool zero;

	while (model < models + SLABS && model->slab)
		model++;
	if (model == models + SLABS)
		return;
	memset(model, 0, sizeof(*model));
	model->slab = attach(model_class, &zero);
	model->first = hk_slab_first_block(model->slab);
	model->zero = zero;
	ck_model(model_take_run(1));
}

/* From some block that is out: how many are, from there on, in however many slabs? */
static char *some_run(uint64_t *random, unsigned most, unsigned *n)
{
	size_t size = model_info->size, k = random_below(random, SLABS), start;
	char *lowest;

	*n = 0;
	for (unsigned i = 0; !models[k].slab; k = (k + 1) % SLABS)
		if (i++ == SLABS)
			return NULL;
	start = random_below(random, model_info->blocks);
	while (!models[k].out[start])
		start = (start + 1) % model_info->blocks;
	lowest = models[k].first + start * size;
	/* Now and then up to the slab's end, and so into the next. */
	if (random_below(random, 3) == 0) {
		lowest = models[k].first + (model_info->blocks - 1u) * size;
		if (!is_out(lowest))
			return NULL;
		while (is_out(lowest - size) && random_below(random, 20))
			lowest -= size;
	}
	while (*n < most && is_out(lowest + *n * size))
		++*n;
	return lowest;
}

static unsigned crossed;

static void model_give_run(uint64_t *random, unsigned most)
{
	unsigned n, index;
	char *lowest = some_run(random, most, &n);

	if (!n)
		return;
	crossed += model_of(lowest, &index) !=
		   model_of(lowest + (n - 1) * (size_t)model_info->size, &index);
	give_run(model_class, lowest, n);
	for (; n--; lowest += model_info->size)
		note_given(lowest);
}

static void model_give(uint64_t *random, unsigned most)
{
	unsigned n = 0, run;

	for (unsigned i = 0; i < 5 && n < most; i++) {
		char *lowest = some_run(random, most - n, &run);

		while (run--) {
			bool listed = false;

			for (unsigned k = 0; k < n; k++)
				listed |= blocks[k] == lowest;
			if (!listed)
				blocks[n++] = lowest;
			lowest += model_info->size;
		}
	}
	give(model_class, blocks, n);
	while (n--)
		note_given(blocks[n]);
}

static void compare_with_model(uint64_t used)
{
	hk_lock(&hk_classes[model_class].lock);
	for (struct model *model = models; model < models + SLABS; model++) {
		if (!model->slab)
			continue;
		used += model->used;
		ck_model(model->slab->used == model->used);
		for (unsigned k = 0; k < model_info->blocks; k++)
			if (hk_slab_is_free_locked(model->slab,
						   model->first + k * model_info->size) ==
			    model->out[k])
				ck_model(!"the bitmap and the model are one");
	}
	ck_model(hk_classes[model_class].used == used);
	hk_unlock(&hk_classes[model_class].lock);
}

/* With bitmaps of one word, in the slab's line, of its SuperSlab, and wide ones. */
static const size_t model_sizes[] = { 8, 16, 48, 256, 320, 1024, 1280, 1792, 2048 };

START_TEST(runs_and_batches_beside_a_model)
{
	model_class = hk_size_class_exact(model_sizes[_i]);
	model_info = hk_class_info(model_class);
	model_seed = new_seed();
	for (unsigned round = 0; round < 2; round++) {
		uint64_t random = model_seed + round, used;
		unsigned most = model_info->blocks < 1000 ? model_info->blocks : 1000;

		release_all();
		use_up(model_class);
		used = hk_classes[model_class].used;
		crossed = 0;
		for (unsigned step = 0; step < 1500; step++) {
			/* Long tides, so that there are slabs of all kinds of fullness. */
			bool fill = random_below(&random, 10) <
				    (step / 100 % 2 ? 3u : 7u);
			unsigned n = (unsigned)random_below(
					     &random,
					     random_below(&random, 2) ? most : 70) +
				     1;

			if (!fill && random_below(&random, 2))
				model_give_run(&random, n);
			else if (!fill)
				model_give(&random, n < 100 ? n : 100);
			else if (!(random_below(&random, 2) ? model_take_run(n)
							    : model_take(n)))
				model_attach();
			if (step % 16 == 0)
				compare_with_model(used);
			if (step % 100 == 0)
				check_all();
		}
		/* Where slabs touch each other, runs were of two. */
		ck_model(crossed || HK_SLOT_BYTES % model_info->size);
		for (struct model *model = models; model < models + SLABS; model++)
			for (unsigned k = 0; model->slab && k < model_info->blocks; k++) {
				char *block = model->first + k * model_info->size;

				if (!model->out[k])
					continue;
				give_run(model_class, block, 1);
				note_given(block);
			}
		ck_model(hk_classes[model_class].used == used);
		check_all();
	}
}
END_TEST

/* The whole slab as one run, whatever the bitmap; no more than there is. */
START_TEST(a_slab_is_a_run)
{
	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i++) {
		unsigned n = hk_class_info(i)->blocks;
		bool zero, run_zero = false;
		struct hk_slab *slab;
		char *lowest = NULL;

		use_up(i);
		slab = attach(i, &zero);
		ck_assert_uint_eq(take_run(i, n + 5, &lowest, &run_zero), n);
		ck_assert_ptr_eq(lowest, hk_slab_first_block(slab));
		ck_assert(run_zero == zero);
		ck_assert_uint_eq(slab->used, n);
		ck_assert_uint_eq(take_run(i, 1, &lowest, &run_zero), 0);
		check_all();
		give_run(i, lowest, n);
		ck_assert_uint_eq(slab->kind, HK_KIND_NONE);
		check_all();
	}
}
END_TEST

/* ---- runs that are no such thing ---- */

static unsigned run_class, run_blocks;
static char *run_lowest;

static void give_that_run(void *argument)
{
	(void)argument;
	give_run(run_class, run_lowest, run_blocks);
}

/* In any word of the bitmap; of several, the lowest is named. */
START_TEST(a_free_one_in_a_run)
{
	static const unsigned odd[] = {
		10, 11, 63, 64, 100, 127, 128, 255, 256, 300, 309
	};
	char *lowest;
	bool zero;

	run_class = hk_size_class_exact(16);
	use_up(run_class);
	run_blocks = 300;
	attach(run_class, &zero);
	ck_assert_uint_eq(take_run(run_class, 400, &lowest, &zero), 400);
	run_lowest = lowest + 10 * 16;
	for (unsigned k = sizeof(odd) / sizeof(odd[0]); k--;) {
		give_run(run_class, lowest + odd[k] * 16, 1);
		ck_death(give_that_run, NULL,
			 "test(): double free of %p (16-byte block, found at spill)",
			 (void *)(lowest + odd[k] * 16));
	}
}
END_TEST

START_TEST(a_free_one_in_the_run_s_second_slab)
{
	struct hk_slab *slab;
	char *lowest, *second;
	bool zero;

	run_class = hk_size_class_exact(1024);
	use_up(run_class);
	slab = attach(run_class, &zero);
	ck_assert_uint_eq(take_run(run_class, 64, &lowest, &zero), 64);
	ck_assert_ptr_eq(attach(run_class, &zero), slab + 1);
	ck_assert_uint_eq(take_run(run_class, 64, &second, &zero), 64);
	ck_assert_ptr_eq(second, lowest + 65536);
	run_lowest = lowest + 60 * 1024;
	run_blocks = 9;
	give_run(run_class, second + 4 * 1024, 1);
	ck_death(give_that_run, NULL,
		 "test(): double free of %p (1024-byte block, found at spill)",
		 (void *)(second + 4 * 1024));
	/* Without it, both get back what is theirs. */
	run_blocks = 8;
	give_that_run(NULL);
	ck_assert_uint_eq(slab->used, 60);
	ck_assert_uint_eq(slab[1].used, 59);
	check_all();
}
END_TEST

START_TEST(a_run_that_is_given_twice)
{
	bool zero;

	run_class = hk_size_class_exact(32);
	use_up(run_class);
	run_blocks = 100;
	attach(run_class, &zero);
	ck_assert_uint_eq(take_run(run_class, 101, &run_lowest, &zero), 101);
	give_that_run(NULL);
	ck_death(give_that_run, NULL,
		 "test(): double free of %p (32-byte block, found at spill)",
		 (void *)run_lowest);
	give_run(run_class, run_lowest + 100 * 32, 1);
	/* Now the slab is gone, too. */
	ck_death(give_that_run, NULL,
		 "test(): double free of %p (32-byte block, found at spill)",
		 (void *)run_lowest);
}
END_TEST

START_TEST(a_run_from_within_a_block)
{
	char *lowest;
	bool zero;

	run_class = hk_size_class_exact(48);
	use_up(run_class);
	run_blocks = 20;
	attach(run_class, &zero);
	ck_assert_uint_eq(take_run(run_class, 100, &lowest, &zero), 100);
	for (unsigned offset = 1; offset < 48; offset += 23) {
		run_lowest = lowest + 7 * 48 + offset;
		ck_death(
			give_that_run, NULL,
			"test(): interior pointer %p (%u bytes into the 48-byte block %p, "
			"found at spill)",
			(void *)run_lowest, offset, (void *)(lowest + 7 * 48));
	}
	/* Nor from what was never the library's. */
	run_lowest = (char *)&run_class;
	ck_death(give_that_run, NULL,
		 "test(): double free of %p (48-byte block, found at spill)",
		 (void *)run_lowest);
}
END_TEST

/* Beyond the slab's last block is its tail, or a slab of another class. */
START_TEST(a_run_beyond_its_slab)
{
	struct hk_slab *slab;
	char *lowest;
	bool zero;

	run_class = hk_size_class_exact(64);
	use_up(run_class);
	run_blocks = 6;
	slab = attach(run_class, &zero);
	ck_assert_ptr_eq(attach(hk_size_class_exact(128), &zero), slab + 1);
	ck_assert_uint_eq(take(hk_size_class_exact(128), blocks, 10, &zero), 10);
	ck_assert_uint_eq(take_run(run_class, 1024, &lowest, &zero), 1024);
	run_lowest = lowest + 1020 * 64;
	ck_death(give_that_run, NULL,
		 "test(): double free of %p (64-byte block, found at spill)",
		 (void *)(lowest + 1024 * 64));

	run_class = hk_size_class_exact(48);
	use_up(run_class);
	attach(run_class, &zero);
	ck_assert_uint_eq(take_run(run_class, 5000, &lowest, &zero), 1365);
	run_lowest = lowest + 1360 * 48;
	ck_death(give_that_run, NULL,
		 "test(): invalid pointer %p (in a slab of 48-byte blocks but in none of "
		 "them, found at spill)",
		 (void *)(lowest + 1365 * 48));
}
END_TEST

/* calloc's question, of a run: by its lowest block. */
START_TEST(only_fresh_runs_are_zero)
{
	unsigned i = hk_size_class_exact(2048);
	char *lowest, *again;
	bool zero;

	set_option("purge_delay_ms", "3600000");
	release_all();
	use_up(i);
	attach(i, &zero);
	ck_assert(zero);
	ck_assert_uint_eq(take_run(i, 3, &lowest, &zero), 3);
	ck_assert(zero);
	give_run(i, lowest + 2048, 2);
	/* The third on is fresh, the lowest is not. */
	ck_assert_uint_eq(take_run(i, 4, &again, &zero), 4);
	ck_assert_ptr_eq(again, lowest + 2048);
	ck_assert(!zero);
	ck_assert_uint_eq(take_run(i, 1, &again, &zero), 1);
	ck_assert_ptr_eq(again, lowest + (size_t)5 * 2048);
	ck_assert(zero);
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
	tcase_add_loop_test(tcase, runs_and_batches_beside_a_model, 0,
			    sizeof(model_sizes) / sizeof(model_sizes[0]));
	tcase_add_test(tcase, a_slab_is_a_run);
	tcase_add_test(tcase, a_free_one_in_a_run);
	tcase_add_test(tcase, a_free_one_in_the_run_s_second_slab);
	tcase_add_test(tcase, a_run_that_is_given_twice);
	tcase_add_test(tcase, a_run_from_within_a_block);
	tcase_add_test(tcase, a_run_beyond_its_slab);
	tcase_add_test(tcase, only_fresh_runs_are_zero);
	return run_suite(suite);
}
