/* SPDX-License-Identifier: MIT
 *
 * fork.h - the order of all locks, written down once (in fork.c), and what it is for:
 * fork(), and snapshots that hold everything still.
 */
#ifndef HK_FORK_H
#define HK_FORK_H

#include "base.h"

/* Take every lock of the library in its order; give them back. */
void hk_lock_all(void);
void hk_unlock_all(void);

/* Acquisitions that had to wait, over all locks; the caller holds them all. */
unsigned long hk_lock_contended(void);

/* One lock; or those of all size classes as one, or of one class, which has no name. */
struct hk_lock_report {
	const char *name;
	unsigned size_class;
	uint64_t acquired, contended, waited_ns;
};

#define HK_NAMED_LOCKS (HK_DEBUG ? 15 : 11)
#define HK_CONTENDED_CLASSES 3
#define HK_LOCKS_OF_CLASSES "classes" /* the name of those of all size classes */

struct hk_locks_report {
	struct hk_lock_report named[HK_NAMED_LOCKS]; /* in their order */
	size_t names;
	/* The most contended ones; after the last, with size_class 0. */
	struct hk_lock_report classes[HK_CONTENDED_CLASSES];
};

/* Takes all locks; must be called without any. */
void hk_locks_report(struct hk_locks_report *report);

/* pthread_atfork(3) handlers. */
void hk_fork_prepare(void);
void hk_fork_parent(void);
void hk_fork_child(void);

#endif /* HK_FORK_H */
