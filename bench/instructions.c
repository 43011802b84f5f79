/* SPDX-License-Identifier: MIT
 *
 * instructions SIZE BLOCKS - the length of the paths through malloc and free.
 *
 * A traced child calls malloc and free while its parent steps it, one instruction at a time
 * (ptrace(2)), and counts.  Told are instructions beyond a call of a function that does
 * nothing: of a hit, the median of pairs that a cache serves; and the mean over a fill with
 * BLOCKS blocks and a drain of them, which shares out refills and spills.  The counts are
 * exact, need no hardware counter, and are the same on every run.
 */
#include "load.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

enum { HITS = 101, WARM_PAIRS = 1000, KEPT = 8 };

/* What is being counted; each hit has a counter of its own. */
enum {
	NOTHING,
	EMPTY_MALLOC,
	EMPTY_FREE,
	FILL,
	DRAIN,
	HIT_MALLOC,
	HIT_FREE = HIT_MALLOC + HITS,
	COUNTERS = HIT_FREE + HITS
};

/* Seen by both processes: the child says what it does, the parent counts. */
struct shared {
	volatile uint32_t current;
	uint64_t count[COUNTERS];
	void *block[];
};

static struct shared *shared;

static void *empty_malloc(size_t size)
{
	__asm__ volatile("" ::"r"(size));
	return NULL;
}

static void empty_free(void *block)
{
	__asm__ volatile("" ::"r"(block));
}

/* Not inlined: the same instructions surround every call, the empty ones' too. */
__attribute__((noinline)) static void *count_malloc(void *(*call)(size_t), size_t size,
						    uint32_t counter)
{
	shared->current = counter;
	void *block = call(size);
	shared->current = NOTHING;
	return block;
}

__attribute__((noinline)) static void count_free(void (*call)(void *), void *block,
						 uint32_t counter)
{
	shared->current = counter;
	call(block);
	shared->current = NOTHING;
}

static void fill_and_drain(size_t size, size_t blocks, uint32_t fill, uint32_t drain)
{
	for (size_t i = 0; i < blocks; i++)
		shared->block[i] = count_malloc(malloc, size, fill);
	for (size_t i = 0; i < blocks; i++)
		count_free(free, shared->block[i], drain);
}

/* Warm before the first step: what is counted is the steady state. */
static void run_traced(size_t size, size_t blocks)
{
	void *kept[KEPT];

	fill_and_drain(size, blocks, NOTHING, NOTHING);
	/* Some blocks live on, or each free of a pair would empty a slab, or a page. */
	for (int i = 0; i < KEPT; i++)
		kept[i] = malloc(size);
	for (int i = 0; i < WARM_PAIRS; i++)
		count_free(free, count_malloc(malloc, size, NOTHING), NOTHING);

	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		load_die("cannot be traced: %s", strerror(errno));
	raise(SIGSTOP);
	count_malloc(empty_malloc, size, EMPTY_MALLOC);
	count_free(empty_free, NULL, EMPTY_FREE);
	for (uint32_t i = 0; i < HITS; i++)
		count_free(free, count_malloc(malloc, size, HIT_MALLOC + i),
			   HIT_FREE + i);
	for (int i = 0; i < KEPT; i++)
		count_free(free, kept[i], NOTHING);
	fill_and_drain(size, blocks, FILL, DRAIN);
	_exit(0);
}

/*
 * Every stop makes the kernel abort a restartable sequence, so one could never be stepped
 * through.  With no other thread in the child there is nothing to protect: the word that
 * says it is in a sequence is cleared before each step.
 */
static void leave_sequence(pid_t child)
{
#if defined(RSEQ_SIG)
	if (!__rseq_size)
		return;

	struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() +
					    __rseq_offset);
	if (ptrace(PTRACE_POKEDATA, child, (void *)&area->rseq_cs, NULL) < 0)
		load_die("cannot write to the child: %s", strerror(errno));
#else
	(void)child;
#endif
}

/* One processor for both: a step is then a switch of tasks, not a wake-up across them. */
static void share_processor(void)
{
	cpu_set_t one;
	int cpu = sched_getcpu();

	if (cpu < 0)
		load_die("cannot tell the processor: %s", strerror(errno));
	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		load_die("cannot stay on a processor: %s", strerror(errno));
}

static void step_to_the_end(pid_t child)
{
	for (;;) {
		int status;

		if (waitpid(child, &status, 0) != child)
			load_die("waitpid: %s", strerror(errno));
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			return;
		if (!WIFSTOPPED(status) ||
		    (WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP))
			load_die("the traced child ended with status 0x%x", status);
		shared->count[shared->current]++;
		leave_sequence(child);
		if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) < 0)
			load_die("cannot step the child: %s", strerror(errno));
	}
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void report(const char *call, uint32_t hit, uint32_t batch, uint64_t empty,
		   size_t blocks)
{
	char key[32];

	qsort(&shared->count[hit], HITS, sizeof(uint64_t), ascending);
	snprintf(key, sizeof(key), "%s_hit", call);
	load_report(key, "%lld", (long long)(shared->count[hit + HITS / 2] - empty));
	snprintf(key, sizeof(key), "%s_mean", call);
	load_report(key, "%.2f",
		    (double)shared->count[batch] / (double)blocks - (double)empty);
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "SIZE", "BLOCKS" };
	size_t values[2];

	load_arguments(argc, argv, names, values, 2);

	size_t size = values[0], blocks = values[1];
	shared = mmap(NULL, sizeof(*shared) + blocks * sizeof(void *),
		      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		load_die("cannot map the counters: %s", strerror(errno));
	load_begin();
	share_processor();

	pid_t child = fork();
	if (child < 0)
		load_die("cannot fork: %s", strerror(errno));
	if (child == 0)
		run_traced(size, blocks);
	step_to_the_end(child);

	report("malloc", HIT_MALLOC, FILL, shared->count[EMPTY_MALLOC], blocks);
	report("free", HIT_FREE, DRAIN, shared->count[EMPTY_FREE], blocks);
	return 0;
}
