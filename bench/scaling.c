/* SPDX-License-Identifier: MIT
 *
 * scaling BLOCKS SIZE - what blocks of one size cost in memory, and what they leave behind.
 *
 * Allocates BLOCKS blocks of SIZE bytes, writes all of every one, frees them all, then asks
 * for the memory back; the resident set over the start is told at each of the three marks.
 * The start is told too: what an allocator has taken by then is no longer counted, and one
 * that begins with a huge page may end with less than it began.
 *
 * While the blocks live, the overhead is told twice: over the bytes asked for, and over
 * those that malloc_usable_size(3) grants, which takes the rounding to a size class off and
 * leaves headers, tails, bookkeeping and what is held in advance.
 */
#include "load.h"

#include "../include/hakmem.h"

typedef int (*control_function)(enum hakmem_op, void *, size_t);

static struct hakmem_stats statistics_of(control_function control)
{
	struct hakmem_stats statistics;

	if (control(HAKMEM_STATS, &statistics, sizeof(statistics)))
		load_die("hakmem_ctl(HAKMEM_STATS) failed: %s", strerror(errno));
	return statistics;
}

/* Those in use and those in the cache: both hold 2 MiB of address space. */
static size_t superslabs(control_function control)
{
	if (!control)
		return 0;

	struct hakmem_stats statistics = statistics_of(control);

	return statistics.superslabs_live + statistics.superslabs_cached;
}

static double overhead(long live, size_t bytes)
{
	double data = (double)bytes / 1024;

	return 100 * ((double)live - data) / data;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "BLOCKS", "SIZE" };
	size_t values[2];

	load_arguments(argc, argv, names, values, 2);

	size_t blocks = values[0], size = values[1];
	void **block = load_map(blocks * sizeof(*block));

	load_begin();

	control_function control = (control_function)load_symbol("hakmem_ctl");
	long start = load_resident_kib();
	for (size_t i = 0; i < blocks; i++) {
		block[i] = load_block(size);
		memset(block[i], (int)i, size);
	}
	long live = load_resident_kib() - start;
	size_t usable = load_usable(block[0]), superslabs_live = superslabs(control);
	for (size_t i = 0; i < blocks; i++)
		free(block[i]);
	long freed = load_resident_kib() - start;
	size_t superslabs_freed = superslabs(control);
	const char *call = load_trim();
	long trimmed = load_resident_kib() - start;
	size_t superslabs_trimmed = superslabs(control);

	load_report("start", "%ld", start);
	load_report("overhead", "%.3f", overhead(live, blocks * size));
	load_report("usable", "%zu", usable);
	load_report("beyond", "%.3f", overhead(live, blocks * usable));
	load_report("freed", "%ld", freed);
	load_report("trimmed", "%ld", trimmed);
	if (control) {
		load_report("superslabs_live", "%zu", superslabs_live);
		load_report("superslabs_freed", "%zu", superslabs_freed);
		load_report("superslabs_trimmed", "%zu", superslabs_trimmed);
	}
	load_report("call", "%s", call);
	load_report("peak", "%ld", load_peak_kib());
	return 0;
}
