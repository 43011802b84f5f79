/* SPDX-License-Identifier: MIT
 *
 * stacks: the same frames have the same number, and a number keeps its frames; collisions,
 * threads, fork(), no memory.
 */
#include "libcheck.h"

#include "debug/stacks.h"

enum { THREADS = 8, MANY = 300000, SHARED = 20000 };

static void teardown(void)
{
	fail_no_more();
}

static size_t distinct(void)
{
	size_t stacks, bytes;

	hk_stacks_count(&stacks, &bytes);
	return stacks;
}

/* A stack of its own for each number. */
static unsigned make_frames(uintptr_t *frames, uint64_t number)
{
	unsigned count = (unsigned)(number % HK_FRAMES) + 1;

	for (unsigned i = 0; i < count; i++)
		frames[i] = 0x400000 + i * 16;
	frames[number % count] = 0x7f0000000000 + number * 8;
	return count;
}

static hk_stack add(uint64_t number, uint32_t generation)
{
	uintptr_t frames[HK_FRAMES];
	unsigned count = make_frames(frames, number);

	return hk_stacks_add(frames, count, generation);
}

static bool holds(hk_stack stack, uint64_t number, uint32_t generation)
{
	uintptr_t frames[HK_FRAMES];
	unsigned count = make_frames(frames, number);
	uintptr_t kept[HK_FRAMES];
	uint32_t then = ~generation;

	return hk_stacks_frames(stack, kept, &then) == count && then == generation &&
	       memcmp(kept, frames, count * sizeof(frames[0])) == 0;
}

START_TEST(the_same_stack_has_the_same_number)
{
	hk_stack first = add(1, 0);
	size_t before = distinct();

	ck_assert_uint_ne(first, 0);
	ck_assert_uint_eq(add(1, 0), first);
	ck_assert_uint_eq(distinct(), before);
	ck_assert(holds(first, 1, 0));
}
END_TEST

START_TEST(different_stacks_have_different_numbers)
{
	static const uintptr_t frames[3] = { 0x1000, 0x2000, 0x3000 },
			       other_end[3] = { 0x1000, 0x2000, 0x3008 },
			       turned[3] = { 0x3000, 0x2000, 0x1000 };
	hk_stack stack = hk_stacks_add(frames, 3, 0);
	size_t before = distinct();

	ck_assert_uint_ne(hk_stacks_add(frames, 2, 0), stack);
	ck_assert_uint_ne(hk_stacks_add(frames + 1, 2, 0), stack);
	ck_assert_uint_ne(hk_stacks_add(other_end, 3, 0), stack);
	ck_assert_uint_ne(hk_stacks_add(turned, 3, 0), stack);
	/* Two, none (its callers are the first's), three and three. */
	ck_assert_uint_eq(distinct(), before + 8);
}
END_TEST

START_TEST(the_generation_matters)
{
	hk_stack old = add(2, 0), young = add(2, 1);

	ck_assert_uint_ne(old, young);
	ck_assert(holds(old, 2, 0));
	ck_assert(holds(young, 2, 1));
}
END_TEST

START_TEST(no_frames_are_no_stack)
{
	uintptr_t frames[HK_FRAMES], none = 0;
	uint32_t generation;

	ck_assert_uint_eq(hk_stacks_add(&none, 0, 0), 0);
	ck_assert_uint_eq(hk_stacks_frames(0, frames, &generation), 0);
}
END_TEST

START_TEST(frames_beyond_the_last_are_left_out)
{
	uintptr_t frames[HK_FRAMES + 1], kept[HK_FRAMES];
	uint32_t generation;
	hk_stack stack;

	for (unsigned i = 0; i <= HK_FRAMES; i++)
		frames[i] = 0x5000 + i;
	stack = hk_stacks_add(frames, HK_FRAMES + 1, 3);
	ck_assert_uint_eq(hk_stacks_frames(stack, kept, &generation), HK_FRAMES);
	ck_assert_uint_eq(hk_stacks_add(frames, HK_FRAMES, 3), stack);
}
END_TEST

/* Of one depth, so that nothing but the frames tells them apart. */
static uint64_t of_four(uint64_t number)
{
	return number * HK_FRAMES + 3;
}

/*
 * More than four to a bucket, and of 300,000 hashes of 32 bits some ten pairs are equal; over
 * several chunks.
 */
START_TEST(collisions_are_told_apart)
{
	static hk_stack numbers[MANY];
	size_t before = distinct(), stacks, bytes, stride = STRIDE(30), added = 0;

	for (size_t i = 0; i < MANY; i += stride) {
		numbers[i] = add(of_four(i), 7);
		added++;
	}
	/* The root, and of each all four: they differ in the outermost. */
	ck_assert_uint_eq(distinct(), before + 1 + 4 * added);
	hk_stacks_count(&stacks, &bytes);
	ck_assert_uint_ge(bytes, 4 * added * 16);
	for (size_t i = 0; i < MANY; i += stride) {
		if (!holds(numbers[i], of_four(i), 7) || add(of_four(i), 7) != numbers[i])
			ck_abort_msg("stack %zu is not what it was", i);
	}
	ck_assert_uint_eq(distinct(), before + 1 + 4 * added);
}
END_TEST

static hk_stack seen[THREADS][SHARED];
static _Atomic int ready;

static void *add_all(void *argument)
{
	hk_stack *mine = argument;

	ready++;
	while (ready < THREADS)
		sched_yield();
	for (size_t i = 0; i < SHARED; i++)
		mine[i] = add(i, 9);
	return NULL;
}

START_TEST(threads_agree)
{
	pthread_t threads[THREADS];
	size_t before = distinct(), alone;

	for (size_t i = 0; i < SHARED; i++)
		add(i, 8);
	alone = distinct() - before;
	ready = 0;
	for (size_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, add_all, seen[i]), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(distinct(), before + 2 * alone);
	for (size_t i = 0; i < SHARED; i++) {
		for (size_t k = 1; k < THREADS; k++)
			ck_assert_uint_eq(seen[k][i], seen[0][i]);
		ck_assert(holds(seen[0][i], i, 9));
	}
}
END_TEST

static _Atomic bool stop;

static void *add_until_told(void *argument)
{
	(void)argument;
	for (uint64_t i = 0; !stop; i++)
		add(i % 100000, 11);
	return NULL;
}

/* Whatever a thread was at, the child finds what was there, and adds. */
START_TEST(a_child_goes_on)
{
	hk_stack before = add(5, 10);
	pthread_t thread;

	stop = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, add_until_told, NULL), 0);
	for (unsigned i = 0; i < 50; i++) {
		int status = -1;
		pid_t pid = fork();

		if (pid == 0) {
			bool right = add(5, 10) == before && holds(before, 5, 10);

			for (uint64_t k = 0; k < 100; k++) {
				hk_stack stack = add(k, 12);

				right &= holds(stack, k, 12) && add(k, 12) == stack;
			}
			_exit(right ? 0 : 1);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
	}
	stop = true;
	pthread_join(thread, NULL);
	ck_assert(holds(before, 5, 10));
}
END_TEST

/* One number for each 32 innermost frames, however many there are behind them. */
START_TEST(frames_that_are_not_told_make_no_difference)
{
	uintptr_t frames[HK_FRAMES], told[HK_FRAMES];
	hk_stack deep[2], stack = hk_stacks_root(14);
	uint32_t generation = 0;

	for (unsigned i = 0; i < HK_FRAMES; i++)
		frames[i] = 0x6000 + i;
	for (unsigned i = 0; i < 2; i++) {
		deep[i] = stack = hk_stacks_push(stack, 0x9000);
		for (unsigned k = HK_FRAMES; k--;)
			deep[i] = hk_stacks_push(deep[i], frames[k]);
	}
	ck_assert_uint_ne(deep[0], deep[1]);
	ck_assert_uint_eq(hk_stacks_frames(deep[1], told, &generation), HK_FRAMES);
	ck_assert_uint_eq(generation, 14);
	ck_assert_mem_eq(told, frames, sizeof(frames));
	ck_assert_uint_eq(hk_stacks_told(deep[0]), hk_stacks_add(frames, HK_FRAMES, 14));
	ck_assert_uint_eq(hk_stacks_told(deep[1]), hk_stacks_told(deep[0]));
	ck_assert_uint_eq(hk_stacks_push(0, 0x9000), 0);
}
END_TEST

/* A few stacks may still find room in a chunk that is there, and 4 MiB of them do not. */
START_TEST(no_memory)
{
	uint64_t i = 0;
	hk_stack stack = 1, old = add(0, 13);

	fail_after(HK_OS_MAP, 0);
	for (; i < 300000 && stack; i++)
		stack = add(i, 13);
	ck_assert_uint_eq(stack, 0);
	ck_assert_uint_eq(add(0, 13), old);
	fail_no_more();
	stack = add(i, 13);
	ck_assert(holds(stack, i, 13));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stacks");
	TCase *tcase = add_case(suite, "stacks");

	tcase_add_checked_fixture(tcase, NULL, teardown);
	tcase_add_test(tcase, the_same_stack_has_the_same_number);
	tcase_add_test(tcase, different_stacks_have_different_numbers);
	tcase_add_test(tcase, the_generation_matters);
	tcase_add_test(tcase, no_frames_are_no_stack);
	tcase_add_test(tcase, frames_beyond_the_last_are_left_out);
	tcase_add_test(tcase, frames_that_are_not_told_make_no_difference);
	tcase_add_test(tcase, collisions_are_told_apart);
	tcase_add_test(tcase, threads_agree);
	tcase_add_test(tcase, a_child_goes_on);
	tcase_add_test(tcase, no_memory);
	return run_suite(suite);
}
