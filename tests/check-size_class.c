/* SPDX-License-Identifier: MIT
 *
 * size_class: every size, every class, every block of every class.
 */
#include "libcheck.h"

#include "init.h"
#include "size_class.h"
#include "slab.h"

static void setup(void)
{
	hk_init();
}

static size_t class_of(size_t size)
{
	return size <= HK_TINY_MAX ? hk_size_class_of_tiny(size)
				   : hk_size_class_beyond_tiny(size);
}

START_TEST(sizes_ascend_by_an_eighth_at_most)
{
	ck_assert_uint_eq(hk_class_size(1), 8);
	ck_assert_uint_eq(hk_class_size(HK_CLASSES), HK_CLASS_MAX);
	for (unsigned i = 2; i <= HK_CLASSES; i++) {
		size_t size = hk_class_size(i), before = hk_class_size(i - 1);

		ck_assert_uint_gt(size, before);
		ck_assert_uint_eq(size % 16, 0);
		ck_assert_msg(size - before <= 16 || (size - before) * 8 <= before,
			      "%zu is followed by %zu", before, size);
	}
}
END_TEST

START_TEST(every_size_has_its_smallest_class)
{
	for (size_t size = 1; size <= HK_CLASS_MAX; size++) {
		unsigned i = hk_size_class_exact(size);

		ck_assert_uint_ge(i, 1);
		ck_assert_uint_le(i, HK_CLASSES);
		ck_assert_msg(hk_class_size(i) >= size, "%zu in blocks of %zu", size,
			      hk_class_size(i));
		ck_assert_msg(i == 1 || hk_class_size(i - 1) < size,
			      "%zu in blocks of %zu, though there are some of %zu", size,
			      hk_class_size(i), hk_class_size(i - 1));
	}
}
END_TEST

START_TEST(requests_go_to_their_class)
{
	hk_route_set(HK_CONSERVATIVE);
	ck_assert_uint_eq(class_of(0), 1);
	for (size_t size = 1; size <= HK_CLASS_MAX; size++)
		ck_assert_uint_eq(class_of(size), hk_size_class_exact(size));
	/* Class 0 has no blocks: what is larger takes the slow path. */
	ck_assert_uint_eq(class_of(HK_CLASS_MAX + 1), 0);
	ck_assert_uint_eq(class_of(SIZE_MAX), 0);
}
END_TEST

START_TEST(the_fast_path_can_be_off)
{
	hk_route_set(HK_CONSERVATIVE);
	hk_fast_path_set(false);
	for (size_t size = 0; size <= HK_CLASS_MAX; size += 8) {
		ck_assert_uint_eq(class_of(size), 0);
		ck_assert_uint_eq(hk_size_class_routed(size | !size),
				  hk_size_class_exact(size | !size));
	}
	hk_fast_path_set(true);
	for (size_t size = 1; size <= HK_CLASS_MAX; size += 8)
		ck_assert_uint_eq(class_of(size), hk_size_class_exact(size));
}
END_TEST

START_TEST(a_run_is_the_shortest_that_wastes_little)
{
	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i++) {
		const struct hk_size_class *info = hk_class_info(i);
		size_t run = info->slots * HK_SLOT_BYTES;

		ck_assert_uint_ge(info->slots, 1);
		ck_assert_uint_le(info->slots, HK_SLOTS);
		ck_assert_uint_eq(info->blocks, run / info->size);
		ck_assert_msg((run % info->size) * 33 <= run,
			      "class %u wastes %zu of %zu", i, run % info->size, run);
		for (size_t shorter = HK_SLOT_BYTES; shorter < run;
		     shorter += HK_SLOT_BYTES)
			ck_assert_msg((shorter % info->size) * 33 > shorter,
				      "class %u needs no more than %zu", i, shorter);
	}
}
END_TEST

START_TEST(colours_keep_blocks_inside_and_aligned)
{
	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i++) {
		const struct hk_size_class *info = hk_class_info(i);
		size_t natural = info->size & -(size_t)info->size;
		size_t last = (info->colours - 1u) * (size_t)info->colour_step;

		ck_assert_uint_ge(info->colours, 1);
		ck_assert_uint_eq(info->colour_step % 64, 0);
		ck_assert_uint_eq(info->colour_step % natural, 0);
		ck_assert_uint_le(last + (size_t)info->blocks * info->size,
				  info->slots * HK_SLOT_BYTES);
		ck_assert_uint_le(last, UINT16_MAX);
	}
}
END_TEST

START_TEST(magazines_and_buckets_have_their_bounds)
{
	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i++) {
		const struct hk_size_class *info = hk_class_info(i);

		ck_assert_uint_ge(info->capacity, 1);
		ck_assert_uint_lt((info->blocks - 1) >> info->bucket_shift, HK_BUCKETS);
		ck_assert_uint_eq(info->bitmap_words, (info->blocks + 63) / 64);
		ck_assert_uint_le(info->bitmap_words, HK_BITMAP_WIDE_WORDS);
	}
}
END_TEST

/*
 * The bitmaps of all runs that fit into a SuperSlab, side by side, and inside its
 * record.
 */
START_TEST(bitmaps_do_not_overlap)
{
	static unsigned char taken[sizeof(struct hk_superslab)];

	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i++) {
		const struct hk_size_class *info = hk_class_info(i);

		memset(taken, 0, sizeof(taken));
		for (unsigned slot = 0; slot + info->slots <= HK_SLOTS;
		     slot += info->slots) {
			size_t from = info->bitmap_base +
				      (size_t)slot * info->bitmap_stride;
			size_t bytes = info->bitmap_words * sizeof(uint64_t);

			ck_assert_uint_eq(from % sizeof(uint64_t), 0);
			ck_assert_uint_le(from + bytes, sizeof(taken));
			ck_assert_msg(
				from >= offsetof(struct hk_superslab, bitmap) ||
					(from % sizeof(struct hk_slab) ==
						 offsetof(struct hk_slab, bitmap) &&
					 bytes <= sizeof(((struct hk_slab *)0)->bitmap)),
				"class %u, slot %u: the bitmap covers other fields", i,
				slot);
			for (size_t j = from; j < from + bytes; j++)
				ck_assert_uint_eq(taken[j]++, 0);
		}
	}
}
END_TEST

/*
 * Every block's first and last byte, and an offset of each class that is beyond the
 * run.
 */
START_TEST(the_reciprocal_is_exact)
{
	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i++) {
		const struct hk_size_class *info = hk_class_info(i);
		size_t all = HK_SUPERSLAB_BYTES / info->size;

		for (size_t k = 0; k < all; k++) {
			/* Millions of them: an assertion each would take seconds. */
			if (hk_block_index(info, k * info->size) != k ||
			    hk_block_index(info, (k + 1) * info->size - 1) != k)
				ck_abort_msg("class %u, block %zu", i, k);
		}
		ck_assert_uint_eq(hk_block_index(info, HK_SUPERSLAB_BYTES - 1),
				  (HK_SUPERSLAB_BYTES - 1) / info->size);
	}
}
END_TEST

static bool is_power_of_two(size_t size)
{
	return !(size & (size - 1));
}

START_TEST(profiles_route_as_they_say)
{
	static const enum hk_profile profiles[] = { HK_HOT, HK_FULL, HK_OFF,
						    HK_CONSERVATIVE };

	for (size_t p = 0; p < sizeof(profiles) / sizeof(profiles[0]); p++) {
		hk_route_set(profiles[p]);
		for (size_t size = 0; size <= HK_CLASS_MAX; size++) {
			unsigned i = (unsigned)class_of(size);
			bool wide = size <= HK_TINY_MAX &&
				    (profiles[p] == HK_OFF ||
				     (profiles[p] == HK_HOT &&
				      hk_class_size(hk_size_class_exact(size | !size)) >
					      512));

			ck_assert_msg(hk_class_size(i) >= size, "%zu in blocks of %zu",
				      size, hk_class_size(i));
			if (wide)
				ck_assert_msg(is_power_of_two(hk_class_size(i)) &&
						      hk_class_size(i) >= 16,
					      "profile %d: %zu in blocks of %zu",
					      profiles[p], size, hk_class_size(i));
			else
				ck_assert_uint_eq(i, hk_size_class_exact(size | !size));
		}
	}
}
END_TEST

START_TEST(routes_of_classes)
{
	unsigned tiny = hk_size_class_exact(48), middle = hk_size_class_exact(300);
	unsigned upper = hk_size_class_exact(1000), beyond = hk_size_class_exact(5000);

	hk_route_set(HK_CONSERVATIVE);
	ck_assert_int_eq(hk_route_of(tiny), HK_TINY_FIRST);
	ck_assert_int_eq(hk_route_of(upper), HK_TINY_FIRST);
	hk_route_set(HK_HOT);
	ck_assert_int_eq(hk_route_of(tiny), HK_TINY_ONLY);
	ck_assert_int_eq(hk_route_of(hk_size_class_exact(64)), HK_TINY_ONLY);
	ck_assert_int_eq(hk_route_of(hk_size_class_exact(65)), HK_TINY_FIRST);
	ck_assert_int_eq(hk_route_of(middle), HK_TINY_FIRST);
	ck_assert_int_eq(hk_route_of(upper), HK_POOL_ONLY);
	hk_route_set(HK_FULL);
	ck_assert_int_eq(hk_route_of(tiny), HK_TINY_ONLY);
	ck_assert_int_eq(hk_route_of(upper), HK_TINY_ONLY);
	hk_route_set(HK_OFF);
	ck_assert_int_eq(hk_route_of(tiny), HK_POOL_ONLY);
	ck_assert_int_eq(hk_route_of(upper), HK_POOL_ONLY);
	for (int profile = HK_CONSERVATIVE; profile <= HK_OFF; profile++) {
		hk_route_set((enum hk_profile)profile);
		ck_assert_int_eq(hk_route_of(beyond), HK_TINY_FIRST);
	}
	hk_route_set(HK_CONSERVATIVE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("size_class");
	TCase *tcase = add_case(suite, "size_class");

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, sizes_ascend_by_an_eighth_at_most);
	tcase_add_test(tcase, every_size_has_its_smallest_class);
	tcase_add_test(tcase, requests_go_to_their_class);
	tcase_add_test(tcase, the_fast_path_can_be_off);
	tcase_add_test(tcase, a_run_is_the_shortest_that_wastes_little);
	tcase_add_test(tcase, colours_keep_blocks_inside_and_aligned);
	tcase_add_test(tcase, magazines_and_buckets_have_their_bounds);
	tcase_add_test(tcase, bitmaps_do_not_overlap);
	tcase_add_test(tcase, the_reciprocal_is_exact);
	tcase_add_test(tcase, profiles_route_as_they_say);
	tcase_add_test(tcase, routes_of_classes);
	return run_suite(suite);
}
