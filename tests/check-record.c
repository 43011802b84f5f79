/* SPDX-License-Identifier: MIT
 *
 * record: zeroed, aligned, distinct; given back and taken again; threads; no memory.
 */
#include "libcheck.h"

#include "record.h"

static void teardown(void)
{
	fail_no_more();
}

static struct hk_records small = HK_RECORDS(6, 16, 64); /* 64 B in chunks of 64 KiB */
static struct hk_records large = HK_RECORDS(16, 22,
					    12288); /* 64 KiB in chunks of 4 MiB */

static void many(struct hk_records *records, size_t count)
{
	static void *taken[3000];
	size_t bytes = (size_t)1 << records->shift, fill = bytes < 256 ? bytes : 256;
	size_t in_use = records->in_use;

	ck_assert_uint_le(count, sizeof(taken) / sizeof(taken[0]));
	for (size_t i = 0; i < count; i++) {
		taken[i] = hk_record_take(records);
		ck_assert_ptr_nonnull(taken[i]);
		ck_assert_aligned(taken[i], bytes);
		ck_assert(all_bytes(taken[i], 0, fill));
		ck_assert(all_bytes((char *)taken[i] + bytes - fill, 0, fill));
		memset(taken[i], (int)(i % 255) + 1, fill);
		memset((char *)taken[i] + bytes - fill, (int)(i % 255) + 1, fill);
	}
	ck_assert_uint_eq(records->in_use, in_use + count);
	hk_lock(&records->lock);
	ck_assert_uint_eq(hk_record_bytes_locked(records),
			  (in_use + count) * records->touched);
	hk_unlock(&records->lock);
	for (size_t i = 0; i < count; i++) {
		ck_assert(all_bytes(taken[i], (int)(i % 255) + 1, fill));
		ck_assert(all_bytes((char *)taken[i] + bytes - fill, (int)(i % 255) + 1,
				    fill));
		hk_record_give(records, taken[i]);
	}
	ck_assert_uint_eq(records->in_use, in_use);
}

START_TEST(small_records)
{
	many(&small, 3000);
}
END_TEST

START_TEST(large_records)
{
	many(&large, 200);
}
END_TEST

START_TEST(given_back_they_are_taken_again)
{
	size_t mapped;

	many(&small, 3000);
	many(&large, 200);
	mapped = hk_os_mapped();
	for (int i = 0; i < 10; i++) {
		many(&small, 3000);
		many(&large, 200);
	}
	ck_assert_uint_eq(hk_os_mapped(), mapped);
}
END_TEST

/*
 * The pages of large records go back to the kernel; where they cannot, they are
 * cleared.
 */
START_TEST(zeroed_also_where_purging_fails)
{
	fail_after(HK_OS_PURGE, 0);
	many(&large, 100);
	fail_no_more();
	many(&large, 100);
}
END_TEST

START_TEST(no_memory_for_a_chunk)
{
	struct hk_records records = HK_RECORDS(6, 16, 64);
	void *record;

	fail_after(HK_OS_MAP, 0);
	ck_assert_ptr_null(hk_record_take(&records));
	ck_assert(!hk_lock_is_held(&records.lock));
	ck_assert_uint_eq(records.in_use, 0);
	fail_no_more();
	record = hk_record_take(&records);
	ck_assert_ptr_nonnull(record);
	hk_record_give(&records, record);
}
END_TEST

static void give_twice(void *record)
{
	hk_record_give(&small, record);
	hk_record_give(&small, record);
}

START_TEST(giving_twice_is_noticed)
{
	void *record = hk_record_take(&small);
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDERR_FILENO);
		give_twice(record);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	hk_record_give(&small, record);
}
END_TEST

static _Atomic int bad;

static void *churn(void *argument)
{
	uint64_t random = (uintptr_t)argument;
	size_t *taken[64] = { NULL };

	for (unsigned i = 0; i < 20000; i++) {
		size_t k = random_below(&random, 64);

		if (taken[k]) {
			bad += *taken[k] != (uintptr_t)argument + k;
			hk_record_give(&small, taken[k]);
			taken[k] = NULL;
		} else {
			taken[k] = hk_record_take(&small);
			bad += !taken[k] || *taken[k] != 0;
			*taken[k] = (uintptr_t)argument + k;
		}
	}
	for (size_t k = 0; k < 64; k++)
		if (taken[k])
			hk_record_give(&small, taken[k]);
	return NULL;
}

START_TEST(threads_do_not_share_records)
{
	pthread_t threads[4];
	size_t in_use = small.in_use;

	for (uintptr_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, churn,
						(void *)(i * 1000 + 1)),
				 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(bad, 0);
	ck_assert_uint_eq(small.in_use, in_use);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("record");
	TCase *tcase = add_case(suite, "record");

	tcase_add_checked_fixture(tcase, NULL, teardown);
	tcase_add_test(tcase, small_records);
	tcase_add_test(tcase, large_records);
	tcase_add_test(tcase, given_back_they_are_taken_again);
	tcase_add_test(tcase, zeroed_also_where_purging_fails);
	tcase_add_test(tcase, no_memory_for_a_chunk);
	tcase_add_test(tcase, giving_twice_is_noticed);
	tcase_add_test(tcase, threads_do_not_share_records);
	return run_suite(suite);
}
