/* SPDX-License-Identifier: MIT
 *
 * large LIVE LOWEST LARGEST TURNS TOUCHED - blocks of many pages come and go.
 *
 * LIVE blocks of LOWEST to LARGEST random bytes; TURNS times one of them, at random, is freed
 * and replaced.  Of each block the program writes TOUCHED percent of its pages, a byte each,
 * from the first on.  What an allocator keeps of freed ones is in the peak; what it gives back
 * has to be faulted in again, and that is in the time.
 */
#include "load.h"

static size_t page;

static unsigned char *touched_block(size_t size, size_t touched)
{
	unsigned char *block = load_block(size);

	for (size_t i = 0; i < size / 100 * touched; i += page)
		((volatile unsigned char *)block)[i] = 1;
	return block;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "LIVE", "LOWEST", "LARGEST", "TURNS",
					     "TOUCHED" };
	size_t values[5];

	load_arguments(argc, argv, names, values, 5);

	size_t live = values[0], lowest = values[1], largest = values[2];
	if (lowest > largest || largest > UINT32_MAX || values[4] > 100)
		load_die("%s: sizes or percentage out of range", argv[0]);

	unsigned char **block = load_map(live * sizeof(*block));
	uint64_t state = load_seed(0);

	page = (size_t)sysconf(_SC_PAGESIZE);
	load_begin();

	uint64_t begin = load_now_ns(1);
	for (size_t i = 0; i < live; i++)
		block[i] = touched_block(
			load_between(load_random(&state), lowest, largest), values[4]);
	for (size_t turn = 0; turn < values[3]; turn++) {
		uint64_t bits = load_random(&state);
		size_t i = load_below(bits, live);

		free(block[i]);
		block[i] = touched_block(load_between(bits, lowest, largest), values[4]);
	}
	double elapsed = (double)(load_now_ns(1) - begin);

	load_report("us", "%.4f", elapsed / 1000 / (double)(live + values[3]));
	load_report("peak", "%ld", load_peak_kib());
	return 0;
}
