/* SPDX-License-Identifier: MIT
 *
 * replay.c - inputs of the fuzzer without it, and random runs, with system calls that fail.
 *
 *	replay                  the inputs in tests/fuzz/corpus and a random run, in both forms
 *	                        of the magazines
 *	replay FILE...
 *	replay --seed N --steps N
 *	                        in the form that HAKMEM_RSEQ asks for; TEST_TRACE tells each step
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#include "target.h"

enum { STEPS = 500000, MOST = 1 << 16 };

static void replay(const char *file)
{
	static uint8_t bytes[MOST];
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t size = read(fd, bytes, sizeof(bytes));

	if (size < 0) {
		perror(file);
		exit(2);
	}
	close(fd);
	LLVMFuzzerTestOneInput(bytes, (size_t)size);
}

/* An input that fails ends the child that tried it: the parent sees here which it was. */
static char *path;

static void replay_all(const char *directory)
{
	struct dirent **entries;
	int count = scandir(directory, &entries, NULL, alphasort), inputs = 0;

	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] == '.')
			continue;
		snprintf(path, PATH_MAX, "%s/%s", directory, entries[i]->d_name);
		replay(path);
		inputs++;
	}
	if (!inputs)
		exit(2);
}

/* In a child: the form is chosen once in a process. */
static bool ends_well(const char *form, void (*function)(const char *),
		      const char *argument)
{
	int status = -1;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		setenv("HAKMEM_RSEQ", form, 1);
		function(argument);
		fflush(stdout);
		_exit(0);
	}
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static uint64_t seed;

static void run(const char *form)
{
	printf("# again: HAKMEM_RSEQ=%s tests/fuzz/replay --seed %llu --steps %d\n", form,
	       (unsigned long long)seed, STEPS);
	fflush(stdout);
	target_run(seed, STEPS);
}

static int test(void)
{
	static const char *const forms[] = { "1", "0" };
	const char *source = getenv("abs_top_srcdir");
	char corpus[PATH_MAX];
	int failed = 0, number = 0;
	struct timespec now;

	if (RUNNING_ON_VALGRIND) {
		puts("1..0 # SKIP it would take too long, and mremap is not understood");
		return 0;
	}
	path = mmap(NULL, PATH_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
	if (path == MAP_FAILED)
		return 2;
	clock_gettime(CLOCK_REALTIME, &now);
	seed = (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20;
	snprintf(corpus, sizeof(corpus), "%s/tests/fuzz/corpus", source ? source : ".");
	for (int i = 0; i < 2; i++) {
		bool good = ends_well(forms[i], replay_all, corpus);

		printf("%s %d - the corpus, HAKMEM_RSEQ=%s\n", good ? "ok" : "not ok",
		       ++number, forms[i]);
		if (!good)
			printf("# again: HAKMEM_RSEQ=%s tests/fuzz/replay %s\n", forms[i],
			       path);
		failed += !good;
		good = ends_well(forms[i], run, forms[i]);
		printf("%s %d - %d random steps, HAKMEM_RSEQ=%s\n",
		       good ? "ok" : "not ok", ++number, STEPS, forms[i]);
		failed += !good;
	}
	printf("1..%d\n", number);
	return failed != 0;
}

int main(int count, char **arguments)
{
	uint64_t steps = STEPS;
	bool random = false;

	if (count == 1)
		return test();
	for (int i = 1; i < count; i++) {
		if (!strcmp(arguments[i], "--seed") && i + 1 < count) {
			seed = strtoull(arguments[++i], NULL, 0);
			random = true;
		} else if (!strcmp(arguments[i], "--steps") && i + 1 < count) {
			steps = strtoull(arguments[++i], NULL, 0);
		} else {
			replay(arguments[i]);
		}
	}
	if (random)
		target_run(seed, steps);
	puts("ok");
	return 0;
}
