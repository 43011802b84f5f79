/* SPDX-License-Identifier: MIT
 *
 * timing.c - the counters of timing.h.
 */
#include "timing.h"

#include <stdatomic.h>

#include "os.h"

/* Each on a cache line of its own, or refills would slow down spills. */
static struct {
	_Atomic uint64_t count, total_ns, longest_ns;
} __attribute__((aligned(64))) counters[HK_TIMED];

const char *const hk_timed_names[HK_TIMED] = {
	[HK_TIMED_REFILL] = "refill", [HK_TIMED_SPILL] = "spill", [HK_TIMED_MAP] = "map",
	[HK_TIMED_PURGE] = "purge",   [HK_TIMED_UNMAP] = "unmap",
};

uint64_t hk_timing_now(void)
{
	return hk_os_now_ns();
}

void hk_timing_add(enum hk_timed what, uint64_t start)
{
	uint64_t ns = hk_os_now_ns() - start;
	uint64_t longest = atomic_load_explicit(&counters[what].longest_ns,
						memory_order_relaxed);

	atomic_fetch_add_explicit(&counters[what].count, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&counters[what].total_ns, ns, memory_order_relaxed);
	while (ns > longest && !atomic_compare_exchange_weak_explicit(
				       &counters[what].longest_ns, &longest, ns,
				       memory_order_relaxed, memory_order_relaxed))
		;
}

void hk_timing_read(struct hk_timing timing[HK_TIMED])
{
	for (unsigned i = 0; i < HK_TIMED; i++) {
		timing[i].count = atomic_load_explicit(&counters[i].count,
						       memory_order_relaxed);
		timing[i].total_ns = atomic_load_explicit(&counters[i].total_ns,
							  memory_order_relaxed);
		timing[i].longest_ns = atomic_load_explicit(&counters[i].longest_ns,
							    memory_order_relaxed);
	}
}
