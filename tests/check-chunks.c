/* SPDX-License-Identifier: MIT
 *
 * chunks: what freed large blocks leave serves the next, from wherever it is, and goes back to
 * the kernel when it is not needed.
 */
#include "libcheck.h"

#include "pool.h"
#include "registry.h"
#include "spans.h"

enum { MIB = 1 << 20, MANY = 4096 };

/* For as long as these tests take. */
static void setup(void)
{
	hk_init();
	release_all();
	set_option("purge_delay_ms", "3600000");
}

static void teardown(void)
{
	fail_no_more();
	set_option("hard_limit", "0");
	set_option("soft_limit", "0");
	set_option("purge_delay_ms", "10");
	set_option("thp", "never");
}

static size_t cached(void)
{
	size_t touched, huge, live = 0;

	hk_lock(&hk_large_lock);
	hk_spans_count_locked(&touched, &huge);
	for (struct hk_large *large = hk_large_blocks; large; large = large->next)
		live += large->touched;
	hk_unlock(&hk_large_lock);
	return touched - live;
}

/* Each page has its number; those behind value's are another's. */
static void mark(char *block, size_t size, unsigned value)
{
	for (size_t i = 0; i < size; i += hk_os_page_size)
		*(unsigned *)(void *)(block + i) = value +
						   (unsigned)(i / hk_os_page_size);
}

static bool is_marked(const char *block, size_t size, unsigned value)
{
	for (size_t i = 0; i < size; i += hk_os_page_size)
		if (*(const unsigned *)(const void *)(block + i) !=
		    value + (unsigned)(i / hk_os_page_size))
			return false;
	return true;
}

static bool is_zero(const char *block, size_t size)
{
	for (size_t i = 0; i < size; i += hk_os_page_size)
		if (*(const unsigned *)(const void *)(block + i))
			return false;
	return true;
}

static char *fresh(size_t size, unsigned value)
{
	bool zero = true;
	char *block = hk_large_allocate(size, 1, false, &zero);

	ck_assert_ptr_nonnull(block);
	ck_assert(zero && is_zero(block, size));
	mark(block, size, value);
	return block;
}

static char *used(size_t size, size_t alignment)
{
	bool zero = false;
	char *block = hk_large_allocate(size, alignment, false, &zero);

	ck_assert_ptr_nonnull(block);
	ck_assert_aligned(block, alignment < HK_CHUNK_BYTES ? HK_CHUNK_BYTES : alignment);
	ck_assert(!zero);
	check_all();
	return block;
}

static void drop(char *block)
{
	hk_large_free(block, "test");
	ck_assert_uint_eq(hk_registry_kind(block), HK_KIND_NONE);
}

/* Nothing is mapped but what was. */
static void end(size_t mapped, size_t mappings)
{
	check_all();
	hk_spans_release();
	ck_assert_uint_eq(cached(), 0);
	ck_assert_uint_eq(held_now(), mapped);
	ck_assert_uint_eq(mappings_now(), mappings);
}

/* Also the chunk of records that the test needs. */
static void begin(size_t *mapped, size_t *mappings)
{
	drop(fresh(2 * MIB, 0));
	hk_spans_release();
	*mapped = held_now();
	*mappings = mappings_now();
}

#define BEGIN                    \
	size_t mapped, mappings; \
	begin(&mapped, &mappings)
#define END end(mapped, mappings)

START_TEST(a_freed_one_serves_the_next)
{
	BEGIN;
	char *block = fresh(6 * MIB, 7);

	drop(block);
	ck_assert_uint_eq(cached(), 6 * MIB);
	ck_assert_ptr_eq(used(6 * MIB - 100000, 1), block);
	ck_assert_uint_eq(cached(), 0);
	ck_assert(is_marked(block, 6 * MIB, 7));
	drop(block);
	END;
}
END_TEST

START_TEST(what_is_left_of_it_serves_others)
{
	BEGIN;
	char *block = fresh(20 * MIB, 7), *far;

	drop(block);
	ck_assert_ptr_eq(used(6 * MIB, 1), block);
	ck_assert_uint_eq(hk_large_usable_size(block, "test"), 6 * MIB);
	ck_assert_uint_eq(cached(), 14 * MIB);
	far = used(14 * MIB, 1);
	ck_assert_ptr_eq(far, block + 6 * MIB);
	ck_assert(is_marked(block, 6 * MIB, 7));
	ck_assert(is_marked(far, 14 * MIB, 7 + 6 * MIB / (unsigned)hk_os_page_size));
	drop(far);
	drop(block);
	hk_spans_release();
	drop(fresh(3 * MIB + MIB / 2, 7));
	block = used(2 * MIB, 1);
	ck_assert_uint_eq(cached(), MIB + MIB / 2);
	drop(block);
	END;
}
END_TEST

/* 2 and 4 MiB of two, the last 1.5 MiB of a third; each page comes with what it had. */
START_TEST(several_serve_one)
{
	BEGIN;
	unsigned chunk = (unsigned)(HK_CHUNK_BYTES / hk_os_page_size);
	char *blocks[] = { fresh(2 * MIB, 1 << 20), fresh(4 * MIB, 2 << 20),
			   fresh(3 * MIB + MIB / 2, 3 << 20) };
	char *block;
	size_t before = held_now();

	for (size_t i = 0; i < 3; i++)
		drop(blocks[i]);
	block = used(7 * MIB + MIB / 2, 1);
	ck_assert(is_marked(block, 2 * MIB, 1 << 20) ||
		  is_marked(block, 2 * MIB, 3 << 20));
	ck_assert(is_marked(block + 6 * MIB, MIB + MIB / 2, (3 << 20) + chunk));
	ck_assert_uint_eq(cached(), 2 * MIB);
	/* The third's first chunk or the first's: the kernel was asked for nothing. */
	ck_assert_uint_eq(held_now(), before);
	drop(block);
	END;
}
END_TEST

/* What there is goes to the front, what is missing is fresh; so many bytes more are mapped. */
START_TEST(what_is_missing_is_fresh)
{
	BEGIN;
	char *one = fresh(4 * MIB, 1 << 20), *other = fresh(2 * MIB, 2 << 20), *block;
	size_t before = held_now();

	drop(one);
	drop(other);
	block = used(20 * MIB, 1);
	ck_assert(is_marked(block, 2 * MIB, 2 << 20));
	ck_assert(is_marked(block + 2 * MIB, 4 * MIB, 1 << 20));
	ck_assert(is_zero(block + 6 * MIB, 14 * MIB));
	ck_assert_uint_eq(held_now(), before + 14 * MIB);
	drop(block);
	END;
}
END_TEST

/* A sixth behind the end may stay; of what is more, the pages go back. */
START_TEST(no_more_than_a_sixth_stays_behind_the_end)
{
	BEGIN;
	char *block = fresh(16 * MIB, 7);

	drop(block);
	ck_assert_ptr_eq(used(14 * MIB + MIB / 2, 1), block);
	ck_assert(is_marked(block, 16 * MIB, 7));
	drop(block);
	block = used(3 * MIB, 1);
	ck_assert(!is_zero(block + 3 * MIB + MIB / 2 - hk_os_page_size, 1));
	ck_assert(is_zero(block + 3 * MIB + MIB / 2, MIB / 2));
	drop(block);
	END;
}
END_TEST

START_TEST(any_alignment_is_served)
{
	BEGIN;
	for (size_t alignment = HK_CHUNK_BYTES; alignment <= (size_t)64 * MIB;
	     alignment *= 2) {
		char *one = fresh(6 * MIB, 7), *other = fresh(6 * MIB, 7), *block;

		drop(one);
		drop(other);
		block = used(10 * MIB, alignment);
		drop(block);
		hk_spans_release();
	}
	/* What would fit but for its address. */
	for (size_t i = 0; i < 8; i++) {
		char *small = fresh(2 * MIB, 7), *other = fresh(6 * MIB, 7), *block;
		bool zero = false;

		drop(other);
		block = hk_large_allocate(6 * MIB, (size_t)64 * MIB, false, &zero);
		ck_assert_aligned(block, (size_t)64 * MIB);
		drop(block);
		drop(small);
	}
	END;
}
END_TEST

/* calloc: nothing that was touched. */
START_TEST(what_has_to_be_zero_is_fresh)
{
	BEGIN;
	char *block = fresh(6 * MIB, 7), *other;

	drop(block);
	other = fresh(6 * MIB, 8);
	ck_assert_ptr_ne(block, other);
	ck_assert_uint_eq(cached(), 6 * MIB);
	drop(other);
	END;
}
END_TEST

/* What has been put together grows where it is, or elsewhere, and takes what is cached. */
START_TEST(what_was_put_together_grows)
{
	BEGIN;
	char *one = fresh(4 * MIB, 1 << 20), *other = fresh(4 * MIB, 2 << 20), *block;
	void *wall;

	drop(one);
	drop(other);
	block = used(8 * MIB, 1);
	mark(block, 8 * MIB, 7);
	wall = mmap(block + 8 * MIB, hk_os_page_size, PROT_READ,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	block = hk_large_resize(block, 12 * MIB, false, "test");
	ck_assert_ptr_nonnull(block);
	ck_assert(is_marked(block, 8 * MIB, 7));
	ck_assert(is_zero(block + 8 * MIB, 4 * MIB));
	mark(block, 12 * MIB, 7);
	check_all();
	if (wall != MAP_FAILED)
		munmap(wall, hk_os_page_size);
	drop(fresh(6 * MIB, 3 << 20));
	block = hk_large_resize(block, 18 * MIB + 5000, false, "test");
	ck_assert(is_marked(block, 12 * MIB, 7));
	ck_assert(is_marked(block + 12 * MIB, 6 * MIB, 3 << 20));
	check_all();
	block = hk_large_resize(block, 5 * MIB, false, "test");
	ck_assert(is_marked(block, 5 * MIB, 7));
	ck_assert(is_zero(block + 5 * MIB, MIB));
	check_all();
	drop(block);
	END;
}
END_TEST

/* The kernel refuses to move the second chunk, or the tenth: the rest is copied, or fresh. */
START_TEST(a_kernel_that_stops_moving)
{
	BEGIN;
	for (int successes = 0; successes < 10; successes++) {
		char *one = fresh(8 * MIB, 1 << 20), *other = fresh(8 * MIB, 2 << 20);
		char *block;
		bool zero = false;

		drop(one);
		drop(other);
		fail_after(HK_OS_REMAP, successes);
		block = hk_large_allocate(15 * MIB, 1, false, &zero);
		fail_no_more();
		ck_assert_ptr_nonnull(block);
		ck_assert(zero == !successes);
		mark(block, 15 * MIB, 7);
		check_all();
		fail_after(HK_OS_REMAP, successes);
		fail_after(HK_OS_MAP, 1);
		one = hk_large_resize(block, 40 * MIB, false, "test");
		fail_no_more();
		if (one)
			block = one;
		ck_assert_uint_eq(hk_large_usable_size(block, "test"),
				  (one ? 40 : 15) * (size_t)MIB);
		ck_assert(is_marked(block, 15 * MIB, 7));
		mark(block, hk_large_usable_size(block, "test"), 9);
		check_all();
		drop(block);
		END;
	}
}
END_TEST

/* 32 MiB, where less lives; a larger one leaves so much of itself. */
START_TEST(what_is_cached_has_a_bound)
{
	BEGIN;
	char *blocks[8], *huge = fresh(41 * MIB, 7);

	drop(huge);
	ck_assert_uint_eq(cached(), 32 * MIB);
	ck_assert_uint_eq(hk_spans_release(), 32 * MIB);
	for (size_t i = 0; i < 8; i++)
		blocks[i] = fresh(10 * MIB, 7);
	for (size_t i = 0; i < 4; i++)
		drop(blocks[i]);
	ck_assert_uint_eq(cached(), 40 * MIB);
	for (size_t i = 4; i < 8; i++)
		drop(blocks[i]);
	ck_assert_uint_le(cached(), 40 * MIB);
	END;
}
END_TEST

START_TEST(so_are_the_runs)
{
	static char *blocks[300];
	BEGIN;
	size_t runs = 0;

	for (size_t i = 0; i < 300; i++)
		blocks[i] = fresh(MIB + MIB / 4, 7);
	for (size_t i = 0; i < 150; i++)
		drop(blocks[i]);
	ck_assert_uint_eq(cached(), 128 * (MIB + MIB / 4));
	for (size_t i = 150; i < 300; i++)
		drop(blocks[i]);
	for (size_t i = 0; i < 300; i++) {
		hk_lock(&hk_large_lock);
		runs += hk_spans_freed_locked(blocks[i]) != 0;
		hk_unlock(&hk_large_lock);
	}
	ck_assert_uint_ge(runs, 1);
	ck_assert_uint_le(runs, 128);
	END;
}
END_TEST

static void pass_ms(long ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

/* Of 24 MiB the 8 that were used in between stay one window longer. */
START_TEST(what_is_not_needed_goes)
{
	BEGIN;
	char *blocks[3];
	uint64_t due;

	ck_assert_uint_eq(hk_spans_tidy(), UINT64_MAX);
	drop(fresh(8 * MIB, 7));
	due = hk_spans_tidy();
	ck_assert(due > 14000000 && due <= 14400000);
	ck_assert_uint_eq(cached(), 8 * MIB);
	END;
	set_option("purge_delay_ms", "75"); /* windows of 300 */
	for (size_t i = 0; i < 3; i++)
		blocks[i] = fresh(8 * MIB, 7);
	for (size_t i = 0; i < 3; i++)
		drop(blocks[i]);
	for (int i = 0; i < 5; i++) {
		/* It needs 16 MiB in each window, then 8, so the 16 stay. */
		blocks[0] = used(8 * MIB, 1);
		drop(used(8 * MIB, 1));
		drop(blocks[0]);
		drop(used(8 * MIB, 1));
		pass_ms(310);
		hk_spans_tidy();
		ck_assert_uint_ge(cached(), 16 * MIB);
	}
	ck_assert_uint_eq(cached(), 16 * MIB);
	for (int i = 0; i < 20 && cached(); i++) {
		pass_ms(100);
		hk_spans_tidy();
	}
	ck_assert_uint_eq(cached(), 0);
	set_option("purge_delay_ms", "0");
	drop(fresh(6 * MIB, 7));
	ck_assert_uint_eq(cached(), 0);
	END;
}
END_TEST

/* Half of what vm.max_map_count allows is held: runs serve what they fit, and nothing else. */
START_TEST(near_the_limit_of_mappings_nothing_is_split)
{
	BEGIN;
	ptrdiff_t many = (ptrdiff_t)hk_os_mappings_allowed() / 2;
	char *one = fresh(4 * MIB, 7), *other = fresh(4 * MIB, 7), *block;
	bool zero = false;

	ck_assert_int_ge(many, 1000);
	drop(one);
	drop(other);
	hk_os_count(0, many);
	block = hk_large_allocate(8 * MIB, 1, false, &zero);
	ck_assert(zero && is_zero(block, 8 * MIB));
	drop(block);
	block = used(4 * MIB, 1);
	ck_assert(block == one || block == other);
	drop(block);
	hk_os_count(0, -many);
	END;
}
END_TEST

/* At the last try a block has what is left, to the page; then it is not cached. */
START_TEST(limits_are_kept_to_the_page)
{
	BEGIN;
	size_t page = hk_os_page_size;
	bool zero = false;
	char *block, *more, limit[32];

	snprintf(limit, sizeof(limit), "%zu", hk_os_mapped() + 3 * MIB + page);
	set_option("hard_limit", limit);
	ck_assert_ptr_null(hk_large_allocate(3 * MIB, 1, false, &zero));
	block = hk_large_allocate(3 * MIB, 1, true, &zero);
	ck_assert_ptr_nonnull(block);
	mark(block, 3 * MIB, 7);
	ck_assert_ptr_null(hk_large_resize(block, 3 * MIB + page, false, "test"));
	more = hk_large_resize(block, 3 * MIB + page, true, "test");
	ck_assert_ptr_nonnull(more);
	ck_assert(is_marked(more, 3 * MIB, 7));
	ck_assert_ptr_null(hk_large_resize(more, 3 * MIB + 2 * page, true, "test"));
	check_all();
	drop(more);
	ck_assert_uint_eq(cached(), 0);
	set_option("hard_limit", "0");
	END;
}
END_TEST

/* vm.max_map_count: what cannot be unmapped is purged, stays, and is served again. */
START_TEST(a_kernel_that_refuses_to_unmap)
{
	BEGIN;
	char *block = fresh(6 * MIB, 7), *again;
	size_t before = held_now();
	bool zero = false;

	set_option("purge_delay_ms", "0");
	fail_after(HK_OS_UNMAP, 0);
	drop(block);
	ck_assert_uint_eq(held_now(), before);
	ck_assert_uint_eq(hk_spans_release(), 0);
	/* To map a new one may take an munmap(2), if what the kernel gives is not aligned. */
	fail_no_more();
	set_option("purge_delay_ms", "3600000");
	/* Far smaller would waste it. */
	again = fresh(2 * MIB, 7);
	ck_assert_ptr_ne(again, block);
	drop(again);
	hk_spans_release();
	block = fresh(6 * MIB, 7);
	fail_after(HK_OS_UNMAP, 0);
	drop(block);
	ck_assert_uint_eq(hk_spans_release(), 0);
	again = hk_large_allocate(5 * MIB, 1, false, &zero);
	ck_assert_ptr_eq(again, block);
	ck_assert(zero && is_zero(again, 6 * MIB));
	check_all();
	drop(again);
	fail_no_more();
	END;
}
END_TEST

START_TEST(kept_memory_that_is_not_zero_is_not_told_to_be)
{
	BEGIN;
	char *block = fresh(6 * MIB, 7), *again;
	bool zero = false;

	fail_after(HK_OS_UNMAP, 0);
	fail_after(HK_OS_PURGE, 0);
	drop(block);
	ck_assert_uint_eq(hk_spans_release(), 0);
	again = hk_large_allocate(6 * MIB, 1, false, &zero);
	ck_assert_ptr_eq(again, block);
	/* calloc relies on it. */
	ck_assert(!zero && is_marked(again, 6 * MIB, 7));
	fail_no_more();
	drop(again);
	END;
}
END_TEST

/* The chunks that a block fills, or all of its addresses; none where that is not wanted. */
START_TEST(huge_pages_are_asked_for)
{
	BEGIN;
	char *block = fresh(7 * MIB, 7);

	ck_assert_uint_eq(stats_now().bytes_thp, 0);
	drop(block);
	set_option("thp", "dense");
	block = used(7 * MIB, 1);
	ck_assert_uint_eq(stats_now().bytes_thp, 6 * MIB);
	block = hk_large_resize(block, 13 * MIB, false, "test");
	ck_assert_uint_eq(stats_now().bytes_thp, 12 * MIB);
	ck_assert(is_marked(block, 7 * MIB, 7));
	set_option("thp", "always");
	drop(block);
	ck_assert_uint_eq(stats_now().bytes_thp, 12 * MIB);
	block = used(13 * MIB, 1);
	ck_assert_uint_eq(stats_now().bytes_thp, 14 * MIB);
	ck_assert_uint_ge(stats_now().bytes_committed, 14 * MIB);
	block = hk_large_resize(block, 5 * MIB, false, "test");
	ck_assert_uint_eq(stats_now().bytes_thp, 6 * MIB);
	set_option("thp", "never");
	drop(block);
	block = used(5 * MIB, 1);
	ck_assert_uint_eq(stats_now().bytes_thp, 0);
	drop(block);
	END;
}
END_TEST

/* ---- many blocks, at random ---- */

enum { BLOCKS = 24 };

static struct {
	char *start;
	size_t size;
	unsigned value;
} blocks[BLOCKS];

static size_t random_size(uint64_t *state)
{
	size_t size = MIB + 1 + random_below(state, 12 * MIB);

	return random_below(state, 4) ? size : hk_align_up(size, HK_CHUNK_BYTES);
}

static void step(uint64_t *state)
{
	size_t i = random_below(state, BLOCKS), size = random_size(state);
	bool zero = !random_below(state, 4);
	char *moved;

	if (blocks[i].start)
		ck_assert(is_marked(blocks[i].start, blocks[i].size, blocks[i].value));
	if (!blocks[i].start) {
		size_t alignment = random_below(state, 8) ? 1 : (size_t)8 * MIB;

		blocks[i].start = hk_large_allocate(size, alignment, true, &zero);
		if (!blocks[i].start)
			return;
		ck_assert(!zero || is_zero(blocks[i].start, size));
	} else if (random_below(state, 3)) {
		hk_large_free(blocks[i].start, "test");
		blocks[i].start = NULL;
		return;
	} else {
		size_t kept = size < blocks[i].size ? size : blocks[i].size;

		moved = hk_large_resize(blocks[i].start, size, true, "test");
		if (!moved)
			return;
		ck_assert(is_marked(moved, kept, blocks[i].value));
		blocks[i].start = moved;
	}
	blocks[i].size = size;
	blocks[i].value = (unsigned)random_next(state);
	mark(blocks[i].start, size, blocks[i].value);
}

START_TEST(at_random)
{
	uint64_t seed = new_seed(), state = seed;
	size_t steps = (size_t)1000 / STRIDE(10);
	BEGIN;

	printf("TEST_SEED=%#llx\n", (unsigned long long)seed);
	set_option("purge_delay_ms", "1");
	for (size_t i = 0; i < steps; i++) {
		if (!random_below(&state, 10))
			fail_after((enum hk_os_call)random_below(&state, HK_OS_CALLS),
				   (int)random_below(&state, 8));
		if (!random_below(&state, 10))
			fail_no_more();
		if (!random_below(&state, 100))
			hk_spans_release();
		step(&state);
		if (!random_below(&state, 16))
			check_all();
	}
	fail_no_more();
	for (size_t i = 0; i < BLOCKS; i++)
		if (blocks[i].start)
			hk_large_free(blocks[i].start, "test");
	hk_spans_release();
	ck_assert_uint_eq(cached(), 0);
	check_all();
	(void)mapped;
	(void)mappings;
}
END_TEST

static void *worker(void *argument)
{
	uint64_t state = (uint64_t)(uintptr_t)argument;
	char *mine[4] = { 0 };
	size_t sizes[4] = { 0 };

	for (size_t i = 0; i < 200; i++) {
		size_t k = random_below(&state, 4), size = random_size(&state);
		bool zero = !random_below(&state, 4);

		if (mine[k]) {
			ck_assert(is_marked(mine[k], sizes[k], (unsigned)k << 24));
			if (random_below(&state, 2)) {
				hk_large_free(mine[k], "test");
				mine[k] = NULL;
				continue;
			}
			mine[k] = hk_large_resize(mine[k], size, true, "test");
		} else {
			mine[k] = hk_large_allocate(size, 1, false, &zero);
		}
		ck_assert_ptr_nonnull(mine[k]);
		sizes[k] = size;
		mark(mine[k], size, (unsigned)k << 24);
	}
	for (size_t k = 0; k < 4; k++)
		if (mine[k])
			hk_large_free(mine[k], "test");
	return NULL;
}

START_TEST(by_several_threads)
{
	pthread_t threads[4];
	uint64_t state = new_seed();
	BEGIN;

	set_option("purge_delay_ms", "1");
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, worker,
						(void *)(uintptr_t)random_next(&state)),
				 0);
	for (size_t i = 0; i < 50; i++) {
		check_all();
		if (i % 10 == 0)
			hk_spans_release();
	}
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	END;
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("chunks");
	TCase *tcase = add_case(suite, "chunks");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_freed_one_serves_the_next);
	tcase_add_test(tcase, what_is_left_of_it_serves_others);
	tcase_add_test(tcase, several_serve_one);
	tcase_add_test(tcase, what_is_missing_is_fresh);
	tcase_add_test(tcase, no_more_than_a_sixth_stays_behind_the_end);
	tcase_add_test(tcase, any_alignment_is_served);
	tcase_add_test(tcase, what_has_to_be_zero_is_fresh);
	tcase_add_test(tcase, what_was_put_together_grows);
	tcase_add_test(tcase, a_kernel_that_stops_moving);
	tcase_add_test(tcase, what_is_cached_has_a_bound);
	tcase_add_test(tcase, so_are_the_runs);
	tcase_add_test(tcase, what_is_not_needed_goes);
	tcase_add_test(tcase, near_the_limit_of_mappings_nothing_is_split);
	tcase_add_test(tcase, limits_are_kept_to_the_page);
	tcase_add_test(tcase, a_kernel_that_refuses_to_unmap);
	tcase_add_test(tcase, kept_memory_that_is_not_zero_is_not_told_to_be);
	tcase_add_test(tcase, huge_pages_are_asked_for);
	tcase_add_test(tcase, at_random);
	/* memcheck has taken mapped pages for none there, behind two that move some at a time. */
	if (!RUNNING_ON_VALGRIND)
		tcase_add_test(tcase, by_several_threads);
	return run_suite(suite);
}
