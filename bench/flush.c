/* SPDX-License-Identifier: MIT
 *
 * flush OWNERS SLOTS LOWEST LARGEST FLUSHES PAUSE - what a flush of everything costs,
 * and how it disturbs those whose magazines are emptied.
 *
 * OWNERS threads replace random blocks, each in SLOTS slots of its own, at full speed.
 * One thread calls hakmem_ctl(HAKMEM_FLUSH, ...) FLUSHES times, and pauses for PAUSE
 * microseconds after each, so that the magazines fill again. Told are the duration of
 * the call, and its stall: the longest time from the end of one operation of an owner
 * to the end of the next (a free and a malloc) that overlaps it.
 *
 * A machine stalls threads without any flush. So every other event is a sham: the
 * caller spins for as long as the flush before it took, and the owners' stalls are told
 * likewise. Flushes while no owner ran are not counted.
 */
#include "load.h"

#include <stdatomic.h>

#include "../include/hakmem.h"

typedef int (*control_function)(enum hakmem_op, void *, size_t);

static size_t owners, slots, lowest, largest, events;
static unsigned char **all_slots;
static uint64_t *all_stalls; /* by owner and event, in ticks; 0: none */
static pthread_barrier_t start;

/* Odd while an event is under way; event 0 is the first. */
static _Alignas(64) atomic_size_t begun_and_ended;
static _Alignas(64) atomic_bool finished;

static void *own(void *argument)
{
	size_t owner = (size_t)argument;
	unsigned char **slot = all_slots + owner * slots;
	uint64_t *stall = all_stalls + owner * events, state = load_seed(owner);

	for (size_t i = 0; i < slots; i++)
		slot[i] = load_block(load_between(load_random(&state), lowest, largest));
	pthread_barrier_wait(&start);

	size_t seen = 0;
	uint64_t before = load_ticks();
	while (!atomic_load_explicit(&finished, memory_order_relaxed)) {
		uint64_t bits = load_random(&state);
		size_t i = load_below(bits, slots);

		free(slot[i]);
		slot[i] = load_block(load_between(bits, lowest, largest));

		size_t now_seen = atomic_load_explicit(&begun_and_ended,
						       memory_order_relaxed);
		uint64_t now = load_ticks();

		/*
		 * An even count that has not changed: nothing was under way meanwhile.
		 * Of several events in a row the first is charged; while the others were
		 * under way, the owner had not come back to be stalled.
		 */
		if ((seen % 2 || seen != now_seen) && stall[seen / 2] < now - before)
			stall[seen / 2] = now - before;
		seen = now_seen;
		before = now;
	}
	return NULL;
}

static void spin(uint64_t ticks)
{
	for (uint64_t begin = load_ticks(); load_ticks() - begin < ticks;)
		;
}

static int compare(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

static void report(const char *what, uint64_t *ticks, size_t count, double us)
{
	static const struct {
		const char *name;
		size_t of_100;
	} points[] = { { "p50", 50 }, { "p99", 99 }, { "max", 100 } };

	qsort(ticks, count, sizeof(*ticks), compare);
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		char key[32];

		snprintf(key, sizeof(key), "%s_%s", what, points[i].name);
		load_report(
			key, "%.3f",
			us * (double)ticks[(count * points[i].of_100 + 99) / 100 - 1]);
	}
}

/*
 * The stalls of all owners by every second event, from this one.  An owner that did not
 * run, before an event or during it, has none by it.
 */
static void report_stalls(const char *what, size_t first, double us)
{
	uint64_t *ticks = load_map(owners * events / 2 * sizeof(*ticks));
	size_t count = 0;

	for (size_t owner = 0; owner < owners; owner++)
		for (size_t event = first; event < events; event += 2)
			if (all_stalls[owner * events + event])
				ticks[count++] = all_stalls[owner * events + event];
	if (!count)
		load_die("no owner ran while a flush was under way");
	report(what, ticks, count, us);
	munmap(ticks, owners * events / 2 * sizeof(*ticks));
}

static bool has_disturbed(size_t event)
{
	for (size_t owner = 0; owner < owners; owner++)
		if (all_stalls[owner * events + event])
			return true;
	return false;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "OWNERS",  "SLOTS",   "LOWEST",
					     "LARGEST", "FLUSHES", "PAUSE" };
	size_t values[6];

	load_arguments(argc, argv, names, values, 6);
	owners = values[0];
	slots = values[1];
	lowest = values[2];
	largest = values[3];
	if (lowest > largest)
		load_die("%s: LOWEST is more than LARGEST", argv[0]);

	size_t flushes = values[4];
	events = 2 * flushes;
	all_slots = load_map(owners * slots * sizeof(*all_slots));
	all_stalls = load_map(owners * events * sizeof(*all_stalls));
	uint64_t *durations = load_map(flushes * sizeof(*durations));
	pthread_t *threads = load_map(owners * sizeof(*threads));
	pthread_barrier_init(&start, NULL, (unsigned int)owners + 1);
	load_begin();

	control_function control = (control_function)load_symbol("hakmem_ctl");
	if (!control)
		load_die("this allocator has no hakmem_ctl()");
	for (size_t i = 0; i < owners; i++) {
		int error = pthread_create(&threads[i], NULL, own, (void *)i);

		if (error)
			load_die("cannot start thread %zu: %s", i, strerror(error));
	}
	pthread_barrier_wait(&start);

	uint64_t ticks_begin = load_ticks(), ns_begin = load_clock_ns(CLOCK_MONOTONIC);
	uint64_t blocks = 0, unreached = 0;
	/* Fill the magazines first, and learn how long a microsecond is. */
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	double us = (double)(load_clock_ns(CLOCK_MONOTONIC) - ns_begin) / 1e3 /
		    (double)(load_ticks() - ticks_begin);
	uint64_t pause = (uint64_t)((double)values[5] / us);

	for (size_t i = 0; i < flushes; i++) {
		struct hakmem_flush flush = { .scope = HAKMEM_ALL };

		/* Sequentially consistent: the event lies between the two. */
		atomic_fetch_add(&begun_and_ended, 1);
		uint64_t begin = load_ticks();
		int failed = control(HAKMEM_FLUSH, &flush, sizeof(flush));
		durations[i] = load_ticks() - begin;
		atomic_fetch_add(&begun_and_ended, 1);
		if (failed)
			load_die("hakmem_ctl(HAKMEM_FLUSH) failed: %s", strerror(errno));
		blocks += flush.blocks;
		unreached += flush.unreached;
		spin(pause);

		atomic_fetch_add(&begun_and_ended, 1);
		spin(durations[i]);
		atomic_fetch_add(&begun_and_ended, 1);
		spin(pause);
	}
	atomic_store(&finished, true);
	for (size_t i = 0; i < owners; i++)
		pthread_join(threads[i], NULL);

	/* With nobody to interrupt and little to send home, that is no flush. */
	size_t disturbing = 0;
	for (size_t i = 0; i < flushes; i++)
		if (has_disturbed(2 * i))
			durations[disturbing++] = durations[i];

	report_stalls("stall", 0, us);
	report_stalls("sham", 1, us);
	report("flush", durations, disturbing, us);
	load_report("blocks", "%.1f", (double)blocks / (double)flushes);
	load_report("unreached", "%.3f", (double)unreached / (double)flushes);
	load_report("peak", "%ld", load_peak_kib());
	return 0;
}
