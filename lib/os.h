/* SPDX-License-Identifier: MIT
 *
 * os.h - every system call of the library.  Each can fail; none sets errno for the caller
 * of malloc unless it says so, and a test can make each one fail (hk_os_fail).
 *
 * May be called under any lock, but whoever can, calls after dropping its own.
 */
#ifndef HK_OS_H
#define HK_OS_H

#include <stdatomic.h>

#include "base.h"

extern size_t hk_os_page_size; /* AT_PAGESZ; 4, 16 or 64 KiB */

void hk_os_init(void);

/*
 * Fresh, zeroed, private memory, or NULL.  size is a multiple of the page size, alignment a
 * power of two.  hint, where the caller guesses it is free and aligned, saves a call.
 */
void *hk_os_map(size_t size, size_t alignment, void *hint);

/* false: the kernel refused (vm.max_map_count); the memory is still there and still ours. */
bool hk_os_unmap(void *base, size_t size);

/* The same for a part of what was mapped at once. */
bool hk_os_cut(void *base, size_t size);

/*
 * The same as hk_os_map(), but not counted: for what hk_os_move() fills, whose bytes are counted
 * already.  What it does not fill is the caller's to count, and so is a mapping that stays.
 */
void *hk_os_reserve(size_t size, size_t alignment);
void hk_os_unreserve(void *base, size_t size);

/* Fresh memory at these addresses, if nothing is there; not counted. */
bool hk_os_extend(void *end, size_t size);

/* Give the pages back, keep the addresses; they read as zero from now on. */
bool hk_os_purge(void *base, size_t size);

/* Grow or shrink in place; false where that cannot be done. */
bool hk_os_resize(void *base, size_t old_size, size_t size);

/*
 * Move page tables, not bytes, onto a target of that size from hk_os_reserve(); more than
 * old_size of it is fresh memory.  What is moved must be of one mapping of the kernel's, or
 * kernels before Linux 6.17 refuse.  false: nothing has changed.  Counts nothing.
 */
bool hk_os_move(void *base, size_t old_size, size_t size, void *target);

/*
 * Fault these pages in at once, which takes three quarters of the time.  false: the kernel is older
 * than Linux 5.14, or the program has protected some.
 */
bool hk_os_populate(void *base, size_t size);

/* Transparent huge pages for this range: refuse or ask for them. */
void hk_os_huge_pages(void *base, size_t size, bool want);

/*
 * Zeros of .bss that nobody writes: read-only from now on, and so not charged for where memory
 * is not overcommitted.
 */
void hk_os_stay_zero(void *base, size_t size);

/*
 * Address space held now, in bytes, and in mappings: what the functions above mapped and did not
 * unmap.  A mapping that was split counts as one here.
 */
size_t hk_os_mapped(void);
size_t hk_os_mappings(void);

/* More, or less, of both. */
void hk_os_count(ptrdiff_t bytes, ptrdiff_t count);

/* The debug library's own bookkeeping is not the program's demand: off the count. */
static inline void hk_os_uncount(size_t size)
{
	hk_os_count(-(ptrdiff_t)size, 0);
}

/* The kernel's limit of mappings of a process, vm.max_map_count.  Reads it, once. */
size_t hk_os_mappings_allowed(void);

/* membarrier(2); false: the kernel does not have that command. */
bool hk_os_membarrier(int command);

/* CPUs that the process may use at a time: by its affinity, and its cgroup's cpu.max. */
unsigned hk_os_cpus(void);

/* Coarse; and to the nanosecond, never 0.  By the vDSO, without a system call. */
uint64_t hk_os_now_ms(void);
uint64_t hk_os_now_ns(void);
uint64_t hk_os_thread_id(void);

/* Threads of the process, with a main thread that has ended before them; 0: no telling. */
unsigned hk_os_threads(void);

void hk_os_futex_wait(_Atomic uint32_t *word, uint32_t expected);
void hk_os_futex_wait_ms(_Atomic uint32_t *word, uint32_t expected, uint64_t ms);
void hk_os_futex_wake(_Atomic uint32_t *word, int waiters);

/* write(2) until all is written: 0, or the errno. */
int hk_os_write(int fd, const void *data, size_t size);

#if HK_TEST
/*
 * Failure injection: the call fails once hk_os_fail[call] calls of it have succeeded, and
 * goes on failing until set back to -1; with hk_os_fail_once, a single time, and it is -2
 * then.
 * HK_OS_GIVE: hk_os_unmap() alone, as what is cut off a mapping to align it is not refused.
 * HK_OS_REACH: hk_os_map() and hk_os_reserve() succeed, but what is to be registered is said to
 * lie beyond what the registry covers, where it cannot be touched.
 */
enum hk_os_call {
	HK_OS_MAP,
	HK_OS_UNMAP,
	HK_OS_PURGE,
	HK_OS_REMAP,
	HK_OS_GIVE,
	HK_OS_REACH,
	HK_OS_CALLS
};
extern _Atomic int hk_os_fail[HK_OS_CALLS];
extern _Atomic bool hk_os_fail_once;
#endif

#endif /* HK_OS_H */
