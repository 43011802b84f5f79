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
	return tap_end();
}
