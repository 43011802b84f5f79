/* SPDX-License-Identifier: MIT
 *
 * mixed SLOTS LOWEST LARGEST THREADS STEPS - the random mix of a long-running program.
 *
 * Each thread has SLOTS slots.  A step picks one at random, frees its block if it has one,
 * else fills it with a block of LOWEST to LARGEST bytes; so half of the slots are full and
 * the blocks' lives have no order.  Many more threads than processors show what a
 * preempted thread costs the others, and what each thread's cache costs in memory.
 */
#include "load.h"

static size_t slots, lowest, largest, threads, steps;
static pthread_barrier_t start;
static unsigned char **all_slots;

static void *mix(void *argument)
{
	size_t thread = (size_t)argument;
	unsigned char **slot = all_slots + thread * slots;
	uint64_t state = load_seed(thread);

	pthread_barrier_wait(&start);
	for (size_t step = 0; step < steps; step++) {
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
	static const char *const names[] = { "SLOTS", "LOWEST", "LARGEST", "THREADS",
					     "STEPS" };
	size_t values[5];

	load_arguments(argc, argv, names, values, 5);
	slots = values[0];
	lowest = values[1];
	largest = values[2];
	threads = values[3];
	steps = values[4];
	if (lowest > largest)
		load_die("%s: LOWEST is more than LARGEST", argv[0]);
	all_slots = load_map(threads * slots * sizeof(*all_slots));
	pthread_barrier_init(&start, NULL, (unsigned int)threads);
	load_begin();

	uint64_t begin = load_now_ns(threads);
	load_threads(threads, mix);
	double elapsed = (double)(load_now_ns(threads) - begin);

	load_report("ns", "%.4f", elapsed / (double)(threads * steps));
	load_report("mops", "%.4f", 1e3 * (double)(threads * steps) / elapsed);
	load_report("peak", "%ld", load_peak_kib());
	return 0;
}
