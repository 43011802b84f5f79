/* SPDX-License-Identifier: MIT
 *
 * grow FIRST LAST ROUNDS - a vector that grows by realloc, by half of its size at a time.
 *
 * From FIRST bytes until LAST are reached, ROUNDS times.  What is new is written, a byte of each
 * page and the last one, and looked at once it has been moved: so a block that is copied is read
 * as well.  Peak: resident, over the final size; beside it the address space.
 */
#include "load.h"

static void check(const volatile unsigned char *vector, size_t size, size_t page)
{
	for (size_t i = 0; i < size; i += page)
		if (vector[i] != (unsigned char)(i / page))
			load_die("byte %zu of %zu is not what it was", i, size);
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "FIRST", "LAST", "ROUNDS" };
	size_t values[3];

	load_arguments(argc, argv, names, values, 3);

	size_t page = (size_t)sysconf(_SC_PAGESIZE), first = values[0], last = values[1];
	if (first < 2 || first > last || last > (size_t)1 << 40)
		load_die("%s: sizes out of range", argv[0]);
	load_begin();

	long start = load_resident_kib();
	long mapped = load_proc_kib("/proc/self/status", "\nVmSize:");
	uint64_t begin = load_now_ns(1);
	for (size_t round = 0; round < values[2]; round++) {
		unsigned char *vector = NULL;
		size_t size = 0;

		while (size < last) {
			size_t more = size ? size + size / 2 : first;
			unsigned char *moved;

			if (more > last)
				more = last;
			moved = realloc(vector, more);
			if (!moved)
				load_die("realloc(%zu) gave NULL", more);
			vector = moved;
			for (size_t i = (size + page - 1) / page * page; i < more;
			     i += page)
				((volatile unsigned char *)
					 vector)[i] = (unsigned char)(i / page);
			size = more;
		}
		check(vector, size, page);
		free(vector);
	}
	double elapsed = (double)(load_now_ns(1) - begin);

	load_report("ms", "%.4f", elapsed / 1e6 / (double)values[2]);
	load_report("resident", "%.4f",
		    (double)(load_peak_kib() - start) * 1024 / (double)last);
	load_report("mapped", "%.4f",
		    (double)(load_proc_kib("/proc/self/status", "\nVmPeak:") - mapped) *
			    1024 / (double)last);
	return 0;
}
