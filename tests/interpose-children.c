/* SPDX-License-Identifier: MIT
 *
 * fork() in the middle of it all: eight threads allocate, free and flush; the child
 * finds every block whole, allocates, frees, flushes, and every invariant holds.
 * TEST_FORKS says how often.
 */
#include "libtap.h"

#include <signal.h>
#include <sys/wait.h>

enum { THREADS = 8, HELD = 400, INHERITED = 300 };

static uint64_t seed;
static _Atomic bool stop;
static _Atomic int bad;
static _Atomic uint64_t steps, flushes;
static unsigned char *inherited[INHERITED];

static size_t inherited_size(size_t i)
{
	return i * 7 % 1000 + 1;
}

/* From a table of blocks to another state of it, count times. */
static void churn(unsigned char **blocks, size_t *sizes, uint64_t *random, unsigned count,
		  _Atomic int *failures)
{
	for (unsigned k = 0; k < count; k++) {
		size_t i = random_below(random, HELD);

		if (blocks[i] && !all_bytes(blocks[i], (int)(i & 0xff), sizes[i]))
			++*failures;
		free(blocks[i]);
		sizes[i] = random_below(random, random_below(random, 32) ? 300 : 20000) +
			   1;
		blocks[i] = malloc(sizes[i]);
		if (!blocks[i]) {
			++*failures;
			sizes[i] = 0;
			continue;
		}
		memset(blocks[i], (int)(i & 0xff), sizes[i]);
	}
}

static void *work(void *argument)
{
	static __thread unsigned char *blocks[HELD];
	static __thread size_t sizes[HELD];
	size_t me = (size_t)(uintptr_t)argument;
	uint64_t random = seed + me;

	while (!stop) {
		churn(blocks, sizes, &random, 200, &bad);
		steps += 200;
		if (me < 3 || random_below(&random, 16) == 0) {
			struct hakmem_flush ask = { .scope = me == 0 ? HAKMEM_SELF
								     : HAKMEM_ALL };

			if (ctl(HAKMEM_FLUSH, &ask, sizeof(ask)))
				bad++;
			flushes++;
		}
		/* So that eight of these leave the child its share of the processor. */
		usleep(500);
	}
	for (size_t i = 0; i < HELD; i++)
		free(blocks[i]);
	return NULL;
}

/* A deadlock ends in SIGALRM, which the parent sees. */
static int child(void)
{
	static unsigned char *blocks[HELD];
	static size_t sizes[HELD];
	struct hakmem_flush ask = { 0 };
	_Atomic int failures = 0;
	uint64_t random = seed + (uint64_t)getpid();
	struct hakmem_stats stats;

	alarm(20);
	churn(blocks, sizes, &random, 600, &failures);
	for (size_t i = 0; i < INHERITED; i++) {
		if (!all_bytes(inherited[i], (int)(i & 0xff), inherited_size(i)))
			return 2;
		free(inherited[i]);
	}
	if (ctl(HAKMEM_FLUSH, &ask, sizeof(ask)) || ask.unreached)
		return 3;
	churn(blocks, sizes, &random, 200, &failures);
	for (size_t i = 0; i < HELD; i++)
		free(blocks[i]);
	if (ctl(HAKMEM_CHECK, NULL, 0))
		return 4;
	if (failures)
		return 5;
	if (ctl(HAKMEM_RELEASE, NULL, 0))
		return 6;
	stats = stats_now();
	return stats.bytes_cached || stats.superslabs_cached ? 7 : 0;
}

int main(void)
{
	struct tap_thread threads[THREADS];
	struct hakmem_stats before, after;
	unsigned long forks;
	int failed = 0;

	require_library();
	seed = tap_seed();
	forks = tap_number("TEST_FORKS", 300);
	ctl(HAKMEM_RELEASE, NULL, 0);
	before = stats_now();
	for (size_t i = 0; i < INHERITED; i++) {
		inherited[i] = malloc(inherited_size(i));
		memset(inherited[i], (int)(i & 0xff), inherited_size(i));
	}
	for (size_t i = 0; i < THREADS; i++)
		tap_start(&threads[i], work, (void *)(uintptr_t)i);
	while (steps < 20000)
		usleep(1000);
	for (unsigned long i = 0; i < forks && !failed; i++) {
		int status = 0;
		pid_t pid = fork();

		if (pid == 0)
			_exit(child());
		SILENT(failed, pid > 0 && waitpid(pid, &status, 0) == pid, "fork %lu: %s",
		       i, strerror(errno));
		SILENT(failed, !WIFSIGNALED(status), "child %lu ended by signal %d (%s)",
		       i, WTERMSIG(status), strsignal(WTERMSIG(status)));
		SILENT(failed, WIFSIGNALED(status) || WEXITSTATUS(status) == 0,
		       "child %lu ended with %d", i, WEXITSTATUS(status));
	}
	ok(!failed,
	   "%lu forks beside %d threads in malloc, free and flush: children work", forks,
	   THREADS);
	stop = true;
	for (size_t i = 0; i < THREADS; i++)
		tap_join(&threads[i]);
	ok(!bad && flushes > 100, "the threads went on: %llu steps, %llu flushes",
	   (unsigned long long)steps, (unsigned long long)flushes);
	for (size_t i = 0; i < INHERITED; i++) {
		if (!all_bytes(inherited[i], (int)(i & 0xff), inherited_size(i)))
			bad++;
		free(inherited[i]);
	}
	ok(!bad, "what the children freed is still the parent's");
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	after = stats_now();
	ok(after.blocks_live == before.blocks_live,
	   "no block is lost: %llu live, then %llu",
	   (unsigned long long)before.blocks_live, (unsigned long long)after.blocks_live);
	return tap_end();
}
