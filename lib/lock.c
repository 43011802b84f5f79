/* SPDX-License-Identifier: MIT
 *
 * lock.c - the slow half of hk_lock(): spin, then sleep in the kernel.
 *
 * The three-state futex lock of Drepper, "Futexes Are Tricky" (2011), section 6.
 */
#include "lock.h"

#include "os.h"
#include "timing.h"

/*
 * Critical sections are some tens to hundreds of nanoseconds; a futex round trip costs
 * microseconds.  On one CPU the holder cannot run while we spin, so this stays short.
 */
#define SPINS 100

HK_COLD void hk_lock_wait(struct hk_lock *lock)
{
	uint64_t start = hk_timing_start();

	for (unsigned i = 0; i < SPINS; i++) {
		uint32_t free = 0;

		if (atomic_load_explicit(&lock->state, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_weak_explicit(&lock->state, &free, 1,
							  memory_order_acquire,
							  memory_order_relaxed))
			goto held;
		hk_pause_cpu();
	}
	/* We may be the only waiter, but cannot know: 2 costs at most one vain wake-up. */
	while (atomic_exchange_explicit(&lock->state, 2, memory_order_acquire) != 0)
		hk_os_futex_wait(&lock->state, 2);
held:
	lock->contended++;
	if (start)
		lock->waited_ns += hk_timing_now() - start;
}

HK_COLD void hk_lock_wake(struct hk_lock *lock)
{
	hk_os_futex_wake(&lock->state, 1);
}
