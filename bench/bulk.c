/* SPDX-License-Identifier: MIT
 *
 * bulk BLOCKS SIZE ROUNDS - fill and drain, far beyond what any cache holds.
 *
 * The pattern of glibc's own bench-malloc-simple: BLOCKS blocks of SIZE bytes are allocated,
 * the first half is freed in the order of allocation, the second in the opposite order.
 */
#include "load.h"

int main(int argc, char **argv)
{
	static const char *const names[] = { "BLOCKS", "SIZE", "ROUNDS" };
	size_t values[3];

	load_arguments(argc, argv, names, values, 3);

	size_t blocks = values[0], size = values[1], rounds = values[2];
	unsigned char **block = load_map(blocks * sizeof(*block));

	load_begin();

	uint64_t begin = load_now_ns(1);
	for (size_t round = 0; round < rounds; round++) {
		for (size_t i = 0; i < blocks; i++)
			block[i] = load_block(size);
		for (size_t i = 0; i < blocks / 2; i++)
			free(block[i]);
		for (size_t i = blocks; i > blocks / 2; i--)
			free(block[i - 1]);
	}
	double elapsed = (double)(load_now_ns(1) - begin);

	load_report("ns", "%.4f", elapsed / (double)(rounds * blocks));
	load_report("peak", "%ld", load_peak_kib());
	return 0;
}
