/* SPDX-License-Identifier: MIT
 *
 * unwind.h - the calling thread's stack, as HAKMEM_DEBUG=unwind:... says.
 *
 * Never under a lock of ours, and never twice at a time in a thread: a call that comes from
 * inside the unwinder, or from a signal handler that interrupted it, gets stack 0.
 */
#ifndef HK_UNWIND_H
#define HK_UNWIND_H

#include "debug/stacks.h"

/*
 * Once, from the library's constructor, after the options were read, under no lock: it loads
 * libunwind.  Before that, stacks are taken by frame pointers.
 */
void hk_unwind_init(void);

/*
 * Note the stack of the caller, without the frames that lie in this library: the first is
 * the one that called malloc(), free() and so on.
 */
hk_stack hk_unwind_here(void);

/*
 * Is this thread in the unwinder now?  And does it load it?  Then what is allocated is not the
 * program's.
 */
bool hk_unwind_inside(void);
bool hk_unwind_loading(void);

/*
 * fork(): prepare waits until no other thread is inside libunwind (its locks would stay held
 * in the child) and keeps new ones out, which have to do with frame pointers; parent lets them
 * in again.  In the child of a process that had other threads it stays at frame pointers: any
 * of them may have had the loader's lock, which libunwind can take.
 */
void hk_unwind_fork_prepare(void);
void hk_unwind_fork_parent(void);
void hk_unwind_fork_child(void);

#endif /* HK_UNWIND_H */
