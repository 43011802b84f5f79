/* SPDX-License-Identifier: MIT
 *
 * sets.h - all sets of magazines: made when a CPU (or thread) first needs one, stopped to be
 * looked into or emptied by someone else, aged, and, per thread, dropped at its exit.
 *
 * One lock, hk_sets_lock, before the classes' in the order of fork.h.  While it is held and
 * the sets are stopped, those that are reached belong to the holder; their CPUs and threads
 * go on allocating, by the slow paths, straight from depot and slabs.
 */
#ifndef HK_SETS_H
#define HK_SETS_H

#include "lock.h"
#include "magazine.h"
#include "record.h"

extern struct hk_lock hk_sets_lock;
extern struct hk_records hk_set_records;
extern struct hk_set *hk_sets; /* by next; under the lock */

/* Once, before the first set: the form, and the thread-exit hook. */
void hk_sets_init(void);

/* Has the calling thread, or its CPU, a set?  Makes one; false: do without. */
bool hk_sets_ready(void);

/* That set, or NULL.  Per CPU it may be another thread's concern at the next instruction. */
struct hk_set *hk_sets_current(void);

/* The caller holds the lock.  stop: how many sets could not be reached. */
unsigned hk_sets_stop(void);
void hk_sets_resume(void);

/* The caller holds the lock and has stopped the set: all blocks to their slabs. */
bool hk_set_drain(struct hk_set *set, struct hk_flushed *flushed, const char *function);

/* Likewise, and it is drained: give back the pages of its arrays.  Makes a system call. */
void hk_set_purge(struct hk_set *set);

/* Likewise: capacities to start with, for magazines that are empty. */
void hk_set_lay_out(struct hk_set *set, size_t limit);

/* Bytes that each set may hold: HAKMEM_MAGAZINE_BYTES, shared out if CPUs are fewer. */
size_t hk_sets_limit(void);
void hk_sets_disable(bool disable);

/*
 * A magazine that ran empty or full deserves more room, while the budget lasts, and more yet
 * if both happened: what its capacity is now.
 */
uint32_t hk_set_grow(unsigned size_class, enum hk_miss miss);

/*
 * Since this was last asked, has the magazine not been used, or, if it has grown, taken no
 * slow path?  Any set may be asked about.
 */
bool hk_set_is_idle(struct hk_set *set, unsigned size_class);

/*
 * If the set is still the caller's: the capacity to start with, for an idle magazine.  The
 * caller holds the lock.
 */
void hk_set_shrink_locked(struct hk_set *set, unsigned size_class);

/*
 * All sets at once: magazines that were not used since the last time are emptied, for which
 * the sets are stopped if there are any.  *tidy: hk_pool_tidy() is due.  true: blocks are left
 * in magazines.
 */
bool hk_sets_age_locked(bool *tidy, const char *function);

/* Blocks of a class in all sets and in the depot; the caller holds all locks, sets stopped. */
uint64_t hk_sets_count_locked(unsigned size_class);

/* Call visit for each of them; a set that could not be reached is left out. */
void hk_sets_visit_locked(unsigned size_class, void (*visit)(unsigned, void *, void *),
			  void *context);

/* The invariants of all sets and depots; the caller holds all locks and has stopped. */
void hk_sets_check(void);

/* In the child of fork(), under no lock. */
void hk_sets_adopt(void);

#endif /* HK_SETS_H */
