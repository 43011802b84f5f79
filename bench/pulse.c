/* SPDX-License-Identifier: MIT
 *
 * pulse ROUNDS MIB LOWEST LARGEST - a demand that rises and falls.
 *
 * Each round allocates MIB MiB in blocks of LOWEST to LARGEST random bytes, then frees all
 * of them.  An allocator that gives every empty piece back at once maps it again in the
 * next round; one that gives nothing back holds the peak for ever.  So told are the time,
 * the system calls that map, unmap and purge, and what is still resident REST_S seconds
 * after the last round, while the program makes a few requests now and then, but no call
 * to give memory back.  Berger and others, "Hoard" (ASPLOS 2000), allow each heap a slack
 * so that superblocks do not thrash between heaps; the same is asked for here between an
 * allocator and the kernel.
 *
 * The calls are counted in a child that runs the same rounds before the timed ones, by its
 * parent, which traces it (ptrace(2)): exact, and the timed rounds are not slowed down.
 * Where tracing is not allowed, the counts are not reported.
 */
#include "load.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { REST_S = 2, WAKES_BY_S = 10, REQUESTS = 1000, BUFFER = 100000 };

static size_t rounds, bytes, lowest, largest, most_blocks;
static unsigned char **block;

/* Shared with the traced child, which says when the rounds begin and end. */
static atomic_bool *counting;

static const struct {
	const char *key;
	uint64_t number;
	size_t counter;
} watched[] = {
	{ "mmap", SYS_mmap, 0 },       { "munmap", SYS_munmap, 1 },
	{ "madvise", SYS_madvise, 2 }, { "others", SYS_brk, 3 },
	{ "others", SYS_mremap, 3 },   { "others", SYS_mprotect, 3 },
};

enum { WATCHED = sizeof(watched) / sizeof(watched[0]), COUNTERS = 4 };

/* The blocks allocated, and freed, in all rounds. */
static size_t run_rounds(void)
{
	uint64_t state = load_seed(0);
	size_t all = 0;

	for (size_t round = 0; round < rounds; round++) {
		size_t blocks = 0;

		for (size_t got = 0; got < bytes; blocks++) {
			size_t size = load_between(load_random(&state), lowest, largest);

			if (blocks == most_blocks)
				load_die("the blocks' sizes are not as random "
					 "as they should be");
			block[blocks] = load_block(size);
			got += size;
		}
		for (size_t i = 0; i < blocks; i++)
			free(block[i]);
		all += blocks;
	}
	return all;
}

/* A request in a while: enough that an allocator may see that the peak is gone. */
static void rest(void)
{
	uint64_t state = load_seed(1);

	for (int wake = 0; wake < REST_S * WAKES_BY_S; wake++) {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000000 / WAKES_BY_S }, NULL);
		for (size_t i = 0; i < REQUESTS; i++)
			block[i] = load_block(
				load_between(load_random(&state), lowest, largest));
		for (size_t i = 0; i < REQUESTS; i++)
			free(block[i]);
		free(load_block(BUFFER));
	}
}

static void run_traced(void)
{
	raise(SIGSTOP);
	atomic_store(counting, true);
	run_rounds();
	atomic_store(counting, false);
	_exit(0);
}

/* At every system call's entry; one stop in two is an exit, which has no number. */
static void count_call(pid_t thread, size_t *count)
{
	struct __ptrace_syscall_info info;

	if (!atomic_load(counting) ||
	    ptrace(PTRACE_GET_SYSCALL_INFO, thread, (void *)sizeof(info), &info) <= 0 ||
	    info.op != PTRACE_SYSCALL_INFO_ENTRY)
		return;
	for (size_t i = 0; i < WATCHED; i++)
		if (info.entry.nr == watched[i].number)
			count[watched[i].counter]++;
}

/* Counts the calls of the child and of every thread that its allocator may start. */
static void trace_to_the_end(pid_t child, size_t *count)
{
	for (;;) {
		int status, deliver = 0;
		pid_t thread = waitpid(-1, &status, __WALL);

		if (thread < 0)
			load_die("waitpid: %s", strerror(errno));
		if (!WIFSTOPPED(status)) {
			if (thread != child)
				continue;
			if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
				return;
			load_die("the traced child ended with status 0x%x", status);
		}
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) /* PTRACE_O_TRACESYSGOOD */
			count_call(thread, count);
		else if (WSTOPSIG(status) != SIGSTOP && WSTOPSIG(status) != SIGTRAP)
			deliver = WSTOPSIG(status);
		/* A thread that has gone meanwhile can not be continued, nor need be. */
		if (ptrace(PTRACE_SYSCALL, thread, NULL, (void *)(intptr_t)deliver) < 0 &&
		    errno != ESRCH)
			load_die("cannot continue the child: %s", strerror(errno));
	}
}

/* Whether the calls could be counted. */
static bool count_calls(size_t *count)
{
	const uintptr_t options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE |
				  PTRACE_O_EXITKILL;
	int status;
	pid_t child = fork();

	if (child < 0)
		load_die("cannot fork: %s", strerror(errno));
	if (child == 0)
		run_traced();
	/* Stopped by its own hand first: from then on no call is missed. */
	if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status))
		load_die("the child to be traced ended with status 0x%x", status);

	bool traced = ptrace(PTRACE_SEIZE, child, NULL, (void *)options) == 0;
	if (!traced)
		kill(child, SIGKILL);
	kill(child, SIGCONT);
	if (traced)
		trace_to_the_end(child, count);
	else
		waitpid(child, &status, 0);
	return traced;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "ROUNDS", "MIB", "LOWEST", "LARGEST" };
	size_t values[4], count[COUNTERS] = { 0 };

	load_arguments(argc, argv, names, values, 4);
	rounds = values[0];
	bytes = values[1] << 20;
	lowest = values[2];
	largest = values[3];
	if (lowest > largest)
		load_die("%s: LOWEST is more than LARGEST", argv[0]);
	/* A quarter more than the mean: thousands of random sizes do not stray so far. */
	most_blocks = bytes / ((lowest + largest) / 2) * 5 / 4 + REQUESTS;
	block = load_map(most_blocks * sizeof(*block));
	counting = mmap(NULL, sizeof(*counting), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counting == MAP_FAILED)
		load_die("cannot map a flag: %s", strerror(errno));
	load_begin();

	bool counted = count_calls(count);
	long start = load_resident_kib();
	uint64_t begin = load_now_ns(1);
	size_t blocks = run_rounds();
	double elapsed = (double)(load_now_ns(1) - begin);
	long freed = load_resident_kib() - start;
	rest();
	long rested = load_resident_kib() - start;

	load_report("ns", "%.4f", elapsed / (double)blocks);
	for (size_t i = 0; counted && i < WATCHED; i++)
		if (i == 0 || watched[i].counter != watched[i - 1].counter)
			load_report(watched[i].key, "%zu", count[watched[i].counter]);
	load_report("freed", "%ld", freed);
	load_report("rested", "%ld", rested);
	load_report("peak", "%ld", load_peak_kib());
	return 0;
}
