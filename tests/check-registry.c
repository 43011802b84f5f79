/* SPDX-License-Identifier: MIT
 *
 * registry: any address is safe, windows, slots and leaves do not run into each other.
 *
 * Addresses are made up (nothing is mapped there): the registry never touches them.
 */
#include "libcheck.h"

#include <signal.h>

#include "registry.h"

#define FAR ((uintptr_t)0x2a00 << HK_LEAF_SHIFT)
#define LEAF ((uintptr_t)1 << HK_LEAF_SHIFT)

static void teardown(void)
{
	fail_no_more();
}

static void *at(uintptr_t address)
{
	return (void *)address;
}

START_TEST(what_is_not_ours_is_nothing)
{
	int variable;
	static const uintptr_t addresses[] = {
		0,
		1,
		8,
		0xffff,
		0x10000,
		UINT32_MAX,
		LEAF,
		LEAF - 1,
		FAR,
		((uintptr_t)1 << 47) - 1,
		(uintptr_t)1 << 47,
		((uintptr_t)1 << 48) - 1,
		(uintptr_t)1 << 48,
		0xdeadbeefdeadbeef,
		(uintptr_t)1 << 63,
		0xffff800000000000,
		UINTPTR_MAX,
	};

	ck_assert_uint_eq(hk_registry_kind(&variable), HK_KIND_NONE);
	ck_assert_ptr_null(hk_registry_owner(&variable));
	ck_assert_uint_eq(hk_registry_kind(stderr), HK_KIND_NONE);
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		ck_assert_uint_eq(hk_registry_kind(at(addresses[i])), HK_KIND_NONE);
		ck_assert_ptr_null(hk_registry_owner(at(addresses[i])));
	}
}
END_TEST

/* And what else begins in the slot keeps its own. */
START_TEST(a_window_has_its_own_kind)
{
	uintptr_t base = FAR + 31 * LEAF + 5 * HK_SLOT_BYTES, window = 2048;

	ck_assert(hk_registry_reserve(at(base), HK_SLOT_BYTES));
	hk_registry_set_kind(at(base), 1, HK_KIND_MEDIUM);
	hk_registry_set_window(at(base + 3 * window + 256), 50);
	hk_registry_set_window(at(base + HK_SLOT_BYTES - 1), 60);
	for (uintptr_t i = 0; i < HK_SLOT_BYTES; i += 256) {
		unsigned wanted = i / window == 3    ? 50
				  : i / window == 31 ? 60
						     : HK_KIND_MEDIUM;

		ck_assert_uint_eq(hk_registry_kind(at(base + i)), wanted);
	}
	ck_assert_uint_eq(hk_registry_kind(at(base - 1)), HK_KIND_NONE);
	ck_assert_uint_eq(hk_registry_kind(at(base + HK_SLOT_BYTES)), HK_KIND_NONE);
	hk_registry_set_kind(at(base), 1, HK_KIND_NONE);
	for (uintptr_t i = 0; i < HK_SLOT_BYTES; i += 256)
		ck_assert_uint_eq(hk_registry_kind(at(base + i)), HK_KIND_NONE);
}
END_TEST

START_TEST(a_slot_has_its_own_kind)
{
	uintptr_t base = FAR + 16 * HK_SUPERSLAB_BYTES;

	ck_assert(hk_registry_reserve(at(base), HK_SUPERSLAB_BYTES));
	hk_registry_set_kind(at(base + HK_SLOT_BYTES), 3, 42);
	ck_assert_uint_eq(hk_registry_kind(at(base)), 0);
	ck_assert_uint_eq(hk_registry_kind(at(base + HK_SLOT_BYTES - 1)), 0);
	ck_assert_uint_eq(hk_registry_kind(at(base + HK_SLOT_BYTES)), 42);
	ck_assert_uint_eq(hk_registry_kind(at(base + 2 * HK_SLOT_BYTES + 77)), 42);
	ck_assert_uint_eq(hk_registry_kind(at(base + 4 * HK_SLOT_BYTES - 1)), 42);
	ck_assert_uint_eq(hk_registry_kind(at(base + 4 * HK_SLOT_BYTES)), 0);
	/*
	 * The same offset in the neighbouring leaves, and 48 bits further, is another
	 * place.
	 */
	ck_assert_uint_eq(hk_registry_kind(at(base + HK_SLOT_BYTES + LEAF)), 0);
	ck_assert_uint_eq(hk_registry_kind(at(base + HK_SLOT_BYTES - LEAF)), 0);
	ck_assert_uint_eq(
		hk_registry_kind(at((base + HK_SLOT_BYTES) | (uintptr_t)1 << 48)), 0);
	ck_assert_uint_eq(
		hk_registry_kind(at((base + HK_SLOT_BYTES) | (uintptr_t)1 << 63)), 0);
	hk_registry_set_kind(at(base + HK_SLOT_BYTES), 3, HK_KIND_NONE);
	for (size_t i = 0; i < HK_SLOTS; i++)
		ck_assert_uint_eq(hk_registry_kind(at(base + i * HK_SLOT_BYTES)), 0);
}
END_TEST

START_TEST(an_owner_has_its_two_mebibytes)
{
	uintptr_t base = FAR + 100 * HK_SUPERSLAB_BYTES;
	int owner, other;

	ck_assert(hk_registry_reserve(at(base), 2 * HK_SUPERSLAB_BYTES));
	hk_registry_set_owner(at(base), &owner);
	hk_registry_set_owner(at(base + HK_SUPERSLAB_BYTES), &other);
	ck_assert_ptr_eq(hk_registry_owner(at(base)), &owner);
	ck_assert_ptr_eq(hk_registry_owner(at(base + HK_SUPERSLAB_BYTES - 1)), &owner);
	ck_assert_ptr_eq(hk_registry_owner(at(base + HK_SUPERSLAB_BYTES)), &other);
	ck_assert_ptr_null(hk_registry_owner(at(base - 1)));
	ck_assert_ptr_null(hk_registry_owner(at(base + 2 * HK_SUPERSLAB_BYTES)));
	hk_registry_set_owner(at(base), NULL);
	hk_registry_set_owner(at(base + HK_SUPERSLAB_BYTES), NULL);
	ck_assert_ptr_null(hk_registry_owner(at(base)));
}
END_TEST

START_TEST(a_range_may_span_leaves)
{
	uintptr_t base = FAR + 21 * LEAF - HK_SUPERSLAB_BYTES;
	size_t before = hk_registry_bytes();

	ck_assert(hk_registry_reserve(at(base), HK_SUPERSLAB_BYTES + LEAF + 1));
	ck_assert_uint_eq(hk_registry_bytes() - before,
			  3 * sizeof(hk_registry.none.owner));
	hk_registry_set_kind(at(base + HK_SUPERSLAB_BYTES), 1, 7);
	ck_assert_uint_eq(hk_registry_kind(at(base + HK_SUPERSLAB_BYTES)), 7);
	ck_assert_uint_eq(hk_registry_kind(at(base + HK_SUPERSLAB_BYTES - 1)), 0);
	hk_registry_set_kind(at(base + HK_SUPERSLAB_BYTES), 1, 0);
	before = hk_registry_bytes();
	ck_assert(hk_registry_reserve(at(base), HK_SUPERSLAB_BYTES + LEAF + 1));
	ck_assert_uint_eq(hk_registry_bytes(), before);
}
END_TEST

START_TEST(beyond_48_bits_nothing_can_be)
{
	ck_assert(hk_registry_reserve(at(((uintptr_t)1 << 48) - LEAF), LEAF));
	ck_assert(!hk_registry_reserve(at((uintptr_t)1 << 48), 1));
	ck_assert(!hk_registry_reserve(at(((uintptr_t)1 << 48) - LEAF), LEAF + 1));
	ck_assert(!hk_registry_reserve(at((uintptr_t)1 << 63), LEAF));
}
END_TEST

/* Where x86-64 has no user's memory, and arm64 has. */
START_TEST(from_47_to_48_bits_all_can_be)
{
	uintptr_t middle = (uintptr_t)1 << 47, top = (uintptr_t)1 << 48;
	uintptr_t places[] = { middle - HK_SUPERSLAB_BYTES, middle,
			       middle + 0x1234 * LEAF, top - HK_SUPERSLAB_BYTES };
	int owner;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uintptr_t last = places[i] + HK_SUPERSLAB_BYTES - 1;

		ck_assert(hk_registry_reserve(at(places[i]), HK_SUPERSLAB_BYTES));
		hk_registry_set_owner(at(places[i]), &owner);
		hk_registry_set_kind(at(places[i]), HK_SLOTS, 9);
		ck_assert_uint_eq(hk_registry_kind(at(places[i])), 9);
		ck_assert_uint_eq(hk_registry_kind_below(last), 9);
		ck_assert_ptr_eq(hk_registry_owner(at(last)), &owner);
		ck_assert_uint_eq(hk_registry_kind(at(places[i] - 1)), 0);
		ck_assert_uint_eq(hk_registry_kind(at(last + 1)), 0);
		ck_assert_uint_eq(hk_registry_kind(at(places[i] ^ middle)), 0);
		ck_assert_uint_eq(hk_registry_kind(at(last | top)), 0);
		ck_assert_ptr_null(hk_registry_owner(at(last | top)));
		hk_registry_set_kind(at(places[i]), HK_SLOTS, HK_KIND_NONE);
		hk_registry_set_owner(at(places[i]), NULL);
	}
	ck_assert(hk_registry_reserve(at(middle - 1), 2));
}
END_TEST

/* Who wrote there would make every foreign address one of ours. */
START_TEST(the_leaf_of_nothing_is_read_only)
{
	int status;
	pid_t pid;

	hk_init();
	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		hk_registry_set_window(at(FAR + 50 * LEAF + LEAF / 2), 1);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
	uintptr_t base = FAR + 40 * LEAF;
	size_t before = hk_registry_bytes(), mapped = hk_os_mapped();

	fail_after(HK_OS_MAP, 0);
	ck_assert(!hk_registry_reserve(at(base), 1));
	fail_no_more();
	ck_assert_uint_eq(hk_registry_bytes(), before);
	ck_assert_uint_eq(hk_os_mapped(), mapped);
	ck_assert_uint_eq(hk_registry_kind(at(base)), 0);
	ck_assert(hk_registry_reserve(at(base), 1));
}
END_TEST

static pthread_barrier_t gate;
static _Atomic int refused;

static void *reserve(void *argument)
{
	size_t me = (size_t)(uintptr_t)argument;

	for (uintptr_t i = 0; i < 64; i++) {
		pthread_barrier_wait(&gate);
		refused += !hk_registry_reserve(at(FAR + (100 + i) * LEAF), 1);
		hk_registry_set_kind(at(FAR + (100 + i) * LEAF + me * HK_SLOT_BYTES), 1,
				     (unsigned)me + 1);
	}
	return NULL;
}

/* All want the same leaf at once: one gets it, none loses what it wrote. */
START_TEST(threads_share_a_leaf)
{
	enum { THREADS = 4 };
	pthread_t threads[THREADS];
	size_t before = hk_registry_bytes(), mapped = hk_os_mapped();

	pthread_barrier_init(&gate, NULL, THREADS);
	for (size_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reserve, (void *)i),
				 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(refused, 0);
	ck_assert_uint_eq(hk_registry_bytes() - before,
			  64 * sizeof(hk_registry.none.owner));
	ck_assert_uint_eq(hk_os_mapped() - mapped,
			  64 * hk_align_up(sizeof(struct hk_leaf), hk_os_page_size));
	for (uintptr_t i = 0; i < 64; i++)
		for (uintptr_t j = 0; j < THREADS; j++) {
			uintptr_t address = FAR + (100 + i) * LEAF + j * HK_SLOT_BYTES;

			ck_assert_uint_eq(hk_registry_kind(at(address)), j + 1);
			hk_registry_set_kind(at(address), 1, 0);
		}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("registry");
	TCase *tcase = add_case(suite, "registry");

	tcase_add_checked_fixture(tcase, NULL, teardown);
	tcase_add_test(tcase, what_is_not_ours_is_nothing);
	tcase_add_test(tcase, a_window_has_its_own_kind);
	tcase_add_test(tcase, a_slot_has_its_own_kind);
	tcase_add_test(tcase, an_owner_has_its_two_mebibytes);
	tcase_add_test(tcase, a_range_may_span_leaves);
	tcase_add_test(tcase, beyond_48_bits_nothing_can_be);
	tcase_add_test(tcase, from_47_to_48_bits_all_can_be);
	tcase_add_test(tcase, the_leaf_of_nothing_is_read_only);
	tcase_add_test(tcase, without_memory_nothing_changes);
	tcase_add_test(tcase, threads_share_a_leaf);
	return run_suite(suite);
}
