/* SPDX-License-Identifier: MIT
 *
 * Signals arriving in the middle of malloc and free.  POSIX forbids the handlers to
 * allocate, and these do not; but every system call may be interrupted, and a thread
 * may be stopped anywhere for as long as it pleases others.
 */
#include "libtap.h"

#include <signal.h>
#include <sys/time.h>

enum { THREADS = 4 };

static _Atomic bool stop;
static _Atomic unsigned long signals;
static uint64_t seed;

static void handler(int number)
{
	int kept = errno;

	(void)number;
	signals++;
	/* Long enough for the other threads to pile up on whatever this one holds. */
	for (volatile int i = 0; i < 2000; i++)
		;
	errno = kept;
}

static void *churn(void *argument)
{
	uint64_t random = seed + (uintptr_t)argument;
	unsigned char *blocks[128] = { NULL };
	size_t sizes[128] = { 0 };
	int bad = 0;

	while (!stop) {
		size_t i = random_below(&random, 128);

		SILENT(bad, all_bytes(blocks[i], (int)i, sizes[i]), "block %zu", i);
		errno = EXDEV;
		free(blocks[i]);
		SILENT(bad, errno == EXDEV, "free changed errno to %d", errno);
		sizes[i] = random_size(&random) % 20000;
		blocks[i] = malloc(sizes[i]);
		SILENT(bad, blocks[i] != NULL, "%zu bytes", sizes[i]);
		memset(blocks[i], (int)i, sizes[i]);
	}
	for (size_t i = 0; i < 128; i++)
		free(blocks[i]);
	return (void *)(uintptr_t)bad;
}

/* ---- at a high rate ---- */

enum { PERIOD_NS = 30000 };

static _Atomic unsigned long ticks;

static void tick(int number)
{
	(void)number;
	atomic_fetch_add_explicit(&ticks, 1, memory_order_relaxed);
}

/* Each thread has a timer of its own, which interrupts it and no other. */
static timer_t start_timer(void)
{
	struct itimerspec every = { { 0, PERIOD_NS }, { 0, PERIOD_NS } };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID,
				  .sigev_signo = SIGRTMIN };
	timer_t timer;

	event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) ||
	    timer_settime(timer, 0, &every, NULL)) {
		puts("not ok - timer_create");
		exit(1);
	}
	return timer;
}

/*
 * Small blocks only, so that the time is spent in the fast paths, in refills and in
 * spills: 300 blocks of a class come and go at a time.
 */
static void *hit_and_miss(void *argument)
{
	static __thread uint64_t *blocks[300];
	uint64_t random = seed ^ (uintptr_t)argument;
	timer_t timer = start_timer();
	int bad = 0;

	while (!stop) {
		size_t size = (random_below(&random, 8) + 1) * 16;
		size_t count = random_below(&random, 300) + 1;

		for (size_t i = 0; i < count; i++) {
			blocks[i] = malloc(size);
			blocks[i][0] = (uintptr_t)argument + i;
			blocks[i][1] = (uintptr_t)blocks[i];
		}
		for (size_t i = 0; i < count; i++) {
			SILENT(bad,
			       blocks[i][0] == (uintptr_t)argument + i &&
				       blocks[i][1] == (uintptr_t)blocks[i],
			       "block %zu of %zu", i, count);
			blocks[i][1] = 0;
			free(blocks[i]);
		}
	}
	timer_delete(timer);
	return (void *)(uintptr_t)bad;
}

static void at_a_high_rate(void)
{
	struct sigaction action = { .sa_handler = tick, .sa_flags = SA_RESTART };
	unsigned long seconds = tap_number("TEST_SECONDS", 2);
	struct hakmem_stats before, after;
	struct tap_thread threads[THREADS];
	uintptr_t bad = 0;

	sigaction(SIGRTMIN, &action, NULL);
	stop = false;
	ctl(HAKMEM_RELEASE, NULL, 0);
	before = stats_now();
	for (size_t i = 0; i < THREADS; i++)
		tap_start(&threads[i], hit_and_miss, (void *)((i + 1) << 20));
	sleep((unsigned)seconds);
	stop = true;
	for (size_t i = 0; i < THREADS; i++)
		bad += (uintptr_t)tap_join(&threads[i]);
	ok(ticks > seconds * 2000, "%lu signals in %lu s, whose handler does nothing",
	   ticks, seconds);
	ok(!bad, "every block kept its pattern");
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	after = stats_now();
	ok(after.blocks_live == before.blocks_live,
	   "no block is lost: %llu live, then %llu",
	   (unsigned long long)before.blocks_live, (unsigned long long)after.blocks_live);
}

int main(void)
{
	struct itimerval every = { { 0, 500 }, { 0, 500 } },
			 never = { { 0, 0 }, { 0, 0 } };
	struct sigaction action = { .sa_handler = handler };
	pthread_t threads[THREADS];
	uintptr_t bad = 0;
	void *result;

	require_library();
	seed = tap_seed();
	/*
	 * Without SA_RESTART: EINTR must not reach the caller of malloc, nor lose
	 * memory.
	 */
	sigaction(SIGALRM, &action, NULL);
	sigaction(SIGPROF, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	for (size_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)i))
			return 1;
	setitimer(ITIMER_REAL, &every, NULL);
	setitimer(ITIMER_PROF, &every, NULL);
	for (unsigned i = 0; i < 4000 || (signals < 2000 && i < 100000); i++) {
		pthread_kill(threads[i % THREADS], SIGUSR1);
		if (i % 8 == 0)
			usleep(500);
	}
	for (unsigned i = 0; i < 50; i++) {
		if (ctl(HAKMEM_RELEASE, NULL, 0))
			bad++;
		usleep(1000);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	setitimer(ITIMER_PROF, &never, NULL);
	stop = true;
	for (size_t i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &result);
		bad += (uintptr_t)result;
	}
	ok(signals > 1000, "%lu signals were handled", signals);
	ok(!bad, "%d threads in malloc and free meanwhile: blocks whole, errno kept",
	   THREADS);
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	at_a_high_rate();
	return tap_end();
}
