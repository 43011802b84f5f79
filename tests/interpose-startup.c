/* SPDX-License-Identifier: MIT
 *
 * The whole life of a process: malloc is called before any constructor, from
 * constructors, after main, and from the last destructor; what one phase allocates
 * another frees.
 */
#include "libtap.h"

enum { BLOCKS = 64 };

static char *early[BLOCKS];
static char *constructed[BLOCKS];
static int bad;

static size_t size_of(size_t i)
{
	return i * i * 17 + 1;
}

static void fill(char *blocks[BLOCKS], int value)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(opaque_size(size_of(i)));
		if (blocks[i])
			memset(blocks[i], value, size_of(i));
	}
}

static void drop(char *blocks[BLOCKS], int value)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		bad += !blocks[i] || !all_bytes(blocks[i], value, size_of(i));
		free(blocks[i]);
		blocks[i] = NULL;
	}
}

/* Before the constructors of any object, also of libc and of the library itself. */
static void preinit(int argc, char **argv, char **environment)
{
	char *grown;

	(void)argc;
	(void)argv;
	(void)environment;
	free(opaque(NULL));
	fill(early, 1);
	grown = opaque(realloc(opaque(calloc(opaque_size(10), opaque_size(10))),
			       opaque_size(5000)));
	bad += !grown || !all_bytes(grown, 0, 100);
	free(grown);
}

__attribute__((section(".preinit_array"),
	       used)) static void (*const preinit_entry)(int, char **, char **) = preinit;

__attribute__((constructor(101))) static void first_constructor(void)
{
	fill(constructed, 2);
}

__attribute__((constructor)) static void later_constructor(void)
{
	drop(early, 1);
	fill(early, 3);
}

/* The script wants this line, the last of all, and an exit status of 0. */
static void report(const char *line)
{
	if (write(STDOUT_FILENO, line, strlen(line)) < 0)
		_exit(1);
}

static void at_exit_handler(void)
{
	drop(constructed, 4);
	fill(constructed, 5);
}

__attribute__((destructor(101))) static void last_destructor(void)
{
	char *blocks[BLOCKS];

	drop(constructed, 5);
	fill(blocks, 6);
	drop(blocks, 6);
	if (ctl(HAKMEM_RELEASE, NULL, 0) || ctl(HAKMEM_CHECK, NULL, 0) || bad) {
		report("not ok - malloc and free from atexit handlers and destructors\n");
		_exit(1);
	}
	report("ok - malloc and free from atexit handlers and destructors\n# end\n");
}

int main(void)
{
	require_library();
	ok(!bad, "malloc, calloc, realloc, free before any constructor");
	drop(constructed, 2);
	drop(early, 3);
	ok(!bad, "blocks of preinit and of constructors are whole, and can be freed");
	fill(constructed, 4);
	atexit(at_exit_handler);
	return tap_failures ? 1 : 0;
}
