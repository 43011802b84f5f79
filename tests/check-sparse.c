/* SPDX-License-Identifier: MIT
 *
 * sparse: the pages of slabs in use that have only free blocks are found and purged; blocks
 * in use, the counters and the other threads do not notice.
 */
#include "libcheck.h"

#include "pool.h"
#include "slab.h"
#include "sparse.h"

enum { PAGES = HK_SUPERSLAB_BYTES / 4096, HEAP = 60000 };

static void *blocks[HEAP];
static uint32_t sizes[HEAP];
static uint64_t seed;

static void setup(void)
{
	hk_init();
	set_option("lru_superslabs", "0");
	set_option("purge_delay_ms", "0");
	release_all();
	seed = new_seed();
}

static void teardown(void)
{
	fail_no_more();
	set_option("thp", "never");
	set_option("purge_delay_ms", "10");
}

/* ---- which pages: against a model that goes block by block ---- */

static struct hk_slab *attach(unsigned size_class, bool zero)
{
	const struct hk_size_class *info = hk_class_info(size_class);
	bool is_zero;
	struct hk_slab *slab = hk_pool_take(size_class, info->slots, 1, false, &is_zero);

	ck_assert_ptr_nonnull(slab);
	hk_lock(&hk_classes[size_class].lock);
	hk_slab_attach_locked(size_class, slab, is_zero && zero);
	hk_unlock(&hk_classes[size_class].lock);
	return slab;
}

static unsigned take(unsigned size_class, void **into, unsigned n)
{
	bool zero;
	unsigned taken;

	hk_lock(&hk_classes[size_class].lock);
	taken = hk_slab_take_locked(size_class, into, n, &zero);
	hk_unlock(&hk_classes[size_class].lock);
	return taken;
}

static void give(unsigned size_class, void **from, unsigned n)
{
	hk_lock(&hk_classes[size_class].lock);
	hk_slab_give_locked(size_class, from, n, "test");
	hk_unlock(&hk_classes[size_class].lock);
}

/* Free them by groups, with so many chances in 100: those that stay come first. */
static unsigned choose(void **from, unsigned n, unsigned chance, unsigned group)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i += group) {
		bool keep = random_below(&seed, 100) >= chance;

		for (unsigned k = i; k < n && k < i + group; k++) {
			void *block = from[k];

			if (!keep)
				continue;
			from[k] = from[kept];
			from[kept++] = block;
		}
	}
	return kept;
}

static void expect(struct hk_slab *slab, size_t page_size, bool huge)
{
	const struct hk_size_class *info = hk_class_info(slab->kind);
	size_t count = slab->slots * HK_SLOT_BYTES / page_size;
	size_t per_slot = HK_SLOT_BYTES / page_size;
	struct hk_superslab *superslab = hk_slab_superslab(slab);
	static bool used[PAGES], touched[PAGES];
	uint16_t pages[HK_SLOTS];
	bool any = false, found;

	memset(used, 0, sizeof(used));
	memset(touched, !slab->zero || huge, sizeof(touched));
	for (unsigned i = 0; i < info->blocks; i++) {
		char *block = hk_slab_first_block(slab) + (size_t)i * info->size;
		bool is_free = hk_slab_is_free_locked(slab, block);
		size_t start = (size_t)(block - hk_slab_base(slab));
		size_t end = start + info->size;

		for (size_t page = start / page_size; page <= (end - 1) / page_size;
		     page++)
			touched[page] |= i < slab->fresh;
		/* What lies before the first and after the last is theirs. */
		if (!i)
			start = 0;
		if (i + 1 == info->blocks)
			end = slab->slots * HK_SLOT_BYTES;
		for (size_t page = start / page_size; page <= (end - 1) / page_size;
		     page++)
			used[page] |= !is_free;
	}
	found = hk_sparse_find_locked(slab, page_size, huge, pages);
	for (size_t page = 0; page < count; page++) {
		unsigned slot = hk_slab_slot(slab) + (unsigned)(page / per_slot);
		bool purged = superslab->purged[slot] >> (page % per_slot) & 1;
		bool wanted = !used[page] && touched[page] && !purged;

		any |= wanted;
		ck_assert_msg((pages[page / per_slot] >> (page % per_slot) & 1) == wanted,
			      "page %zu of %zu: class %u, colour %u, %u of %u used, "
			      "fresh %u, zero %d, seed %#lx",
			      page, count, slab->kind, slab->colour, slab->used,
			      slab->blocks, slab->fresh, slab->zero, (long)seed);
	}
	ck_assert_int_eq(found, any);
}

START_TEST(pages_are_those_of_the_model)
{
	static const unsigned chances[] = { 2, 10, 50, 90, 99, 100 };

	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i++) {
		const struct hk_size_class *info = hk_class_info(i);

		for (unsigned round = 0; round < 12; round++) {
			struct hk_slab *slab = attach(i, round % 2);
			unsigned n = info->blocks, kept;
			unsigned group = 1 + (unsigned)random_below(&seed, n);
			struct hk_superslab *superslab = hk_slab_superslab(slab);
			unsigned slot = hk_slab_slot(slab);

			if (round % 3)
				n = 1 + (unsigned)random_below(&seed, n);
			if (round % 4)
				group = 1;
			ck_assert_uint_eq(take(i, blocks, n), n);
			kept = choose(blocks, n, chances[round % 6], group);
			/* An empty slab is the pool's. */
			if (!kept)
				kept = 1;
			give(i, blocks + kept, n - kept);
			for (size_t size = 4096; size <= HK_SLOT_BYTES; size *= 4) {
				expect(slab, size, false);
				expect(slab, size, true);
			}
			for (unsigned k = 0; k < slab->slots; k++)
				superslab->purged[slot + k] = (uint16_t)random_next(
					&seed);
			for (size_t size = 4096; size <= HK_SLOT_BYTES; size *= 4)
				expect(slab, size, false);
			for (unsigned k = 0; k < slab->slots; k++)
				superslab->purged[slot + k] = 0;
			give(i, blocks, kept);
			/* So that the next is UNUSED, and can read as zero. */
			release_all();
		}
	}
	check_all();
}
END_TEST

/* Of those that were purged, the pages that are still free are still purged. */
static void still_free(struct hk_slab *slab, _Atomic uint16_t *purged,
		       const uint16_t *before)
{
	uint16_t now[HK_SLOTS], pages[HK_SLOTS];

	for (unsigned i = 0; i < slab->slots; i++)
		now[i] = atomic_exchange(&purged[i], 0);
	hk_sparse_find_locked(slab, hk_os_page_size, true, pages);
	for (unsigned i = 0; i < slab->slots; i++) {
		ck_assert_uint_eq(now[i], before[i] & pages[i]);
		purged[i] = now[i];
	}
}

/* Blocks that are handed out take their pages out of the purged ones, each exactly. */
START_TEST(pages_come_back_with_their_blocks)
{
	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i++) {
		for (unsigned round = 0; round < 8; round++) {
			struct hk_slab *slab = attach(i, round % 2);
			unsigned n = slab->blocks, kept, left;
			_Atomic uint16_t *purged = &hk_slab_superslab(slab)
							    ->purged[hk_slab_slot(slab)];
			uint16_t pages[HK_SLOTS];

			ck_assert_uint_eq(take(i, blocks, n), n);
			kept = choose(blocks, n, 100 - 100 / (round + 2), 1);
			/* One that stays, the lowest. */
			if (!kept) {
				void *lowest = blocks[n - 1];

				blocks[n - 1] = blocks[0];
				blocks[0] = lowest;
				kept = 1;
			}
			left = kept;
			give(i, blocks + kept, n - kept);
			slab->purged = hk_sparse_find_locked(slab, hk_os_page_size, false,
							     pages);
			for (unsigned k = 0; k < slab->slots; k++)
				purged[k] = pages[k];
			check_all();
			while (left < n) {
				unsigned m = 1 + (unsigned)random_below(&seed, n - left);

				ck_assert_uint_eq(take(i, blocks + left, m), m);
				left += m;
				check_all();
				still_free(slab, purged, pages);
			}
			ck_assert(!slab->purged);
			give(i, blocks, n);
			release_all();
		}
	}
}
END_TEST

/* ---- held blocks ---- */

static void hold(struct hk_slab *slab, const uint64_t *held, bool yes)
{
	struct hk_class *class = &hk_classes[slab->kind];

	hk_lock(&class->lock);
	if (yes)
		hk_slab_hold_locked(slab, held);
	else
		hk_slab_unhold_locked(slab, held, "test");
	hk_unlock(&class->lock);
}

START_TEST(a_slab_stays_while_blocks_are_held)
{
	static const uint64_t held[HK_BITMAP_WIDE_WORDS] = { 1 };

	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i++) {
		const struct hk_size_class *info = hk_class_info(i);
		struct hk_slab *slab = attach(i, true);
		unsigned n = info->blocks;
		uint64_t used = hk_classes[i].used;

		/* The lowest is the last of them; with nothing free, the slab is on no list. */
		ck_assert_uint_eq(take(i, blocks, n), n);
		if (n == 1) {
			give(i, blocks, 1);
			continue;
		}
		give(i, &blocks[n - 1], 1);
		hold(slab, held, true);
		ck_assert_uint_eq(slab->used, n);
		ck_assert_uint_eq(hk_classes[i].used, used + n);
		check_all();
		ck_assert_uint_eq(take(i, blocks + n, 1), 0);
		/* All others freed, and taken again: it is the class's throughout. */
		give(i, blocks, n - 1);
		ck_assert_uint_eq(slab->kind, i);
		ck_assert_uint_eq(slab->used, 1);
		ck_assert_uint_eq(take(i, blocks, n), n - 1);
		ck_assert_uint_eq(slab->used, n);
		/* Back again it is found, although the search had gone on beyond it. */
		hold(slab, held, false);
		check_all();
		ck_assert_uint_eq(take(i, blocks + n, 1), 1);
		ck_assert_ptr_eq(blocks[n], hk_slab_first_block(slab));
		/* And as the last one that is freed, it takes the slab to the pool. */
		give(i, blocks + n, 1);
		hold(slab, held, true);
		give(i, blocks, n - 1);
		ck_assert_uint_eq(slab->kind, i);
		hold(slab, held, false);
		ck_assert_uint_eq(slab->kind, HK_KIND_NONE);
		ck_assert_uint_eq(hk_classes[i].used, used);
		check_all();
	}
}
END_TEST

static void free_a_held_one(void *slab)
{
	static const uint64_t held[HK_BITMAP_WIDE_WORDS] = { 1 };
	void *first = hk_slab_first_block(slab);

	hold(slab, held, true);
	give(10, &first, 1);
	hold(slab, held, false);
}

START_TEST(a_double_free_meanwhile_is_told)
{
	struct hk_slab *slab = attach(10, true);
	unsigned n = slab->blocks;

	ck_assert_uint_eq(take(10, blocks, n), n);
	give(10, &blocks[n - 1], 1);
	ck_death(free_a_held_one, slab,
		 "test(): double free of %p (144-byte block, found at spill)",
		 (void *)hk_slab_first_block(slab));
	give(10, blocks, n - 1);
}
END_TEST

/* ---- a heap of which a random tenth is left ---- */

static void fill(size_t i)
{
	sizes[i] = 16 + (uint32_t)random_below(&seed, 497);
	blocks[i] = malloc(sizes[i]);
	ck_assert_ptr_nonnull(blocks[i]);
	memset(blocks[i], (int)(i & 0xff), sizes[i]);
}

/* The slow paths have ticks of their own: none of them is to be noticed. */
static void forget_ticks(void)
{
	hk_lock(&hk_pool_lock);
	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next) {
		memset(s->idle, 0, sizeof(s->idle));
		s->idle_since = 0;
	}
	hk_pool_cursor = NULL;
	hk_unlock(&hk_pool_lock);
}

static void make_sparse(void)
{
	set_option("purge_delay_ms", "3600000");
	for (size_t i = 0; i < HEAP; i++)
		fill(i);
	for (size_t i = 0; i < HEAP; i++) {
		if (random_below(&seed, 20)) {
			free(blocks[i]);
			blocks[i] = NULL;
		}
	}
	ck_assert_int_eq(hakmem_ctl(HAKMEM_FLUSH, NULL, 0), 0);
	forget_ticks();
	set_option("purge_delay_ms", "0");
}

static bool is_spoiled(size_t i)
{
	return blocks[i] && !all_bytes(blocks[i], (int)(i & 0xff), sizes[i]);
}

static void check_blocks(void)
{
	for (size_t i = 0; i < HEAP; i++)
		ck_assert_msg(!is_spoiled(i), "block %zu is not as it was, seed %#lx", i,
			      (long)seed);
}

static void drop_blocks(void)
{
	for (size_t i = 0; i < HEAP; i++) {
		free(blocks[i]);
		blocks[i] = NULL;
	}
}

static size_t live_blocks(void)
{
	size_t count = 0;

	for (size_t i = 0; i < HEAP; i++)
		count += blocks[i] != NULL;
	return count;
}

/* Pages that are resident but that no live block touches; and how many are resident. */
static size_t pages_in_vain(size_t *resident)
{
	static unsigned char there[PAGES];
	size_t vain = 0, count = HK_SUPERSLAB_BYTES / hk_os_page_size;
	size_t told = HK_SUPERSLAB_BYTES / (size_t)sysconf(_SC_PAGESIZE);

	*resident = 0;
	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next) {
		ck_assert_int_eq(mincore(s->base, HK_SUPERSLAB_BYTES, there), 0);
		/* The kernel's pages may be smaller than those we are told of. */
		for (size_t i = 0; i < told; i++)
			there[i * count / told] = (i * count % told &&
						   there[i * count / told] & 1) |
						  (there[i] & 1);
		for (size_t i = 0; i < count; i++)
			*resident += there[i] & 1;
		for (size_t i = 0; i < HEAP; i++) {
			size_t start = (size_t)((char *)blocks[i] - s->base), end;

			if (!blocks[i] || start >= HK_SUPERSLAB_BYTES)
				continue;
			end = start + malloc_usable_size(blocks[i]) - 1;
			for (size_t page = start / hk_os_page_size;
			     page <= end / hk_os_page_size; page++)
				there[page] = 0;
		}
		for (size_t i = 0; i < count; i++)
			vain += there[i] & 1;
	}
	return vain;
}

START_TEST(what_nobody_uses_is_not_resident)
{
	struct hakmem_release release = { 0 };
	struct hakmem_stats before, after;
	size_t resident, live;

	make_sparse();
	ck_assert_uint_gt(pages_in_vain(&resident), 50);
	before = stats_now();
	ck_assert_int_eq(hakmem_ctl(HAKMEM_RELEASE, &release, sizeof(release)), 0);
	after = stats_now();
	check_all();
	check_blocks();
	live = live_blocks();
	ck_assert_uint_eq(after.blocks_live, live);
	ck_assert_uint_eq(pages_in_vain(&resident), 0);
	/* The counters: what is not purged is resident, but for slabs still fresh. */
	ck_assert_uint_gt(after.bytes_purged, 50 * hk_os_page_size);
	ck_assert_uint_ge(release.bytes, after.bytes_purged);
	ck_assert_uint_eq(after.purged_bytes_total - before.purged_bytes_total +
				  (after.superslabs_unmapped_total -
				   before.superslabs_unmapped_total) *
					  HK_SUPERSLAB_BYTES,
			  release.bytes);
	ck_assert_uint_eq(after.bytes_committed - after.bytes_metadata,
			  after.slabs_active * HK_SLOT_BYTES - after.bytes_purged);
	ck_assert_uint_ge(after.bytes_committed - after.bytes_metadata,
			  resident * hk_os_page_size);
	ck_assert_uint_lt(after.bytes_committed - after.bytes_metadata,
			  resident * hk_os_page_size +
				  2 * HK_SLAB_CLASSES * HK_SLOT_BYTES);
	ck_assert_uint_eq(after.thp_splits_total, 0);

	/* Again, with nothing freed in between: there is nothing left to give. */
	ck_assert_int_eq(hakmem_ctl(HAKMEM_RELEASE, &release, sizeof(release)), 0);
	ck_assert_uint_eq(release.bytes, 0);

	/* What comes from purged pages is zero for calloc, and is counted as there again. */
	for (size_t i = 0; i < HEAP; i++) {
		if (blocks[i])
			continue;
		sizes[i] = 16 + (uint32_t)random_below(&seed, 497);
		blocks[i] = calloc(1, sizes[i]);
		ck_assert(all_bytes(blocks[i], 0, sizes[i]));
		memset(blocks[i], (int)(i & 0xff), sizes[i]);
	}
	check_all();
	check_blocks();
	ck_assert_uint_lt(stats_now().bytes_purged, after.bytes_purged / 2);
	drop_blocks();
	release_all();
	ck_assert_uint_eq(stats_now().superslabs_live, 0);
	ck_assert_uint_eq(stats_now().bytes_purged, 0);
}
END_TEST

START_TEST(a_kernel_that_refuses_to_purge)
{
	static const int allowed[] = { 0, 1, 10, 200 };
	/* Fewer large ones than that are free. */
	size_t resident, tries = hk_os_page_size > 4096 ? 3 : 4;
	struct hakmem_stats before, after;

	for (size_t i = 0; i < tries; i++) {
		make_sparse();
		before = stats_now();
		fail_after(HK_OS_PURGE, allowed[i]);
		release_all();
		after = stats_now();
		check_all();
		check_blocks();
		ck_assert_uint_eq(after.blocks_live, live_blocks());
		ck_assert_uint_eq(after.bytes_live, before.bytes_live);
		if (!allowed[i])
			ck_assert_uint_eq(after.bytes_purged, 0);
		ck_assert_uint_gt(pages_in_vain(&resident), 50);
		fail_no_more();
		release_all();
		check_blocks();
		ck_assert_uint_eq(pages_in_vain(&resident), 0);
		drop_blocks();
		release_all();
		ck_assert_uint_eq(stats_now().superslabs_live, 0);
	}
}
END_TEST

START_TEST(slots_of_one_page_are_let_alone)
{
	make_sparse();
	release_all();
	ck_assert_uint_eq(stats_now().bytes_purged, 0);
	check_all();
	check_blocks();
	drop_blocks();
	release_all();
	ck_assert_uint_eq(stats_now().superslabs_live, 0);
}
END_TEST

/* ---- ticks ---- */

static const struct hk_sparse_effort all = { 1 << 20, 1 << 20 };

START_TEST(a_tick_takes_what_was_idle_at_the_last)
{
	uint64_t purged;

	make_sparse();
	ck_assert(hk_sparse_tick(&all));
	ck_assert_uint_eq(stats_now().bytes_purged, 0);
	check_all();
	ck_assert(!hk_sparse_tick(&all));
	purged = stats_now().bytes_purged;
	ck_assert_uint_gt(purged, 50 * hk_os_page_size);
	check_all();
	check_blocks();
	/* Nothing left, and nothing forgotten. */
	ck_assert(!hk_sparse_tick(&all));
	release_all();
	ck_assert_uint_eq(stats_now().bytes_purged, purged);
	drop_blocks();
}
END_TEST

START_TEST(a_page_used_in_between_is_spared)
{
	struct hk_slab *slab = attach(9, true);
	unsigned n = slab->blocks, slot = hk_slab_slot(slab);
	struct hk_superslab *superslab = hk_slab_superslab(slab);

	/* 512 blocks of 128 B, 32 to a page: all are free but the last. */
	ck_assert_uint_eq(take(9, blocks, n), n);
	give(9, blocks + 1, n - 1);
	ck_assert(hk_sparse_tick(&all));
	ck_assert_uint_ne(superslab->idle[slot], 0);
	ck_assert_uint_eq(superslab->purged[slot], 0);
	/* The lowest is in use when the next comes by, and only free at the one after. */
	ck_assert_uint_eq(take(9, blocks + 1, 1), 1);
	ck_assert(!hk_sparse_tick(&all));
	ck_assert_uint_eq(superslab->purged[slot],
			  hk_os_page_size == 4096 ? 0x7ffe : superslab->purged[slot]);
	ck_assert(!(superslab->purged[slot] & 1));
	give(9, blocks + 1, 1);
	ck_assert(hk_sparse_tick(&all));
	ck_assert(!(superslab->purged[slot] & 1));
	ck_assert(!hk_sparse_tick(&all));
	ck_assert(superslab->purged[slot] & 1);
	ck_assert(slab->purged);
	check_all();
	/* Handed out, its page is there again; the slab's others still are not. */
	ck_assert_uint_eq(take(9, blocks + 1, 1), 1);
	ck_assert(!(superslab->purged[slot] & 1));
	ck_assert(slab->purged);
	check_all();
	give(9, blocks, 2);
	/* EMPTY, it keeps what is known of its pages; used again, that is void. */
	ck_assert_uint_eq(slab->kind, HK_KIND_NONE);
	ck_assert_uint_ne(superslab->purged[slot], 0);
	ck_assert_ptr_eq(attach(12, true), slab);
	ck_assert_uint_eq(superslab->purged[slot], 0);
	ck_assert(!slab->purged && !slab->zero);
	ck_assert_uint_eq(take(12, blocks, 1), 1);
	check_all();
	give(12, blocks, 1);
}
END_TEST

START_TEST(the_delay_is_kept)
{
	make_sparse();
	set_option("purge_delay_ms", "3600000");
	ck_assert(hk_sparse_tick(&all));
	ck_assert(hk_sparse_tick(&all));
	ck_assert(hk_sparse_tick(&all));
	ck_assert_uint_eq(stats_now().bytes_purged, 0);
	set_option("purge_delay_ms", "0");
	ck_assert(!hk_sparse_tick(&all));
	ck_assert_uint_gt(stats_now().bytes_purged, 0);
	drop_blocks();
}
END_TEST

START_TEST(a_tick_does_no_more_than_it_may)
{
	static const struct hk_sparse_effort few = { 1, 3 };
	unsigned superslabs = 0, ticks = 0;
	uint64_t purged;
	int left;

	make_sparse();
	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next)
		superslabs++;
	ck_assert_uint_gt(superslabs, 2);
	fail_after(HK_OS_PURGE, 1 << 20);
	/* One SuperSlab each: a round of them only looks. */
	for (unsigned i = 0; i < superslabs; i++)
		ck_assert(hk_sparse_tick(&few));
	ck_assert_int_eq(hk_os_fail[HK_OS_PURGE], 1 << 20);
	left = hk_os_fail[HK_OS_PURGE];
	for (unsigned i = 0; i < superslabs; i++) {
		ck_assert(hk_sparse_tick(&few));
		ck_assert_int_ge(hk_os_fail[HK_OS_PURGE], left - 3);
		left = hk_os_fail[HK_OS_PURGE];
	}
	ck_assert_int_lt(left, 1 << 20);
	check_all();
	/* But in time, all. */
	while (hk_sparse_tick(&few) || hk_pool_cursor)
		ck_assert_uint_lt(++ticks, 1000000);
	for (unsigned i = 0; i < superslabs; i++)
		hk_sparse_tick(&few);
	purged = stats_now().bytes_purged;
	release_all();
	check_all();
	check_blocks();
	ck_assert_uint_gt(purged, 0);
	drop_blocks();
}
END_TEST

START_TEST(a_tick_does_not_wait)
{
	make_sparse();
	ck_assert(hk_sparse_tick(&all));
	hk_lock(&hk_sparse_lock);
	ck_assert(hk_sparse_tick(&all));
	hk_unlock(&hk_sparse_lock);
	ck_assert_uint_eq(stats_now().bytes_purged, 0);
	drop_blocks();
}
END_TEST

START_TEST(the_cursor_survives_an_unmapping)
{
	struct hk_pool_released released;
	struct hk_slab *slabs[3];
	struct hk_superslab *superslabs[3];
	bool zero;

	for (unsigned i = 0; i < 3; i++) {
		slabs[i] = hk_pool_take(HK_KIND_MEDIUM, HK_SLOTS, HK_SLOTS, false, &zero);
		superslabs[i] = hk_slab_superslab(slabs[i]);
	}
	/* The list begins with the last. */
	ck_assert_ptr_eq(superslabs[2]->all_next, superslabs[1]);
	hk_pool_cursor = superslabs[1];
	hk_pool_give(slabs[1]);
	hk_pool_release(&released);
	ck_assert_uint_eq(released.superslabs, 1);
	ck_assert_ptr_eq(hk_pool_cursor, superslabs[0]);
	hk_pool_give(slabs[2]);
	hk_pool_release(&released);
	ck_assert_ptr_eq(hk_pool_cursor, superslabs[0]);
	hk_pool_give(slabs[0]);
	hk_pool_release(&released);
	ck_assert_ptr_eq(hk_pool_cursor, NULL);
}
END_TEST

/* ---- huge pages ---- */

START_TEST(a_split_is_counted_and_ends_huge_pages)
{
	struct hk_superslab *superslab;
	struct hakmem_stats before, after;
	unsigned huge = 0;

	set_option("thp", "always");
	make_sparse();
	/* Where a slot was purged already, they are none; but there are others. */
	for (superslab = hk_pool_superslabs; superslab; superslab = superslab->all_next)
		huge += superslab->huge;
	ck_assert_uint_gt(huge, 0);
	before = stats_now();
	/* Ticks leave them whole. */
	hk_sparse_tick(&all);
	hk_sparse_tick(&all);
	for (superslab = hk_pool_superslabs; superslab; superslab = superslab->all_next)
		ck_assert(!superslab->huge ||
			  !hk_superslab_purged(superslab, HK_ALL_SLOTS));
	ck_assert_uint_eq(stats_now().thp_splits_total, before.thp_splits_total);
	release_all();
	after = stats_now();
	ck_assert_uint_gt(after.bytes_purged, 0);
	ck_assert_uint_eq(after.thp_splits_total, before.thp_splits_total + huge);
	for (superslab = hk_pool_superslabs; superslab; superslab = superslab->all_next)
		ck_assert(!superslab->huge);
	release_all();
	ck_assert_uint_eq(stats_now().thp_splits_total, after.thp_splits_total);
	check_all();
	check_blocks();
	drop_blocks();
}
END_TEST

START_TEST(dense_once_more_they_are_asked_for_again)
{
	struct hk_slab *slab, *others;
	struct hk_superslab *superslab;
	unsigned n, most, slot;
	bool zero;

	set_option("thp", "dense");
	slab = attach(9, true);
	superslab = hk_slab_superslab(slab);
	slot = hk_slab_slot(slab);
	n = slab->blocks;
	most = n - n / 8;
	ck_assert_uint_eq(take(9, blocks, n), n);
	ck_assert(!superslab->huge);
	others = hk_pool_take(HK_KIND_MEDIUM, HK_SLOTS - 1, 1, false, &zero);
	ck_assert_ptr_eq(hk_slab_superslab(others), superslab);
	ck_assert(superslab->huge);
	give(9, blocks, most);
	release_all();
	ck_assert(!superslab->huge && superslab->purged[slot]);
	ck_assert_uint_eq(stats_now().thp_splits_total, 1);
	/* All slots in use, but there are holes. */
	hk_pool_give(others);
	others = hk_pool_take(HK_KIND_MEDIUM, HK_SLOTS - 1, 1, false, &zero);
	ck_assert_ptr_eq(hk_slab_superslab(others), superslab);
	ck_assert(!superslab->huge);
	/* Now there are none. */
	ck_assert_uint_eq(take(9, blocks, most), most);
	ck_assert(!superslab->purged[slot]);
	hk_pool_give(others);
	others = hk_pool_take(HK_KIND_MEDIUM, HK_SLOTS - 1, 1, false, &zero);
	ck_assert(superslab->huge);
	/* Slots that are purged split them, too. */
	hk_pool_give(others);
	release_all();
	ck_assert(!superslab->huge);
	ck_assert_uint_eq(stats_now().thp_splits_total, 2);
	give(9, blocks, n);
	check_all();
}
END_TEST

/* ---- other threads ---- */

enum { ALLOCATORS = 3, OWN = 3000, ROUNDS = 100, SETTLED = 100 };

static _Atomic bool stop;
static _Atomic uint64_t quiet; /* odd: the releaser holds no more than it did */

static void *release_in_a_loop(void *unused)
{
	static void *own[OWN];

	while (!stop) {
		for (size_t i = 0; i < OWN; i++) {
			own[i] = malloc(16 + i % 700);
			memset(own[i], 0x5a, 16 + i % 700);
		}
		for (size_t i = 0; i < OWN; i++)
			free(own[i]);
		quiet++;
		/* Not by an assertion: it takes a mutex of Check's, which a child may want. */
		hakmem_ctl(HAKMEM_RELEASE, NULL, 0);
		hk_sparse_tick(&all);
		hk_sparse_tick(&all);
		quiet++;
	}
	return unused;
}

static void *allocate_in_a_loop(void *number)
{
	uint64_t state = seed + (uintptr_t)number;
	struct own {
		unsigned char *block;
		uint32_t size;
	} *own = mmap(NULL, OWN * sizeof(*own), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	while (!stop) {
		for (unsigned i = 0; i < 4 * OWN; i++) {
			struct own *at = &own[random_below(&state, OWN)];
			bool zero = random_below(&state, 2);

			if (at->block) {
				if (!all_bytes(at->block, (uint8_t)at->size, at->size))
					return number;
				free(at->block);
				at->block = NULL;
			}
			/* Now and then most are free. */
			if (i > 2 * OWN && random_below(&state, 8))
				continue;
			at->size = 1 +
				   (uint32_t)random_below(&state, i % 64 ? 600 : 20000);
			at->block = zero ? calloc(1, at->size) : malloc(at->size);
			if (!at->block || (zero && !all_bytes(at->block, 0, at->size)))
				return number;
			memset(at->block, (uint8_t)at->size, at->size);
		}
	}
	for (size_t i = 0; i < OWN; i++)
		free(own[i].block);
	munmap(own, OWN * sizeof(*own));
	return NULL;
}

START_TEST(allocation_and_passes_do_not_meet)
{
	pthread_t threads[ALLOCATORS], releasers[2];
	void *result;

	stop = false;
	for (uintptr_t i = 0; i < ALLOCATORS; i++)
		pthread_create(&threads[i], NULL, allocate_in_a_loop, (void *)(i + 1));
	for (uintptr_t i = 0; i < 2; i++)
		pthread_create(&releasers[i], NULL,
			       i ? release_in_a_loop : allocate_in_a_loop,
			       (void *)(i + 100));
	for (unsigned i = 0; i < ROUNDS; i++) {
		release_all();
		if (i % 16 == 0)
			check_all();
	}
	stop = true;
	for (unsigned i = 0; i < ALLOCATORS; i++) {
		pthread_join(threads[i], &result);
		ck_assert_msg(!result, "thread %p, seed %#lx", result, (long)seed);
	}
	pthread_join(releasers[0], &result);
	ck_assert_ptr_null(result);
	pthread_join(releasers[1], &result);
	release_all();
	check_all();
	ck_assert_uint_eq(stats_now().blocks_live, 0);
	ck_assert_uint_eq(stats_now().superslabs_live, 0);
}
END_TEST

/* Blocks that a pass holds are no one's: neither counted nor told as live. */
START_TEST(no_one_sees_blocks_held)
{
	struct hakmem_query query = { 0 };
	unsigned exact = 0, told = 0;
	pthread_t releaser;
	uint64_t live;

	make_sparse();
	live = stats_now().blocks_live;
	for (size_t i = 0; i < HEAP && !query.address; i++) {
		void *block = malloc(16);

		free(block);
		query.address = block;
	}
	stop = false;
	quiet = 0;
	pthread_create(&releaser, NULL, release_in_a_loop, NULL);
	for (unsigned i = 0; i < 1000000 && (exact < SETTLED || told < SETTLED); i++) {
		uint64_t epoch = quiet, now;

		now = stats_now().blocks_live;
		if (epoch % 2 && quiet == epoch) {
			ck_assert_uint_eq(now, live);
			exact++;
		}
		epoch = quiet;
		ck_assert_int_eq(hakmem_ctl(HAKMEM_QUERY, &query, sizeof(query)), 0);
		if (epoch % 2 && quiet == epoch) {
			ck_assert_int_ne(query.state, HAKMEM_LIVE);
			told++;
		}
	}
	stop = true;
	pthread_join(releaser, NULL);
	ck_assert_uint_ge(exact, 10);
	ck_assert_uint_ge(told, 10);
	drop_blocks();
}
END_TEST

/*
 * Without assertions, which allocate: of a thread that the child does not have the allocator
 * beneath Check may have been left locked.
 */
static int in_child(void)
{
	for (unsigned i = 0; i < 2; i++) {
		if (hakmem_ctl(HAKMEM_CHECK, NULL, 0))
			return 1;
		for (size_t k = 0; k < HEAP; k++) {
			if (is_spoiled(k))
				return 2;
		}
		for (size_t k = 0; k < OWN; k++)
			free(malloc(k));
		if (hakmem_ctl(HAKMEM_RELEASE, NULL, 0))
			return 3;
		hk_sparse_tick(&all);
		hk_sparse_tick(&all);
	}
	return 0;
}

START_TEST(children_see_no_pass_half_done)
{
	pthread_t threads[2];

	make_sparse();
	stop = false;
	pthread_create(&threads[0], NULL, release_in_a_loop, NULL);
	pthread_create(&threads[1], NULL, allocate_in_a_loop, (void *)1);
	for (unsigned i = 0; i < 15; i += STRIDE(5)) {
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(in_child());
		ck_assert_int_gt(child, 0);
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_int_eq(status, 0);
	}
	stop = true;
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	drop_blocks();
}
END_TEST

static void *allocate_one(void *size)
{
	return malloc((uintptr_t)size);
}

/*
 * At the hard limit, with all free blocks held by a pass: a request waits for its end, be it
 * for a block of that class or, if its own can have none, of a smaller one.
 */
START_TEST(the_last_effort_waits_for_a_pass)
{
	static const size_t requests[] = { 128, 112 };

	for (size_t i = 0; i < 2; i++) {
		uint64_t held[HK_BITMAP_WIDE_WORDS] = { 0 };
		struct hk_slab *slab, *others;
		pthread_t thread;
		void *block;
		unsigned n;
		bool zero;

		slab = attach(9, true);
		n = slab->blocks;
		others = hk_pool_take(HK_KIND_MEDIUM, HK_SLOTS - 1, 1, false, &zero);
		ck_assert_uint_eq(take(9, blocks, n), n);
		give(9, blocks + 1, n - 1);
		/* All but the highest. */
		for (unsigned k = 0; k < n - 1; k++)
			held[k / 64] |= (uint64_t)1 << (k % 64);
		set_option("hard_limit", "1");
		hk_lock(&hk_sparse_lock);
		hold(slab, held, true);
		pthread_create(&thread, NULL, allocate_one, (void *)requests[i]);
		/* 2: held and waited for. */
		for (unsigned k = 0; k < 10000 && hk_sparse_lock.state != 2; k++)
			usleep(1000);
		ck_assert_uint_eq(hk_sparse_lock.state, 2);
		hold(slab, held, false);
		hk_unlock(&hk_sparse_lock);
		pthread_join(thread, &block);
		set_option("hard_limit", "0");
		ck_assert_ptr_nonnull(block);
		ck_assert_ptr_eq(hk_slab_of(block), slab);
		free(block);
		hk_pool_give(others);
		ck_assert_int_eq(hakmem_ctl(HAKMEM_FLUSH, NULL, 0), 0);
		give(9, blocks, 1);
		blocks[0] = NULL;
		release_all();
	}
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, allocation_and_passes_do_not_meet);
	tcase_add_test(tcase, no_one_sees_blocks_held);
	tcase_add_test(tcase, children_see_no_pass_half_done);
	tcase_add_test(tcase, the_last_effort_waits_for_a_pass);
	/* A slot that is one page has none without a block. */
	if (!pages_are_at_most(HK_SLOT_BYTES / 2)) {
		tcase_add_test(tcase, slots_of_one_page_are_let_alone);
		return;
	}
	tcase_add_test(tcase, what_nobody_uses_is_not_resident);
	tcase_add_test(tcase, a_kernel_that_refuses_to_purge);
	tcase_add_test(tcase, a_tick_takes_what_was_idle_at_the_last);
	tcase_add_test(tcase, the_delay_is_kept);
	/* Of larger pages there are few that have no block. */
	if (pages_are_at_most(4096))
		tcase_add_test(tcase, a_tick_does_no_more_than_it_may);
	tcase_add_test(tcase, a_tick_does_not_wait);
	tcase_add_test(tcase, a_split_is_counted_and_ends_huge_pages);
}

int main(void)
{
	Suite *suite = suite_create("sparse");
	TCase *tcase = add_case(suite, "pages");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, pages_are_those_of_the_model);
	tcase_add_test(tcase, pages_come_back_with_their_blocks);
	tcase_add_test(tcase, a_slab_stays_while_blocks_are_held);
	tcase_add_test(tcase, a_double_free_meanwhile_is_told);
	tcase_add_test(tcase, the_cursor_survives_an_unmapping);
	if (pages_are_at_most(HK_SLOT_BYTES / 2)) {
		tcase_add_test(tcase, a_page_used_in_between_is_spared);
		tcase_add_test(tcase, dense_once_more_they_are_asked_for_again);
	}
	add_both_forms(suite, setup, teardown, add_tests);
	return run_suite(suite);
}
