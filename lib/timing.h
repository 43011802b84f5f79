/* SPDX-License-Identifier: MIT
 *
 * timing.h - HAKMEM_TIMING: how often the slow paths were taken, and for how long.
 *
 * Nothing of it is on a fast path.  A slow path reads the option once, at its start; off, that
 * is one load and a branch that is always predicted.  The counters are relaxed atomics: each is
 * exact, and together they are of about the same moment.  What locks cost is counted in them
 * (lock.h) and put together by hk_locks_report() of fork.h.
 *
 * Takes no lock, may be called under any.
 */
#ifndef HK_TIMING_H
#define HK_TIMING_H

#include "config.h"

enum hk_timed {
	HK_TIMED_REFILL, /* an empty magazine, up to the block that the program gets */
	HK_TIMED_SPILL,  /* a full one */
	HK_TIMED_MAP,    /* mmap(2), of SuperSlabs, large blocks and bookkeeping */
	HK_TIMED_PURGE,  /* madvise(2), MADV_DONTNEED */
	HK_TIMED_UNMAP,  /* munmap(2) */
	HK_TIMED
};

struct hk_timing {
	uint64_t count, total_ns, longest_ns;
};

/* As the dump names it. */
extern const char *const hk_timed_names[HK_TIMED];

static inline bool hk_timing_is_on(void)
{
	return hk_config_number(HK_OPTION_TIMING) != 0;
}

uint64_t hk_timing_now(void);
HK_COLD void hk_timing_add(enum hk_timed what, uint64_t start);

/* 0: it is off. */
static inline uint64_t hk_timing_start(void)
{
	return HK_UNLIKELY(hk_timing_is_on()) ? hk_timing_now() : 0;
}

static inline void hk_timing_end(enum hk_timed what, uint64_t start)
{
	if (HK_UNLIKELY(start))
		hk_timing_add(what, start);
}

/* The counters now. */
void hk_timing_read(struct hk_timing timing[HK_TIMED]);

#endif /* HK_TIMING_H */
