/* SPDX-License-Identifier: MIT
 *
 * libabuse.h - for the programs that commit crimes; see abuse.sh, which runs them.
 *
 * A program whose crime is told of by the library first says what it will read:
 *
 *   expect_fatal()    the very line, with this process's own name, id and addresses;
 *   expect_party()    for the debug library: who is in the report, in its order, and the
 *                     functions of the stack, from the innermost on.
 *
 * The driver compares byte by byte.  The end is SIGABRT, unless expect_status() says another.
 * A program that expects nothing must print its results as TAP lines, nothing on standard
 * error, and come to its end.
 *
 * A family is a program of several crimes: a table of struct crime, and FAMILY() of it.
 * Without an argument it lists them, with one it commits that one.
 */
#ifndef LIBABUSE_H
#define LIBABUSE_H

#include "libtap.h"

#include <sys/mman.h>
#include <sys/wait.h>

/*
 * A function that has a frame of its own, with its own name.  One that ends with a call has
 * STAY() behind that.
 */
#ifdef __clang__
#define STEP __attribute__((noinline, unused)) static
#else
#define STEP __attribute__((noipa, unused)) static
#endif
#define STAY() __asm__ volatile("" : : : "memory")

static bool crime_expected;
static int crime_status = -1;

/* ---- What the library will say ---- */

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
	crime_expected = true;
}

/* Not SIGABRT: another exit status, or 128 and a signal's number. */
TAP_UNUSED static void expect_status(int status)
{
	printf("status %d\n", status);
	fflush(stdout);
	crime_status = status;
}

TAP_UNUSED static int this_thread(void)
{
	return (int)syscall(SYS_gettid);
}

/*
 * functions: separated by "; ", those of the innermost frames; "*" is any.  thread: 0 where
 * the report does not tell it.
 */
TAP_UNUSED static void expect_party_of(int thread, const char *did, const char *functions)
{
	if (!on_debug_library())
		return;
	if (thread)
		printf("party %s by thread %d: %s\n", did, thread, functions);
	else
		printf("party %s: %s\n", did, functions);
	fflush(stdout);
}

TAP_UNUSED static void expect_party(const char *did, const char *functions)
{
	expect_party_of(this_thread(), did, functions);
}

/* Where it is chance who is in the reports. */
TAP_UNUSED static void expect_any_stacks(void)
{
	puts("any stacks");
}

/* The frames that follow a message at once, without a party. */
TAP_UNUSED static void expect_leak(const char *functions)
{
	expect_party_of(0, "of the leak", functions);
}

/* What the debug library says of an address besides. */
TAP_UNUSED static const char *but(const char *words)
{
	return on_debug_library() ? words : "";
}

/* ---- The end ---- */

/* In a program that should be dead by now. */
TAP_UNUSED static int survived(void)
{
	puts("not ok - the crime was noticed");
	return 1;
}

/* After what only the debug library notices. */
TAP_UNUSED static int unnoticed(void)
{
	return on_debug_library() ? survived() : tap_end();
}

/* ---- Families ---- */

struct crime {
	const char *name;
	const char *words; /* HAKMEM_DEBUG, %suppressions being that file; or NULL */
	void (*commit)(void);
};

#define FAMILY(crimes)                                                                  \
	int main(int argc, char **argv)                                                 \
	{                                                                               \
		int status = commit(crimes, sizeof(crimes) / sizeof((crimes)[0]), argc, \
				    argv);                                              \
		STAY();                                                                 \
		return status;                                                          \
	}

/* As require_library(), but nothing is allocated: with guard:1 that would be no small block. */
TAP_UNUSED static void require_debug_library(void)
{
	static char buffer[BUFSIZ];

	setvbuf(stdout, buffer, _IOLBF, sizeof(buffer));
	*(void **)&ctl = dlsym(RTLD_DEFAULT, "hakmem_ctl");
	if (!ctl || !on_debug_library()) {
		puts("not ok - malloc is libhakmem_debug's");
		exit(1);
	}
}

STEP int commit(const struct crime *crimes, size_t count, int argc, char **argv)
{
	if (argc < 2) {
		for (size_t i = 0; i < count; i++)
			printf("crime %s %s\n", crimes[i].name,
			       crimes[i].words ? crimes[i].words : "");
		return 0;
	}
	require_debug_library();
	for (size_t i = 0; i < count; i++) {
		if (strcmp(crimes[i].name, argv[1]) != 0)
			continue;
		crimes[i].commit();
		STAY();
		return crime_expected && crime_status < 0 ? survived() : tap_end();
	}
	printf("not ok - there is a crime %s\n", argv[1]);
	return 1;
}

/* ---- What criminals do ---- */

STEP void *make(size_t size)
{
	void *block = malloc(opaque_size(size));

	return opaque(block);
}

STEP void drop(void *block)
{
	free(opaque(block));
	STAY();
}

STEP void drop_again(void *block)
{
	free(opaque(block));
	STAY();
}

/* One byte, at any offset. */
STEP void scribble(void *block, long offset)
{
	((volatile char *)opaque(block))[offset] = 'x';
	STAY();
}

STEP void flush(void)
{
	ctl(HAKMEM_FLUSH, NULL, 0);
	STAY();
}

enum { DEEP = 64 << 10 };

STEP void overwrite(void)
{
	volatile char below[2 * DEEP];

	for (size_t i = 0; i < sizeof(below); i++)
		below[i] = 0;
	STAY();
}

/*
 * A word that is left over on the stack or in a register would reach what was lost: so it is
 * lost deep down, and what is below is overwritten afterwards.
 */
STEP void lose(void (*how)(void))
{
	volatile char above[DEEP];

	above[0] = above[DEEP - 1] = 0;
	how();
	STAY();
	overwrite();
	STAY();
}

STEP void *run_here(void *(*function)(void *), void *argument)
{
	pthread_t thread;
	void *result = NULL;

	if (pthread_create(&thread, NULL, function, argument) ||
	    pthread_join(thread, &result))
		puts("not ok - a thread");
	return result;
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

/* The path of the program, as the kernel has it in /proc/self/maps. */
TAP_UNUSED static const char *program_path(void)
{
	static char path[4096];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	path[length > 0 ? length : 0] = '\0';
	return path;
}

#endif /* LIBABUSE_H */
