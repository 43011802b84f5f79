/* SPDX-License-Identifier: MIT
 *
 * lock.h - the lock of every structure: a futex word that spins a little first.
 *
 * Static storage starts unlocked; no initialisation, no allocation, no destruction.
 * The order in which locks nest is written down in fork.h, nowhere else.
 */
#ifndef HK_LOCK_H
#define HK_LOCK_H

#include <stdatomic.h>
#ifdef __has_include
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define HK_HAVE_SINGLE_THREADED 1
#endif
#endif

#include "base.h"

struct hk_lock {
	_Atomic uint32_t state; /* 0 free, 1 held, 2 held and waited for */
	/*
	 * Changed by the holder only, whose cache line it is: cheaper than to ask whether
	 * anyone wants to know.
	 */
	uint32_t contended; /* acquisitions that had to wait */
	uint64_t acquired;  /* all of them */
	uint64_t waited_ns; /* by the contended ones, while HAKMEM_TIMING is on */
};

static inline void hk_pause_cpu(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/*
 * Is there no other thread?  Then no locked instruction is needed, which would wait for all that the
 * program has just stored: of blocks that it fills, for a tenth of the time.  glibc's malloc asks
 * the same, and as there, threads that were made by other means than libc's are not known.
 */
static inline bool hk_is_alone(void)
{
#if defined(HK_HAVE_SINGLE_THREADED) && !HK_TSAN
	return __libc_single_threaded;
#else
	return false;
#endif
}

void hk_lock_wait(struct hk_lock *lock);
void hk_lock_wake(struct hk_lock *lock);

/* Is it held by anyone?  For assertions, and for those who are alone. */
static inline bool hk_lock_is_held(struct hk_lock *lock)
{
	return atomic_load_explicit(&lock->state, memory_order_relaxed) != 0;
}

/* false: someone else holds it. */
static inline bool hk_trylock(struct hk_lock *lock)
{
	uint32_t free = 0;

	if (hk_is_alone()) {
		if (HK_UNLIKELY(hk_lock_is_held(lock)))
			return false;
		atomic_store_explicit(&lock->state, 1, memory_order_relaxed);
	} else if (HK_UNLIKELY(!atomic_compare_exchange_strong_explicit(
			   &lock->state, &free, 1, memory_order_acquire,
			   memory_order_relaxed))) {
		return false;
	}
	lock->acquired++;
	return true;
}

static inline void hk_lock(struct hk_lock *lock)
{
	if (HK_UNLIKELY(!hk_trylock(lock))) {
		hk_lock_wait(lock);
		lock->acquired++;
	}
}

/* Whoever was alone when it was taken may not be any more; others who came wait in state 2. */
static inline void hk_unlock(struct hk_lock *lock)
{
	if (hk_is_alone())
		atomic_store_explicit(&lock->state, 0, memory_order_relaxed);
	else if (HK_UNLIKELY(atomic_exchange_explicit(&lock->state, 0,
						      memory_order_release) == 2))
		hk_lock_wake(lock);
}

/* In the child of fork(): whatever the other threads meant with it, they are gone. */
static inline void hk_lock_reset(struct hk_lock *lock)
{
	atomic_store_explicit(&lock->state, 0, memory_order_relaxed);
}

#endif /* HK_LOCK_H */
