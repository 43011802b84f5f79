/* SPDX-License-Identifier: MIT
 *
 * lock: one holder at a time, waiters wake, contention is counted.
 */
#include "libcheck.h"

#include "lock.h"

enum { THREADS = 8, ROUNDS = 20000 };

static struct hk_lock lock;
static unsigned long counter; /* under the lock, and not atomic */
static _Atomic int inside, overlaps;

static void *count(void *argument)
{
	(void)argument;
	for (unsigned i = 0; i < ROUNDS; i++) {
		hk_lock(&lock);
		if (atomic_fetch_add(&inside, 1))
			overlaps++;
		counter++;
		if (i % 512 == 0)
			sched_yield(); /* so that the others meet a held lock */
		atomic_fetch_sub(&inside, 1);
		hk_unlock(&lock);
	}
	return NULL;
}

START_TEST(one_holder_at_a_time)
{
	pthread_t threads[THREADS];

	counter = 0;
	lock.contended = 0;
	for (size_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, count, NULL), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(overlaps, 0);
	ck_assert_uint_eq(counter, THREADS * (unsigned long)ROUNDS);
	ck_assert(!hk_lock_is_held(&lock));
	ck_assert_uint_gt(lock.contended, 0);
}
END_TEST

static _Atomic int arrived;

static void *wait_for_it(void *argument)
{
	(void)argument;
	arrived++;
	hk_lock(&lock);
	arrived++;
	hk_unlock(&lock);
	return NULL;
}

/*
 * Long enough for the spinning to end: the waiter sleeps in the kernel, and must be
 * woken.
 */
START_TEST(a_sleeping_waiter_wakes)
{
	pthread_t thread;

	lock.contended = 0;
	arrived = 0;
	hk_lock(&lock);
	ck_assert(hk_lock_is_held(&lock));
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_it, NULL), 0);
	while (arrived < 1 || atomic_load(&lock.state) != 2)
		usleep(1000);
	usleep(20000);
	ck_assert_int_eq(arrived, 1);
	hk_unlock(&lock);
	pthread_join(thread, NULL);
	ck_assert_int_eq(arrived, 2);
	ck_assert_uint_eq(lock.contended, 1);
	ck_assert(!hk_lock_is_held(&lock));
}
END_TEST

START_TEST(without_contention_none_is_counted)
{
	lock.contended = 0;
	for (unsigned i = 0; i < 1000; i++) {
		hk_lock(&lock);
		hk_unlock(&lock);
	}
	ck_assert_uint_eq(lock.contended, 0);
}
END_TEST

START_TEST(a_reset_lock_is_free)
{
	hk_lock(&lock);
	hk_lock_reset(&lock);
	ck_assert(!hk_lock_is_held(&lock));
	hk_lock(&lock);
	hk_unlock(&lock);
}
END_TEST

START_TEST(errno_is_kept)
{
	pthread_t thread;

	arrived = 0;
	hk_lock(&lock);
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_it, NULL), 0);
	while (atomic_load(&lock.state) != 2)
		usleep(1000);
	errno = EXDEV;
	hk_unlock(&lock);
	hk_lock(&lock);
	hk_unlock(&lock);
	ck_assert_int_eq(errno, EXDEV);
	pthread_join(thread, NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lock");
	TCase *tcase = add_case(suite, "lock");

	tcase_add_test(tcase, one_holder_at_a_time);
	tcase_add_test(tcase, a_sleeping_waiter_wakes);
	tcase_add_test(tcase, without_contention_none_is_counted);
	tcase_add_test(tcase, a_reset_lock_is_free);
	tcase_add_test(tcase, errno_is_kept);
	return run_suite(suite);
}
