/* SPDX-License-Identifier: MIT
 *
 * Threads: blocks freed by others than their owners, threads that end, destructors of
 * thread-specific data that allocate, and a thousand threads that leave nothing behind.
 */
#include "libtap.h"

#include <limits.h>

static uint64_t seed;

static pthread_t start(void *(*function)(void *), void *argument)
{
	pthread_t thread;
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 128 * 1024);
	if (pthread_create(&thread, &attributes, function, argument)) {
		puts("not ok - pthread_create");
		exit(1);
	}
	pthread_attr_destroy(&attributes);
	return thread;
}

/* A ring: thread i allocates and fills, thread i + 1 verifies and frees. */
enum { RING = 4, SLOTS = 512, PASSES = 200 };

static struct {
	pthread_barrier_t full, taken;
	unsigned char *block[RING][SLOTS];
	size_t size[RING][SLOTS];
	int bad[RING];
} ring;

static void *ring_thread(void *argument)
{
	size_t me = (size_t)(uintptr_t)argument, before = (me + RING - 1) % RING;
	uint64_t random = seed + me;

	for (unsigned pass = 0; pass < PASSES; pass++) {
		for (size_t i = 0; i < SLOTS; i++) {
			ring.size[me][i] = random_below(&random,
							pass % 16 ? 700 : 70000) +
					   1;
			ring.block[me][i] = malloc(ring.size[me][i]);
			memset(ring.block[me][i], (int)(me * 50 + i % 50),
			       ring.size[me][i]);
		}
		pthread_barrier_wait(&ring.full);
		for (size_t i = 0; i < SLOTS; i++) {
			SILENT(ring.bad[me],
			       all_bytes(ring.block[before][i],
					 (int)(before * 50 + i % 50),
					 ring.size[before][i]),
			       "pass %u, block %zu of thread %zu", pass, i, before);
			free(ring.block[before][i]);
		}
		pthread_barrier_wait(&ring.taken);
	}
	return NULL;
}

static void cross_thread(void)
{
	pthread_t threads[RING];
	int bad = 0;
	size_t before, after;

	before = stats_now().blocks_live;
	pthread_barrier_init(&ring.full, NULL, RING);
	pthread_barrier_init(&ring.taken, NULL, RING);
	for (size_t i = 0; i < RING; i++)
		threads[i] = start(ring_thread, (void *)(uintptr_t)i);
	for (size_t i = 0; i < RING; i++) {
		pthread_join(threads[i], NULL);
		bad += ring.bad[i];
	}
	ok(!bad, "%d threads free each other's blocks, contents whole", RING);
	after = stats_now().blocks_live;
	/* glibc keeps a few blocks for the stacks it caches. */
	ok(after <= before + 64, "no block is lost: %zu live before, %zu after", before,
	   after);
}

/*
 * Everything that one thread allocated, freed by the main thread when it has long
 * ended.
 */
static void *leave_blocks(void *argument)
{
	char **blocks = argument;

	for (size_t i = 0; i < 1000; i++) {
		blocks[i] = malloc(i * 13 + 1);
		memset(blocks[i], (int)(i % 251), i * 13 + 1);
	}
	return NULL;
}

static void outlived(void)
{
	static char *blocks[1000];
	int bad = 0;

	pthread_join(start(leave_blocks, blocks), NULL);
	for (size_t i = 0; i < 1000; i++) {
		SILENT(bad, all_bytes(blocks[i], (int)(i % 251), i * 13 + 1), "block %zu",
		       i);
		free(blocks[i]);
	}
	ok(!bad, "blocks outlive the thread that allocated them");
}

/*
 * Destructors of thread-specific data, each of which sets the next, up to the last
 * round.
 */
static pthread_key_t keys[8];
static _Atomic int destructors_run;

static void destroy(void *value)
{
	size_t *block = value, round = *block;
	char *more = malloc(round * 1000 + 1);

	destructors_run++;
	memset(more, 1, round * 1000 + 1);
	free(block);
	free(more);
	if (round < PTHREAD_DESTRUCTOR_ITERATIONS) {
		block = malloc(sizeof(*block) * 10);
		*block = round + 1;
		for (size_t i = 0; i < 8; i++)
			if (!pthread_getspecific(keys[i])) {
				pthread_setspecific(keys[i], block);
				return;
			}
		free(block);
	}
}

static void *with_keys(void *argument)
{
	(void)argument;
	for (size_t i = 0; i < 8; i++) {
		size_t *block = malloc(sizeof(*block));

		*block = 1;
		pthread_setspecific(keys[i], block);
	}
	return NULL;
}

static void exit_destructors(void)
{
	pthread_t threads[20];

	for (size_t i = 0; i < 8; i++)
		pthread_key_create(&keys[i], destroy);
	for (size_t i = 0; i < 20; i++)
		threads[i] = start(with_keys, NULL);
	for (size_t i = 0; i < 20; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < 8; i++)
		pthread_key_delete(keys[i]);
	ok(destructors_run >= 20 * 8 * 2,
	   "destructors of 20 threads malloc and free (%d ran)", destructors_run);
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing then");
}

enum { TOGETHER = 20 };

/* All hold their blocks at once, in each pass: so the first hundred need what any do. */
static pthread_barrier_t all_hold;

static void *busy_thread(void *argument)
{
	uint64_t random = seed ^ (uintptr_t)argument;
	void *blocks[100];

	for (unsigned pass = 0; pass < 4; pass++) {
		for (size_t i = 0; i < 100; i++) {
			size_t size = random_below(&random, 8192) + 1;

			blocks[i] = malloc(size);
			memset(blocks[i], 1, size);
		}
		pthread_barrier_wait(&all_hold);
		for (size_t i = 0; i < 100; i++)
			free(blocks[i]);
	}
	return NULL;
}

static void run_threads(size_t count)
{
	pthread_t threads[TOGETHER];

	pthread_barrier_init(&all_hold, NULL, TOGETHER);
	for (size_t i = 0; i < count; i += TOGETHER) {
		for (size_t j = 0; j < TOGETHER; j++)
			threads[j] = start(busy_thread, (void *)(uintptr_t)(i + j));
		for (size_t j = 0; j < TOGETHER; j++)
			pthread_join(threads[j], NULL);
	}
}

static void thousand(void)
{
	struct hakmem_stats before, after;
	size_t resident_before, resident_after;

	run_threads(100);
	before = stats_now();
	resident_before = resident_kib();
	run_threads(1000);
	after = stats_now();
	resident_after = resident_kib();
	ok(resident_after <= resident_before + 2048,
	   "1,000 threads came and went: %zu KiB resident, then %zu", resident_before,
	   resident_after);
	ok(after.bytes_metadata <= before.bytes_metadata + 262144,
	   "metadata: %llu bytes, then %llu", (unsigned long long)before.bytes_metadata,
	   (unsigned long long)after.bytes_metadata);
	ok(after.blocks_live <= before.blocks_live + 64, "live blocks: %llu, then %llu",
	   (unsigned long long)before.blocks_live, (unsigned long long)after.blocks_live);
	/*
	 * Caches are the CPUs', and go up and down with how busy the machine is; a thousand
	 * threads that each left behind what they freed would add 400 MB.
	 */
	ok(after.bytes_cached <= before.bytes_cached + 16777216,
	   "cached bytes: %llu, then %llu", (unsigned long long)before.bytes_cached,
	   (unsigned long long)after.bytes_cached);
}

int main(void)
{
	require_library();
	seed = tap_seed();
	cross_thread();
	outlived();
	exit_destructors();
	thousand();
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	return tap_end();
}
