/* SPDX-License-Identifier: MIT
 *
 * day MIB PHASES - a server's day: a live set of one size, whose blocks' sizes change.
 *
 * MIB MiB of blocks live all the time.  In each phase a random half of the blocks is
 * replaced, each freed before its successors are allocated, by blocks of the phase's own
 * mix of sizes; at its end the allocator's best call gives memory back.  What is resident
 * over the start then, by the live bytes, is told as the mean over the phases, and the
 * worst; the throughput has the calls in it, their share is told beside.
 *
 * That the mix of sizes moves on while much of what was allocated before lives is what
 * makes long-running servers fragment: Maas and others, "Learning-based memory allocation
 * for C++ server workloads" (ASPLOS 2020).
 */
#include "load.h"

enum { RANGES = 4, SMALLEST_MEAN = 32 };

struct range {
	size_t lowest, largest;
};

static unsigned char **block;
static uint32_t *size;
static size_t blocks, most_blocks, live;

/* A range is drawn as often as its weight tells: it has so many entries of `choices'. */
struct mix {
	struct range range[RANGES];
	unsigned char choice[RANGES * 8];
	size_t choices;
};

/*
 * Ranges begin anywhere from 16 B to 8 KiB, small ones as likely as large ones, and span up
 * to a factor of four.  Of their own state: a phase's mix is the same for every live set.
 */
static void draw_mix(struct mix *mix, uint64_t *state)
{
	mix->choices = 0;
	for (unsigned char i = 0; i < RANGES; i++) {
		size_t octave = load_below(load_random(state), 9);
		size_t lowest = load_between(load_random(state), 16, 31) << octave;
		size_t weight = load_between(load_random(state), 1, 8);

		mix->range[i].lowest = lowest;
		mix->range[i].largest = load_between(load_random(state), lowest,
						     4 * lowest);
		for (size_t j = 0; j < weight; j++)
			mix->choice[mix->choices++] = i;
	}
}

static void fill(const struct mix *mix, size_t target, uint64_t *state)
{
	while (live < target) {
		uint64_t bits = load_random(state);
		const struct range
			*range = &mix->range[mix->choice[load_below(bits, mix->choices)]];

		if (blocks == most_blocks)
			load_die("the mixes have too many small blocks");
		size[blocks] = (uint32_t)load_between(bits, range->lowest,
						      range->largest);
		block[blocks] = load_block(size[blocks]);
		live += size[blocks++];
	}
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "MIB", "PHASES" };
	size_t values[2];

	load_arguments(argc, argv, names, values, 2);

	size_t target = values[0] << 20, phases = values[1];
	most_blocks = target / SMALLEST_MEAN * 3 / 2;
	block = load_map(most_blocks * sizeof(*block));
	size = load_map(most_blocks * sizeof(*size));
	uint64_t mixes = load_seed(1), state = load_seed(0);
	struct mix mix;
	load_begin();

	long start = load_resident_kib();
	draw_mix(&mix, &mixes);
	fill(&mix, target, &state);

	size_t operations = 0;
	uint64_t working = 0, giving = 0;
	double resident = 0, data = 0, worst = 0;
	const char *call = "none";
	for (size_t phase = 0; phase < phases; phase++) {
		size_t before = blocks, half = blocks / 2;

		draw_mix(&mix, &mixes);
		load_shuffle(block, size, blocks, half, &state);

		uint64_t begin = load_now_ns(1);
		for (size_t i = 0; i < half; i++) {
			free(block[i]);
			live -= size[i];
			fill(&mix, target, &state);
		}
		uint64_t end = load_now_ns(1);
		call = load_give_back();
		giving += load_now_ns(1) - end;
		working += end - begin;
		operations += half + (blocks - before);

		blocks -= half;
		memmove(block, block + half, blocks * sizeof(*block));
		memmove(size, size + half, blocks * sizeof(*size));

		double now = (double)(load_resident_kib() - start) * 1024;
		resident += now;
		data += (double)live;
		if (worst < now / (double)live)
			worst = now / (double)live;
	}

	load_report("mean", "%.4f", resident / data);
	load_report("worst", "%.4f", worst);
	load_report("mops", "%.4f",
		    1e3 * (double)operations / (double)(working + giving));
	load_report("give", "%.3f", (double)giving / 1e6 / (double)phases);
	load_report("call", "%s", call);
	load_report("peak", "%ld", load_peak_kib());
	return 0;
}
