/* SPDX-License-Identifier: MIT
 *
 * thread_set.h - the operations of rseq.h on a set that belongs to one thread, in C: where
 * there are no restartable sequences.
 *
 * hk_set points to the thread's set; until its first slow path, and again after its exit
 * hook, to hk_cpu_sets.none, whose magazines have neither blocks nor room.
 *
 * The thread marks itself inside, then looks whether it has been stopped.  Whoever stops it
 * stores stopped, then makes membarrier(PRIVATE_EXPEDITED), a full fence in every running
 * thread, between the owner's store and load as well; so if he then finds inside unset, the
 * owner has either left or will see stopped.  (Dekker's handshake with the owner's fence
 * moved to the other side: Dice, Huang and Yang, "Asymmetric Dekker Synchronization", 2001.)
 * ThreadSanitizer does not know membarrier: for it the accesses are sequentially consistent
 * instead.
 */
#ifndef HK_THREAD_SET_H
#define HK_THREAD_SET_H

#include "set.h"

#if HK_TSAN
#define HK_MARK_ORDER memory_order_seq_cst
#define HK_LOOK_ORDER memory_order_seq_cst
#else
#define HK_MARK_ORDER memory_order_relaxed
#define HK_LOOK_ORDER memory_order_acquire /* of what the other did before he let go */
#endif

/* Found without a call: the library must be loaded at start, not by a late dlopen(). */
extern _Thread_local struct hk_set *hk_set __attribute__((tls_model("initial-exec")));

/* Prepare for the fence; at start, and in the child of fork(). */
void hk_thread_fence_init(void);

/* A full fence in every running thread of the process; false: there is no such thing here. */
bool hk_thread_fence(void);

/* As hk_rseq_pop(), _push() and so on, on the calling thread's set. */
bool hk_thread_pop(size_t kind, void **block);
enum hk_pushed hk_thread_push(size_t kind, void *block);
uint32_t hk_thread_pop_batch(size_t kind, void **out, uint32_t n);
uint32_t hk_thread_push_batch(size_t kind, void *const *in, uint32_t n);
bool hk_thread_set_limit(size_t kind, const struct hk_set *set, uint32_t old,
			 uint32_t new);

#endif /* HK_THREAD_SET_H */
