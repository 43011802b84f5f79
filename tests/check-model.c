/* SPDX-License-Identifier: MIT
 *
 * The whole allocator beside a model of it: a shadow heap that knows, of each block
 * that lives, where it lies, how long it is and what is in it.  Random operations on
 * both; after each, no two blocks overlap, every block is aligned, zeroed where it must
 * be, and whole.
 *
 * The seed is part of every failure's message; TEST_SEED=... replays it.
 */
#include "libcheck.h"

enum { BLOCKS = 3000, STEPS = 120000 };

struct shadow {
	unsigned char *base;
	size_t size;   /* as requested */
	size_t usable; /* as malloc_usable_size() says, all of which is written */
	unsigned char pattern;
	int index; /* in order[] */
};

static struct shadow shadows[BLOCKS];

/* Blocks that live, by address, so that a new one's neighbours are found by bisection. */
static struct shadow *order[BLOCKS];
static int live;

static uint64_t seed, chance;
static unsigned step;

#define WHERE "TEST_SEED=%lu, step %u: "

/*
 * memcheck takes what mremap(2) adds to a moved mapping for unaddressable, so there large
 * blocks are made to grow by copying.
 */
static void no_failures(void)
{
	fail_no_more();
	if (RUNNING_ON_VALGRIND)
		fail_after(HK_OS_REMAP, 0);
}

static void setup(void)
{
	hk_init();
	no_failures();
	set_option("tiny_profile", "conservative");
	set_option("magazine_bytes", "2M");
	seed = chance = new_seed();
	live = 0;
	memset(shadows, 0, sizeof(shadows));
}

static void teardown(void)
{
	fail_no_more();
}

/*
 * Mostly small, sometimes medium, seldom large; the bounds of classes more than others.
 */
static size_t random_size(void)
{
	unsigned dice = (unsigned)random_below(&chance, 1000);
	size_t size;

	if (dice < 600)
		size = random_below(&chance, 300);
	else if (dice < 850)
		size = random_below(&chance, 5000);
	else if (dice < 960)
		size = random_below(&chance, 66000);
	else if (dice < 997)
		size = random_below(&chance, 300000);
	else
		size = random_below(&chance, 5000000);
	if (dice % 8 == 0) {
		size_t power = (size_t)1 << (4 + random_below(&chance, 14));

		size = power + random_below(&chance, 3) - 1;
	}
	return size;
}

/* ---- the model ---- */

static int place(const unsigned char *base)
{
	int low = 0, high = live;

	while (low < high) {
		int middle = (low + high) / 2;

		if (order[middle]->base < base)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Ends and middle: all of every block each time would take too long. */
static void write_pattern(struct shadow *shadow)
{
	size_t edge = shadow->usable < 512 ? shadow->usable : 256;

	memset(shadow->base, shadow->pattern, edge);
	memset(shadow->base + shadow->usable - edge, shadow->pattern, edge);
	for (size_t i = edge; i < shadow->usable; i += 1024)
		shadow->base[i] = shadow->pattern;
}

static bool has_pattern(const unsigned char *base, size_t size, size_t usable,
			unsigned char pattern)
{
	size_t edge = usable < 512 ? usable : 256;

	if (!all_bytes(base, pattern, edge < size ? edge : size))
		return false;
	if (size == usable && !all_bytes(base + usable - edge, pattern, edge))
		return false;
	for (size_t i = edge; i < size; i += 1024)
		if (base[i] != pattern)
			return false;
	return true;
}

static void enter(struct shadow *shadow, void *base, size_t size)
{
	int at;

	shadow->base = base;
	shadow->size = size;
	shadow->usable = hkt_malloc_usable_size(base);
	shadow->pattern = (unsigned char)random_next(&chance);
	ck_assert_msg(shadow->usable >= size, WHERE "%zu usable of %zu", seed, step,
		      shadow->usable, size);
	at = place(base);
	if (at > 0)
		ck_assert_msg(order[at - 1]->base + order[at - 1]->usable <= shadow->base,
			      WHERE "%p of %zu bytes overlaps %p of %zu", seed, step,
			      base, size, (void *)order[at - 1]->base,
			      order[at - 1]->usable);
	if (at < live)
		ck_assert_msg(shadow->base + shadow->usable <= order[at]->base,
			      WHERE "%p of %zu bytes overlaps %p", seed, step, base, size,
			      (void *)order[at]->base);
	memmove(order + at + 1, order + at, (size_t)(live - at) * sizeof(order[0]));
	order[at] = shadow;
	live++;
	write_pattern(shadow);
}

static void leave(struct shadow *shadow)
{
	int at = place(shadow->base);

	ck_assert_ptr_eq(order[at], shadow);
	ck_assert_msg(has_pattern(shadow->base, shadow->usable, shadow->usable,
				  shadow->pattern),
		      WHERE "%p of %zu bytes is not whole", seed, step,
		      (void *)shadow->base, shadow->size);
	live--;
	memmove(order + at, order + at + 1, (size_t)(live - at) * sizeof(order[0]));
}

/* ---- the operations ---- */

static void allocate(struct shadow *shadow)
{
	static const char *const names[] = { "malloc",         "calloc",
					     "posix_memalign", "aligned_alloc",
					     "memalign",       "realloc",
					     "reallocarray",   "valloc" };
	size_t size = random_size(), alignment = 1, count;
	unsigned dice = (unsigned)random_below(&chance, 100), which;
	void *base = NULL;

	if (dice < 50) {
		which = 0;
		base = hkt_malloc(size);
	} else if (dice < 70) {
		which = 1;
		count = random_below(&chance, 8) + 1;
		size = size / count * count;
		base = hkt_calloc(count, size / count);
	} else if (dice < 76) {
		which = 5;
		base = hkt_realloc(NULL, size);
	} else if (dice < 80) {
		which = 6;
		count = random_below(&chance, 8) + 1;
		size = size / count * count;
		base = hkt_reallocarray(NULL, count, size / count);
	} else if (dice < 82) {
		which = 7;
		alignment = hk_os_page_size;
		base = hkt_valloc(size);
	} else {
		which = 2 + (unsigned)random_below(&chance, 3);
		alignment = (size_t)8
			    << random_below(&chance, random_below(&chance, 8) ? 11 : 20);
		if (which == 3)
			base = hkt_aligned_alloc(alignment, size);
		else if (which == 4)
			base = hkt_memalign(alignment, size);
		else if (hkt_posix_memalign(&base, alignment, size))
			base = NULL;
	}
	if (size >= 16 && alignment < 16)
		alignment = 16;
	ck_assert_msg(base != NULL, WHERE "%s of %zu bytes, alignment %zu: NULL", seed,
		      step, names[which], size, alignment);
	ck_assert_msg((uintptr_t)base % alignment == 0,
		      WHERE "%s of %zu bytes, alignment %zu: %p", seed, step,
		      names[which], size, alignment, base);
	if (which == 1)
		ck_assert_msg(all_bytes(base, 0, size),
			      WHERE "calloc of %zu bytes at %p: not zero", seed, step,
			      size, base);
	enter(shadow, base, size);
}

static void release(struct shadow *shadow)
{
	leave(shadow);
	errno = EXDEV;
	switch (random_below(&chance, 4)) {
	case 0:
		hkt_free_sized(shadow->base, shadow->size);
		break;
	case 1:
		ck_assert_ptr_null(hkt_realloc(shadow->base, 0));
		break;
	default:
		hkt_free(shadow->base);
	}
	ck_assert_msg(errno == EXDEV, WHERE "free changed errno to %d", seed, step,
		      errno);
	shadow->base = NULL;
}

static void resize(struct shadow *shadow)
{
	size_t old = shadow->usable, size = random_size() + 1;
	unsigned char pattern = shadow->pattern;
	unsigned char *base;

	if (random_below(&chance, 3) == 0)
		size = old + random_below(&chance, old / 2 + 2);
	leave(shadow);
	base = hkt_realloc(shadow->base, size);
	ck_assert_msg(base != NULL, WHERE "realloc from %zu to %zu bytes: NULL", seed,
		      step, old, size);
	ck_assert_msg(has_pattern(base, old < size ? old : size, old, pattern),
		      WHERE "realloc from %zu to %zu bytes at %p: contents", seed, step,
		      old, size, (void *)base);
	enter(shadow, base, size);
}

/* What the program may do now and then; none of it may disturb a block. */
static void event(void)
{
	static const char *const profiles[] = { "conservative", "hot", "full", "off" };
	static const char *const bytes[] = { "0", "64K", "2M", "8M" };

	switch (random_below(&chance, 7)) {
	case 0:
		ck_assert_int_eq(hakmem_ctl(HAKMEM_FLUSH, NULL, 0), 0);
		break;
	case 1:
		release_all();
		break;
	case 2:
		set_option("tiny_profile", profiles[random_below(&chance, 4)]);
		break;
	case 3:
		set_option("magazine_bytes", bytes[random_below(&chance, 4)]);
		break;
	case 4:
		set_option("purge_delay_ms", random_below(&chance, 2) ? "0" : "10");
		break;
	case 5:
		hkt_malloc_trim(0);
		break;
	default:
		/* A phase in which the program shrinks to almost nothing. */
		for (size_t i = 0; i < BLOCKS; i++)
			if (shadows[i].base && random_below(&chance, 10))
				release(&shadows[i]);
	}
	check_all();
}

static void run(unsigned steps)
{
	for (step = 0; step < steps; step++) {
		struct shadow *shadow = &shadows[random_below(&chance, BLOCKS)];

		if (!shadow->base)
			allocate(shadow);
		else if (random_below(&chance, 4) == 0)
			resize(shadow);
		else
			release(shadow);
		if (random_below(&chance, 1000) == 0)
			event();
	}
}

static void end(void)
{
	struct hakmem_stats stats;

	for (size_t i = 0; i < BLOCKS; i++)
		if (shadows[i].base)
			release(&shadows[i]);
	release_all();
	check_all();
	stats = stats_now();
	ck_assert_msg(stats.blocks_live == 0, WHERE "%lu blocks are lost", seed, step,
		      (unsigned long)stats.blocks_live);
	ck_assert_msg(
		stats.superslabs_live + stats.superslabs_cached + stats.bytes_cached == 0,
		WHERE "left: %lu SuperSlabs live, %lu cached, %lu bytes cached", seed,
		step, (unsigned long)stats.superslabs_live,
		(unsigned long)stats.superslabs_cached,
		(unsigned long)stats.bytes_cached);
	set_option("purge_delay_ms", "10");
	set_option("magazine_bytes", "2M");
	set_option("tiny_profile", "conservative");
}

START_TEST(random_operations)
{
	run(STEPS);
	end();
}
END_TEST

/* The counters against the model, at some moments. */
START_TEST(the_counters_agree)
{
	for (unsigned round = 0; round < 12; round++) {
		struct hakmem_stats stats;
		size_t bytes = 0;

		run(2000);
		for (int i = 0; i < live; i++)
			bytes += order[i]->usable;
		stats = stats_now();
		ck_assert_msg(stats.blocks_live == (uint64_t)live,
			      WHERE "%lu blocks live, in truth %d", seed, step,
			      (unsigned long)stats.blocks_live, live);
		ck_assert_msg(stats.bytes_live == bytes,
			      WHERE "%lu bytes live, in truth %zu", seed, step,
			      (unsigned long)stats.bytes_live, bytes);
	}
	end();
}
END_TEST

/* Each address of a block is told as the block's, live; its neighbours' are others'. */
START_TEST(queries_agree)
{
	run(6000);
	for (int i = 0; i < live; i++) {
		struct hakmem_query query = { .address = order[i]->base };

		query.address = order[i]->base + random_below(&chance, order[i]->usable);
		ck_assert_int_eq(hakmem_ctl(HAKMEM_QUERY, &query, sizeof(query)), 0);
		ck_assert_msg(query.state == HAKMEM_LIVE &&
				      query.block == (uintptr_t)order[i]->base &&
				      query.usable_size == order[i]->usable,
			      WHERE
			      "%p is told as in %#lx of %lu bytes, state %u, kind %u",
			      seed, step, query.address, (unsigned long)query.block,
			      (unsigned long)query.usable_size, query.state, query.kind);
	}
	end();
}
END_TEST

/*
 * The kernel refuses what it likes, for a while: requests may fail then, with ENOMEM, and
 * nothing else may go wrong, then or later.
 */
START_TEST(a_kernel_that_refuses_now_and_then)
{
	run(4000);
	for (unsigned round = 0; round < 300; round++) {
		enum hk_os_call call = (enum hk_os_call)random_below(&chance,
								     HK_OS_CALLS);

		fail_after(call, (int)random_below(&chance, 4));
		for (unsigned i = 0; i < 40; i++) {
			struct shadow *shadow = &shadows[random_below(&chance, BLOCKS)];
			size_t size = random_size();
			void *base;

			step++;
			if (shadow->base) {
				release(shadow);
				continue;
			}
			errno = 0;
			base = hkt_malloc(size);
			if (base)
				enter(shadow, base, size);
			else
				ck_assert_int_eq(errno, ENOMEM);
		}
		if (round % 10 == 0)
			hkt_malloc_trim(0);
		check_all();
		no_failures();
	}
	/* However the dice fell: a large block needs a mapping of its own. */
	fail_after(HK_OS_MAP, 0);
	errno = 0;
	ck_assert_ptr_null(hkt_malloc((size_t)8 << 20));
	ck_assert_int_eq(errno, ENOMEM);
	no_failures();
	run(4000);
	end();
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, random_operations);
	tcase_add_test(tcase, the_counters_agree);
	tcase_add_test(tcase, queries_agree);
	tcase_add_test(tcase, a_kernel_that_refuses_now_and_then);
}

int main(void)
{
	Suite *suite = suite_create("model");

	add_both_forms(suite, setup, teardown, add_tests);
	return run_suite(suite);
}
