/* SPDX-License-Identifier: MIT
 *
 * tail SLOTS LOWEST LARGEST STEPS - how long the slowest calls take.
 *
 * The random mix of mixed.c on one thread, every call timed alone, in ticks of the time
 * stamp counter less the clock's own cost, while a second thread does the same untimed on
 * slots of its own.
 */
#include "load.h"

#include <stdatomic.h>

/*
 * Counts of durations: exact below 2,048 ticks, then 1,024 steps to each doubling, as in
 * an HDR histogram.  Small enough that counting does not push the load out of the cache.
 */
enum { EXACT_BITS = 11, STEP_BITS = 10, BUCKETS = (65 - STEP_BITS) << STEP_BITS };

struct histogram {
	uint64_t total;
	uint32_t count[BUCKETS];
};

static size_t slots, lowest, largest;
static atomic_bool finished;

static size_t bucket(uint64_t ticks)
{
	if (ticks >> EXACT_BITS == 0)
		return (size_t)ticks;

	unsigned int shift = 63 - STEP_BITS - (unsigned int)__builtin_clzll(ticks);
	return ((size_t)shift << STEP_BITS) + (size_t)(ticks >> shift);
}

static uint64_t bucket_ticks(size_t index)
{
	if (index >> EXACT_BITS == 0)
		return index;

	size_t shift = (index >> STEP_BITS) - 1;
	return (uint64_t)(index - (shift << STEP_BITS)) << shift;
}

static void count(struct histogram *histogram, uint64_t ticks, uint64_t clock)
{
	histogram->count[bucket(ticks > clock ? ticks - clock : 0)]++;
	histogram->total++;
}

/* The least duration that is not shorter than so many of ten thousand calls. */
static uint64_t percentile(const struct histogram *histogram, uint64_t of_10000)
{
	uint64_t wanted = (histogram->total * of_10000 + 9999) / 10000, seen = 0;

	for (size_t i = 0; i < BUCKETS; i++) {
		seen += histogram->count[i];
		if (seen >= wanted)
			return bucket_ticks(i);
	}
	load_die("the histogram holds fewer calls than it counted");
}

static void report(const char *call, const struct histogram *histogram)
{
	static const struct {
		const char *name;
		uint64_t of_10000;
	} points[] = {
		{ "p50", 5000 }, { "p99", 9900 }, { "p999", 9990 }, { "p9999", 9999 }
	};

	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		char key[32];

		snprintf(key, sizeof(key), "%s_%s", call, points[i].name);
		load_report(key, "%llu",
			    (unsigned long long)percentile(histogram,
							   points[i].of_10000));
	}
}

/* The cost of the clock itself: the median of many empty measurements. */
static uint64_t clock_ticks(struct histogram *histogram)
{
	for (int i = 0; i < 100000; i++) {
		uint64_t begin = load_ticks();

		count(histogram, load_ticks() - begin, 0);
	}
	uint64_t ticks = percentile(histogram, 5000);
	memset(histogram, 0, sizeof(*histogram));
	return ticks;
}

static void *keep_busy(void *argument)
{
	unsigned char **slot = argument;
	uint64_t state = load_seed(1);

	while (!atomic_load_explicit(&finished, memory_order_relaxed)) {
		uint64_t bits = load_random(&state);
		size_t i = load_below(bits, slots);

		if (slot[i]) {
			free(slot[i]);
			slot[i] = NULL;
		} else {
			slot[i] = load_block(load_between(bits, lowest, largest));
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "SLOTS", "LOWEST", "LARGEST", "STEPS" };
	size_t values[4];

	load_arguments(argc, argv, names, values, 4);
	slots = values[0];
	lowest = values[1];
	largest = values[2];
	if (lowest > largest)
		load_die("%s: LOWEST is more than LARGEST", argv[0]);

	size_t steps = values[3];
	unsigned char **slot = load_map(slots * sizeof(*slot));
	unsigned char **busy_slot = load_map(slots * sizeof(*busy_slot));
	struct histogram *mallocs = load_map(sizeof(*mallocs));
	struct histogram *frees = load_map(sizeof(*frees));
	uint64_t clock = clock_ticks(mallocs);
	uint64_t state = load_seed(0);
	pthread_t busy;

	load_begin();
	int error = pthread_create(&busy, NULL, keep_busy, busy_slot);
	if (error)
		load_die("cannot start the second thread: %s", strerror(error));

	for (size_t step = 0; step < steps; step++) {
		uint64_t bits = load_random(&state);
		size_t i = load_below(bits, slots);

		if (slot[i]) {
			uint64_t begin = load_ticks();

			free(slot[i]);
			count(frees, load_ticks() - begin, clock);
			slot[i] = NULL;
		} else {
			size_t size = load_between(bits, lowest, largest);
			uint64_t begin = load_ticks();
			volatile unsigned char *block = malloc(size);

			count(mallocs, load_ticks() - begin, clock);
			if (!block)
				load_die("malloc(%zu) gave NULL", size);
			block[0] = block[size - 1] = (unsigned char)size;
			slot[i] = (unsigned char *)block;
		}
	}
	atomic_store(&finished, true);
	pthread_join(busy, NULL);

	report("malloc", mallocs);
	report("free", frees);
	load_report("peak", "%ld", load_peak_kib());
	return 0;
}
