/* SPDX-License-Identifier: MIT
 *
 * scale-probe SIZE THREADS ROUNDS - the slow paths of one size class, in nanoseconds.
 *
 * From outside, with the library's own counters as the proof of what was timed. One
 * thread finds out how many blocks the magazine serves (reach), how many a slow path
 * moves (batch) and how many the depot holds, and then drives the class so that
 *
 *   hit           every call is served by the magazine;
 *   depot         the blocks that the magazine cannot hold go to the depot and come back;
 *   slab          those that the depot cannot hold go to the slabs and come back.
 *
 * In the second and third each run of `batch' calls has exactly one slow path in it, so
 * the middle time of a run less that of a run of hits is the slow path's. The class's
 * lock is held for a part of that time.
 *
 * THREADS threads then drive the depot of this one class, all at once: exchanges per
 * microsecond.
 *
 * SIZE above 64 KiB: the medium blocks' malloc and free, which no cache serves, and a
 * flush that finds nothing beside THREADS threads that sleep.
 */
#include "load.h"

#include <stdatomic.h>

#include "../include/hakmem.h"

typedef int (*control_function)(enum hakmem_op, void *, size_t);

enum { MOST_BLOCKS = 16384, LEAST_BLOCKS = 64, BYTES = 8 << 20, SAMPLES = 1 << 20 };
enum { LARGEST_CLASS = 65536, RUNS_OF_HITS = 4000, MEDIUM_RUN = 16, FLUSHES = 1000 };

static control_function control;
static size_t size, threads, rounds;
static double ns_per_tick;

static size_t reach, batch, without_drain; /* found out */

static void stats(uint64_t *refills, uint64_t *spills)
{
	struct hakmem_stats stats = { 0 };

	if (control(HAKMEM_STATS, &stats, sizeof(stats)))
		load_die("hakmem_ctl(HAKMEM_STATS) failed: %s", strerror(errno));
	*refills = stats.refills_total;
	*spills = stats.spills_total;
}

static int compare(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

struct samples {
	size_t count;
	uint64_t ticks[SAMPLES];
};

static void sample(struct samples *samples, uint64_t ticks)
{
	if (samples->count < SAMPLES)
		samples->ticks[samples->count++] = ticks;
}

/* The mean of the middle half: the clock is coarse. */
static double middle_ns(struct samples *samples)
{
	size_t first = samples->count / 4, middle = samples->count / 2;
	double sum = 0;

	if (!middle)
		load_die("%zu-byte blocks: too few samples", size);
	qsort(samples->ticks, samples->count, sizeof(samples->ticks[0]), compare);
	for (size_t i = first; i < first + middle; i++)
		sum += (double)samples->ticks[i];
	return ns_per_tick * sum / (double)middle;
}

/* Nothing is written into the blocks: their cache misses are the program's. */
static void *take(void)
{
	void *block = malloc(size);

	if (!block)
		load_die("malloc(%zu) gave NULL", size);
	return block;
}

/* So many calls; behind the first `skipped', the runs of `batch' are timed, if asked. */
static void allocate(void **block, size_t count, size_t skipped, struct samples *samples)
{
	size_t i = 0;

	for (; i < skipped && i < count; i++)
		block[i] = take();
	while (i + batch <= count) {
		uint64_t begin = load_ticks();

		for (size_t end = i + batch; i < end; i++)
			block[i] = take();
		if (samples)
			sample(samples, load_ticks() - begin);
	}
	for (; i < count; i++)
		block[i] = take();
}

/* In the order of allocation, so that the depot's blocks are not those just looked at. */
static void release(void **block, size_t count, size_t skipped, struct samples *samples)
{
	size_t i = 0;

	for (; i < skipped && i < count; i++)
		free(block[i]);
	while (i + batch <= count) {
		uint64_t begin = load_ticks();

		for (size_t end = i + batch; i < end; i++)
			free(block[i]);
		if (samples)
			sample(samples, load_ticks() - begin);
	}
	for (; i < count; i++)
		free(block[i]);
}

/* Calls until a counter moves. */
static size_t until_refill(void **block)
{
	uint64_t before, refills, spills;
	size_t calls = 0;

	stats(&before, &spills);
	do {
		block[calls++] = take();
		stats(&refills, &spills);
	} while (refills == before);
	return calls;
}

static void find_out(void **block, size_t most)
{
	uint64_t refills, spills, before;
	size_t taken = 0;

	/* The capacity grows on misses: until it no longer does. */
	batch = 1;
	for (int i = 0; i < 24; i++) {
		allocate(block, most, most, NULL);
		release(block, most, most, NULL);
	}
	reach = until_refill(block);
	taken = reach;
	/* A whole batch, not what is left of the depot's last. */
	for (int i = 0; i < 3; i++) {
		size_t calls = until_refill(block + taken);

		batch = batch > calls ? batch : calls;
		taken += calls;
	}
	for (; taken < most; taken++)
		block[taken] = take();
	stats(&refills, &before);
	without_drain = 0;
	do {
		free(block[without_drain++]);
		stats(&refills, &spills);
	} while (spills == before && without_drain < most);
	if (spills == before)
		load_die("%zu-byte blocks: %zu of them do not reach the slabs", size,
			 most);
	release(block + without_drain, most - without_drain, most, NULL);
	/* Of the depot's room, what the two ends of a run may need. */
	without_drain -= without_drain < reach + 2 * batch ? batch / 2 : batch;
	if (without_drain < reach + batch)
		load_die("%zu-byte blocks: the depot holds too few", size);
}

static double time_hits(struct samples *samples, void **block)
{
	for (int i = 0; i < RUNS_OF_HITS; i++) {
		allocate(block, batch, 0, samples);
		release(block, batch, 0, samples);
	}
	return middle_ns(samples);
}

/* Tells what a spill takes. */
static double time_depot(void **block, double hit_run, struct samples *refill,
			 struct samples *spill)
{
	size_t skipped = reach;
	uint64_t refills, spills, refills_after, spills_after;

	allocate(block, without_drain, without_drain, NULL);
	release(block, without_drain, without_drain, NULL);
	stats(&refills, &spills);
	for (size_t i = 0; i < rounds; i++) {
		allocate(block, without_drain, skipped, refill);
		release(block, without_drain, skipped, spill);
	}
	stats(&refills_after, &spills_after);
	/* Ageing, twice in a second, may empty what lay idle; nothing else may drain. */
	if (refills_after - refills < refill->count ||
	    spills_after - spills > rounds / 100 + 2)
		load_die("%zu-byte blocks: the depot was not what was timed", size);
	double time = middle_ns(spill) - hit_run;

	load_report("refill", "%.1f", middle_ns(refill) - hit_run);
	load_report("spill", "%.1f", time);
	return time;
}

static void time_slabs(void **block, size_t most, double hit_run, double depot_spill,
		       struct samples *refill, struct samples *spill)
{
	/* What the depot holds serves the first refills. */
	size_t skipped = without_drain + 4 * batch;
	uint64_t refills, before, spills;

	refill->count = 0;
	spill->count = 0;
	stats(&refills, &before);
	for (size_t i = 0; i < rounds; i++) {
		allocate(block, most, skipped, refill);
		release(block, most, skipped, spill);
	}
	stats(&refills, &spills);
	load_report("refill_slab", "%.1f", middle_ns(refill) - hit_run);

	/* Each of these runs spills a batch that finds the depot full. */
	if ((spills - before) * batch * 2 < rounds * (most - skipped))
		load_die("%zu-byte blocks: too little went to the slabs", size);
	load_report("drain", "%.1f", middle_ns(spill) - hit_run - depot_spill);
}

static struct {
	size_t blocks; /* each thread's */
	atomic_size_t calls;
	atomic_bool over;
} contention;

static void *contend(void *block)
{
	while (!atomic_load_explicit(&contention.over, memory_order_relaxed)) {
		allocate(block, contention.blocks, contention.blocks, NULL);
		release(block, contention.blocks, contention.blocks, NULL);
		atomic_fetch_add_explicit(&contention.calls, 2 * contention.blocks,
					  memory_order_relaxed);
	}
	return NULL;
}

/* All threads at it for a while: calls and refills by the nanosecond. */
static void run_contention(size_t blocks, double *calls_per_ns, double *refills_per_ns)
{
	const struct timespec warm_up = { .tv_nsec = 30000000 };
	const struct timespec window = { .tv_nsec = 200000000 };
	pthread_t *handles = load_map(threads * sizeof(*handles));
	uint64_t ns[2], refills[2], spills;
	size_t calls[2];

	contention.blocks = blocks;
	for (size_t i = 0; i < threads; i++) {
		void *block = load_map(blocks * sizeof(void *));
		int error = pthread_create(&handles[i], NULL, contend, block);

		if (error)
			load_die("cannot start thread %zu: %s", i, strerror(error));
	}
	nanosleep(&warm_up, NULL);
	for (int i = 0; i < 2; i++) {
		stats(&refills[i], &spills);
		calls[i] = atomic_load_explicit(&contention.calls, memory_order_relaxed);
		ns[i] = load_clock_ns(CLOCK_MONOTONIC);
		if (i == 0)
			nanosleep(&window, NULL);
	}
	atomic_store(&contention.over, true);
	for (size_t i = 0; i < threads; i++)
		pthread_join(handles[i], NULL);
	*calls_per_ns = (double)(calls[1] - calls[0]) / (double)(ns[1] - ns[0]);
	*refills_per_ns = (double)(refills[1] - refills[0]) / (double)(ns[1] - ns[0]);
}

/* All at the depot of this class, each with a part of what it holds. */
static void contend_depot(void)
{
	double calls, refills;

	run_contention(reach + (without_drain - reach) / threads, &calls, &refills);
	if (refills <= 0)
		load_die("%zu-byte blocks: the threads had no need of the depot", size);
	/* A refill for each spill, as the blocks go round. */
	load_report("exchanges_per_us", "%.4f", 1e3 * 2 * refills);
	load_report("calls_per_exchange", "%.3f", calls / (2 * refills));
}

static pthread_barrier_t gate;

static void *have_set(void *argument)
{
	volatile char *block = malloc(1);

	if (!block)
		load_die("malloc(1) gave NULL");
	free((void *)block);
	pthread_barrier_wait(&gate);
	pthread_barrier_wait(&gate);
	return argument;
}

/* A flush that finds nothing, beside so many threads that sleep: what each set adds. */
static void time_flush(struct samples *samples)
{
	pthread_t *handles = load_map(threads * sizeof(*handles));

	pthread_barrier_init(&gate, NULL, (unsigned int)threads + 1);
	for (size_t i = 0; i < threads; i++) {
		int error = pthread_create(&handles[i], NULL, have_set, NULL);

		if (error)
			load_die("cannot start thread %zu: %s", i, strerror(error));
	}
	pthread_barrier_wait(&gate);
	for (size_t i = 0; i < FLUSHES; i++) {
		uint64_t begin = load_ticks();

		if (control(HAKMEM_FLUSH, NULL, 0))
			load_die("hakmem_ctl(HAKMEM_FLUSH) failed: %s", strerror(errno));
		sample(samples, load_ticks() - begin);
	}
	load_report("flush", "%.1f", middle_ns(samples));
	pthread_barrier_wait(&gate);
	for (size_t i = 0; i < threads; i++)
		pthread_join(handles[i], NULL);
}

static void time_medium(struct samples *samples)
{
	void *block[MEDIUM_RUN];

	batch = MEDIUM_RUN;
	for (size_t i = 0; i < rounds; i++) {
		uint64_t begin = load_ticks();

		allocate(block, batch, batch, NULL);
		release(block, batch, batch, NULL);
		sample(samples, load_ticks() - begin);
	}
	load_report("medium", "%.1f", middle_ns(samples) / (2 * MEDIUM_RUN));

	double calls, refills;
	run_contention(MEDIUM_RUN, &calls, &refills);
	load_report("medium_calls_per_us", "%.4f", 1e3 * calls);
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "SIZE", "THREADS", "ROUNDS" };
	size_t values[3];

	load_arguments(argc, argv, names, values, 3);
	size = values[0];
	threads = values[1];
	rounds = values[2];
	if (rounds < 10)
		load_die("%s: ROUNDS must be at least 10", argv[0]);

	size_t most = BYTES / size;
	most = most > MOST_BLOCKS    ? MOST_BLOCKS
	       : most < LEAST_BLOCKS ? LEAST_BLOCKS
				     : most;
	void **block = load_map(2 * most * sizeof(*block));
	struct samples *samples = load_map(3 * sizeof(*samples));

	load_begin();
	control = (control_function)load_symbol("hakmem_ctl");
	if (!control)
		load_die("this allocator has no hakmem_ctl()");
	uint64_t ticks = load_ticks(), ns = load_clock_ns(CLOCK_MONOTONIC);
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	ns_per_tick = (double)(load_clock_ns(CLOCK_MONOTONIC) - ns) /
		      (double)(load_ticks() - ticks);

	if (size > LARGEST_CLASS) {
		time_flush(&samples[0]);
		time_medium(&samples[1]);
		return 0;
	}
	find_out(block, most);
	double hit_run = time_hits(&samples[0], block);
	load_report("batch", "%zu", batch);
	load_report("hit", "%.3f", hit_run / (double)batch);
	double depot_spill = time_depot(block, hit_run, &samples[1], &samples[2]);
	time_slabs(block, most, hit_run, depot_spill, &samples[1], &samples[2]);
	contend_depot();
	return 0;
}
