/* SPDX-License-Identifier: MIT
 *
 * libtap.h - what the programs that run on the library under LD_PRELOAD share.
 *
 * They are not linked with it: hakmem_ctl() is looked up at run time, and a program
 * that does not find it ends at once, because anything it went on to say would be about
 * another malloc.  Results are TAP lines without numbers; the script that runs the
 * programs counts them.  The last line of a program that came to its end is "# end".
 */
#ifndef LIBTAP_H
#define LIBTAP_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#ifndef __cplusplus
#include <stdatomic.h>
#endif
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

#include "hakmem.h"

#define TAP_UNUSED __attribute__((unused))

static int tap_failures;

static int (*ctl)(enum hakmem_op op, void *arg, size_t size) TAP_UNUSED;

/*
 * The optimiser knows malloc and free; from here on it knows nothing about this
 * pointer.
 */
TAP_UNUSED static void *opaque(const void *pointer)
{
	void *hidden = (void *)pointer;

	__asm__ volatile("" : "+r"(hidden) : : "memory");
	return hidden;
}

TAP_UNUSED static size_t opaque_size(size_t size)
{
	__asm__ volatile("" : "+r"(size));
	return size;
}

__attribute__((format(printf, 2, 3), unused)) static bool ok(bool good,
							     const char *format, ...)
{
	va_list list;

	va_start(list, format);
	flockfile(stdout);
	fputs(good ? "ok - " : "not ok - ", stdout);
	vprintf(format, list);
	putchar('\n');
	funlockfile(stdout);
	va_end(list);
	tap_failures += !good;
	return good;
}

/*
 * A condition inside a loop: counts, and speaks only when it fails, at most a few
 * times.
 */
#define SILENT(bad, condition, ...)                                              \
	do {                                                                     \
		if (!(condition) && (bad)++ < 5) {                               \
			printf("# %s:%d: %s: ", __FILE__, __LINE__, #condition); \
			printf(__VA_ARGS__);                                     \
			putchar('\n');                                           \
		}                                                                \
	} while (0)

/*
 * Ends the program unless malloc is the library's: hakmem_ctl() exists, malloc and free
 * come from the object that it comes from, and a block of malloc is known to it.
 */
TAP_UNUSED static void require_library(void)
{
	struct hakmem_query query = { 0 };
	Dl_info ours, theirs;
	static char buffer[BUFSIZ];
	void *block;

	/* Not a block of malloc: some programs count those. */
	setvbuf(stdout, buffer, _IOLBF, sizeof(buffer));
	*(void **)&ctl = dlsym(RTLD_DEFAULT, "hakmem_ctl");
	if (!ctl || !dladdr(*(void **)&ctl, &ours) ||
	    !dladdr(dlsym(RTLD_DEFAULT, "malloc"), &theirs) ||
	    ours.dli_fbase != theirs.dli_fbase ||
	    !dladdr(dlsym(RTLD_DEFAULT, "free"), &theirs) ||
	    ours.dli_fbase != theirs.dli_fbase) {
		puts("not ok - malloc is libhakmem's");
		exit(1);
	}
	block = opaque(malloc(opaque_size(100)));
	query.address = block;
	if (ctl(HAKMEM_QUERY, &query, sizeof(query)) || query.kind == HAKMEM_NONE ||
	    query.state != HAKMEM_LIVE || query.block != (uintptr_t)block) {
		puts("not ok - malloc is libhakmem's, and it knows its block");
		exit(1);
	}
	free(block);
	puts("ok - malloc is libhakmem's");
}

TAP_UNUSED static int tap_end(void)
{
	puts("# end");
	return tap_failures ? 1 : 0;
}

/*
 * Of the process, in KiB, from /proc/self/smaps_rollup: statm lags behind per-thread
 * counts.  Allocates nothing.
 */
TAP_UNUSED static size_t resident_kib(void)
{
	char text[4096];
	size_t kib = 0;
	ssize_t length;
	char *line;
	int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[length > 0 ? length : 0] = '\0';
	line = strstr(text, "\nRss:");
	if (line)
		sscanf(line, "\nRss: %zu kB", &kib);
	return kib;
}

TAP_UNUSED static struct hakmem_stats stats_now(void)
{
	struct hakmem_stats stats = { 0 };

	if (ctl(HAKMEM_STATS, &stats, sizeof(stats)))
		memset(&stats, 0xff, sizeof(stats));
	return stats;
}

/* A seed that is told, and can be given back in TEST_SEED. */
TAP_UNUSED static uint64_t tap_seed(void)
{
	const char *given = getenv("TEST_SEED");
	struct timespec now;
	uint64_t seed;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = given ? strtoull(given, NULL, 0)
		     : (uint64_t)now.tv_nsec * 2654435761u ^ (uint64_t)getpid() << 32;
	printf("# TEST_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

/* splitmix64 (Steele, Lea and Flood, OOPSLA 2014). */
TAP_UNUSED static uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

TAP_UNUSED static size_t random_below(uint64_t *state, size_t limit)
{
	return (size_t)(random_next(state) % limit);
}

/* A request as programs make them: mostly small, sometimes medium, seldom large. */
TAP_UNUSED static size_t random_size(uint64_t *state)
{
	unsigned dice = (unsigned)random_below(state, 1000);

	if (dice < 700)
		return random_below(state, 257);
	if (dice < 950)
		return random_below(state, 4097);
	if (dice < 995)
		return random_below(state, 65537);
	if (dice < 999)
		return random_below(state, (size_t)1 << 20);
	return random_below(state, (size_t)3 << 20);
}

TAP_UNUSED static bool all_bytes(const void *memory, int value, size_t size)
{
	const unsigned char *byte = (const unsigned char *)memory;

	for (size_t i = 0; i < size; i++)
		if (byte[i] != (unsigned char)value)
			return false;
	return true;
}

/* A number that the environment may set, so that the same program can run for longer. */
TAP_UNUSED static unsigned long tap_number(const char *name, unsigned long otherwise)
{
	const char *given = getenv(name);
	unsigned long number = given ? strtoul(given, NULL, 0) : otherwise;

	printf("# %s=%lu\n", name, number);
	return number;
}

/* ---- the forms of the magazines ---- */

/*
 * Per CPU, unless HAKMEM_RSEQ=0 says otherwise, or glibc or the kernel do not have what
 * it takes: then per thread.
 */
TAP_UNUSED static bool per_cpu_expected(void)
{
#if defined(RSEQ_SIG)
	const char *wanted = getenv("HAKMEM_RSEQ");
	long commands = syscall(SYS_membarrier, 0 /* MEMBARRIER_CMD_QUERY */, 0, 0);

	return (!wanted || strcmp(wanted, "0")) && __rseq_size && commands > 0 &&
	       commands & 1 << 7 /* MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ */;
#else
	return false;
#endif
}

/* ---- memory ---- */

/*
 * Memory that is no block of malloc, and of which only what is touched is resident, also
 * where huge pages are always given.
 */
TAP_UNUSED static void *tap_map(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		puts("not ok - mmap");
		exit(1);
	}
	madvise(memory, bytes, MADV_NOHUGEPAGE);
	return memory;
}

/* ---- threads ---- */

enum { TAP_STACK = 128 * 1024 };

/*
 * On a stack of its own, for which libc keeps no block when the thread has ended: so that
 * what lives afterwards is the program's alone.
 */
struct tap_thread {
	pthread_t handle;
	void *stack;
};

TAP_UNUSED static void tap_start(struct tap_thread *thread, void *(*function)(void *),
				 void *argument)
{
	pthread_attr_t attributes;

	thread->stack = tap_map(TAP_STACK);
	pthread_attr_init(&attributes);
	if (pthread_attr_setstack(&attributes, thread->stack, TAP_STACK) ||
	    pthread_create(&thread->handle, &attributes, function, argument)) {
		puts("not ok - pthread_create");
		exit(1);
	}
	pthread_attr_destroy(&attributes);
}

TAP_UNUSED static void *tap_join(struct tap_thread *thread)
{
	void *result = NULL;

	pthread_join(thread->handle, &result);
	munmap(thread->stack, TAP_STACK);
	return result;
}

/* The debug library looks at more, and sooner; its blocks are larger than what was asked for. */
TAP_UNUSED static bool on_debug_library(void)
{
	struct hakmem_option option = { .name = "debug" };

	return ctl(HAKMEM_GET, &option, sizeof(option)) == 0;
}

#endif /* LIBTAP_H */
