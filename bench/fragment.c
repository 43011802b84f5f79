/* SPDX-License-Identifier: MIT
 *
 * fragment BLOCKS LOWEST LARGEST KEPT LATER BYTES - what a random rest of blocks holds back,
 * and whether blocks of other sizes fill its gaps.
 *
 * Allocates BLOCKS blocks of LOWEST to LARGEST random bytes and frees a random choice of
 * them, in random order, until KEPT percent live; then makes the allocator's best call to
 * give memory back, and tells the resident set over the start by the bytes that live.  Then
 * allocates blocks of LOWEST to LATER bytes until BYTES live, and tells the same.
 *
 * A fixed heap filled with one distribution of sizes, thinned by 90 %, and filled with
 * another: the workloads of Rumble, Kejriwal and Ousterhout, "Log-structured memory for
 * DRAM-based storage" (FAST 2014).  No allocator that leaves blocks where they are can be
 * near 1 after the first step: hardly a page is without one of the rest.
 */
#include "load.h"

static double elapsed_ms(uint64_t *since)
{
	uint64_t now = load_now_ns(1);
	double elapsed = (double)(now - *since) / 1e6;

	*since = now;
	return elapsed;
}

static void report_resident(const char *key, long start, size_t live)
{
	load_report(key, "%.4f",
		    (double)(load_resident_kib() - start) * 1024 / (double)live);
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "BLOCKS", "LOWEST", "LARGEST",
					     "KEPT",   "LATER",  "BYTES" };
	size_t values[6];

	load_arguments(argc, argv, names, values, 6);

	size_t blocks = values[0], lowest = values[1], largest = values[2];
	size_t later = values[4], target = values[5];
	if (lowest > largest || lowest > later || largest > UINT32_MAX ||
	    later > UINT32_MAX || values[3] > 100)
		load_die("%s: sizes or percentage out of range", argv[0]);

	size_t kept = blocks * values[3] / 100;
	if (!kept)
		load_die("%s: with nothing kept there is nothing to compare with",
			 argv[0]);
	/* A quarter more than the mean: thousands of random sizes do not stray so far. */
	size_t most = kept + target / ((lowest + later) / 2) * 5 / 4;
	if (most < blocks)
		most = blocks;
	unsigned char **block = load_map(most * sizeof(*block));
	uint32_t *size = load_map(most * sizeof(*size));
	uint64_t state = load_seed(0);
	load_begin();

	long start = load_resident_kib();
	size_t live = 0;
	uint64_t clock = load_now_ns(1);
	for (size_t i = 0; i < blocks; i++) {
		size[i] = (uint32_t)load_between(load_random(&state), lowest, largest);
		block[i] = load_block(size[i]);
		live += size[i];
	}
	load_report("fill", "%.3f", elapsed_ms(&clock));

	load_shuffle(block, size, blocks, blocks, &state);
	clock = load_now_ns(1);
	while (blocks > kept) {
		free(block[--blocks]);
		live -= size[blocks];
	}
	load_report("thin", "%.3f", elapsed_ms(&clock));
	load_report("call", "%s", load_give_back());
	load_report("give", "%.3f", elapsed_ms(&clock));
	report_resident("left", start, live);

	clock = load_now_ns(1);
	while (live < target) {
		if (blocks == most)
			load_die("the blocks' sizes are not as random as they should be");
		size[blocks] = (uint32_t)load_between(load_random(&state), lowest, later);
		block[blocks] = load_block(size[blocks]);
		live += size[blocks++];
	}
	load_report("refill", "%.3f", elapsed_ms(&clock));
	report_resident("refilled", start, live);
	load_report("peak", "%ld", load_peak_kib());
	return 0;
}
