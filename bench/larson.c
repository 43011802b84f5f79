/* SPDX-License-Identifier: MIT
 *
 * larson SLOTS LOWEST LARGEST THREADS ROUNDS STEPS - a server whose threads inherit blocks.
 *
 * After Larson and Krishnan, "Memory allocation for long-running server applications"
 * (ISMM 1998).  In each of ROUNDS rounds every thread replaces random blocks of an array,
 * STEPS times; between rounds the arrays go round, so that most blocks are freed by a
 * thread that did not allocate them.
 */
#include "load.h"

static size_t slots, lowest, largest, threads, rounds, steps;
static pthread_barrier_t turn;
static unsigned char **all_slots;

static void *serve(void *argument)
{
	size_t thread = (size_t)argument;
	uint64_t state = load_seed(thread);

	for (size_t round = 0; round < rounds; round++) {
		unsigned char **slot = all_slots + (thread + round) % threads * slots;

		pthread_barrier_wait(&turn);
		for (size_t step = 0; step < steps; step++) {
			uint64_t bits = load_random(&state);
			size_t i = load_below(bits, slots);

			free(slot[i]);
			slot[i] = load_block(load_between(bits, lowest, largest));
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "SLOTS",   "LOWEST", "LARGEST",
					     "THREADS", "ROUNDS", "STEPS" };
	size_t values[6];

	load_arguments(argc, argv, names, values, 6);
	slots = values[0];
	lowest = values[1];
	largest = values[2];
	threads = values[3];
	rounds = values[4];
	steps = values[5];
	if (lowest > largest)
		load_die("%s: LOWEST is more than LARGEST", argv[0]);
	all_slots = load_map(threads * slots * sizeof(*all_slots));
	pthread_barrier_init(&turn, NULL, (unsigned int)threads);
	load_begin();

	uint64_t state = LOAD_SEED;
	for (size_t i = 0; i < threads * slots; i++)
		all_slots[i] = load_block(
			load_between(load_random(&state), lowest, largest));

	uint64_t begin = load_now_ns(threads);
	load_threads(threads, serve);
	double elapsed = (double)(load_now_ns(threads) - begin);

	load_report("ns", "%.4f", elapsed / (double)(threads * rounds * steps));
	load_report("peak", "%ld", load_peak_kib());
	return 0;
}
