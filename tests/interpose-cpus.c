/* SPDX-License-Identifier: MIT
 *
 * CPUs: a process that is pinned to one, to another, and let go; what its sleeping
 * threads cache together; and what HAKMEM_QUERY says of a block wherever it lies.
 */
#include "libtap.h"

#include <sched.h>

static cpu_set_t all;
static pthread_barrier_t gate;
static uint64_t seed;

static bool pin(size_t cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return sched_setaffinity(0, sizeof(one), &one) == 0 && sched_getcpu() == (int)cpu;
}

/* ---- pinned ---- */

enum { HELD = 500 };

static unsigned char *held[HELD];
static size_t sizes[HELD];

static int churn(uint64_t *random)
{
	int bad = 0;

	for (unsigned k = 0; k < 4000; k++) {
		size_t i = random_below(random, HELD);

		if (held[i])
			bad += !all_bytes(held[i], (int)(i & 0xff), sizes[i]);
		free(held[i]);
		sizes[i] = random_below(random, 1500) + 1;
		held[i] = malloc(sizes[i]);
		if (held[i])
			memset(held[i], (int)(i & 0xff), sizes[i]);
		else
			bad++;
	}
	return bad;
}

static void *churn_on(void *argument)
{
	uint64_t random = seed ^ (uintptr_t)argument;
	unsigned char *blocks[100] = { NULL };
	int bad = 0;

	for (unsigned k = 0; k < 3000; k++) {
		size_t i = k % 100;

		if (blocks[i])
			bad += !all_bytes(blocks[i], (int)i, 100);
		free(blocks[i]);
		blocks[i] = malloc(random_below(&random, 400) + 100);
		memset(blocks[i], (int)i, 100);
	}
	for (size_t i = 0; i < 100; i++)
		free(blocks[i]);
	return (void *)(uintptr_t)bad;
}

/* Blocks taken on one CPU are freed on another; what one cached is flushed on it. */
static void repinned(void)
{
	struct tap_thread threads[40];
	uint64_t random = seed;
	unsigned places = 0;
	uintptr_t bad = 0;

	for (unsigned round = 0; round < 3; round++)
		for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
			struct hakmem_flush flush = { .scope = round };

			if (!CPU_ISSET(cpu, &all) || !pin(cpu))
				continue;
			places++;
			bad += (uintptr_t)churn(&random);
			if (round < 2)
				bad += ctl(HAKMEM_FLUSH, &flush, sizeof(flush)) != 0;
			bad += ctl(HAKMEM_CHECK, NULL, 0) != 0;
		}
	ok(!bad && places, "pinned %u times: blocks whole", places);
	/* Pinned still, with more threads than there are CPUs to have magazines of. */
	for (size_t i = 0; i < 40; i++)
		tap_start(&threads[i], churn_on, (void *)(i + 1));
	/* Let go in the middle: they and their children run where they had no set yet. */
	sched_setaffinity(0, sizeof(all), &all);
	bad += (uintptr_t)churn(&random);
	for (size_t i = 0; i < 40; i++)
		bad += (uintptr_t)tap_join(&threads[i]);
	for (size_t i = 0; i < 40; i++)
		tap_start(&threads[i], churn_on, (void *)(i + 100));
	for (size_t i = 0; i < 40; i++)
		bad += (uintptr_t)tap_join(&threads[i]);
	for (size_t i = 0; i < HELD; i++) {
		bad += !all_bytes(held[i], (int)(i & 0xff), sizes[i]);
		free(held[i]);
	}
	ok(!bad, "let go, with 40 threads: blocks whole");
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
}

/* ---- what many threads cache ---- */

enum { EACH = 200 };

static void *cache_and_sleep(void *argument)
{
	void *blocks[EACH];

	(void)argument;
	for (size_t i = 0; i < EACH; i++)
		blocks[i] = opaque(malloc(opaque_size(64)));
	for (size_t i = 0; i < EACH; i++)
		free(blocks[i]);
	pthread_barrier_wait(&gate);
	pthread_barrier_wait(&gate);
	return NULL;
}

/*
 * Per CPU, many threads cache no more than the CPUs' magazines and the depot hold; per
 * thread, each has its own: which also tells which form this is.
 */
static void cached_by_many(void)
{
	size_t cpus = (size_t)sysconf(_SC_NPROCESSORS_CONF), count = 60 + 20 * cpus;
	struct tap_thread *threads = tap_map(count * sizeof(*threads));
	uint64_t bound = cpus * 512 + 2048 + 64;
	struct hakmem_stats stats;
	struct hakmem_flush flush = { 0 };

	ctl(HAKMEM_RELEASE, NULL, 0);
	pthread_barrier_init(&gate, NULL, (unsigned)count + 1);
	for (size_t i = 0; i < count; i++)
		tap_start(&threads[i], cache_and_sleep, NULL);
	pthread_barrier_wait(&gate);
	stats = stats_now();
	if (per_cpu_expected())
		ok(stats.bytes_cached <= 64 * bound + 256 * 1024,
		   "%zu threads on %zu CPUs cache %llu bytes, as much as the CPUs may",
		   count, cpus, (unsigned long long)stats.bytes_cached);
	else
		ok(stats.bytes_cached >= count * EACH * 64,
		   "%zu threads cache %llu bytes, each its own", count,
		   (unsigned long long)stats.bytes_cached);
	ctl(HAKMEM_FLUSH, &flush, sizeof(flush));
	ok(flush.unreached == 0 && flush.blocks > 0 &&
		   flush.bytes == stats.bytes_cached &&
		   flush.blocks == stats.blocks_cached,
	   "a flush reaches them all: %llu blocks, %llu unreached",
	   (unsigned long long)flush.blocks, (unsigned long long)flush.unreached);
	pthread_barrier_wait(&gate);
	for (size_t i = 0; i < count; i++)
		tap_join(&threads[i]);
	pthread_barrier_destroy(&gate);
}

/* ---- queries ---- */

enum { ASKED = 4000, SIZE = 96 };

static void *asked[ASKED];

static size_t in_state(uint32_t state)
{
	size_t count = 0;

	for (size_t i = 0; i < ASKED; i++) {
		/* An address inside: the block is found from anywhere in it. */
		struct hakmem_query query = { .address = (char *)asked[i] + i % SIZE };

		if (ctl(HAKMEM_QUERY, &query, sizeof(query)))
			continue;
		if (query.kind == HAKMEM_NONE)
			count += state == HAKMEM_FREE;
		else if (query.kind == HAKMEM_SMALL &&
			 query.block == (uintptr_t)asked[i] && query.class_size == SIZE &&
			 query.usable_size == SIZE)
			count += query.state == state;
	}
	return count;
}

static void *free_some_and_sleep(void *argument)
{
	(void)argument;
	for (size_t i = 0; i < ASKED; i++)
		free(asked[i]);
	pthread_barrier_wait(&gate);
	pthread_barrier_wait(&gate);
	return NULL;
}

static void queried(void)
{
	struct hakmem_stats live, freed;
	struct tap_thread thread;
	uint64_t cached;

	ctl(HAKMEM_RELEASE, NULL, 0);
	pthread_barrier_init(&gate, NULL, 2);
	for (size_t i = 0; i < ASKED; i++)
		asked[i] = opaque(malloc(opaque_size(SIZE)));
	live = stats_now();
	ok(in_state(HAKMEM_LIVE) == ASKED, "blocks that live are told as live");
	tap_start(&thread, free_some_and_sleep, NULL);
	pthread_barrier_wait(&gate);
	freed = stats_now();
	cached = in_state(HAKMEM_CACHED);
	/* In the sleeping thread's, or its CPU's, magazine, and in the depot. */
	ok(cached > 100 && cached < ASKED && freed.blocks_cached >= cached &&
		   freed.blocks_cached - cached <= live.blocks_cached + 128,
	   "freed by a thread that sleeps: %llu are told as cached, of %llu",
	   (unsigned long long)cached, (unsigned long long)freed.blocks_cached);
	ok(in_state(HAKMEM_FREE) == ASKED - cached && in_state(HAKMEM_LIVE) == 0,
	   "and the others as free");
	ctl(HAKMEM_FLUSH, NULL, 0);
	ok(in_state(HAKMEM_FREE) == ASKED, "flushed, they are all told as free");
	pthread_barrier_wait(&gate);
	tap_join(&thread);
}

int main(void)
{
	require_library();
	seed = tap_seed();
	if (sched_getaffinity(0, sizeof(all), &all))
		return 1;
	repinned();
	cached_by_many();
	queried();
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	return tap_end();
}
