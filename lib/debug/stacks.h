/* SPDX-License-Identifier: MIT
 *
 * stacks.h - call stacks, each kept once: a table by hash that only grows.
 *
 * A stack is up to HK_FRAMES raw program counters, innermost first, and the generation of the
 * module map (modules.h) in which they were true.  Its number stands for it from then on; what
 * the number means never moves and never changes.
 *
 * Lock-free: an entry is written, then published by one compare-and-swap on the head of its
 * bucket; whoever loses the race looks again.  So it may be called anywhere: in a signal
 * handler, under any lock, in the child of fork().  Allocates from mappings of its own.
 */
#ifndef HK_STACKS_H
#define HK_STACKS_H

#include "base.h"

#define HK_FRAMES 32

typedef uint32_t hk_stack; /* 0: not known */

/* The number of these frames; 0: no memory, or none of them. */
hk_stack hk_stacks_add(const uintptr_t *frames, unsigned count, uint32_t generation);

/* The frames of a number, and how many; 0 for 0. */
unsigned hk_stacks_frames(hk_stack stack, const uintptr_t **frames, uint32_t *generation);

/* Distinct stacks, and the bytes that they take. */
void hk_stacks_count(size_t *stacks, size_t *bytes);

#endif /* HK_STACKS_H */
