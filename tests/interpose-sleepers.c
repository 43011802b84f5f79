/* SPDX-License-Identifier: MIT
 *
 * interpose-sleepers THREADS MIB KIB: what sleeping threads have freed does not stay.
 *
 * Each thread fills MIB MiB with small blocks of mixed sizes, all threads' live at
 * once, frees them and sleeps.  The main thread asks for everything back: then the
 * process holds what it held when the threads had just been started, to the slab, and
 * no more than KIB KiB beyond what was resident before there were any threads, their
 * stacks included.
 */
#include "libtap.h"

static size_t bytes, most;
static void **all_blocks;
static pthread_barrier_t gate;
static uint64_t seed;
static _Atomic int failures;

static void *fill_free_sleep(void *argument)
{
	size_t me = (size_t)(uintptr_t)argument, count = 0, sum = 0;
	void **blocks = all_blocks + me * most;
	uint64_t random = seed + me;

	pthread_barrier_wait(&gate); /* all are there */
	pthread_barrier_wait(&gate); /* what they cost is known */
	while (sum < bytes && count < most) {
		size_t size = random_below(&random, 1009) + 16;

		blocks[count] = malloc(size);
		failures += !blocks[count];
		memset(blocks[count++], (int)me, size);
		sum += size;
	}
	failures += count == most;
	pthread_barrier_wait(&gate); /* all live */
	pthread_barrier_wait(&gate); /* and were counted */
	while (count)
		free(blocks[--count]);
	pthread_barrier_wait(&gate); /* all are freed */
	pthread_barrier_wait(&gate); /* it is over */
	return NULL;
}

static void same_as(const struct hakmem_stats *before, const char *when)
{
	struct hakmem_stats now = stats_now();

	ok(now.blocks_cached == 0 && now.bytes_cached == 0 &&
		   now.superslabs_cached == 0 && now.slabs_empty == 0,
	   "%s: %llu blocks, %llu SuperSlabs, %llu empty slabs cached", when,
	   (unsigned long long)now.blocks_cached,
	   (unsigned long long)now.superslabs_cached,
	   (unsigned long long)now.slabs_empty);
	ok(now.blocks_live == before->blocks_live &&
		   now.superslabs_live == before->superslabs_live &&
		   now.slabs_active == before->slabs_active,
	   "%s: %llu blocks in %llu slabs, %llu SuperSlabs; at first %llu, %llu, %llu",
	   when, (unsigned long long)now.blocks_live,
	   (unsigned long long)now.slabs_active, (unsigned long long)now.superslabs_live,
	   (unsigned long long)before->blocks_live,
	   (unsigned long long)before->slabs_active,
	   (unsigned long long)before->superslabs_live);
}

int main(int argc, char **argv)
{
	struct hakmem_stats none, before, full;
	struct hakmem_flush flush = { 0 };
	struct tap_thread *threads;
	size_t count, bound, resident, left;

	require_library();
	seed = tap_seed();
	if (argc != 4)
		return 2;
	count = strtoul(argv[1], NULL, 10);
	bytes = strtoul(argv[2], NULL, 10) << 20;
	bound = strtoul(argv[3], NULL, 10);
	most = bytes / 500 * 5 / 4;
	all_blocks = tap_map(count * most * sizeof(*all_blocks));
	threads = tap_map(count * sizeof(*threads));
	pthread_barrier_init(&gate, NULL, (unsigned)count + 1);
	ctl(HAKMEM_RELEASE, NULL, 0);
	none = stats_now();
	ok(none.blocks_live == 0 && none.superslabs_live == 0,
	   "the program itself holds no block");

	resident = resident_kib();
	for (size_t i = 0; i < count; i++)
		tap_start(&threads[i], fill_free_sleep, (void *)(uintptr_t)i);
	pthread_barrier_wait(&gate);
	ctl(HAKMEM_RELEASE, NULL, 0);
	before = stats_now();
	pthread_barrier_wait(&gate);
	pthread_barrier_wait(&gate);
	full = stats_now();
	ok(full.bytes_live >= before.bytes_live + count * bytes,
	   "%zu threads hold %llu MiB", count, (unsigned long long)full.bytes_live >> 20);
	pthread_barrier_wait(&gate);
	pthread_barrier_wait(&gate);
	/* The last to arrive needs the processor once more before it sleeps. */
	usleep(100000);
	full = stats_now();
	ok(full.blocks_cached > 100, "asleep, they have left %llu blocks in caches",
	   (unsigned long long)full.blocks_cached);

	ok(ctl(HAKMEM_RELEASE, NULL, 0) == 0, "RELEASE");
	/* The test's own array of pointers is not what is measured. */
	madvise(all_blocks, count * most * sizeof(*all_blocks), MADV_DONTNEED);
	left = resident_kib();
	same_as(&before, "while they sleep");
	ok(left <= resident + bound, "resident: %zu KiB more than at first, at most %zu",
	   left > resident ? left - resident : 0, bound);
	flush.unreached = flush.blocks = 1;
	ok(ctl(HAKMEM_FLUSH, &flush, sizeof(flush)) == 0, "FLUSH");
	ok(flush.unreached == 0 && flush.blocks == 0,
	   "nothing was left to flush: %llu blocks, %llu unreached",
	   (unsigned long long)flush.blocks, (unsigned long long)flush.unreached);
	pthread_barrier_wait(&gate);
	for (size_t i = 0; i < count; i++)
		tap_join(&threads[i]);
	ok(failures == 0, "all blocks were had");
	ctl(HAKMEM_RELEASE, NULL, 0);
	same_as(&none, "when they have ended");
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	return tap_end();
}
