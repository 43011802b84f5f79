/* SPDX-License-Identifier: MIT
 *
 * stacks.h - call stacks, each kept once: a tree by hash that only grows.
 *
 * A stack is raw program counters and the generation of the module map (modules.h) in which they
 * were true.  Two that were called from the same place have the part from there outwards in common
 * (the calling context tree of Ammons, Ball and Larus, PLDI 1997): each is a program counter and
 * the number of the stack that it was called from.  So whoever knows that number adds a frame by
 * one look-up.  A stack's number stands for it from then on; what it means never moves and never
 * changes.
 *
 * Lock-free: an entry is written, then published by one compare-and-swap on the head of its
 * bucket; whoever loses the race looks again.  So it may be called anywhere: in a signal
 * handler, under any lock, in the child of fork().  Allocates from mappings of its own.
 */
#ifndef HK_STACKS_H
#define HK_STACKS_H

#include "base.h"

#define HK_FRAMES 32 /* of a stack, that are told */

typedef uint32_t hk_stack; /* 0: not known */

/* That of a thread where nothing has been called yet; 0: no memory. */
hk_stack hk_stacks_root(uint32_t generation);

/* This program counter, called from there; 0: no memory, or that is not known. */
hk_stack hk_stacks_push(hk_stack caller, uintptr_t pc);

/* That is about to be asked for. */
void hk_stacks_prefetch(hk_stack caller, uintptr_t pc);

/* All of these, innermost first; 0: no memory, or none of them. */
hk_stack hk_stacks_add(const uintptr_t *frames, unsigned count, uint32_t generation);

/* The innermost frames of a number, and how many; 0 for 0. */
unsigned hk_stacks_frames(hk_stack stack, uintptr_t frames[HK_FRAMES],
			  uint32_t *generation);

/* One number for all that hk_stacks_frames() tells the same of. */
hk_stack hk_stacks_told(hk_stack stack);

/* Distinct stacks, those that others were called from included, and the bytes that they take. */
void hk_stacks_count(size_t *stacks, size_t *bytes);

#endif /* HK_STACKS_H */
