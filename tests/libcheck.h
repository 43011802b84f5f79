/* SPDX-License-Identifier: MIT
 *
 * libcheck.h - what the unit tests share.
 *
 * A suite runs under Check, each test in a process of its own unless CK_FORK=no; so no
 * test relies on what another left behind, nor on finding the library untouched.  The
 * functions under test have names of their own (rename.h); the tests themselves
 * allocate nothing.
 */
#ifndef LIBCHECK_H
#define LIBCHECK_H

#include "rename.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

/* Memcheck takes 30 times as long: of many like cases it sees one in so many. */
#define STRIDE(on_valgrind) (RUNNING_ON_VALGRIND ? (on_valgrind) : 1)

#include "hakmem.h"
#include "base.h"
#include "config.h"
#include "heap.h"
#include "init.h"
#include "os.h"
#include "registry.h"
#include "rseq.h"
#include "sets.h"

#define UNUSED __attribute__((unused))

/* ---- running ---- */

UNUSED static int run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

UNUSED static TCase *add_case(Suite *suite, const char *name)
{
	TCase *tcase = tcase_create(name);

	tcase_set_timeout(tcase, 60);
	suite_add_tcase(suite, tcase);
	return tcase;
}

/* ---- the kernel's pages: lib/pretend.h ---- */

/* Some tests lay blocks out to the KiB, others need several pages in a slot. */
UNUSED static bool pages_are_at_most(size_t bytes)
{
	hk_init();
	return hk_os_page_size <= bytes;
}

/* ---- the two forms of the magazines ---- */

/* Where glibc and the kernel have restartable sequences, the library starts with them. */
UNUSED static bool per_cpu_works(void)
{
	hk_init();
	return HK_RSEQ && hk_rseq_area;
}

/* As before hk_rseq_init(). */
UNUSED static void forget_form(void)
{
	hk_rseq_area = 0;
	hk_hit_sizes = 0;
	hk_hit_tops = 0;
}

/* Chosen again, in a process that has no set yet. */
UNUSED static void use_form(bool per_cpu)
{
	hk_init();
	atomic_store(&hk_option_numbers[HK_OPTION_RSEQ], per_cpu);
	forget_form();
	hk_sets_init();
	ck_assert_int_eq(hk_rseq_area != 0, per_cpu);
}

UNUSED static void use_per_cpu(void)
{
	use_form(true);
}

UNUSED static void use_per_thread(void)
{
	use_form(false);
}

UNUSED static bool is_per_cpu(void)
{
	return HK_RSEQ && hk_rseq_area;
}

/* What hk_heap_allocate() and hk_heap_free() begin with: per thread, none is a hit. */
UNUSED static bool pop_hit(size_t kind, void **block)
{
	return is_per_cpu() && hk_magazine_pop(kind, block);
}

UNUSED static bool push_hit(size_t kind, void *block)
{
	return is_per_cpu() && hk_magazine_push(kind, block) == HK_PUSHED;
}

/*
 * The same tests in both forms.  Per thread is the last: with CK_FORK=no they share a
 * process, and sets of threads must not be taken for those of CPUs.
 */
UNUSED static void add_per_cpu(Suite *suite, SFun setup, SFun teardown,
			       void (*add_tests)(TCase *))
{
	TCase *tcase;

	if (!per_cpu_works())
		return;
	tcase = add_case(suite, "per CPU");
	tcase_add_checked_fixture(tcase, use_per_cpu, NULL);
	tcase_add_checked_fixture(tcase, setup, teardown);
	add_tests(tcase);
}

UNUSED static void add_per_thread(Suite *suite, SFun setup, SFun teardown,
				  void (*add_tests)(TCase *))
{
	TCase *tcase = add_case(suite, "per thread");

	tcase_add_checked_fixture(tcase, use_per_thread, NULL);
	tcase_add_checked_fixture(tcase, setup, teardown);
	add_tests(tcase);
}

UNUSED static void add_both_forms(Suite *suite, SFun setup, SFun teardown,
				  void (*add_tests)(TCase *))
{
	add_per_cpu(suite, setup, teardown, add_tests);
	add_per_thread(suite, setup, teardown, add_tests);
}

/*
 * The calling thread's id, where a test decides on it: the sequences look for it here.
 * No two threads may run under one id.
 */
UNUSED static _Thread_local uint32_t chosen_id;

UNUSED static void choose_ids(void)
{
	hk_rseq_id = (char *)&chosen_id - (char *)__builtin_thread_pointer();
}

/* ---- death ---- */

/*
 * Run function(argument) in a child, which must be ended by SIGABRT after writing this
 * line, and in a debug build perhaps more, on standard error.  format describes the
 * line after "hakmem: PROG[PID]: ".
 */
__attribute__((format(printf, 3, 4), unused)) static void
ck_death(void (*function)(void *argument), void *argument, const char *format, ...)
{
	char said[4096], wanted[1024], *end;
	size_t length = 0;
	ssize_t got;
	va_list list;
	int ends[2], status;
	pid_t pid;

	ck_assert_int_eq(pipe(ends), 0);
	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		function(argument);
		_exit(0);
	}
	close(ends[1]);
	while ((got = read(ends[0], said + length, sizeof(said) - 1 - length)) > 0)
		length += (size_t)got;
	close(ends[0]);
	said[length] = '\0';
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
		      "not ended by SIGABRT but with status %#x; it said: %s", status,
		      said);
	end = strchr(said, '\n');
	ck_assert_msg(end != NULL, "no line on standard error: %s", said);
	*end = '\0';
	length = (size_t)snprintf(wanted, sizeof(wanted),
				  "hakmem: %s[%d]: ", program_invocation_short_name,
				  (int)pid);
	va_start(list, format);
	vsnprintf(wanted + length, sizeof(wanted) - length, format, list);
	va_end(list);
	ck_assert_str_eq(said, wanted);
}

/* ---- memory ---- */

UNUSED static bool all_bytes(const void *memory, int value, size_t size)
{
	const unsigned char *byte = memory;

	for (size_t i = 0; i < size; i++)
		if (byte[i] != (unsigned char)value)
			return false;
	return true;
}

#define ck_assert_aligned(pointer, alignment) \
	ck_assert_uint_eq((uintptr_t)(pointer) & ((alignment)-1), 0)

/* Let the call fail after so many successes, and put it right again. */
UNUSED static void fail_after(enum hk_os_call call, int successes)
{
	atomic_store(&hk_os_fail[call], successes);
}

UNUSED static void fail_no_more(void)
{
	for (int i = 0; i < HK_OS_CALLS; i++)
		atomic_store(&hk_os_fail[i], -1);
}

/* ---- chance ---- */

/* A seed that is told when a test fails, and can be given back in TEST_SEED. */
UNUSED static uint64_t new_seed(void)
{
	const char *given = getenv("TEST_SEED");
	struct timespec now;

	if (given)
		return strtoull(given, NULL, 0);
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_nsec * 2654435761u ^ (uint64_t)getpid() << 32;
}

/* splitmix64 (Steele, Lea and Flood, OOPSLA 2014). */
UNUSED static uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

UNUSED static size_t random_below(uint64_t *state, size_t limit)
{
	return (size_t)(random_next(state) % limit);
}

/* ---- the library ---- */

UNUSED static struct hakmem_stats stats_now(void)
{
	struct hakmem_stats stats;

	ck_assert_int_eq(hakmem_ctl(HAKMEM_STATS, &stats, sizeof(stats)), 0);
	return stats;
}

UNUSED static void set_option(const char *name, const char *value)
{
	struct hakmem_option option = { .name = name };

	strncpy(option.value, value, sizeof(option.value) - 1);
	ck_assert_int_eq(hakmem_ctl(HAKMEM_SET, &option, sizeof(option)), 0);
}

/*
 * Address space held, and mappings: but for leaves of the registry, which stay, and of which there
 * is one more whenever the kernel has gone on to other 4 GiB.
 */
UNUSED static size_t leaves_now(void)
{
	size_t leaves = 0;

	for (size_t i = 0; i < HK_ROOT_ENTRIES; i++)
		leaves += hk_registry.root[i] != 0;
	return leaves;
}

UNUSED static size_t held_now(void)
{
	return hk_os_mapped() -
	       leaves_now() * hk_align_up(sizeof(struct hk_leaf), hk_os_page_size);
}

UNUSED static size_t mappings_now(void)
{
	return hk_os_mappings() - leaves_now();
}

/* Of the heap; of a size that it knows, the compiler would warn of what is not done for such. */
UNUSED static void *heap_block(size_t size)
{
	volatile size_t any = size;

	return hk_heap_allocate(any, "test");
}

/* Every invariant of every structure; a broken one ends the test. */
UNUSED static void check_all(void)
{
	ck_assert_int_eq(hakmem_ctl(HAKMEM_CHECK, NULL, 0), 0);
}

UNUSED static void release_all(void)
{
	ck_assert_int_eq(hakmem_ctl(HAKMEM_RELEASE, NULL, 0), 0);
}

#endif /* LIBCHECK_H */
