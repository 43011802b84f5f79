/* SPDX-License-Identifier: MIT
 *
 * Refusals: one scenario that needs every kind of memory there is, as often as it makes
 * system calls; each time another one of them is refused, alone or with all that follow.
 *
 * A request may fail then, with ENOMEM; nothing may be lost, neither blocks nor memory:
 * HAKMEM_CHECK passes at once, and when the kernel is itself again, a release gives back all.
 * A child each, so that what is made only once in a process is refused as well.
 */
#include "libcheck.h"

enum { KEPT = 600, FAILED = 3 };

/* Where a process takes its time, not every call is refused. */
#ifdef __SANITIZE_THREAD__
enum { AT_A_TIME = 6 };
#else
enum { AT_A_TIME = 1 };
#endif

static unsigned char *kept[KEPT];
static size_t sizes[KEPT];

static void die(const char *what, size_t number)
{
	fprintf(stderr, "%s: block %zu of %zu bytes\n", what, number, sizes[number]);
	_exit(FAILED);
}

/* Small ones of many classes, medium ones, and a few with mappings of their own. */
static size_t size_of(size_t number)
{
	if (number % 50 == 0)
		return 1200000 + number * 1000;
	if (number % 10 == 0)
		return 70000 + number * 500;
	return 1 + number * 37 % 20000;
}

static void keep(size_t number, void *block, size_t size)
{
	if (!block) {
		if (errno != ENOMEM)
			die("NULL, and errno is not ENOMEM", number);
		return;
	}
	kept[number] = block;
	sizes[number] = size;
	memset(block, (int)number, size < 512 ? size : 512);
}

static void look(size_t number)
{
	size_t size = sizes[number] < 512 ? sizes[number] : 512;

	if (kept[number] && !all_bytes(kept[number], (unsigned char)number, size))
		die("written over", number);
}

static void allocate(size_t number)
{
	size_t size = size_of(number);
	void *block;

	errno = 0;
	block = number % 7 ? hkt_malloc(size) : hkt_calloc(1, size);
	if (block && number % 7 == 0 && !all_bytes(block, 0, size))
		die("calloc's is not zero", number);
	keep(number, block, size);
}

static void resize(size_t number, size_t size)
{
	void *block;

	if (!kept[number])
		return;
	look(number);
	errno = 0;
	block = hkt_realloc(kept[number], size);
	if (!block && errno != ENOMEM)
		die("realloc: NULL, and errno is not ENOMEM", number);
	if (block) {
		kept[number] = block;
		sizes[number] = size < sizes[number] ? size : sizes[number];
	}
	look(number);
	if (block)
		keep(number, block, size);
}

static void give(size_t number)
{
	look(number);
	hkt_free(kept[number]);
	kept[number] = NULL;
}

static void *other_thread(void *unused)
{
	for (size_t i = 1; i < KEPT; i += 3)
		allocate(i);
	return unused;
}

static void scenario(void)
{
	pthread_t thread;
	bool joined;

	for (size_t i = 0; i < KEPT; i += 3)
		allocate(i);
	joined = !pthread_create(&thread, NULL, other_thread, NULL);
	if (joined)
		pthread_join(thread, NULL);
	for (size_t i = 0; i < KEPT; i += 50)
		resize(i, size_of(i) * 3);
	for (size_t i = 0; i < KEPT; i += 4)
		give(i);
	hkt_malloc_trim(0);
	for (size_t i = 2; i < KEPT; i += 3)
		allocate(i);
	for (size_t i = 0; i < KEPT; i += 25)
		resize(i, size_of(i) / 2);
	for (size_t i = 0; i < KEPT; i++) {
		if (i % 5)
			give(i);
	}
	hkt_malloc_trim(0);
	for (size_t i = 0; i < KEPT; i++)
		look(i);
}

/* In a child; its status is 1 if the call was refused, once. */
static void run_scenario(void *calls)
{
	struct hakmem_stats before = stats_now(), after;
	enum hk_os_call call = *(enum hk_os_call *)calls;
	int left;

	scenario();
	left = atomic_load(&hk_os_fail[call]);
	hakmem_ctl(HAKMEM_CHECK, NULL, 0);
	fail_no_more();
	for (size_t i = 0; i < KEPT; i++)
		give(i);
	hakmem_ctl(HAKMEM_CHECK, NULL, 0);
	hakmem_ctl(HAKMEM_RELEASE, NULL, 0);
	hakmem_ctl(HAKMEM_CHECK, NULL, 0);
	after = stats_now();
	if (after.superslabs_live || after.superslabs_cached || after.bytes_cached ||
	    after.large_live || after.blocks_live != before.blocks_live) {
		fprintf(stderr,
			"kept: %lu SuperSlabs live, %lu cached, %lu bytes cached\n",
			(unsigned long)after.superslabs_live,
			(unsigned long)after.superslabs_cached,
			(unsigned long)after.bytes_cached);
		_exit(FAILED);
	}
	_exit(left == -2);
}

/* Refuse the call after so many successes.  false: the scenario never came to that. */
static bool refuse(enum hk_os_call call, int successes, bool once)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		fail_after(call, successes);
		atomic_store(&hk_os_fail_once, once);
		run_scenario(&call);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) <= 1,
		      "call %d, refused %s after %d: status %#x", call,
		      once ? "once" : "always", successes, status);
	return WEXITSTATUS(status) == 1;
}

static void each_is_refused(enum hk_os_call call)
{
	int successes = 0;

	/* memcheck takes what mremap(2) adds to a moved mapping for unaddressable. */
	if (RUNNING_ON_VALGRIND && call == HK_OS_REMAP)
		return;
	while (refuse(call, successes, true)) {
		refuse(call, successes, false);
		successes += AT_A_TIME * STRIDE(20);
	}
	/* So many calls there were at the least, or the scenario shows nothing. */
	ck_assert_int_ge(successes, call == HK_OS_REMAP ? 5 : 12);
}

START_TEST(each_mmap)
{
	each_is_refused(HK_OS_MAP);
}
END_TEST

START_TEST(each_munmap)
{
	each_is_refused(HK_OS_UNMAP);
}
END_TEST

START_TEST(each_madvise)
{
	each_is_refused(HK_OS_PURGE);
}
END_TEST

START_TEST(each_mremap)
{
	each_is_refused(HK_OS_REMAP);
}
END_TEST

/* Memory above what the registry covers is no memory. */
START_TEST(each_out_of_reach)
{
	each_is_refused(HK_OS_REACH);
}
END_TEST

static void setup(void)
{
	hk_init();
}

static void teardown(void)
{
	fail_no_more();
}

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, each_mmap);
	tcase_add_test(tcase, each_munmap);
	tcase_add_test(tcase, each_madvise);
	tcase_add_test(tcase, each_mremap);
	tcase_add_test(tcase, each_out_of_reach);
}

int main(void)
{
	Suite *suite = suite_create("refusals");

	add_both_forms(suite, setup, teardown, add_tests);
	return run_suite(suite);
}
