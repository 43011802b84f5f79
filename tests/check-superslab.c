/* SPDX-License-Identifier: MIT
 *
 * superslab: a mapping and its record, known to the registry for as long as both exist.
 */
#include "libcheck.h"

#include "init.h"
#include "superslab.h"

static void setup(void)
{
	hk_init();
}

static void teardown(void)
{
	fail_no_more();
}

START_TEST(mapped_it_is_empty_and_known)
{
	size_t mapped = hk_os_mapped();
	struct hk_superslab *superslab = hk_superslab_map();

	ck_assert_ptr_nonnull(superslab);
	ck_assert_aligned(superslab, (size_t)1 << HK_SUPERSLAB_RECORD_SHIFT);
	ck_assert_aligned(superslab->base, HK_SUPERSLAB_BYTES);
	ck_assert_uint_ge(hk_os_mapped(), mapped + HK_SUPERSLAB_BYTES);
	ck_assert_uint_eq(superslab->unused, HK_ALL_SLOTS);
	ck_assert_uint_eq(superslab->active | superslab->empty | superslab->busy, 0);
	ck_assert_uint_eq(superslab->free_slots, HK_SLOTS);
	ck_assert_ptr_eq(hk_registry_owner(superslab->base), superslab);
	ck_assert_ptr_eq(hk_registry_owner(superslab->base + HK_SUPERSLAB_BYTES - 1),
			 superslab);
	for (size_t i = 0; i < HK_SLOTS; i++)
		ck_assert_uint_eq(hk_registry_kind(superslab->base + i * HK_SLOT_BYTES),
				  0);
	ck_assert(all_bytes(superslab->base, 0, HK_SUPERSLAB_BYTES));
	ck_assert(hk_superslab_unmap(superslab));
}
END_TEST

START_TEST(unmapped_it_is_forgotten)
{
	struct hk_superslab *superslab = hk_superslab_map();
	size_t mapped = hk_os_mapped(), in_use = hk_superslab_records.in_use;
	char *base = superslab->base;

	ck_assert(hk_superslab_unmap(superslab));
	ck_assert_ptr_null(hk_registry_owner(base));
	ck_assert_uint_eq(hk_os_mapped(), mapped - HK_SUPERSLAB_BYTES);
	ck_assert_uint_eq(hk_superslab_records.in_use, in_use - 1);
	ck_assert_int_eq(madvise(base, HK_SUPERSLAB_BYTES, MADV_NORMAL), -1);
}
END_TEST

START_TEST(many_have_places_of_their_own)
{
	enum { MANY = 200 };
	static struct hk_superslab *superslabs[MANY];

	for (size_t i = 0; i < MANY; i++) {
		superslabs[i] = hk_superslab_map();
		ck_assert_ptr_nonnull(superslabs[i]);
		superslabs[i]->base[0] = (char)i;
		superslabs[i]->base[HK_SUPERSLAB_BYTES - 1] = (char)~i;
	}
	for (size_t i = 0; i < MANY; i++) {
		ck_assert_ptr_eq(hk_registry_owner(superslabs[i]->base), superslabs[i]);
		ck_assert_int_eq(superslabs[i]->base[0], (char)i);
		ck_assert_int_eq(superslabs[i]->base[HK_SUPERSLAB_BYTES - 1], (char)~i);
		ck_assert(hk_superslab_unmap(superslabs[i]));
	}
}
END_TEST

START_TEST(a_slab_finds_its_superslab_and_its_memory)
{
	struct hk_superslab *superslab = hk_superslab_map();

	for (unsigned slot = 0; slot < HK_SLOTS; slot++) {
		struct hk_slab *slab = &superslab->slab[slot];
		char *base = superslab->base + slot * HK_SLOT_BYTES;

		ck_assert_ptr_eq(hk_slab_superslab(slab), superslab);
		ck_assert_uint_eq(hk_slab_slot(slab), slot);
		ck_assert_ptr_eq(hk_slab_base(slab), base);
		slab->first = (uint8_t)slot;
		ck_assert_ptr_eq(hk_slab_of(base), slab);
		ck_assert_ptr_eq(hk_slab_of(base + HK_SLOT_BYTES - 1), slab);
	}
	/*
	 * A run of three: whichever of its slots an address lies in, it is the first's.
	 */
	superslab->slab[8].first = superslab->slab[9].first = 7;
	ck_assert_ptr_eq(hk_slab_of(superslab->base + 8 * HK_SLOT_BYTES),
			 &superslab->slab[7]);
	ck_assert_ptr_eq(hk_slab_of(superslab->base + 10 * HK_SLOT_BYTES - 1),
			 &superslab->slab[7]);
	ck_assert_ptr_eq(hk_slab_of(superslab->base + 10 * HK_SLOT_BYTES),
			 &superslab->slab[10]);
	ck_assert(hk_superslab_unmap(superslab));
}
END_TEST

START_TEST(a_kernel_that_refuses_to_map)
{
	size_t mapped, in_use = hk_superslab_records.in_use;

	/* Once, so that records and the registry have their memory. */
	ck_assert(hk_superslab_unmap(hk_superslab_map()));
	mapped = hk_os_mapped();
	fail_after(HK_OS_MAP, 0);
	ck_assert_ptr_null(hk_superslab_map());
	fail_no_more();
	ck_assert_uint_eq(hk_os_mapped(), mapped);
	ck_assert_uint_eq(hk_superslab_records.in_use, in_use);
	ck_assert(hk_superslab_unmap(hk_superslab_map()));
}
END_TEST

START_TEST(memory_out_of_reach_is_given_back)
{
	size_t in_use = hk_superslab_records.in_use, mapped;

	ck_assert(hk_superslab_unmap(hk_superslab_map()));
	mapped = hk_os_mapped();
	fail_after(HK_OS_REACH, 0);
	ck_assert_ptr_null(hk_superslab_map());
	fail_no_more();
	ck_assert_uint_eq(hk_os_mapped(), mapped);
	ck_assert_uint_eq(hk_superslab_records.in_use, in_use);
	ck_assert(hk_superslab_unmap(hk_superslab_map()));
	ck_assert_uint_eq(hk_os_mapped(), mapped);
}
END_TEST

START_TEST(a_kernel_that_refuses_to_unmap)
{
	struct hk_superslab *superslab = hk_superslab_map();
	char *base = superslab->base;

	fail_after(HK_OS_UNMAP, 0);
	ck_assert(!hk_superslab_unmap(superslab));
	fail_no_more();
	ck_assert_ptr_eq(hk_registry_owner(base), superslab);
	ck_assert_ptr_eq(superslab->base, base);
	ck_assert_uint_eq(superslab->unused, HK_ALL_SLOTS);
	base[0] = 1;
	ck_assert(hk_superslab_unmap(superslab));
}
END_TEST

START_TEST(one_in_use_is_not_unmapped)
{
	struct hk_superslab *superslab = hk_superslab_map();
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDERR_FILENO);
		superslab->active = 1;
		hk_superslab_unmap(superslab);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	ck_assert(hk_superslab_unmap(superslab));
}
END_TEST

/* Advice to the kernel: whatever it is, the memory is the same. */
START_TEST(huge_pages_or_not)
{
	static const char *const words[] = { "never", "dense", "always", "never" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		struct hk_superslab *superslab;

		set_option("thp", words[i]);
		superslab = hk_superslab_map();
		ck_assert_ptr_nonnull(superslab);
		memset(superslab->base, 1, HK_SUPERSLAB_BYTES);
		ck_assert(hk_superslab_unmap(superslab));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("superslab");
	TCase *tcase = add_case(suite, "superslab");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, mapped_it_is_empty_and_known);
	tcase_add_test(tcase, unmapped_it_is_forgotten);
	tcase_add_test(tcase, many_have_places_of_their_own);
	tcase_add_test(tcase, a_slab_finds_its_superslab_and_its_memory);
	tcase_add_test(tcase, a_kernel_that_refuses_to_map);
	tcase_add_test(tcase, memory_out_of_reach_is_given_back);
	tcase_add_test(tcase, a_kernel_that_refuses_to_unmap);
	tcase_add_test(tcase, one_in_use_is_not_unmapped);
	tcase_add_test(tcase, huge_pages_or_not);
	return run_suite(suite);
}
