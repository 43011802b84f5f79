/* SPDX-License-Identifier: MIT
 *
 * load.h - what the loads of the benchmark share: the proof of which allocator is under
 * them, time, random numbers, resident memory, the call that gives memory back, the report.
 *
 * A load is a program linked with no allocator; bench/run puts one under it by LD_PRELOAD.
 * After load_begin() nothing here allocates: arrays are mapped, files are read into the
 * stack, lines leave through a fixed buffer and write(2).  So what the allocator serves,
 * and what it keeps, is the load and nothing else.  To be included before all other headers.
 */
#ifndef LOAD_H
#define LOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* The same numbers under every allocator, in every run. */
#define LOAD_SEED UINT64_C(0x9e3779b97f4a7c15)

/* Exit status when malloc is not what the runner believes: it must not count the run. */
#define LOAD_NOT_PROVEN 3

typedef void (*load_function)(void);

__attribute__((format(printf, 1, 2), noreturn)) static inline void
load_die(const char *format, ...)
{
	char line[512];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(line, sizeof(line) - 1, format, arguments);
	va_end(arguments);
	if (length < 0 || length > (int)sizeof(line) - 2)
		length = (int)sizeof(line) - 2;
	line[length] = '\n';
	if (write(STDERR_FILENO, line, (size_t)length + 1) < 0)
		_exit(2);
	_exit(1);
}

/* The result, one "key value" a line on standard output. */
__attribute__((format(printf, 2, 3))) static inline void
load_report(const char *key, const char *format, ...)
{
	char line[512];
	va_list arguments;

	int length = snprintf(line, sizeof(line), "%s ", key);
	va_start(arguments, format);
	length += vsnprintf(line + length, sizeof(line) - (size_t)length, format,
			    arguments);
	va_end(arguments);
	if (length > (int)sizeof(line) - 2)
		load_die("the value of %s is too long to report", key);
	line[length++] = '\n';
	if (write(STDOUT_FILENO, line, (size_t)length) != length)
		load_die("cannot write the report: %s", strerror(errno));
}

/* The numbers on the command line, all of them positive and none optional. */
static inline void load_arguments(int argc, char **argv, const char *const names[],
				  size_t values[], int count)
{
	if (argc != count + 1) {
		char usage[256] = "";

		for (int i = 0; i < count; i++) {
			strncat(usage, " ", sizeof(usage) - strlen(usage) - 1);
			strncat(usage, names[i], sizeof(usage) - strlen(usage) - 1);
		}
		load_die("usage: %s%s", argv[0], usage);
	}
	for (int i = 0; i < count; i++) {
		char *end;

		errno = 0;
		values[i] = strtoull(argv[i + 1], &end, 10);
		if (errno || *end || argv[i + 1][0] == '-' || !values[i])
			load_die("%s: %s must be a positive number, not \"%s\"", argv[0],
				 names[i], argv[i + 1]);
	}
}

/* Zeroed memory, resident at once: its page faults belong to no measurement. */
static inline void *load_map(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		load_die("cannot map %zu bytes: %s", bytes, strerror(errno));
	return memory;
}

static inline uint64_t load_clock_ns(clockid_t clock)
{
	struct timespec now;

	if (clock_gettime(clock, &now))
		load_die("cannot read a clock: %s", strerror(errno));
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/*
 * The clock of a load.  One thread never waits: its processor time is its time, less what
 * other processes took from it.  Threads wait for each other, and that must count.
 */
static inline uint64_t load_now_ns(size_t threads)
{
	return load_clock_ns(threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC);
}

/* The finest clock there is; what is between two calls can not move out of them. */
static inline uint64_t load_ticks(void)
{
#if defined(__x86_64__)
	_mm_lfence();
	uint64_t now = __rdtsc();
	_mm_lfence();
	return now;
#elif defined(__aarch64__)
	uint64_t now;

	__asm__ volatile("isb; mrs %0, cntvct_el0; isb" : "=r"(now)::"memory");
	return now;
#else
	return load_clock_ns(CLOCK_MONOTONIC);
#endif
}

/* xorshift64*, Vigna, "An experimental exploration of Marsaglia's xorshift generators". */
static inline uint64_t load_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* A seed of its own for each thread, never 0. */
static inline uint64_t load_seed(size_t thread)
{
	return LOAD_SEED * (2 * (uint64_t)thread + 1);
}

/* 0 <= result < bound, from the lower 32 random bits, without a division. */
static inline size_t load_below(uint64_t bits, size_t bound)
{
	return (size_t)(((bits & UINT32_MAX) * bound) >> 32);
}

/* lowest <= result <= largest, from the upper 32 random bits. */
static inline size_t load_between(uint64_t bits, size_t lowest, size_t largest)
{
	return lowest + load_below(bits >> 32, largest - lowest + 1);
}

/* The first `count' of `blocks' entries become a random choice of them, in random order. */
static inline void load_shuffle(unsigned char **block, uint32_t *size, size_t blocks,
				size_t count, uint64_t *state)
{
	for (size_t i = 0; i < count; i++) {
		size_t j = i + load_below(load_random(state), blocks - i);
		unsigned char *moved_block = block[i];
		uint32_t moved_size = size[i];

		block[i] = block[j];
		size[i] = size[j];
		block[j] = moved_block;
		size[j] = moved_size;
	}
}

/* A block, its first and last byte written as any program would. */
static inline unsigned char *load_block(size_t size)
{
	volatile unsigned char *block = malloc(size);

	if (!block)
		load_die("malloc(%zu) gave NULL", size);
	block[0] = (unsigned char)size;
	block[size - 1] = (unsigned char)size;
	return (unsigned char *)block;
}

/*
 * What the program may use of a block, by the allocator's own word.  Through a pointer that
 * the compiler can not see through, or it would believe that the block has the size asked.
 */
static inline size_t load_usable(void *block)
{
	size_t (*volatile usable_size)(void *) = malloc_usable_size;

	return usable_size(block);
}

/* The number, in KiB, that follows a field's name in a file of /proc/self. */
static inline long load_proc_kib(const char *path, const char *field)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		load_die("cannot open %s: %s", path, strerror(errno));
	ssize_t length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length <= 0)
		load_die("cannot read %s", path);
	text[length] = '\0';

	const char *found = strstr(text, field);
	if (!found)
		load_die("no %s in %s", field, path);
	return strtol(found + strlen(field), NULL, 10);
}

/*
 * Resident now.  From the page tables: the counters behind statm are summed per CPU and
 * may lag by some hundred KiB (proc_pid_statm(5)), as much as is measured here.
 */
static inline long load_resident_kib(void)
{
	return load_proc_kib("/proc/self/smaps_rollup", "\nRss:");
}

/* The most that was ever resident, of this program alone: getrusage(2) inherits over exec. */
static inline long load_peak_kib(void)
{
	return load_proc_kib("/proc/self/status", "\nVmHWM:");
}

static inline load_function load_symbol(const char *name)
{
	load_function function = NULL;
	void *symbol = dlsym(RTLD_DEFAULT, name);

	_Static_assert(sizeof(function) == sizeof(symbol), "POSIX dlsym(3)");
	memcpy(&function, &symbol, sizeof(function));
	return function;
}

/* The file that a function's code lies in. */
static inline const char *load_object(load_function function)
{
	void *address;
	Dl_info info;

	memcpy(&address, &function, sizeof(address));
	if (!address || !dladdr(address, &info) || !info.dli_fname)
		return "";
	return info.dli_fname;
}

/* Ways to tell an allocator: everything that is free, back to the kernel, now. */
static inline void load_give_hakmem(load_function call)
{
	const int release = 2; /* HAKMEM_RELEASE */

	if (((int (*)(int, void *, size_t))call)(release, NULL, 0))
		load_die("hakmem_ctl(HAKMEM_RELEASE) failed: %s", strerror(errno));
}

static inline void load_give_jemalloc(load_function call)
{
	int (*mallctl)(const char *, void *, size_t *, void *, size_t) = (int (*)(
		const char *, void *, size_t *, void *, size_t))call;

	/* EFAULT: this thread has no tcache, so there is nothing to flush. */
	int error = mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
	if (error && error != EFAULT)
		load_die("mallctl(thread.tcache.flush) failed: %s", strerror(error));
	error = mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* MALLCTL_ARENAS_ALL */
	if (error)
		load_die("mallctl(arena.4096.purge) failed: %s", strerror(error));
}

static inline void load_give_mimalloc(load_function call)
{
	((void (*)(bool))call)(true);
}

static inline void load_give_plain(load_function call)
{
	call();
}

static inline void load_give_tbb(load_function call)
{
	const int clean_all_buffers = 0; /* TBBMALLOC_CLEAN_ALL_BUFFERS */

	((int (*)(int, void *))call)(clean_all_buffers, NULL);
}

static inline void load_give_trim(load_function call)
{
	((int (*)(size_t))call)(0);
}

struct load_way {
	const char *name;
	void (*give)(load_function);
	load_function call;
};

/* In order of preference.  load_begin() finds the calls that there are. */
static struct load_way load_ways[] = {
	{ "hakmem_ctl", load_give_hakmem, NULL },
	{ "mallctl", load_give_jemalloc, NULL },
	{ "mi_collect", load_give_mimalloc, NULL },
	{ "MallocExtension_ReleaseFreeMemory", load_give_plain, NULL },
	{ "scalable_allocation_command", load_give_tbb, NULL },
	{ "rpmalloc_thread_collect", load_give_plain, NULL },
	{ "malloc_trim", load_give_trim, NULL },
};

enum { LOAD_WAYS = sizeof(load_ways) / sizeof(load_ways[0]), LOAD_TRIM = LOAD_WAYS - 1 };

/* The allocator's best call; tells which, or that it has none. */
static inline const char *load_give_back(void)
{
	for (int i = 0; i < LOAD_WAYS; i++)
		if (load_ways[i].call) {
			load_ways[i].give(load_ways[i].call);
			return load_ways[i].name;
		}
	return "none";
}

/* malloc_trim(3), if the allocator interposes it; else its best call. */
static inline const char *load_trim(void)
{
	if (!load_ways[LOAD_TRIM].call)
		return load_give_back();
	load_ways[LOAD_TRIM].give(load_ways[LOAD_TRIM].call);
	return load_ways[LOAD_TRIM].name;
}

/*
 * Reports the file that this program's own reference to malloc is bound to.  Asking dlsym
 * would not do: it finds a symbol that the loader, which also compares version nodes, may
 * have passed over.  The rest of the family must come from the same file.
 */
static inline void load_begin(void)
{
	static const char *const names[] = { "malloc", "calloc", "realloc", "free",
					     "malloc_usable_size" };
	load_function volatile bound[] = { (load_function)malloc, (load_function)calloc,
					   (load_function)realloc, (load_function)free,
					   (load_function)malloc_usable_size };
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (length < 0)
		load_die("cannot read /proc/self/exe: %s", strerror(errno));
	self[length] = '\0';
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *object = load_object(bound[i]);
		char resolved[PATH_MAX];

		if (!realpath(object, resolved) || strcmp(resolved, self) == 0 ||
		    strcmp(object, load_object(bound[0])) != 0) {
			dprintf(STDERR_FILENO,
				"%s is bound to \"%s\", malloc to \"%s\"\n", names[i],
				object, load_object(bound[0]));
			_exit(LOAD_NOT_PROVEN);
		}
	}
	load_report("allocator", "%s", load_object(bound[0]));

	/* A failing dlsym allocates its message, so all are looked up before any mark. */
	for (int i = 0; i < LOAD_WAYS; i++)
		load_ways[i].call = load_symbol(load_ways[i].name);
	/* glibc's malloc_trim is always there, but trims glibc's memory only. */
	if (strcmp(load_object(load_ways[LOAD_TRIM].call), load_object(bound[0])) != 0)
		load_ways[LOAD_TRIM].call = NULL;
	load_resident_kib();
}

/* Runs body(0) to body(threads - 1), each on a thread; with one thread, on the caller's. */
static inline void load_threads(size_t threads, void *(*body)(void *))
{
	if (threads == 1) {
		body((void *)0);
		return;
	}

	pthread_t *handles = load_map(threads * sizeof(*handles));

	for (size_t i = 0; i < threads; i++) {
		int error = pthread_create(&handles[i], NULL, body, (void *)i);

		if (error)
			load_die("cannot start thread %zu: %s", i, strerror(error));
	}
	for (size_t i = 0; i < threads; i++)
		pthread_join(handles[i], NULL);
	munmap(handles, threads * sizeof(*handles));
}

#endif /* LOAD_H */
