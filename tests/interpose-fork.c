/* SPDX-License-Identifier: MIT
 *
 * fork() while a hundred threads are inside malloc: the child has their locks' state and
 * none of their threads, and must be able to allocate, free, flush and fork at once.
 * Also vfork(), posix_spawn() and fork() within a child.
 */
#include "libtap.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

enum { THREADS = 100, FORKS = 200 };

static _Atomic bool stop;
static _Atomic unsigned long steps;
static uint64_t seed;

static void *churn(void *argument)
{
	uint64_t random = seed + (uintptr_t)argument;
	char *blocks[64] = { NULL };

	while (!stop) {
		size_t i = random_below(&random, 64);

		free(blocks[i]);
		blocks[i] = malloc(random_size(&random) + 1);
		if (blocks[i])
			blocks[i][0] = 1;
		steps++;
		/*
		 * So that a hundred of these leave the others their share of the
		 * processor.
		 */
		if (random_below(&random, 32) == 0)
			usleep(20000);
	}
	for (size_t i = 0; i < 64; i++)
		free(blocks[i]);
	return NULL;
}

/* In the child.  A deadlock ends in SIGALRM, which the parent sees. */
static void child(void **inherited, size_t count, bool deeper)
{
	void *blocks[200];

	alarm(15);
	for (size_t i = 0; i < 200; i++) {
		blocks[i] = malloc(i * i + 1);
		if (!blocks[i])
			_exit(2);
		memset(blocks[i], 7, i * i + 1);
	}
	for (size_t i = 0; i < count; i++) {
		if (!all_bytes(inherited[i], (int)i, i * 100 + 1))
			_exit(3);
		free(inherited[i]);
	}
	for (size_t i = 0; i < 200; i++)
		free(blocks[i]);
	if (ctl(HAKMEM_FLUSH, NULL, 0))
		_exit(4);
	if (deeper) {
		int status = 0;
		pid_t pid = fork();

		if (pid == 0) {
			free(malloc(opaque_size(100)));
			_exit(ctl(HAKMEM_CHECK, NULL, 0) ? 6 : 0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			_exit(5);
		if (ctl(HAKMEM_CHECK, NULL, 0))
			_exit(6);
		if (ctl(HAKMEM_RELEASE, NULL, 0))
			_exit(7);
	}
	_exit(0);
}

static void forks(void)
{
	pthread_t threads[THREADS];
	void *inherited[50];
	int bad = 0;
	unsigned long before;

	for (size_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)i)) {
			puts("not ok - pthread_create");
			exit(1);
		}
	for (size_t i = 0; i < 50; i++)
		memset(inherited[i] = malloc(i * 100 + 1), (int)i, i * 100 + 1);
	while (steps < 30000)
		usleep(1000);
	before = steps;
	for (unsigned i = 0; i < FORKS; i++) {
		int status = 0;
		pid_t pid = fork();

		if (pid == 0)
			child(inherited, 50, i % 20 == 0);
		SILENT(bad, pid > 0 && waitpid(pid, &status, 0) == pid, "fork %u: %s", i,
		       strerror(errno));
		SILENT(bad, WIFEXITED(status), "child %u ended by signal %d (%s)", i,
		       WTERMSIG(status), strsignal(WTERMSIG(status)));
		SILENT(bad, !WIFEXITED(status) || WEXITSTATUS(status) == 0,
		       "child %u ended with %d", i, WEXITSTATUS(status));
		if (bad > 3)
			break;
	}
	ok(!bad, "%d forks beside %d threads in malloc: the child allocates at once",
	   FORKS, THREADS);
	ok(steps > before, "the parent's threads went on meanwhile");
	stop = true;
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < 50; i++) {
		SILENT(bad, all_bytes(inherited[i], (int)i, i * 100 + 1), "block %zu", i);
		free(inherited[i]);
	}
	ok(!bad, "what the children freed is still the parent's");
}

static void children_that_thread(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		pthread_t threads[10];

		alarm(15);
		stop = false;
		steps = 0;
		for (size_t i = 0; i < 10; i++)
			if (pthread_create(&threads[i], NULL, churn,
					   (void *)(uintptr_t)i))
				_exit(2);
		while (steps < 10000)
			usleep(100);
		stop = true;
		for (size_t i = 0; i < 10; i++)
			pthread_join(threads[i], NULL);
		_exit(ctl(HAKMEM_CHECK, NULL, 0) ? 3 : 0);
	}
	ok(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0,
	   "a child starts threads of its own (status %#x)", status);
}

static char *const arguments[] = { (char[]){ "true" }, NULL };
static char *const environment[] = { NULL };

static bool succeeds(pid_t pid)
{
	int status = 0;

	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

__attribute__((noinline)) static pid_t vfork_true(void)
{
	pid_t pid = vfork();

	if (pid == 0) {
		execve("/bin/true", arguments, environment);
		_exit(127);
	}
	return pid;
}

static void spawns(void)
{
	int bad = 0;
	pid_t pid;

	for (unsigned i = 0; i < 50; i++) {
		SILENT(bad, succeeds(vfork_true()), "vfork %u", i);
		SILENT(bad,
		       posix_spawn(&pid, "/bin/true", NULL, NULL, arguments,
				   environment) == 0 &&
			       succeeds(pid),
		       "posix_spawn %u", i);
		free(opaque(malloc(opaque_size(100))));
	}
	ok(!bad, "vfork and posix_spawn");
}

int main(void)
{
	require_library();
	seed = tap_seed();
	forks();
	children_that_thread();
	spawns();
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	return tap_end();
}
