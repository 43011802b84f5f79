/* SPDX-License-Identifier: MIT
 *
 * random.c - a long random run through everything that the library interposes, beside a
 * shadow heap; with the library under it (LD_PRELOAD), or with --libc without.
 *
 *	random [--seed N] [--steps N] [--threads N] [--refuse] [--libc] [--trace]
 *
 * Steps are in all.  The seed is printed, and with a failure the command that repeats it.
 * Each thread's choices come from a seed of its own, so they are the same again; in which
 * order several threads make theirs is up to the kernel.
 */
#include "libtap.h"

#include <getopt.h>
#include <signal.h>

#include "calls.h"
#include "driver.h"
#include "refuse.h"

enum { SLOTS = 12000 }; /* in all */

static struct worker workers[DRIVER_WORKERS];
static struct tap_thread threads[DRIVER_WORKERS];

/* Whose thread has come to its end: it is joined, and another takes its place. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t left = PTHREAD_COND_INITIALIZER;
static bool has_left[DRIVER_WORKERS];

static uint64_t seed, steps = 200000;
static bool libc;
static char command[1024];

/* ---- telling ---- */

static void describe_command(const char *program)
{
	static const char *const names[] = { "LD_PRELOAD", "HAKMEM_RSEQ",
					     "HAKMEM_DEBUG" };
	size_t at = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (getenv(names[i]))
			at += (size_t)snprintf(command + at, sizeof(command) - at,
					       "%s=%s ", names[i], getenv(names[i]));
	snprintf(command + at, sizeof(command) - at,
		 "%s --seed %llu --steps %llu --threads %u%s%s", program,
		 (unsigned long long)seed, (unsigned long long)steps, driver.workers,
		 driver.refuse ? " --refuse" : "", libc ? " --libc" : "");
}

/* What malloc is worth is in doubt by now: nothing here needs it. */
static void broken(const struct worker *worker, const char *what)
{
	(void)worker;
	driver_say(STDOUT_FILENO, "not ok - %s\n# again: %s\n", what, command);
	_exit(1);
}

/* The library has told of a mistake, or touched what is not there. */
static void on_death(int number)
{
	const struct worker *worker = driver_worker;

	if (worker)
		driver_say(STDOUT_FILENO, "not ok - worker %u, step %llu: signal %d\n",
			   worker->number, (unsigned long long)worker->step, number);
	else
		driver_say(STDOUT_FILENO, "not ok - signal %d\n", number);
	driver_say(STDOUT_FILENO, "# again: %s\n", command);
	signal(number, SIG_DFL);
	raise(number);
}

/* ---- threads ---- */

static void *work(void *argument)
{
	struct worker *worker = argument;

	driver_work(worker);
	pthread_mutex_lock(&lock);
	has_left[worker->number] = true;
	pthread_cond_signal(&left);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static unsigned wait_for_one(void)
{
	unsigned number = 0;

	pthread_mutex_lock(&lock);
	for (;;) {
		for (number = 0; number < driver.workers; number++)
			if (has_left[number])
				break;
		if (number < driver.workers)
			break;
		pthread_cond_wait(&left, &lock);
	}
	has_left[number] = false;
	pthread_mutex_unlock(&lock);
	return number;
}

static void work_side_by_side(void)
{
	unsigned working = driver.workers;

	for (unsigned i = 0; i < driver.workers; i++)
		tap_start(&threads[i], work, &workers[i]);
	while (working) {
		unsigned number = wait_for_one();
		struct worker *worker = &workers[number];

		tap_join(&threads[number]);
		if (!worker->leaves) {
			working--;
			continue;
		}
		worker->leaves = false;
		worker->deeds[DID_LEAVE]++;
		tap_start(&threads[number], work, worker);
	}
}

/* ---- the run ---- */

static void read_arguments(int count, char **arguments)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "steps", required_argument, NULL, 'n' },
		{ "threads", required_argument, NULL, 't' },
		{ "refuse", no_argument, NULL, 'r' },
		{ "libc", no_argument, NULL, 'l' },
		{ "trace", no_argument, NULL, 'v' },
		{ 0 },
	};
	bool given = false;
	int option;

	driver.workers = 1;
	while ((option = getopt_long(count, arguments, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			seed = strtoull(optarg, NULL, 0);
			given = true;
			break;
		case 'n':
			steps = strtoull(optarg, NULL, 0);
			break;
		case 't':
			driver.workers = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'r':
			driver.refuse = true;
			break;
		case 'l':
			libc = true;
			break;
		case 'v':
			driver.trace = true;
			break;
		default:
			exit(2);
		}
	}
	if (!driver.workers || driver.workers > DRIVER_WORKERS)
		exit(2);
	if (!given) {
		struct timespec now;

		clock_gettime(CLOCK_REALTIME, &now);
		seed = ((uint64_t)now.tv_nsec * 2654435761u ^ (uint64_t)getpid() << 16) %
		       1000000007;
	}
}

/* What the libc keeps of a first failure of dlsym(), or of stdio, is there from now on. */
static void warm_up(void)
{
	void *block = NULL;

	if (calls.cxx[0].make_nothrow && calls.hakmem)
		block = calls.cxx[0].make_nothrow(SIZE_MAX, "");
	ok(!block, "what cannot be granted is not");
}

static void tell_deeds(void)
{
	static const char *const names[DEEDS] = {
		"allocated",    "zeroed",  "aligned",  "impossible", "ran out",
		"resized here", "moved",   "freed",    "looked at",  "queries",
		"handed over",  "flushes", "releases", "checks",     "statistics",
		"options",      "filled",  "shrunk",   "threads"
	};
	bool all = true;

	fputs("#", stdout);
	for (size_t i = 0; i < DEEDS; i++) {
		unsigned long sum = 0;

		for (unsigned j = 0; j < driver.workers; j++)
			sum += workers[j].deeds[i];
		printf(" %s %lu%s", names[i], sum, i + 1 < DEEDS ? "," : "\n");
		if (i == DID_RUN_OUT)
			all &= sum || !driver.refuse || libc;
		else if (i == DID_QUERY || i == DID_FLUSH || i == DID_CHECK ||
			 i == DID_STATS || i == DID_SET)
			all &= sum || libc;
		else if (i == DID_RESIZE_IN_PLACE)
			all &= sum || calls.debug;
		else
			all &= sum != 0;
	}
	if (driver.refuse)
		ok(refuse_count(), "%lu system calls were made to fail", refuse_count());
	/* Some happen once in 18,000 steps. */
	if (steps >= 300000)
		ok(all, "each thing was done at least once");
}

static void end(struct hakmem_stats before)
{
	struct hakmem_stats after;

	for (unsigned i = 0; i < driver.workers; i++)
		driver_end(&workers[i], i + 1 == driver.workers);
	ok(true, "all blocks were whole to their end");
	if (libc)
		return;
	ok(ctl(HAKMEM_RELEASE, NULL, 0) == 0 && ctl(HAKMEM_CHECK, NULL, 0) == 0,
	   "HAKMEM_CHECK finds nothing");
	after = stats_now();
	ok(after.blocks_live == before.blocks_live,
	   "blocks live: %llu before, %llu after", (unsigned long long)before.blocks_live,
	   (unsigned long long)after.blocks_live);
	ok(after.bytes_cached == 0 && after.superslabs_cached == 0 &&
		   after.large_live == 0,
	   "nothing is left: %llu bytes cached, %llu SuperSlabs, %llu large blocks",
	   (unsigned long long)after.bytes_cached,
	   (unsigned long long)after.superslabs_cached,
	   (unsigned long long)after.large_live);
}

int main(int count, char **arguments)
{
	struct hakmem_stats before = { 0 };

	read_arguments(count, arguments);
	if (libc)
		setlinebuf(stdout);
	else
		require_library();
	describe_command(arguments[0]);
	printf("# %s\n", command);
	fflush(stdout);
	signal(SIGABRT, on_death);
	signal(SIGSEGV, on_death);
	signal(SIGBUS, on_death);
	driver.slots = SLOTS / driver.workers;
	driver.most = (size_t)256 << 20;
	driver.broken = broken;
	driver.visits = driver.workers == 1;
	driver.unreached = driver.workers > 1 && !per_cpu_expected();
	driver_init();
	if (driver.refuse && !refuse_init()) {
		puts("ok - # SKIP no seccomp(2) here");
		return tap_end();
	}
	warm_up();
	for (unsigned i = 0; i < driver.workers; i++) {
		uint64_t state = seed * DRIVER_WORKERS + i;

		driver_make(&workers[i], i, choice_mix(&state), steps / driver.workers);
	}
	if (!libc)
		before = stats_now();
	if (driver.workers == 1)
		driver_work(&workers[0]);
	else
		work_side_by_side();
	ok(true, "%llu steps with %u threads, seed %llu", (unsigned long long)steps,
	   driver.workers, (unsigned long long)seed);
	tell_deeds();
	end(before);
	return tap_end();
}
