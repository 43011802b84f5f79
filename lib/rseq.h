/* SPDX-License-Identifier: MIT
 *
 * rseq.h - restartable sequences on the magazines of the CPU that runs the thread.
 *
 * The kernel keeps, in the area that glibc (2.35) registers for each thread, the number of
 * the CPU the thread runs on, and restarts a marked sequence of instructions at its abort
 * handler when the thread is preempted, migrated or gets a signal before the sequence's
 * last instruction.  So a sequence that ends in one store, the commit, either happens whole
 * and alone on its CPU, or not at all.  See rseq(2) and Desnoyers, "Restartable sequences"
 * (2016-2018); that it carries a whole allocator was shown by tcmalloc (docs/rseq.md).
 *
 * Where the kernel has them (6.3), memory-map concurrency ids take the CPU's place: unique
 * among the threads that run at the same time, but counted from 0 within the process, so
 * that a single-threaded process has one set of magazines wherever it runs.  Either number
 * is an id here.
 *
 *   hk_cpu_sets.table[id]   distance from hk_cpu_sets.none to the set of that id; 0: there is
 *                           none, and the sequences find magazines without blocks or room
 *
 * Every sequence loads the distance after its start.  Whoever stores 0 there and then makes
 * membarrier(PRIVATE_EXPEDITED_RSEQ) restart all sequences has the set to himself: those
 * that had loaded the old distance are aborted, later ones find none (sets.c).
 *
 * Invariant of a set: in each magazine the words above the bottom up to the top are free
 * blocks of its class that lie nowhere else; the word at the bottom is 0.  A store above the
 * top changes nothing; the commit is the store of top, in each of the sequences but the last.
 * limit is only compared with.
 *
 * An aborted sequence returns false, or 0, like one that found nothing to do; its caller
 * takes the slow path, which tries a few times more and then does without magazines.  So
 * progress needs no luck, even in a debugger's single steps.
 *
 * A push that finds its block on top leaves before the commit.  It was not aborted until then,
 * so at that moment the block was free and lay in the magazine of this CPU: that is certain.
 * Who is aborted instead is asked again by the slow path, on what may be another CPU.
 */
#ifndef HK_RSEQ_H
#define HK_RSEQ_H

#include <stdatomic.h>

#include "set.h"

#define HK_RSEQ_IDS \
	65536 /* an id is read as 16 bits: whatever they hold is in the table */

struct hk_cpu_sets {
	struct hk_set none;
	_Atomic uintptr_t table[HK_RSEQ_IDS];
};

extern struct hk_cpu_sets hk_cpu_sets HK_HIDDEN;

/*
 * The thread's area, and the id in it, as distances from the thread pointer.  0: sequences
 * are not used, and magazines are per thread.  Set once, before there is any set.
 */
extern ptrdiff_t hk_rseq_area HK_HIDDEN, hk_rseq_id HK_HIDDEN;

/*
 * Where sequences are used, the sizes of tiny requests and the upper halves of addresses that
 * user mappings can have are below these; else they are 0, and nothing is.  The hits compare
 * with either anyway, so whether there is an area they need not ask.
 */
extern size_t hk_hit_sizes HK_HIDDEN;
extern uintptr_t hk_hit_tops HK_HIDDEN;

/*
 * Find out whether sequences can be used, and prepare for hk_rseq_fence(): wanted is
 * HAKMEM_RSEQ.
 */
void hk_rseq_init(bool wanted);

/* In the child of fork(): the kernel may have forgotten what hk_rseq_init() registered. */
void hk_rseq_adopt(void);

/*
 * Restart every sequence that is under way in the process, on all CPUs.  false: the kernel
 * refused, as in a sandbox that was entered after the start.
 */
bool hk_rseq_fence(void);

#if HK_TSAN /* sees no accesses in assembly */
#include "rseq-none.h"
#elif defined(__x86_64__) && defined(__LP64__)
#include "rseq-x86_64.h"
#elif defined(__aarch64__) && defined(__AARCH64EL__) && defined(__LP64__)
#include "rseq-aarch64.h"
#else
#include "rseq-none.h"
#endif

#endif /* HK_RSEQ_H */
