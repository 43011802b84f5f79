/* SPDX-License-Identifier: MIT
 *
 * libabuse.h - for the programs that commit one crime each; see abuse.sh, which runs
 * them.
 *
 * A program that is to be ended by the library first says so: expect_fatal() prints the
 * very line, with this process's own name, id and addresses, that must be all of its
 * standard error, and the driver compares byte by byte and wants SIGABRT.  A program
 * that never says so must print its results as TAP lines, nothing on standard error,
 * and come to its end.
 */
#ifndef LIBABUSE_H
#define LIBABUSE_H

#include "libtap.h"

#include <sys/mman.h>

__attribute__((format(printf, 1, 2), unused)) static void expect_fatal(const char *format,
								       ...)
{
	va_list list;

	printf("expect hakmem: %s[%d]: ", program_invocation_short_name, (int)getpid());
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	putchar('\n');
	fflush(stdout);
}

/* The debug library looks at more, and sooner. */
TAP_UNUSED static bool on_debug_library(void)
{
	struct hakmem_option option = { .name = "debug" };

	return ctl(HAKMEM_GET, &option, sizeof(option)) == 0;
}

/* In a program that should be dead by now. */
TAP_UNUSED static int survived(void)
{
	puts("not ok - the crime was noticed");
	return 1;
}

/* Frees so many blocks of this size that every magazine of the class has to spill. */
TAP_UNUSED static void free_many(size_t size)
{
	enum { MANY = 100000 };
	static void *blocks[MANY];

	for (size_t i = 0; i < MANY; i++)
		blocks[i] = opaque(malloc(opaque_size(size)));
	/* The blocks that came first are those that lay in the magazine: in the middle of it. */
	for (size_t i = 0; i < MANY; i++)
		free(blocks[(i + MANY / 2) % MANY]);
}

#endif /* LIBABUSE_H */
