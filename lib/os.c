/* SPDX-License-Identifier: MIT
 *
 * os.c - the only file that talks to the kernel.
 *
 * Owns the count of mapped bytes.  Takes no lock and keeps errno as it found it: free()
 * must not change it, and malloc() sets ENOMEM itself.
 */
#define _GNU_SOURCE
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "pretend.h"
#include "timing.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

size_t hk_os_page_size = 4096;

static _Atomic size_t mapped, mappings;

#if HK_TEST
_Atomic int hk_os_fail[HK_OS_CALLS] = { -1, -1, -1, -1, -1, -1 };
_Atomic bool hk_os_fail_once;

static bool told_to_fail(enum hk_os_call call)
{
	int left = atomic_load(&hk_os_fail[call]);

	while (left > 0 &&
	       !atomic_compare_exchange_weak(&hk_os_fail[call], &left, left - 1))
		;
	if (left == 0 && atomic_load(&hk_os_fail_once))
		atomic_store(&hk_os_fail[call], -2);
	return left == 0;
}
#else
#define told_to_fail(call) false
#endif

HK_STARTUP void hk_os_init(void)
{
	size_t size = getauxval(AT_PAGESZ);

	if (size)
		hk_os_page_size = hk_pretend_init(size);
}

static void *map_pages(void *hint, size_t size)
{
	int kept = errno;
	uint64_t start;
	void *base;

	if (told_to_fail(HK_OS_MAP))
		return NULL;
	start = hk_timing_start();
	base = mmap(hint, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	hk_timing_end(HK_TIMED_MAP, start);
	errno = kept;
	return base == MAP_FAILED ? NULL : base;
}

static bool unmap_pages(void *base, size_t size)
{
	int kept = errno;
	uint64_t start;
	bool done;

	if (told_to_fail(HK_OS_UNMAP))
		return false;
	start = hk_timing_start();
	done = munmap(hk_pretend_low(base), size) == 0;
	hk_timing_end(HK_TIMED_UNMAP, start);
	errno = kept;
	return done;
}

void hk_os_count(ptrdiff_t bytes, ptrdiff_t count)
{
	atomic_fetch_add_explicit(&mapped, (size_t)bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&mappings, (size_t)count, memory_order_relaxed);
}

bool hk_os_unmap(void *base, size_t size)
{
	bool done = !told_to_fail(HK_OS_GIVE) && unmap_pages(base, size);

	if (done)
		hk_os_count(-(ptrdiff_t)size, -1);
	return done;
}

bool hk_os_cut(void *base, size_t size)
{
	bool done = unmap_pages(base, size);

	if (done)
		hk_os_count(-(ptrdiff_t)size, 0);
	return done;
}

static void *map_anywhere(size_t size, size_t alignment, void *hint)
{
	char *base, *aligned, *end;

	if (size > PTRDIFF_MAX - alignment)
		return NULL;
	base = map_pages(hint, size);
	if (!base)
		return NULL;
	if (((uintptr_t)base & (alignment - 1)) == 0)
		return base;
	if (!unmap_pages(base, size)) {
		/* Not to be had back: addresses only, never touched. */
		hk_os_count((ptrdiff_t)size, 1);
		return NULL;
	}

	/* Not aligned by luck: take more, and cut off both ends. */
	base = map_pages(NULL, size + alignment);
	if (!base)
		return NULL;
	aligned = (char *)hk_align_up((uintptr_t)base, alignment);
	end = base + size + alignment;
	if (aligned > base && !unmap_pages(base, (size_t)(aligned - base))) {
		if (!unmap_pages(base, size + alignment))
			hk_os_count((ptrdiff_t)(size + alignment), 1);
		return NULL;
	}
	/* Should this one fail, the tail stays reserved, and is counted. */
	if (aligned + size < end &&
	    !unmap_pages(aligned + size, (size_t)(end - aligned) - size))
		hk_os_count(end - aligned - (ptrdiff_t)size, 0);
	return aligned;
}

static void *map_aligned(size_t size, size_t alignment, void *hint)
{
	void *base = map_anywhere(size, alignment, hint);

	if (base && alignment == HK_SUPERSLAB_BYTES && told_to_fail(HK_OS_REACH))
		return hk_pretend_high(base);
	return base;
}

void *hk_os_map(size_t size, size_t alignment, void *hint)
{
	void *base = map_aligned(size, alignment, hint);

	if (base)
		hk_os_count((ptrdiff_t)size, 1);
	return base;
}

void *hk_os_reserve(size_t size, size_t alignment)
{
	return map_aligned(size, alignment, NULL);
}

void hk_os_unreserve(void *base, size_t size)
{
	if (!unmap_pages(base, size))
		hk_os_count((ptrdiff_t)size, 1);
}

bool hk_os_extend(void *end, size_t size)
{
	int kept = errno;
	void *base;

	if (told_to_fail(HK_OS_MAP))
		return false;
	base = mmap(end, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
		    0);
	/* Before Linux 4.17 it is a hint, and may be elsewhere. */
	if (base != end && base != MAP_FAILED)
		unmap_pages(base, size);
	errno = kept;
	return base == end;
}

bool hk_os_purge(void *base, size_t size)
{
	int kept = errno;
	uint64_t start;
	bool done;

	if (told_to_fail(HK_OS_PURGE))
		return false;
	start = hk_timing_start();
	/* Not MADV_FREE: it would hide the memory from its owner's resident size. */
	done = madvise(base, size, MADV_DONTNEED) == 0;
	hk_timing_end(HK_TIMED_PURGE, start);
	errno = kept;
	return done;
}

bool hk_os_resize(void *base, size_t old_size, size_t size)
{
	int kept = errno;
	bool done;

	if (told_to_fail(HK_OS_REMAP))
		return false;
	done = mremap(base, old_size, size, 0) != MAP_FAILED;
	errno = kept;
	if (done)
		hk_os_count((ptrdiff_t)size - (ptrdiff_t)old_size, 0);
	return done;
}

bool hk_os_move(void *base, size_t old_size, size_t size, void *target)
{
	int kept = errno;
	bool done;

	if (told_to_fail(HK_OS_REMAP))
		return false;
	done = mremap(base, old_size, size, MREMAP_MAYMOVE | MREMAP_FIXED, target) !=
	       MAP_FAILED;
	errno = kept;
	/*
	 * Kernels differ in whether they unmap the target before they refuse; nobody else can
	 * have been given these addresses but in that moment, and would not be replaced.
	 */
	if (!done)
		hk_os_extend(target, size);
	return done;
}

bool hk_os_populate(void *base, size_t size)
{
	int kept = errno;
	bool done = madvise(base, size, MADV_POPULATE_WRITE) == 0;

	errno = kept;
	return done;
}

void hk_os_huge_pages(void *base, size_t size, bool want)
{
	int kept = errno;

	/* Advice: a kernel without huge pages answers EINVAL, and nothing is lost. */
	madvise(base, size, want ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	errno = kept;
}

HK_STARTUP void hk_os_stay_zero(void *base, size_t size)
{
	int kept = errno;

	/* A mapping of its own, as the charge for one that was writable once may stay. */
	mmap(base, size, PROT_READ,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	errno = kept;
}

size_t hk_os_mapped(void)
{
	return atomic_load_explicit(&mapped, memory_order_relaxed);
}

size_t hk_os_mappings(void)
{
	return atomic_load_explicit(&mappings, memory_order_relaxed);
}

HK_STARTUP bool hk_os_membarrier(int command)
{
	int kept = errno;
	bool done = syscall(SYS_membarrier, command, 0, 0) == 0;

	errno = kept;
	return done;
}

HK_STARTUP static size_t read_file(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return 0;
	length = read(fd, buffer, size - 1);
	close(fd);
	if (length < 0)
		length = 0;
	buffer[length] = '\0';
	return (size_t)length;
}

/* "MAX PERIOD" of cgroup v2, in microseconds; UINT_MAX: no limit, or none that we can read. */
HK_STARTUP static unsigned cgroup_cpus(void)
{
	static char own[] HK_STARTUP_DATA = "/proc/self/cgroup",
			  unified[] HK_STARTUP_DATA = "0::/",
			  root[] HK_STARTUP_DATA = "/sys/fs/cgroup",
			  file[] HK_STARTUP_DATA = "/cpu.max";
	char text[512], path[sizeof(root) + sizeof(text) + sizeof(file)], *group, *end;
	unsigned long quota, period;

	if (!read_file(own, text, sizeof(text)))
		return UINT_MAX;
	group = strstr(text, unified);
	if (!group)
		return UINT_MAX;
	group += 3;
	end = strchr(group, '\n');
	if (end)
		*end = '\0';
	strcpy(path, root);
	strcat(path, group);
	strcat(path, file);
	if (!read_file(path, text, sizeof(text)))
		return UINT_MAX;
	quota = strtoul(text, &end, 10);
	period = strtoul(end, NULL, 10);
	if (end == text || !period)
		return UINT_MAX;
	return (unsigned)((quota + period - 1) / period);
}

HK_STARTUP unsigned hk_os_cpus(void)
{
	int kept = errno;
	unsigned long
		mask[16]; /* 1,024 CPUs, as cpu_set_t; beyond, the kernel says EINVAL */
	unsigned allowed = 0, limited = cgroup_cpus();
	long bytes = syscall(SYS_sched_getaffinity, 0, sizeof(mask), mask);

	/* Not by __builtin_popcountl(), which is a function of libgcc's. */
	for (long i = 0; i < bytes / (long)sizeof(mask[0]); i++)
		for (; mask[i]; mask[i] &= mask[i] - 1)
			allowed++;
	if (!allowed)
		allowed = 1024;
	errno = kept;
	if (limited < allowed)
		allowed = limited;
	return allowed ? allowed : 1;
}

size_t hk_os_mappings_allowed(void)
{
	static _Atomic size_t known;
	size_t allowed = atomic_load_explicit(&known, memory_order_relaxed);
	char text[32];

	if (!allowed) {
		int kept = errno;

		allowed = read_file("/proc/sys/vm/max_map_count", text, sizeof(text))
				  ? strtoul(text, NULL, 10)
				  : 0;
		if (!allowed)
			allowed = 65530; /* the kernel's default */
		atomic_store_explicit(&known, allowed, memory_order_relaxed);
		errno = kept;
	}
	return allowed;
}

uint64_t hk_os_now_ms(void)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t hk_os_now_ns(void)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + 1;
}

HK_STARTUP uint64_t hk_os_thread_id(void)
{
	return (uint64_t)syscall(SYS_gettid);
}

unsigned hk_os_threads(void)
{
	struct stat status = { 0 };
	int kept = errno;

	/* A directory's links are its own two, and one for each directory in it. */
	if (stat("/proc/self/task", &status) != 0 || status.st_nlink < 2)
		status.st_nlink = 2;
	errno = kept;
	return (unsigned)status.st_nlink - 2;
}

void hk_os_futex_wait(_Atomic uint32_t *word, uint32_t expected)
{
	int kept = errno;

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
	errno = kept;
}

void hk_os_futex_wait_ms(_Atomic uint32_t *word, uint32_t expected, uint64_t ms)
{
	struct timespec timeout = { .tv_sec = (time_t)(ms / 1000),
				    .tv_nsec = (long)(ms % 1000) * 1000000 };
	int kept = errno;

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, &timeout, NULL, 0);
	errno = kept;
}

void hk_os_futex_wake(_Atomic uint32_t *word, int waiters)
{
	int kept = errno;

	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, waiters, NULL, NULL, 0);
	errno = kept;
}

int hk_os_write(int fd, const void *data, size_t size)
{
	int kept = errno, failed = 0;
	const char *next = data;

	while (size && !failed) {
		ssize_t written = write(fd, next, size);

		if (written >= 0) {
			next += written;
			size -= (size_t)written;
		} else if (errno != EINTR) {
			failed = errno;
		}
	}
	errno = kept;
	return failed;
}
