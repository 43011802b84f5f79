/* SPDX-License-Identifier: MIT
 *
 * scaling BLOCKS SIZE - what small blocks cost in memory, and what they leave behind.
 *
 * Allocates BLOCKS blocks of SIZE bytes, writes all of every one, frees them all, then asks
 * for the memory back; the resident set over the start is told at each of the three marks.
 * The start is told too: what an allocator has taken by then is no longer counted, and one
 * that begins with a huge page may end with less than it began.
 */
#include "load.h"

int main(int argc, char **argv)
{
	static const char *const names[] = { "BLOCKS", "SIZE" };
	size_t values[2];

	load_arguments(argc, argv, names, values, 2);

	size_t blocks = values[0], size = values[1];
	void **block = load_map(blocks * sizeof(*block));

	load_begin();

	long start = load_resident_kib();
	for (size_t i = 0; i < blocks; i++) {
		block[i] = load_block(size);
		memset(block[i], (int)i, size);
	}
	long live = load_resident_kib() - start;
	for (size_t i = 0; i < blocks; i++)
		free(block[i]);
	long freed = load_resident_kib() - start;
	const char *call = load_trim();
	long trimmed = load_resident_kib() - start;

	double data = (double)(blocks * size) / 1024;
	load_report("start", "%ld", start);
	load_report("overhead", "%.3f", 100 * ((double)live - data) / data);
	load_report("freed", "%ld", freed);
	load_report("trimmed", "%ld", trimmed);
	load_report("call", "%s", call);
	load_report("peak", "%ld", load_peak_kib());
	return 0;
}
