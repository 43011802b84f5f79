/* SPDX-License-Identifier: MIT
 *
 * A thousand threads that each allocate, free and exit, TEST_ROUNDS times over: nothing
 * of a dead thread remains.
 */
#include "libtap.h"

enum { THREADS = 1000, TOGETHER = 50, BYTES_OF_A_CPU = 16384, MORE = 64 << 20 };

static uint64_t seed;
static _Atomic int bad;
static pthread_barrier_t gate;

static void *allocate_free_exit(void *argument)
{
	uint64_t random = seed ^ (uintptr_t)argument;
	unsigned char *blocks[60];
	size_t sizes[60];

	for (size_t i = 0; i < 60; i++) {
		sizes[i] = random_below(&random, i % 20 ? 600 : 9000) + 1;
		blocks[i] = malloc(sizes[i]);
		if (!blocks[i]) {
			bad++;
			sizes[i] = 0;
		}
		if (blocks[i])
			memset(blocks[i], (int)i, sizes[i]);
	}
	/* So many are there at once in each round, and their caches. */
	pthread_barrier_wait(&gate);
	for (size_t i = 0; i < 60; i++) {
		bad += !all_bytes(blocks[i], (int)i, sizes[i]);
		free(blocks[i]);
	}
	return NULL;
}

static void run_round(uintptr_t round)
{
	static struct tap_thread threads[TOGETHER];

	for (size_t i = 0; i < THREADS; i += TOGETHER) {
		for (size_t j = 0; j < TOGETHER; j++)
			tap_start(&threads[j], allocate_free_exit,
				  (void *)(round * THREADS + i + j));
		for (size_t j = 0; j < TOGETHER; j++)
			tap_join(&threads[j]);
	}
}

/* Addresses for records stay mapped: for more SuperSlabs than any of the rounds has at once. */
static void map_records(void)
{
	static void *blocks[MORE / 4096];

	for (size_t i = 0; i < MORE / 4096; i++) {
		blocks[i] = malloc(4096);
		bad += !blocks[i];
	}
	for (size_t i = 0; i < MORE / 4096; i++)
		free(blocks[i]);
}

int main(void)
{
	struct hakmem_stats first, last;
	size_t resident, resident_last;
	unsigned long rounds;
	uint64_t cpus = (uint64_t)sysconf(_SC_NPROCESSORS_CONF);

	require_library();
	seed = tap_seed();
	rounds = tap_number("TEST_ROUNDS", 10);
	pthread_barrier_init(&gate, NULL, TOGETHER);
	map_records();
	run_round(0);
	ctl(HAKMEM_RELEASE, NULL, 0);
	first = stats_now();
	resident = resident_kib();
	for (unsigned long i = 1; i < rounds; i++)
		run_round(i);
	/* What they cached is the CPUs', or has gone home with them. */
	last = stats_now();
	ok(last.blocks_live == first.blocks_live, "blocks live: %llu, then %llu",
	   (unsigned long long)first.blocks_live, (unsigned long long)last.blocks_live);
	ok(last.bytes_cached <= (uint64_t)16 << 20, "%llu bytes cached after %lu threads",
	   (unsigned long long)last.bytes_cached, rounds * THREADS);
	ctl(HAKMEM_RELEASE, NULL, 0);
	last = stats_now();
	resident_last = resident_kib();
	ok(!bad, "%lu rounds of %d threads: blocks whole", rounds, THREADS);
	ok(resident_last <= resident + 256 + cpus * BYTES_OF_A_CPU / 1024,
	   "resident: %zu KiB after one, then %zu", resident, resident_last);
	/* A CPU that was not used before may have got its magazines since, but no thread. */
	ok(last.bytes_metadata <= first.bytes_metadata + cpus * BYTES_OF_A_CPU,
	   "metadata: %llu bytes, then %llu", (unsigned long long)first.bytes_metadata,
	   (unsigned long long)last.bytes_metadata);
	ok(last.superslabs_live == first.superslabs_live && last.bytes_cached == 0 &&
		   last.slabs_active == first.slabs_active,
	   "SuperSlabs live: %llu, then %llu", (unsigned long long)first.superslabs_live,
	   (unsigned long long)last.superslabs_live);
	ok(last.bytes_mapped <= first.bytes_mapped, "mapped: %llu bytes, then %llu",
	   (unsigned long long)first.bytes_mapped, (unsigned long long)last.bytes_mapped);
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	return tap_end();
}
