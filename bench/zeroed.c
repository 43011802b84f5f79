/* SPDX-License-Identifier: MIT
 *
 * zeroed SIZE TURNS TOUCHED - calloc of SIZE bytes and free, TURNS times; TOUCHED percent of the
 * pages are read and written.  Whoever clears all of a block that the kernel has cleared, or
 * keeps all of it to clear it the next time, pays for the other pages, too.
 */
#include "load.h"

int main(int argc, char **argv)
{
	static const char *const names[] = { "SIZE", "TURNS", "TOUCHED" };
	size_t values[3];

	load_arguments(argc, argv, names, values, 3);

	size_t page = (size_t)sysconf(_SC_PAGESIZE), size = values[0];
	size_t pages = size / page * values[2] / 100 + 1;
	uint64_t state = load_seed(0);
	if (size < page || values[2] > 100)
		load_die("%s: size or percentage out of range", argv[0]);
	load_begin();

	uint64_t begin = load_now_ns(1);
	for (size_t turn = 0; turn < values[1]; turn++) {
		volatile unsigned char *block = calloc(1, size);
		unsigned char mark = (unsigned char)(turn % 255 + 1);

		if (!block)
			load_die("calloc(1, %zu) gave NULL", size);
		for (size_t i = 0; i < pages; i++) {
			size_t at = load_below(load_random(&state), size);

			/* It may be one that this turn has had. */
			if (block[at] && block[at] != mark)
				load_die("byte %zu is not zero", at);
			block[at] = mark;
		}
		free((void *)block);
	}
	double elapsed = (double)(load_now_ns(1) - begin);

	load_report("us", "%.4f", elapsed / 1000 / (double)values[1]);
	load_report("peak", "%ld", load_peak_kib());
	return 0;
}
