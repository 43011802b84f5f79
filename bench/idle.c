/* SPDX-License-Identifier: MIT
 *
 * idle - what a process that does nothing has resident.
 *
 * Most processes of a machine allocate next to nothing; what an allocator maps and touches
 * when it is loaded, its code included, is there once for each of them.  The program does
 * nothing for a while, as such processes do: it sleeps.  Then it reads its resident set, and
 * only after that it looks whose malloc it has.
 */
#include "load.h"

int main(int argc, char **argv)
{
	const struct timespec moment = { .tv_nsec = 100000000 };

	load_arguments(argc, argv, NULL, NULL, 0);
	nanosleep(&moment, NULL);

	long resident = load_resident_kib();
	long anonymous = load_proc_kib("/proc/self/smaps_rollup", "\nAnonymous:");

	load_begin();
	load_report("resident", "%ld", resident);
	load_report("anonymous", "%ld", anonymous);
	return 0;
}
