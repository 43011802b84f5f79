/* SPDX-License-Identifier: MIT
 *
 * medium: a block is a run of slots; it grows and shrinks within it.
 */
#include "libcheck.h"

#include "init.h"
#include "medium.h"
#include "registry.h"

static void setup(void)
{
	hk_init();
	release_all();
}

static void teardown(void)
{
	fail_no_more();
}

START_TEST(sizes_and_alignments)
{
	bool zero;

	for (size_t alignment = 1; alignment <= HK_SUPERSLAB_BYTES; alignment *= 2) {
		for (size_t size = 1; size <= HK_MEDIUM_MAX; size = size * 2 + 4097) {
			char *block = hk_medium_allocate(size, alignment, false, &zero);
			size_t usable;

			ck_assert_ptr_nonnull(block);
			ck_assert_aligned(block, alignment);
			ck_assert_aligned(block, HK_SLOT_BYTES);
			ck_assert_uint_eq(hk_registry_kind(block), HK_KIND_MEDIUM);
			usable = hk_medium_usable_size(block, "test");
			ck_assert_uint_ge(usable, size);
			ck_assert_uint_lt(usable, size + hk_os_page_size);
			ck_assert(!zero || all_bytes(block, 0, usable));
			memset(block, 1, usable);
			hk_medium_free(block, "test");
			ck_assert_uint_eq(hk_registry_kind(block), HK_KIND_NONE);
		}
	}
	check_all();
}
END_TEST

START_TEST(in_place_within_its_slots)
{
	bool zero;
	char *block = hk_medium_allocate(100000, 1, false, &zero);

	memset(block, 1, 100000);
	ck_assert(hk_medium_resize(block, 131072, "test"));
	ck_assert_uint_eq(hk_medium_usable_size(block, "test"), 131072);
	ck_assert(hk_medium_resize(block, 65537, "test"));
	ck_assert_uint_ge(hk_medium_usable_size(block, "test"), 65537);
	ck_assert(!hk_medium_resize(block, 131073, "test"));
	ck_assert(!hk_medium_resize(block, 65536, "test"));
	ck_assert(all_bytes(block, 1, 65537));
	hk_medium_free(block, "test");
}
END_TEST

static void free_it(void *block)
{
	hk_medium_free(block, "test");
}

static void measure_it(void *block)
{
	hk_medium_usable_size(block, "test");
}

START_TEST(interior_pointers_are_told)
{
	bool zero;
	char *block = hk_medium_allocate(200000, 1, false, &zero);
	size_t usable = hk_medium_usable_size(block, "test");

	ck_death(free_it, block + 16,
		 "test(): interior pointer %p (16 bytes into the %zu-byte block %p)",
		 (void *)(block + 16), usable, (void *)block);
	ck_death(free_it, block + 150000,
		 "test(): interior pointer %p (150000 bytes into the %zu-byte block %p)",
		 (void *)(block + 150000), usable, (void *)block);
	ck_death(measure_it, block + 1,
		 "test(): interior pointer %p (1 bytes into the %zu-byte block %p)",
		 (void *)(block + 1), usable, (void *)block);
	hk_medium_free(block, "test");
}
END_TEST

START_TEST(no_memory)
{
	bool zero;
	void *block;

	fail_after(HK_OS_MAP, 0);
	ck_assert_ptr_null(hk_medium_allocate(HK_MEDIUM_MAX, 1, true, &zero));
	fail_no_more();
	block = hk_medium_allocate(HK_MEDIUM_MAX, 1, true, &zero);
	ck_assert_ptr_nonnull(block);
	hk_medium_free(block, "test");
	check_all();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("medium");
	TCase *tcase = add_case(suite, "medium");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, sizes_and_alignments);
	tcase_add_test(tcase, in_place_within_its_slots);
	tcase_add_test(tcase, interior_pointers_are_told);
	tcase_add_test(tcase, no_memory);
	return run_suite(suite);
}
