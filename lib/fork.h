/* SPDX-License-Identifier: MIT
 *
 * fork.h - the order of all locks, written down once (in fork.c), and what it is for:
 * fork(), and snapshots that hold everything still.
 */
#ifndef HK_FORK_H
#define HK_FORK_H

/* Take every lock of the library in its order; give them back. */
void hk_lock_all(void);
void hk_unlock_all(void);

/* Acquisitions that had to wait, over all locks; the caller holds them all. */
unsigned long hk_lock_contended(void);

/* pthread_atfork(3) handlers. */
void hk_fork_prepare(void);
void hk_fork_parent(void);
void hk_fork_child(void);

#endif /* HK_FORK_H */
