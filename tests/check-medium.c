/* SPDX-License-Identifier: MIT
 *
 * medium: runs of grains in slots that all blocks of more than 2 KiB share.  They join, span
 * slots, grow and shrink; their pages are purged; and whoever has one may ask for its size,
 * whatever happens beside it.
 */
#include "libcheck.h"

#include "grains.h"
#include "medium.h"
#include "pool.h"
#include "slab.h"
#include "sparse.h"

enum { KIB = 1024, MANY = 1024, LEAST = HK_SLAB_CLASSES + 1 };

static void *blocks[MANY];

/* What is empty stays as it is, until a test releases it. */
static void setup(void)
{
	hk_init();
	set_option("purge_delay_ms", "3600000");
	release_all();
	ck_assert_uint_eq(stats_now().superslabs_live, 0);
}

/* And nothing is lost. */
static void teardown(void)
{
	fail_no_more();
	release_all();
	check_all();
	ck_assert_uint_eq(stats_now().superslabs_live, 0);
	ck_assert_uint_eq(hk_medium_count, 0);
	ck_assert_uint_eq(hk_medium_bytes, 0);
	set_option("purge_delay_ms", "10");
}

static unsigned take(unsigned size_class, void **into, unsigned n, bool *zero)
{
	unsigned taken;

	hk_lock(&hk_classes[size_class].lock);
	taken = hk_medium_take_locked(size_class, into, n, zero);
	hk_unlock(&hk_classes[size_class].lock);
	return taken;
}

static unsigned start(unsigned size_class, void **into, unsigned n, bool *zero,
		      bool *slab_zero)
{
	struct hk_slab *slab = hk_pool_take(HK_KIND_MEDIUM, 1, 1, false, slab_zero);
	unsigned taken;

	ck_assert_ptr_nonnull(slab);
	hk_lock(&hk_classes[size_class].lock);
	taken = hk_medium_start_locked(size_class, slab, *slab_zero, into, n, zero);
	hk_unlock(&hk_classes[size_class].lock);
	return taken;
}

static void give(unsigned size_class, void **from, unsigned n)
{
	bool tidy;

	hk_lock(&hk_classes[size_class].lock);
	tidy = hk_medium_give_locked(size_class, from, n, "test");
	hk_unlock(&hk_classes[size_class].lock);
	if (tidy)
		hk_pool_tidy();
}

/* The class of the block that begins there, or 0. */
static unsigned class_of(const void *block)
{
	size_t kind = hk_registry_kind(block);

	return kind <= HK_CLASSES ? (unsigned)kind : 0;
}

/* Whatever its size. */
static void drop(void *block)
{
	unsigned size_class = class_of(block);

	if (size_class)
		give(size_class, &block, 1);
	else
		hk_medium_free(block, "test");
}

static void drop_all(char **from, unsigned n)
{
	while (n--)
		drop(from[n]);
}

static char *allocate_aligned(size_t size, size_t alignment)
{
	bool zero;
	char *block = hk_medium_allocate(size, alignment, false, &zero, NULL);

	ck_assert_ptr_nonnull(block);
	return block;
}

static char *allocate(size_t size)
{
	return allocate_aligned(size, 1);
}

/* Blocks of so many KiB, each right behind the one before, from a SuperSlab's start on. */
static void lay_out(char **into, const unsigned *kib)
{
	char *at = NULL;

	for (; *kib; kib++) {
		*into = allocate((size_t)*kib * KIB);
		if (at)
			ck_assert_ptr_eq(*into, at);
		else
			ck_assert_aligned(*into, HK_SUPERSLAB_BYTES);
		at = *into++ + (size_t)*kib * KIB;
	}
}

static unsigned slot_of(const void *address)
{
	return (uintptr_t)address % HK_SUPERSLAB_BYTES / HK_SLOT_BYTES;
}

static bool is_medium(const void *address)
{
	const struct hk_superslab *superslab = hk_registry_owner(address);
	bool is = hk_kind_is_medium(hk_registry_kind(address));

	ck_assert(is == (superslab && (superslab->medium >> slot_of(address) & 1)));
	return is;
}

static size_t usable(const void *block)
{
	return hk_medium_usable_size(block, "test");
}

static bool resize(void *block, size_t size)
{
	return hk_medium_resize(block, size, "test");
}

/* ---- sizes ---- */

static size_t usable_for(size_t size)
{
	if (size > HK_CLASS_MAX)
		return hk_align_up(size, hk_os_page_size);
	if (size < hk_class_size(LEAST))
		size = hk_class_size(LEAST);
	return hk_class_size(hk_size_class_exact(size));
}

/* The least and the largest of each class, then some up to the largest of all. */
static size_t next_size(size_t size)
{
	if (size < HK_CLASS_MAX)
		return size < usable_for(size) ? usable_for(size) : size + 1;
	if (size < HK_MEDIUM_MAX && size + 52421 > HK_MEDIUM_MAX)
		return HK_MEDIUM_MAX;
	return size + 52421;
}

START_TEST(sizes_and_alignments)
{
	enum { KEPT = 8 };
	static char *kept[KEPT];
	unsigned n = 0;
	bool zero;

	for (size_t alignment = 1; alignment <= HK_SUPERSLAB_BYTES;
	     alignment <<= STRIDE(7)) {
		for (size_t size = 1; size <= HK_MEDIUM_MAX; size = next_size(size)) {
			unsigned at = n++ % KEPT;
			char *block;

			if (kept[at]) {
				ck_assert(all_bytes(kept[at], (int)at + 1,
						    usable(kept[at])));
				drop(kept[at]);
			}
			block = hk_medium_allocate(size, alignment, false, &zero, NULL);
			ck_assert_ptr_nonnull(block);
			ck_assert_aligned(block, alignment);
			ck_assert(is_medium(block));
			ck_assert_uint_eq(usable(block), usable_for(size));
			ck_assert_uint_eq(class_of(block),
					  usable(block) > HK_CLASS_MAX
						  ? 0
						  : hk_size_class_exact(usable(block)));
			if (size > HK_CLASS_MAX)
				ck_assert_aligned(block, hk_os_page_size);
			ck_assert(!zero || all_bytes(block, 0, usable(block)));
			memset(block, (int)at + 1, usable(block));
			kept[at] = block;
		}
		check_all();
	}
	for (unsigned at = 0; at < KEPT; at++) {
		drop(kept[at]);
		kept[at] = NULL;
	}
}
END_TEST

START_TEST(batches_of_every_class)
{
	for (unsigned i = LEAST; i <= HK_CLASSES; i++) {
		size_t size = hk_class_size(i);
		unsigned n = (unsigned)(HK_SLOT_BYTES / size), again = n / 2;
		uint64_t used = hk_classes[i].used;
		bool zero, slab_zero;
		char *base;

		/* More than there are: as many as there are, the lowest last. */
		ck_assert_uint_eq(start(i, blocks, n + 5, &zero, &slab_zero), n);
		ck_assert(zero == slab_zero);
		ck_assert_uint_eq(hk_classes[i].used, used + n);
		base = blocks[n - 1];
		ck_assert_aligned(base, HK_SLOT_BYTES);
		for (unsigned k = 0; k < n; k++) {
			ck_assert_ptr_eq(blocks[n - 1 - k], base + k * size);
			ck_assert_uint_eq(class_of(base + k * size), i);
			ck_assert_uint_eq(usable(base + k * size), size);
		}
		/* The next one lies behind them, in the pool's slots. */
		ck_assert_uint_eq(take(i, blocks + n, 1, &zero), 1);
		ck_assert_ptr_eq(blocks[n], base + n * size);
		give(i, blocks + n, 1);
		check_all();
		/* Every second one, and again. */
		for (unsigned k = 1; k < n; k += 2)
			give(i, &blocks[n - 1 - k], 1);
		ck_assert_uint_eq(hk_classes[i].used, used + n - again);
		ck_assert_uint_eq(take(i, blocks + n, again, &zero), again);
		for (unsigned k = 0; k < again; k++)
			ck_assert_ptr_eq(blocks[n + again - 1 - k],
					 base + (2 * k + 1) * size);
		check_all();
		give(i, blocks, n);
		ck_assert_uint_eq(hk_classes[i].used, used);
		ck_assert(!is_medium(base));
		check_all();
	}
}
END_TEST

/* ---- places ---- */

static const unsigned orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
				       { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

START_TEST(neighbours_join_in_any_order)
{
	char *b[4];

	lay_out(b, (unsigned[]){ 8, 56, 56, 8, 0 });
	drop(b[1]);
	drop(b[2]);
	for (unsigned i = 0; i < 6; i++) {
		char *part[3], *whole;

		part[0] = allocate(40 * KIB);
		part[1] = allocate(32 * KIB);
		part[2] = allocate(40 * KIB);
		ck_assert_ptr_eq(part[0], b[1]);
		ck_assert_ptr_eq(part[1], part[0] + 40 * KIB);
		ck_assert_ptr_eq(part[2], part[1] + 32 * KIB);
		/* This one lies in both slots. */
		ck_assert_ptr_eq(part[1] + 16 * KIB, b[2]);
		ck_assert_uint_eq(usable(part[1]), 32 * KIB);
		for (unsigned k = 0; k < 3; k++) {
			whole = allocate(112 * KIB);
			ck_assert_ptr_ne(whole, b[1]);
			drop(whole);
			drop(part[orders[i][k]]);
			check_all();
		}
		whole = allocate(112 * KIB);
		ck_assert_ptr_eq(whole, b[1]);
		drop(whole);
	}
	drop(b[0]);
	drop(b[3]);
}
END_TEST

START_TEST(an_empty_slot_goes_back_at_once)
{
	char *b[5], *big, *behind;

	lay_out(b, (unsigned[]){ 8, 56, 64, 56, 8, 0 });
	drop(b[2]);
	ck_assert(!is_medium(b[2]));
	ck_assert(is_medium(b[1]) && is_medium(b[3]));
	check_all();
	drop(b[1]);
	drop(b[3]);
	ck_assert(is_medium(b[0]) && is_medium(b[4]));
	/* With what is free on both sides of it, it is one room. */
	big = allocate(176 * KIB);
	ck_assert_ptr_eq(big, b[1]);
	ck_assert(is_medium(b[2]));
	check_all();
	drop(big);
	ck_assert(!is_medium(b[2]));
	/* Of a longer block, those that nothing else is in. */
	big = allocate(88 * KIB);
	ck_assert_ptr_eq(big, b[1]);
	behind = allocate(32 * KIB);
	ck_assert_ptr_eq(behind, big + 88 * KIB);
	check_all();
	drop(big);
	ck_assert(is_medium(b[0]) && is_medium(b[2]));
	drop(behind);
	ck_assert(!is_medium(b[2]));
	drop(b[0]);
	drop(b[4]);
}
END_TEST

/* What a class has taken is no room, and is again when it gives that back. */
START_TEST(a_slot_of_a_class_is_a_wall)
{
	unsigned small = hk_size_class_exact(128);
	struct hk_slab *slab;
	char *b[5], *big;
	bool zero;
	void *one;

	lay_out(b, (unsigned[]){ 8, 56, 64, 56, 8, 0 });
	drop_all(b + 1, 3);
	slab = hk_pool_take(small, 1, 1, false, &zero);
	ck_assert_ptr_eq(hk_slab_base(slab), b[2]);
	/* Nobody has been told of it yet. */
	big = allocate(112 * KIB);
	ck_assert_ptr_eq(big, b[4] + 8 * KIB);
	drop(big);
	hk_lock(&hk_classes[small].lock);
	ck_assert_uint_eq(hk_slab_start_locked(small, slab, zero, &one, 1, &zero), 1);
	hk_unlock(&hk_classes[small].lock);
	check_all();
	/* On both sides there is room for as much as is there. */
	big = allocate(60 * KIB);
	ck_assert_ptr_eq(big, b[4] + 8 * KIB);
	drop(big);
	b[1] = allocate(56 * KIB);
	b[3] = allocate(56 * KIB);
	ck_assert_ptr_eq(b[1], b[0] + 8 * KIB);
	ck_assert_ptr_eq(b[3], b[2] + 64 * KIB);
	drop(b[1]);
	drop(b[3]);
	/* As a spare it is a wall still. */
	hk_lock(&hk_classes[small].lock);
	hk_slab_give_locked(small, &one, 1, "test");
	hk_unlock(&hk_classes[small].lock);
	big = allocate(112 * KIB);
	ck_assert_ptr_eq(big, b[4] + 8 * KIB);
	check_all();
	release_all();
	check_all();
	drop(allocate(56 * KIB));
	drop(big);
	big = allocate(176 * KIB);
	ck_assert_ptr_eq(big, b[1]);
	drop(big);
	drop(b[0]);
	drop(b[4]);
}
END_TEST

/* So long a run is there no more, which the lists learn only where it was looked for. */
static void learn_longest(void)
{
	bool zero;

	ck_assert_uint_eq(take(LEAST, blocks, 1, &zero), 0);
}

/* Whichever of the two SuperSlabs was there first. */
START_TEST(the_least_run_that_is_enough_serves)
{
	unsigned less = (unsigned)_i, more = !less;
	char *first[2][HK_SLOTS], *rest[2][HK_SLOTS], *block;
	bool zero;

	for (unsigned k = 0; k < 2 * HK_SLOTS; k++) {
		unsigned s = k / HK_SLOTS, slot = k % HK_SLOTS;

		first[s][slot] = allocate((s == less ? 40 : 48) * KIB);
		rest[s][slot] = allocate((s == less ? 24 : 16) * KIB);
		ck_assert_uint_eq(slot_of(first[s][slot]), slot);
		ck_assert_ptr_eq(rest[s][slot],
				 first[s][slot] + (s == less ? 40 : 48) * KIB);
	}
	learn_longest();
	for (unsigned s = 0; s < 2; s++) {
		drop(first[s][20]);
		drop(first[s][7]);
	}
	/* Only the longer one will do. */
	block = allocate(44 * KIB);
	ck_assert_ptr_eq(block, first[more][7]);
	drop(block);
	/* The least that will, in it the lowest; and when it has no more, the other. */
	ck_assert_ptr_eq(allocate(36 * KIB), first[less][7]);
	ck_assert_ptr_eq(allocate(36 * KIB), first[less][20]);
	ck_assert_ptr_eq(allocate(36 * KIB), first[more][7]);
	ck_assert_ptr_eq(allocate(36 * KIB), first[more][20]);
	check_all();
	/* The same for a batch. */
	for (unsigned s = 0; s < 2; s++) {
		drop(first[s][20]);
		drop(first[s][7]);
	}
	ck_assert_uint_eq(take(hk_size_class_exact(36 * KIB), blocks, 9, &zero), 4);
	ck_assert_ptr_eq(blocks[3], first[less][7]);
	ck_assert_ptr_eq(blocks[2], first[less][20]);
	ck_assert_ptr_eq(blocks[1], first[more][7]);
	ck_assert_ptr_eq(blocks[0], first[more][20]);
	check_all();
	for (unsigned s = 0; s < 2; s++) {
		drop_all(first[s], HK_SLOTS);
		drop_all(rest[s], HK_SLOTS);
	}
}
END_TEST

START_TEST(an_aligned_block_leaves_what_is_before_it)
{
	char *b[4], *aligned[2];

	lay_out(b, (unsigned[]){ 8, 56, 56, 8, 0 });
	drop(b[1]);
	drop(b[2]);
	aligned[0] = allocate_aligned(32 * KIB, 32 * KIB);
	ck_assert_ptr_eq(aligned[0], b[0] + 32 * KIB);
	ck_assert_ptr_eq(allocate(24 * KIB), b[1]);
	/* 56 KiB are left, but none of them at such an address. */
	aligned[1] = allocate_aligned(4 * KIB, 2 * HK_SLOT_BYTES);
	ck_assert_ptr_eq(aligned[1], b[3] + 8 * KIB);
	b[2] = allocate(56 * KIB);
	ck_assert_ptr_eq(b[2], aligned[0] + 32 * KIB);
	check_all();
	drop_all(aligned, 2);
	drop_all(b, 4);
}
END_TEST

START_TEST(beyond_the_classes_pages_are_whole)
{
	char *b[4], *block;

	b[0] = allocate(hk_class_size(LEAST));
	b[1] = allocate(60 * KIB);
	ck_assert_ptr_eq(b[1], b[0] + hk_class_size(LEAST));
	b[2] = allocate(56 * KIB);
	b[3] = allocate(8 * KIB);
	drop(b[1]);
	drop(b[2]);
	block = allocate(100 * KIB);
	ck_assert_ptr_eq(block, b[0] + 4 * KIB);
	drop(block);
	drop(b[0]);
	drop(b[3]);
}
END_TEST

/* ---- resize ---- */

START_TEST(it_grows_over_what_is_free)
{
	uint64_t count = hk_medium_count, bytes = hk_medium_bytes;
	char *b[3], *between;

	lay_out(b, (unsigned[]){ 128, 56, 8, 0 });
	memset(b[0], 1, 128 * KIB);
	ck_assert_uint_eq(hk_medium_count, count + 1);
	/* Its own size; not over a block in use. */
	ck_assert(resize(b[0], 128 * KIB));
	ck_assert(!resize(b[0], 128 * KIB + 1));
	ck_assert_uint_eq(usable(b[0]), 128 * KIB);
	ck_assert_uint_eq(hk_medium_bytes, bytes + 128 * KIB);
	/* Into the next slot, up to what is used there. */
	drop(b[1]);
	ck_assert(!resize(b[0], 184 * KIB + 1));
	ck_assert(resize(b[0], 160 * KIB));
	ck_assert(resize(b[0], 180 * KIB + 1));
	ck_assert_uint_eq(usable(b[0]), 184 * KIB);
	ck_assert_uint_eq(hk_medium_bytes, bytes + 184 * KIB);
	ck_assert_uint_eq(hk_medium_count, count + 1);
	ck_assert_uint_eq(usable(b[2]), 8 * KIB);
	check_all();
	/* What it gives back is room for others, which it does not grow over. */
	ck_assert(resize(b[0], 68 * KIB));
	ck_assert_uint_eq(usable(b[0]), 68 * KIB);
	ck_assert(is_medium(b[0] + 64 * KIB));
	check_all();
	between = allocate(40 * KIB);
	ck_assert_ptr_eq(between, b[0] + 68 * KIB);
	ck_assert(!resize(b[0], 72 * KIB));
	drop(between);
	ck_assert(resize(b[0], 128 * KIB));
	ck_assert(all_bytes(b[0], 1, 68 * KIB));
	check_all();
	drop(b[0]);
	drop(b[2]);
	ck_assert_uint_eq(hk_medium_bytes, bytes);
}
END_TEST

START_TEST(it_shrinks_by_whole_slots)
{
	char *block = allocate(HK_MEDIUM_MAX);

	memset(block, 1, HK_MEDIUM_MAX);
	ck_assert(resize(block, 80 * KIB));
	ck_assert_uint_eq(usable(block), 80 * KIB);
	ck_assert_uint_eq(hk_medium_bytes, 80 * KIB);
	for (unsigned slot = 0; slot < 16; slot++)
		ck_assert(is_medium(block + slot * HK_SLOT_BYTES) == (slot < 2));
	check_all();
	/* Up to where its slots end, and into those of the pool. */
	ck_assert(resize(block, 128 * KIB));
	check_all();
	ck_assert(resize(block, 128 * KIB + 1));
	ck_assert(is_medium(block + 128 * KIB) && !is_medium(block + 192 * KIB));
	check_all();
	ck_assert(resize(block, HK_MEDIUM_MAX));
	ck_assert(all_bytes(block, 1, 80 * KIB));
	check_all();
	drop(block);
}
END_TEST

START_TEST(it_does_not_grow_beyond_its_superslab)
{
	char *b[3];

	lay_out(b, (unsigned[]){ 1024, 512, 512, 0 });
	ck_assert(!resize(b[2], 512 * KIB + 1));
	ck_assert(resize(b[2], 508 * KIB));
	ck_assert(!resize(b[2], 512 * KIB + 1));
	ck_assert(resize(b[2], 512 * KIB));
	check_all();
	drop_all(b, 3);
}
END_TEST

/* ---- what reads as zero ---- */

/* Allocated, is it told as zero?  If so it is; and it is used. */
static char *use(size_t size, size_t alignment, bool told)
{
	bool zero = !told;
	char *block = hk_medium_allocate(size, alignment, false, &zero, NULL);

	ck_assert_ptr_nonnull(block);
	ck_assert(zero == told);
	ck_assert(!told || all_bytes(block, 0, usable(block)));
	memset(block, 0xa5, usable(block));
	return block;
}

START_TEST(what_was_never_used_is_zero)
{
	char *b[5], *block;

	b[0] = use(8 * KIB, 1, true);
	b[1] = use(40 * KIB, 1, true);
	drop(b[1]);
	b[1] = use(24 * KIB, 1, false);
	ck_assert_ptr_eq(b[1], b[0] + 8 * KIB);
	/* What was used, and what is behind that. */
	b[2] = use(20 * KIB, 1, false);
	ck_assert_ptr_eq(b[2], b[1] + 24 * KIB);
	b[3] = use(16 * KIB, HK_SLOT_BYTES, true);
	b[4] = use(20 * KIB, 1, true);
	ck_assert_ptr_eq(b[4], b[3] + 16 * KIB);
	drop(b[3]);
	/* The end of one slot, and the start of the next, which was. */
	block = use(26 * KIB, 1, false);
	ck_assert_ptr_eq(block, b[2] + 20 * KIB);
	drop(block);
	drop_all(b, 3);
	drop(b[4]);
	/* Slots of the pool that had been in use; and others. */
	b[0] = use(100 * KIB, 1, false);
	b[1] = use(200 * KIB, HK_SUPERSLAB_BYTES / 2, true);
	b[2] = use(HK_MEDIUM_MAX, 1, true);
	drop_all(b, 3);
}
END_TEST

/* What is known is where the last use ended, so a gap below that is not known to be zero. */
START_TEST(of_a_gap_whole_pages_are_told_as_zero)
{
	bool told = hk_os_page_size == 4096;
	char *b[4];

	b[0] = use(16 * KIB, 1, true);
	b[1] = use(4 * KIB, 1, true);
	b[2] = use(8 * KIB, 32 * KIB, true);
	b[3] = use(12 * KIB, 1, told);
	ck_assert_ptr_eq(b[3] + 12 * KIB, b[2]);
	drop_all(b, 4);
}
END_TEST

static unsigned purged(const void *address)
{
	const struct hk_superslab *superslab = hk_registry_owner(address);

	return superslab->purged[slot_of(address)];
}

START_TEST(what_was_purged_is_zero)
{
	char *b[5], *block[4];

	/* In slots that are sparse, short runs go back, too. */
	b[0] = use(4 * KIB, 1, true);
	b[1] = use(48 * KIB, 1, true);
	b[2] = use(12 * KIB, 1, true);
	b[3] = use(4 * KIB, 64 * KIB, true);
	b[4] = use(4 * KIB, 64 * KIB, true);
	drop(b[1]);
	/* The kernel refuses: nothing is taken for what it is not. */
	fail_after(HK_OS_PURGE, 0);
	release_all();
	fail_no_more();
	ck_assert_uint_eq(purged(b[1]), 0);
	block[0] = use(40 * KIB, 1, false);
	ck_assert_ptr_eq(block[0], b[1]);
	drop(block[0]);

	release_all();
	ck_assert_uint_eq(purged(b[1]), 0x1ffe);
	ck_assert_uint_eq(stats_now().bytes_purged, 48 * KIB);
	check_all();
	/* Each page once: its second block cannot know of the first. */
	block[0] = use(hk_class_size(LEAST), 1, true);
	ck_assert_ptr_eq(block[0], b[1]);
	ck_assert_uint_eq(purged(b[1]), 0x1ffc);
	check_all();
	block[1] = use(hk_class_size(LEAST), 1, false);
	ck_assert_uint_eq(purged(b[1]), 0x1ff8);
	block[2] = use(4 * KIB, 4 * KIB, true);
	ck_assert_ptr_eq(block[2], b[1] + 8 * KIB);
	block[3] = use(36 * KIB, 4 * KIB, true);
	ck_assert_ptr_eq(block[3], b[1] + 12 * KIB);
	ck_assert_uint_eq(purged(b[1]), 0);
	check_all();
	/* Freed again they are as they were left, until they are purged again. */
	drop(block[3]);
	block[3] = use(36 * KIB, 4 * KIB, false);
	drop(block[3]);
	release_all();
	ck_assert_uint_eq(purged(b[1]), 0x1ff0);
	block[3] = use(36 * KIB, 4 * KIB, true);
	drop_all(block, 4);
	drop(b[0]);
	drop_all(b + 2, 3);
}
END_TEST

/* Of any size: of what was freed, those that nothing else touches; and they read as zero. */
START_TEST(whole_pages_are_purged)
{
	size_t page = hk_os_page_size, first = hk_align_up(4 * KIB, page), end;
	unsigned pages = 0;
	char *b[5], *block;

	lay_out(b, (unsigned[]){ 4, 52, 4, 0 });
	/* Its slots sparse, short runs go back, too. */
	b[3] = use(4 * KIB, HK_SLOT_BYTES, true);
	b[4] = use(4 * KIB, HK_SLOT_BYTES, true);
	memset(b[0], 1, 4 * KIB);
	memset(b[1], 2, 52 * KIB);
	memset(b[2], 3, 4 * KIB);
	end = 56 * KIB & ~(page - 1);
	for (size_t at = first; at < end; at += page)
		pages |= 1u << at / page;
	drop(b[1]);
	release_all();
	ck_assert_uint_eq(purged(b[0]), pages);
	ck_assert_uint_eq(stats_now().bytes_purged, first < end ? end - first : 0);
	ck_assert(all_bytes(b[0], 1, 4 * KIB));
	ck_assert(all_bytes(b[2], 3, 4 * KIB));
	check_all();
	for (size_t at = 4 * KIB; at < 56 * KIB; at += KIB)
		ck_assert(all_bytes(b[0] + at, at >= first && at < end ? 0 : 2, KIB));
	/* In use again, none of the pages that it touches is. */
	block = use(36 * KIB, 1, first == 4 * KIB);
	ck_assert_ptr_eq(block, b[1]);
	for (size_t at = first; at < 40 * KIB; at += page)
		pages &= ~(1u << at / page);
	ck_assert_uint_eq(purged(b[0]), pages);
	check_all();
	drop(block);
	drop(b[0]);
	drop_all(b + 2, 3);
}
END_TEST

/* ---- held pages ---- */

static struct hk_superslab *holding;
static uint16_t held[HK_SLOTS];

/* What could be purged is held, as sparse.c would; with hk_sparse_lock, as nobody may look. */
static bool hold(struct hk_superslab *superslab, unsigned *used, unsigned *grains)
{
	bool found;

	hk_lock(&hk_sparse_lock);
	hk_lock(&hk_medium_lock);
	found = hk_grains_find_pages(superslab, false, held, used, grains);
	if (found)
		hk_grains_hold(superslab, held);
	hk_unlock(&hk_medium_lock);
	if (found)
		holding = superslab;
	else
		hk_unlock(&hk_sparse_lock);
	return found;
}

static void unhold(const uint16_t *gone)
{
	bool tidy;

	hk_lock(&hk_medium_lock);
	tidy = hk_grains_unhold(holding, held, gone);
	hk_unlock(&hk_medium_lock);
	holding = NULL;
	hk_unlock(&hk_sparse_lock);
	if (tidy)
		hk_pool_tidy();
}

START_TEST(held_pages_are_nobody_s)
{
	static const uint16_t none[HK_SLOTS];
	unsigned size_class = hk_size_class_exact(16 * KIB), used, grains;
	char *b[3], *behind;
	bool zero;

	lay_out(b, (unsigned[]){ 16, 32, 16, 0 });
	drop(b[1]);
	/* What is before this one was inside a block, the last that had it. */
	behind = allocate_aligned(16 * KIB, 32 * KIB);
	ck_assert_ptr_eq(behind, b[1] + 16 * KIB);
	ck_assert(hold(hk_registry_owner(behind), &used, &grains));
	ck_assert_uint_eq(used, 192);
	ck_assert_uint_eq(grains, HK_GRAINS);
	for (unsigned slot = 0; slot < HK_SLOTS; slot++)
		ck_assert_uint_eq(held[slot], slot ? 0 : 0x00f0);
	ck_assert_uint_eq(class_of(behind), size_class);
	ck_assert_uint_eq(usable(behind), 16 * KIB);
	ck_assert_uint_eq(class_of(b[0]), size_class);
	ck_assert_uint_eq(take(size_class, blocks, 1, &zero), 1);
	ck_assert_ptr_eq(blocks[0], b[0] + HK_SLOT_BYTES);
	give(size_class, blocks, 1);
	/* Meanwhile all others come and go. */
	drop(behind);
	drop(b[0]);
	ck_assert_uint_eq(take(size_class, blocks, 2, &zero), 2);
	ck_assert_ptr_eq(blocks[1], b[0]);
	ck_assert_ptr_eq(blocks[0], behind);
	unhold(none);
	check_all();
	ck_assert_uint_eq(purged(b[0]), 0);
	ck_assert_uint_eq(take(size_class, blocks + 2, 1, &zero), 1);
	ck_assert_ptr_eq(blocks[2], b[1]);
	ck_assert(!zero);
	give(size_class, blocks, 3);
	drop(b[2]);
}
END_TEST

/* The pages keep their slots from leaving, not those beside them. */
START_TEST(slots_freed_meanwhile_go_back_afterwards)
{
	static const uint16_t first[HK_SLOTS] = { 3 }, second[HK_SLOTS] = { 4 };
	unsigned used, grains;
	char *b[3];

	lay_out(b, (unsigned[]){ 16, 32, 0 });
	b[2] = allocate_aligned(64 * KIB, HK_SLOT_BYTES);
	ck_assert_ptr_eq(b[2], b[0] + HK_SLOT_BYTES);
	drop(b[0]);
	/* Behind the other one, pages were never touched. */
	ck_assert(hold(hk_registry_owner(b[0]), &used, &grains));
	ck_assert_uint_eq(held[0], 0x000f);
	unhold(first);
	ck_assert_uint_eq(purged(b[0]), 3);
	check_all();
	/* Those that are purged are not again. */
	ck_assert(hold(hk_registry_owner(b[0]), &used, &grains));
	ck_assert_uint_eq(held[0], 0x000c);
	drop(b[1]);
	drop(b[2]);
	ck_assert(!is_medium(b[2]));
	ck_assert(is_medium(b[0]));
	unhold(second);
	ck_assert(!is_medium(b[0]));
	/* With those that were never touched. */
	ck_assert_uint_eq(purged(b[0]), 0xf007);
	check_all();
}
END_TEST

/* A tick knows of the slabs beside what it saw of them, and of medium blocks. */
START_TEST(a_tick_sees_both_kinds_of_slots)
{
	static const struct hk_sparse_effort all = { 1 << 20, 1 << 20 };
	unsigned small = hk_size_class_exact(128), n = hk_class_info(small)->blocks;
	struct hk_slab *slab;
	char *b[3];
	bool zero, tidy;

	lay_out(b, (unsigned[]){ 8, 40, 16, 0 });
	slab = hk_pool_take(small, 1, 1, false, &zero);
	ck_assert_ptr_eq(hk_slab_superslab(slab), hk_registry_owner(b[0]));
	hk_lock(&hk_classes[small].lock);
	ck_assert_uint_eq(hk_slab_start_locked(small, slab, zero, blocks, n, &zero), n);
	hk_slab_give_locked(small, blocks + 1, n - 1, "test");
	hk_unlock(&hk_classes[small].lock);
	drop(b[1]);
	set_option("purge_delay_ms", "0");
	hk_sparse_tick(&all);
	ck_assert_uint_eq(purged(b[1]), 0);
	hk_sparse_tick(&all);
	ck_assert_uint_eq(purged(b[1]), 0x0ffc);
	ck_assert_uint_eq(purged(hk_slab_base(slab)), 0x7fff);
	check_all();
	hk_lock(&hk_classes[small].lock);
	tidy = hk_slab_give_locked(small, blocks, 1, "test");
	hk_unlock(&hk_classes[small].lock);
	if (tidy)
		hk_pool_tidy();
	drop(b[0]);
	drop(b[2]);
}
END_TEST

/* ---- tiers ---- */

START_TEST(a_slot_counts_by_the_eighths_in_use)
{
	char *pin = allocate(4 * KIB);
	struct hk_superslab *superslab = hk_registry_owner(pin);
	unsigned n = 0;

	/* Whole while it is filled, which does not make it one that drains. */
	ck_assert_uint_eq(superslab->use, 1);
	ck_assert_uint_eq(superslab->tier, HK_TIER_FRESH);
	for (size_t bytes = 4 * KIB; n < 15; n++) {
		blocks[n] = allocate(4 * KIB);
		bytes += 4 * KIB;
		ck_assert_uint_eq(superslab->use, (bytes + 8 * KIB - 1) / (8 * KIB));
	}
	check_all();
	for (; n--; drop(blocks[n]))
		ck_assert_uint_eq(superslab->use, (n + 3) / 2);
	drop(pin);
}
END_TEST

START_TEST(filling_is_not_draining)
{
	char *block = allocate(10 * HK_SLOT_BYTES);
	struct hk_superslab *superslab = hk_registry_owner(block);

	/* Were it empty in between, it would drain, and go on draining at this use. */
	ck_assert_uint_eq(superslab->use, 80);
	ck_assert_uint_eq(superslab->tier, HK_TIER_HOT);
	ck_assert(resize(block, 8 * HK_SLOT_BYTES));
	ck_assert_uint_eq(superslab->use, 64);
	ck_assert_uint_eq(superslab->tier, HK_TIER_DRAINING);
	check_all();
	drop(block);
}
END_TEST

/* ---- huge pages ---- */

/* By a block that claims the last slots of a SuperSlab, beyond the classes or of one. */
START_TEST(a_dense_superslab_is_asked_for_huge_pages)
{
	struct hk_superslab *superslab;
	char *b[3];

	set_option("thp", "dense");
	b[0] = allocate(HK_MEDIUM_MAX);
	superslab = hk_registry_owner(b[0]);
	b[1] = allocate(900 * KIB);
	ck_assert_ptr_eq(hk_registry_owner(b[1]), superslab);
	ck_assert(!superslab->huge);
	b[2] = allocate(100 * KIB);
	ck_assert_ptr_eq(hk_registry_owner(b[2]), superslab);
	ck_assert(superslab->huge);
	drop_all(b, 3);
	release_all();
	b[0] = allocate(HK_MEDIUM_MAX);
	superslab = hk_registry_owner(b[0]);
	b[1] = allocate(960 * KIB);
	ck_assert(!superslab->huge);
	b[2] = malloc(40 * KIB);
	ck_assert_ptr_eq(hk_registry_owner(b[2]), superslab);
	ck_assert(superslab->huge);
	free(b[2]);
	drop_all(b, 2);
	set_option("thp", "never");
}
END_TEST

/* ---- no memory ---- */

/* What fits is had without the kernel; then nothing, and nothing is lost. */
START_TEST(no_memory)
{
	static const size_t sizes[] = { HK_MEDIUM_MAX, 64 * KIB, 16 * KIB, 4 * KIB };
	uint64_t count;
	unsigned n = 1;
	bool zero;

	fail_after(HK_OS_MAP, 0);
	ck_assert_ptr_null(hk_medium_allocate(HK_MEDIUM_MAX, 1, true, &zero, NULL));
	ck_assert_ptr_null(hk_medium_allocate(4 * KIB, 1, false, &zero, NULL));
	ck_assert_uint_eq(hk_medium_count, 0);
	fail_no_more();
	blocks[0] = allocate(4 * KIB);
	fail_after(HK_OS_MAP, 0);
	for (unsigned k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		while ((blocks[n] = hk_medium_allocate(sizes[k], 1, true, &zero, NULL)))
			n++;
		check_all();
	}
	count = 0;
	for (unsigned k = 0; k < n; k++)
		count += usable(blocks[k]);
	ck_assert_uint_eq(count, HK_SUPERSLAB_BYTES);
	ck_assert(!resize(blocks[1], HK_MEDIUM_MAX + 1));
	ck_assert_uint_eq(usable(blocks[1]), HK_MEDIUM_MAX);
	ck_assert_uint_eq(hk_medium_count, 1);
	while (n--)
		drop(blocks[n]);
	check_all();
}
END_TEST

/* ---- messages ---- */

static unsigned told_class;

static void free_it(void *block)
{
	free(block);
}

static void measure_it(void *block)
{
	malloc_usable_size(block);
}

static void grow_it(void *block)
{
	ck_assert_ptr_null(realloc(block, 300 * KIB));
}

static void spill_it(void *block)
{
	give(told_class, &block, 1);
}

START_TEST(a_pointer_into_a_block)
{
	static const unsigned offsets[] = { 1, 16, 256, 4096, 65536, 150000 };
	char *block = allocate(196 * KIB), *other = allocate(8 * KIB);

	for (unsigned k = 0; k < sizeof(offsets) / sizeof(offsets[0]); k++) {
		char *pointer = block + offsets[k];

		ck_assert_uint_eq(class_of(pointer), 0);
		ck_death(free_it, pointer,
			 "free(): interior pointer %p (%u bytes into the 200704-byte "
			 "block %p)",
			 (void *)pointer, offsets[k], (void *)block);
		ck_death(grow_it, pointer,
			 "realloc(): interior pointer %p (%u bytes into the 200704-byte "
			 "block %p)",
			 (void *)pointer, offsets[k], (void *)block);
	}
	ck_death(measure_it, other + 8,
		 "malloc_usable_size(): interior pointer %p (8 bytes into the 8192-byte "
		 "block %p)",
		 (void *)(other + 8), (void *)other);
	/* The rest of it is as long as a block of that class. */
	told_class = hk_size_class_exact(4 * KIB);
	ck_death(spill_it, other + 4 * KIB,
		 "test(): interior pointer %p (4096 bytes into the 8192-byte block %p, "
		 "found at spill)",
		 (void *)(other + 4 * KIB), (void *)other);
	drop(block);
	drop(other);
}
END_TEST

START_TEST(a_large_one_freed_twice)
{
	char *b[3];

	lay_out(b, (unsigned[]){ 64, 128, 64, 0 });
	drop(b[1]);
	/* Its slots are the pool's. */
	ck_death(free_it, b[1], "free(): double free of %p (131072-byte block)",
		 (void *)b[1]);
	ck_death(measure_it, b[1],
		 "malloc_usable_size(): double free of %p (131072-byte block)",
		 (void *)b[1]);
	ck_death(free_it, b[1] + 4096,
		 "free(): invalid pointer %p (not a block of this allocator)",
		 (void *)(b[1] + 4096));
	drop(b[0]);
	drop(b[2]);

	/* Its first slot is, the other is not. */
	lay_out(b, (unsigned[]){ 100, 28, 0 });
	drop(b[0]);
	ck_death(free_it, b[0], "free(): double free of %p (102400-byte block)",
		 (void *)b[0]);
	ck_death(free_it, b[0] + 68 * KIB,
		 "free(): invalid pointer %p (in memory of medium blocks but in none of "
		 "them)",
		 (void *)(b[0] + 68 * KIB));
	drop(b[1]);
}
END_TEST

static void expect_freed_twice(char *block)
{
	ck_death(free_it, block, "free(): double free of %p (114688-byte block)",
		 (void *)block);
	ck_death(measure_it, block,
		 "malloc_usable_size(): double free of %p (114688-byte block)",
		 (void *)block);
	ck_death(free_it, block + 40 * KIB,
		 "free(): invalid pointer %p (in memory of medium blocks but in none of "
		 "them)",
		 (void *)(block + 40 * KIB));
}

/* Also when its pages were purged. */
START_TEST(a_large_one_in_slots_that_stay_freed_twice)
{
	char *b[4], *block;

	lay_out(b, (unsigned[]){ 8, 56, 56, 8, 0 });
	drop(b[1]);
	drop(b[2]);
	block = allocate(112 * KIB);
	ck_assert_ptr_eq(block, b[1]);
	drop(block);
	expect_freed_twice(block);
	release_all();
	ck_assert_uint_eq(purged(block), 0xfffc);
	expect_freed_twice(block);
	drop(b[0]);
	drop(b[3]);
}
END_TEST

static void free_held(void *block)
{
	unsigned used, grains;

	hold(hk_registry_owner(block), &used, &grains);
	if (told_class)
		give(told_class, &block, 1);
	else
		hk_medium_free(block, "test");
	unhold(held);
}

/* Held, the grains are not free; they are no block either. */
START_TEST(one_freed_twice_while_it_is_held)
{
	char *b[4], *block;

	lay_out(b, (unsigned[]){ 8, 56, 56, 8, 0 });
	drop(b[1]);
	drop(b[2]);
	block = allocate(112 * KIB);
	drop(block);
	told_class = 0;
	ck_death(free_held, block, "test(): double free of %p (114688-byte block)",
		 (void *)block);
	block = allocate(12 * KIB);
	ck_assert_ptr_eq(block, b[1]);
	drop(block);
	told_class = hk_size_class_exact(12 * KIB);
	ck_death(free_held, block,
		 "test(): double free of %p (12288-byte block, found at spill)",
		 (void *)block);
	/* One that ended on the last of the pages, before that one's end. */
	b[1] = allocate(108 * KIB);
	block = allocate(hk_class_size(LEAST));
	ck_assert_ptr_eq(block, b[1] + 108 * KIB);
	drop(b[1]);
	drop(block);
	told_class = LEAST;
	ck_death(free_held, block,
		 "test(): double free of %p (2304-byte block, found at spill)",
		 (void *)block);
	drop(b[0]);
	drop(b[3]);
}
END_TEST

START_TEST(one_of_a_class_freed_twice)
{
	char *b[3];

	lay_out(b, (unsigned[]){ 8, 12, 40, 0 });
	told_class = hk_size_class_exact(12 * KIB);
	drop(b[1]);
	ck_death(spill_it, b[1],
		 "test(): double free of %p (12288-byte block, found at spill)",
		 (void *)b[1]);
	/* Free grains, but no block began there. */
	ck_death(spill_it, b[1] + 4096,
		 "test(): invalid pointer %p (in memory of medium blocks but in none of "
		 "them, found at spill)",
		 (void *)(b[1] + 4096));
	ck_death(free_it, b[1] + 8,
		 "free(): invalid pointer %p (in memory of medium blocks but in none of "
		 "them)",
		 (void *)(b[1] + 8));
	drop(b[0]);
	drop(b[2]);
	/* Its slot, too, is gone. */
	ck_death(spill_it, b[1],
		 "test(): double free of %p (12288-byte block, found at spill)",
		 (void *)b[1]);
	ck_death(free_it, b[1], "free(): double free of %p (12288-byte block)",
		 (void *)b[1]);
	/* It has come back, and knows nothing of that; nor of others that begin there. */
	ck_assert_ptr_eq(allocate(4 * KIB), b[0]);
	ck_death(spill_it, b[1],
		 "test(): invalid pointer %p (in memory of medium blocks but in none of "
		 "them, found at spill)",
		 (void *)b[1]);
	b[2] = allocate_aligned(4 * KIB, 8 * KIB);
	ck_assert_ptr_eq(b[2], b[1]);
	ck_death(
		spill_it, b[1],
		"test(): interior pointer %p (0 bytes into the 4096-byte block %p, found "
		"at spill)",
		(void *)b[1], (void *)b[1]);
	drop(b[0]);
	drop(b[2]);
	/* And its SuperSlab. */
	release_all();
	ck_death(spill_it, b[1],
		 "test(): double free of %p (12288-byte block, found at spill)",
		 (void *)b[1]);
	ck_death(free_it, b[1],
		 "free(): invalid pointer %p (not a block of this allocator)",
		 (void *)b[1]);
}
END_TEST

/* ---- other threads ---- */

enum { KEPT = 28, OWN = 24 };

/* Blocks that stay, and what is to be said of them. */
static struct kept {
	char *block;
	size_t bytes;
	unsigned size_class;
} kept[KEPT];

static _Atomic bool stop;
static uint64_t seed;

/* Memcheck runs one thread at a time: one that only asks lets the others go on. */
static void let_others(void)
{
	if (RUNNING_ON_VALGRIND)
		sched_yield();
}

static void *ask(void *unused)
{
	(void)unused;
	for (unsigned i = 0; !stop; i = (i + 1) % KEPT) {
		if (class_of(kept[i].block) != kept[i].size_class ||
		    usable(kept[i].block) != kept[i].bytes)
			return kept[i].block;
		let_others();
	}
	return NULL;
}

/* A slot is another class's for a moment: its bitmap lies where the free grains were. */
static void lend(unsigned size_class)
{
	const struct hk_size_class *info = hk_class_info(size_class);
	bool zero, tidy;
	struct hk_slab *slab = hk_pool_take(size_class, info->slots, 1, false, &zero);
	void *one;

	hk_lock(&hk_classes[size_class].lock);
	hk_slab_attach_locked(size_class, slab, zero);
	hk_slab_take_locked(size_class, &one, 1, &zero);
	tidy = hk_slab_give_locked(size_class, &one, 1, "test");
	hk_unlock(&hk_classes[size_class].lock);
	if (tidy)
		hk_pool_tidy();
}

static void *come_and_go(void *number)
{
	static const size_t sizes[] = { 2304,     4 * KIB,  60 * KIB,
					64 * KIB, 64 * KIB, 128 * KIB };
	uint64_t random = seed + (uintptr_t)number;
	void *own[OWN] = { NULL };
	bool zero;

	for (unsigned step = 0; step < 60000; step += STRIDE(60)) {
		void **at = &own[random_below(&random, OWN)];

		if (*at) {
			drop(*at);
			*at = NULL;
		} else if (random_below(&random, 16) == 0) {
			lend((unsigned)random_below(&random, 30) + 2);
		} else {
			*at = hk_medium_allocate(sizes[random_below(&random, 6)], 1, true,
						 &zero, NULL);
			if (*at)
				memset(*at, 1, 64);
		}
	}
	for (unsigned k = 0; k < OWN; k++) {
		if (own[k])
			drop(own[k]);
	}
	return NULL;
}

static void *release_in_a_loop(void *unused)
{
	while (!stop)
		hakmem_ctl(HAKMEM_RELEASE, NULL, 0);
	return unused;
}

static void keep(unsigned i, char *block)
{
	kept[i].block = block;
	kept[i].bytes = usable(block);
	kept[i].size_class = class_of(block);
	ck_assert_uint_ne(kept[i].size_class, 0);
}

START_TEST(who_has_a_block_may_ask)
{
	pthread_t asker, others[2], releaser;
	void *wrong, *result, *pin = allocate(4 * KIB);

	seed = new_seed();
	/* With free grains before each that no block ever ended in ... */
	for (unsigned i = 0; i < 6; i++)
		keep(i, allocate_aligned(4 * KIB, 8 * KIB));
	for (unsigned i = 0; i < 2 * (KEPT - 6); i++)
		blocks[i] = allocate(HK_SLOT_BYTES);
	/* ... and slots of their own, the one before each now the pool's. */
	for (unsigned i = 6; i < KEPT; i++) {
		drop(blocks[2 * (i - 6)]);
		keep(i, blocks[2 * (i - 6) + 1]);
	}
	stop = false;
	pthread_create(&asker, NULL, ask, NULL);
	pthread_create(&releaser, NULL, release_in_a_loop, NULL);
	for (uintptr_t i = 0; i < 2; i++)
		pthread_create(&others[i], NULL, come_and_go, (void *)(i + 1));
	for (unsigned i = 0; i < 2; i++)
		pthread_join(others[i], &result);
	stop = true;
	pthread_join(asker, &wrong);
	pthread_join(releaser, &result);
	ck_assert_msg(!wrong, "%p: a wrong answer, TEST_SEED=%lu", wrong, seed);
	check_all();
	for (unsigned i = 0; i < KEPT; i++)
		drop(kept[i].block);
	drop(pin);
}
END_TEST

static void *ask_once(void *block)
{
	return (void *)hk_medium_usable_size(block, "test");
}

/*
 * A look may come upon the slot before in the moment in which it becomes another class's, whose
 * bitmap says nothing of grains: as if one long block of many went on here.
 */
START_TEST(what_looks_wrong_is_looked_at_again)
{
	unsigned small = hk_size_class_exact(KIB);
	char *before = allocate(40 * KIB);
	char *block = allocate_aligned(64 * KIB, HK_SLOT_BYTES);
	struct hk_superslab *superslab = hk_registry_owner(block);
	struct hk_slab *slab;
	pthread_t thread;
	void *one, *answer;
	bool zero;

	ck_assert_ptr_eq(block, before + HK_SLOT_BYTES);
	drop(before);
	slab = hk_pool_take(small, 1, 1, false, &zero);
	ck_assert_ptr_eq(slab, &superslab->slab[0]);
	hk_lock(&hk_classes[small].lock);
	ck_assert_uint_eq(hk_slab_start_locked(small, slab, zero, &one, 1, &zero), 1);
	hk_unlock(&hk_classes[small].lock);
	hk_lock(&hk_medium_lock);
	superslab->medium |= 1;
	pthread_create(&thread, NULL, ask_once, block);
	/* 2: held and waited for. */
	for (unsigned k = 0; k < 10000 && hk_medium_lock.state != 2; k++)
		usleep(1000);
	ck_assert_uint_eq(hk_medium_lock.state, 2);
	superslab->medium &= ~1u;
	hk_unlock(&hk_medium_lock);
	pthread_join(thread, &answer);
	ck_assert_uint_eq((uintptr_t)answer, 64 * KIB);
	drop(block);
	free(one);
}
END_TEST

static char *asked;
static _Atomic unsigned asking, wrong_answers; /* odd: the one asked for is there */

static void *find_it(void *unused)
{
	while (!stop) {
		unsigned round = asking;
		size_t bytes;

		if (round % 2 && hk_medium_block_of(asked + 5000, &bytes) != asked &&
		    asking == round)
			wrong_answers++;
		let_others();
	}
	return unused;
}

/*
 * Without the lock, too, the grain before a block is free or ends something: also that of a
 * free one that has never ended anything, while it is taken.
 */
START_TEST(the_grain_before_is_free_or_an_end)
{
	unsigned small = hk_size_class_exact(4 * KIB);
	char *b[3], *block;
	pthread_t finder;
	bool zero;

	lay_out(b, (unsigned[]){ 4, 12, 48, 0 });
	asked = b[1] + 4 * KIB;
	stop = false;
	pthread_create(&finder, NULL, find_it, NULL);
	for (unsigned i = 0; i < 60000; i += STRIDE(200)) {
		drop(b[1]);
		block = allocate_aligned(8 * KIB, 8 * KIB);
		ck_assert_ptr_eq(block, asked);
		asking++;
		for (unsigned k = 0; k < 30; k++)
			hk_pause_cpu();
		if (take(small, blocks, 1, &zero) != 1)
			wrong_answers++;
		give(small, blocks, 1);
		asking++;
		drop(block);
		b[1] = allocate(12 * KIB);
	}
	stop = true;
	pthread_join(finder, NULL);
	ck_assert_uint_eq(wrong_answers, 0);
	drop_all(b, 3);
}
END_TEST

/* ---- a model ---- */

enum { LIVE = 400, BATCH = 20 };

/* Blocks that live, by address; each grain begins with what says whose it is. */
static struct shadow {
	char *base;
	size_t bytes;
	uint64_t stamp;
} shadows[LIVE + BATCH];

static unsigned live, step;
static uint64_t chance;

/* Check notes each of its assertions, also those that hold; of these there are millions. */
#define ck_model(condition)                                                          \
	do {                                                                         \
		if (!(condition))                                                    \
			ck_abort_msg("%s: TEST_SEED=%lu, step %u", #condition, seed, \
				     step);                                          \
	} while (0)

/* How many lie below this address. */
static unsigned below(const char *address)
{
	unsigned from = 0, to = live;

	while (from < to) {
		unsigned middle = (from + to) / 2;

		if (shadows[middle].base < address)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static bool overlaps(const char *base, size_t bytes)
{
	unsigned at = below(base + bytes);

	return at && shadows[at - 1].base + shadows[at - 1].bytes > base;
}

static bool is_held(const char *base, size_t bytes)
{
	size_t page = hk_os_page_size;

	if (!holding || hk_registry_owner(base) != holding)
		return false;
	for (const char *at = base - (uintptr_t)base % page; at < base + bytes;
	     at += page) {
		if (held[slot_of(at)] >> ((uintptr_t)at % HK_SLOT_BYTES / page) & 1)
			return true;
	}
	return false;
}

static void stamp(const struct shadow *shadow, size_t from)
{
	for (size_t at = from; at < shadow->bytes; at += 1 << HK_GRAIN_SHIFT)
		*(uint64_t *)(shadow->base + at) = shadow->stamp + at;
}

static void check_block(const struct shadow *shadow, size_t bytes)
{
	ck_model(usable(shadow->base) == shadow->bytes);
	for (size_t at = 0; at < bytes; at += 1 << HK_GRAIN_SHIFT)
		ck_model(*(uint64_t *)(shadow->base + at) == shadow->stamp + at);
}

static void add(char *block, size_t size, size_t alignment, size_t zeroed)
{
	unsigned at = below(block);
	size_t bytes = usable_for(size);

	ck_model(block && (uintptr_t)block % alignment == 0);
	ck_model(is_medium(block) && usable(block) == bytes);
	ck_model(!overlaps(block, bytes) && !is_held(block, bytes));
	ck_model(all_bytes(block, 0, zeroed));
	memmove(&shadows[at + 1], &shadows[at], (live - at) * sizeof(shadows[0]));
	shadows[at] = (struct shadow){ block, bytes, random_next(&chance) | 1 };
	stamp(&shadows[at], 0);
	live++;
}

static char *forget(unsigned at)
{
	char *block = shadows[at].base;

	check_block(&shadows[at], shadows[at].bytes);
	live--;
	memmove(&shadows[at], &shadows[at + 1], (live - at) * sizeof(shadows[0]));
	return block;
}

static size_t some_size(void)
{
	switch (random_below(&chance, 8)) {
	case 0:
		return HK_CLASS_MAX + 1 +
		       random_below(&chance, HK_MEDIUM_MAX - HK_CLASS_MAX);
	case 1:
	case 2:
		return 2049 + random_below(&chance, HK_CLASS_MAX - 2048);
	default:
		return 2049 + random_below(&chance, 12 * KIB);
	}
}

static void take_some(void)
{
	unsigned size_class = hk_size_class_exact(2049 + random_below(&chance, 30 * KIB));
	unsigned n = 1 + (unsigned)random_below(&chance, BATCH), taken;
	bool zero = false, slab_zero;

	taken = take(size_class, blocks, n, &zero);
	if (!taken)
		taken = start(size_class, blocks, n, &zero, &slab_zero);
	ck_model(taken && taken <= n);
	for (unsigned k = 0; k < taken; k++)
		add(blocks[k], hk_class_size(size_class), 1,
		    zero && k == taken - 1 ? hk_class_size(size_class) : 0);
}

static void give_some(unsigned at)
{
	unsigned size_class = class_of(shadows[at].base), n = 0;

	if (!size_class) {
		hk_medium_free(forget(at), "test");
		return;
	}
	blocks[n++] = forget(at);
	for (unsigned k = live; k-- && n < BATCH;) {
		if (shadows[k].bytes == hk_class_size(size_class))
			blocks[n++] = forget(k);
	}
	give(size_class, blocks, n);
}

static void resize_one(unsigned at)
{
	struct shadow *shadow = &shadows[at];
	size_t size = HK_CLASS_MAX + 1 + random_below(&chance, shadow->bytes), had;

	if (shadow->bytes <= HK_CLASS_MAX || size > HK_MEDIUM_MAX)
		return;
	had = shadow->bytes;
	check_block(shadow, had);
	if (!resize(shadow->base, size)) {
		ck_model(size > had);
		check_block(shadow, had);
		return;
	}
	shadow->bytes = usable_for(size);
	ck_model(at + 1 == live || shadow[1].base >= shadow->base + shadow->bytes);
	ck_model(!is_held(shadow->base, shadow->bytes));
	check_block(shadow, had < shadow->bytes ? had : shadow->bytes);
	stamp(shadow, 0);
}

/* Whoever looks for an address within finds it. */
static void look(unsigned at)
{
	struct shadow *shadow = &shadows[at];
	size_t bytes;

	hk_lock(&hk_medium_lock);
	ck_model(hk_medium_block_of(shadow->base + random_below(&chance, shadow->bytes),
				    &bytes) == shadow->base);
	hk_unlock(&hk_medium_lock);
	ck_model(bytes == shadow->bytes);
	check_block(shadow, bytes);
}

static void change(void)
{
	size_t size = some_size(),
	       alignment = random_below(&chance, 4)
				   ? 1
				   : (size_t)1 << random_below(&chance, 18);
	/* Long tides. */
	bool fill = random_below(&chance, 10) < (step / 1000 % 2 ? 3u : 7u);
	unsigned at = (unsigned)random_below(&chance, live + 1);
	bool zero = false;
	char *block;

	if (at < live && random_below(&chance, 3) == 0)
		resize_one(at);
	else if (at < live)
		look(at);
	if (fill && live < LIVE) {
		switch (random_below(&chance, 4)) {
		case 0:
			take_some();
			break;
		case 1:
			block = memalign(alignment, size);
			add(block, size, alignment, 0);
			break;
		case 2:
			block = calloc(1, size);
			add(block, size, 1, size);
			break;
		default:
			block = hk_medium_allocate(size, alignment, false, &zero, NULL);
			add(block, size, alignment, zero ? usable(block) : 0);
		}
	} else if (at < live) {
		if (random_below(&chance, 2))
			give_some(at);
		else
			free(forget(at));
	}
}

/* As a pass would, while others go on; of what it holds some is purged. */
static void pass(void)
{
	uint16_t gone[HK_SLOTS] = { 0 };
	struct hk_superslab *superslab;
	size_t page = hk_os_page_size;
	unsigned used, grains;

	if (!live)
		return;
	superslab = hk_registry_owner(shadows[random_below(&chance, live)].base);
	if (hold(superslab, &used, &grains)) {
		ck_model(used && used < grains);
		for (char *at = superslab->base;
		     at < superslab->base + HK_SUPERSLAB_BYTES; at += page)
			ck_model(!is_held(at, page) || !overlaps(at, page));
		for (unsigned k = 0; k < 30; k++)
			change();
		for (char *at = superslab->base;
		     at < superslab->base + HK_SUPERSLAB_BYTES; at += page) {
			if (!is_held(at, page) || random_below(&chance, 4) == 0 ||
			    !hk_os_purge(at, page))
				continue;
			gone[slot_of(at)] |= (uint16_t)(1 << (uintptr_t)at %
								     HK_SLOT_BYTES /
								     page);
		}
		unhold(gone);
	}
}

/* All that live and no others, if none are in magazines. */
static void walk(void)
{
	uint64_t count = 0, bytes = 0, large = 0, large_bytes = 0;

	ck_model(!hakmem_ctl(HAKMEM_FLUSH, NULL, 0));
	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next) {
		unsigned grain = 0;
		size_t size;
		char *block;

		while ((block = hk_medium_next_locked(s, &grain, &size))) {
			unsigned at = below(block);

			ck_model(at < live && shadows[at].base == block);
			ck_model(shadows[at].bytes == size);
			count++;
			bytes += size;
			large += size > HK_CLASS_MAX;
			large_bytes += size > HK_CLASS_MAX ? size : 0;
		}
	}
	ck_model(count == live);
	ck_model(large == hk_medium_count && large_bytes == hk_medium_bytes);
	ck_model(stats_now().blocks_live == count && stats_now().bytes_live == bytes);
}

START_TEST(any_mix_beside_a_model)
{
	seed = chance = new_seed();
	for (step = 0; step < 20000; step += STRIDE(20)) {
		change();
		if (random_below(&chance, 100) == 0)
			pass();
		if (random_below(&chance, 500) == 0)
			release_all();
		if (random_below(&chance, 200) == 0) {
			check_all();
			walk();
		}
	}
	while (live)
		free(forget(live - 1));
	check_all();
	walk();
}
END_TEST

/* Laid out to the KiB. */
static void add_for_small_pages(TCase *tcase)
{
	tcase_add_test(tcase, neighbours_join_in_any_order);
	tcase_add_test(tcase, an_empty_slot_goes_back_at_once);
	tcase_add_test(tcase, a_slot_of_a_class_is_a_wall);
	tcase_add_test(tcase, beyond_the_classes_pages_are_whole);
	tcase_add_test(tcase, it_grows_over_what_is_free);
	tcase_add_test(tcase, what_was_purged_is_zero);
	tcase_add_test(tcase, it_shrinks_by_whole_slots);
	tcase_add_test(tcase, held_pages_are_nobody_s);
	tcase_add_test(tcase, slots_freed_meanwhile_go_back_afterwards);
	tcase_add_test(tcase, a_tick_sees_both_kinds_of_slots);
	tcase_add_test(tcase, a_dense_superslab_is_asked_for_huge_pages);
	tcase_add_test(tcase, a_pointer_into_a_block);
	tcase_add_test(tcase, a_large_one_freed_twice);
	tcase_add_test(tcase, a_large_one_in_slots_that_stay_freed_twice);
	tcase_add_test(tcase, one_freed_twice_while_it_is_held);
}

static void add_model(TCase *tcase)
{
	tcase_add_test(tcase, any_mix_beside_a_model);
}

int main(void)
{
	Suite *suite = suite_create("medium");
	TCase *tcase = add_case(suite, "medium");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, sizes_and_alignments);
	tcase_add_test(tcase, batches_of_every_class);
	tcase_add_loop_test(tcase, the_least_run_that_is_enough_serves, 0, 2);
	tcase_add_test(tcase, an_aligned_block_leaves_what_is_before_it);
	tcase_add_test(tcase, it_does_not_grow_beyond_its_superslab);
	tcase_add_test(tcase, what_was_never_used_is_zero);
	tcase_add_test(tcase, of_a_gap_whole_pages_are_told_as_zero);
	tcase_add_test(tcase, whole_pages_are_purged);
	tcase_add_test(tcase, a_slot_counts_by_the_eighths_in_use);
	tcase_add_test(tcase, filling_is_not_draining);
	tcase_add_test(tcase, no_memory);
	tcase_add_test(tcase, one_of_a_class_freed_twice);
	tcase_add_test(tcase, who_has_a_block_may_ask);
	tcase_add_test(tcase, what_looks_wrong_is_looked_at_again);
	tcase_add_test(tcase, the_grain_before_is_free_or_an_end);
	if (pages_are_at_most(4096))
		add_for_small_pages(tcase);
	add_both_forms(suite, setup, teardown, add_model);
	return run_suite(suite);
}
