/* SPDX-License-Identifier: MIT
 *
 * frames.h - how the frames of known program counters are left: the rules of libunwind, asked
 * for once.
 *
 * unw_backtrace() takes 10 ns a frame with all it needs in its cache.  At most program counters
 * the unwind tables say no more than
 *
 *   the frame's end (the CFA) is so far above the stack pointer, or above the frame pointer;
 *   the return address lies at its top, and the caller's frame pointer, if it was saved, so far
 *   below it
 *
 * and such a rule holds for every frame at that program counter.  One that is not there yet is
 * learned: libunwind makes that one step.
 *
 * With rules alone, each frame waits for what was loaded of the one before: 32 of them take 0.25
 * us.  But most of a stack is what it was at the thread's last call.  So the places of the last
 * walk are kept, and the next one is made by rules only up to a frame that was there then, with
 * the same program counter, stack pointer and frame pointer.  From there on it has to be seen that
 * each return address and each saved frame pointer is what it was, where it was: by the rules,
 * that is all that a walk would read.
 *
 * Used by unwind.c alone, which sees to the stack's bounds and calls hk_frames_learn() where
 * libunwind may be called.  Lock-free, and errno stays.
 */
#ifndef HK_FRAMES_H
#define HK_FRAMES_H

#include "debug/stacks.h"

#if defined(__x86_64__)
/*
 * From a function with a frame pointer to the frame of its caller that has none: rbp points at
 * the caller's, above it lies the return address, and above that the caller's stack pointer was.
 */
#define HK_FRAMES_RULES true
#else
/* A frame record lies at its frame's bottom and does not tell where the caller's stack was. */
#define HK_FRAMES_RULES false
#endif

/* Without the signature that pac-ret puts into a return address. */
static inline uintptr_t hk_plain_pc(uintptr_t pc)
{
#if defined(__aarch64__)
	register uintptr_t x30 __asm__("x30") = pc;

	__asm__("hint #7"
		: "+r"(x30)); /* xpaclri; nothing where there are no signatures */
	return x30;
#else
	return pc;
#endif
}

/* A frame: where it goes on, its stack pointer then, and its frame pointer. */
struct hk_frame {
	uintptr_t pc, sp, fp;
};

enum hk_frames_end {
	HK_FRAMES_ALL,     /* the outermost, or there was no room for more */
	HK_FRAMES_UNKNOWN, /* of *at no rule is known: learn it, and walk again */
	HK_FRAMES_HARD     /* *at is none that a rule can tell of: libunwind must do it */
};

/* libunwind's functions, which unwind.c has loaded; false: they are not all there. */
bool hk_frames_init(void *library);

/*
 * From *at outwards, through a stack that is mapped up to high: its number in *stack.  linked: by
 * frame pointers alone, which every frame is taken to have.  thread: an address that is this
 * thread's alone.  A signal handler must not call it before it has returned.
 */
enum hk_frames_end hk_frames_walk(const void *thread, struct hk_frame *at, uintptr_t high,
				  bool linked, uint32_t generation, hk_stack *stack);

/* Ask libunwind; false: there is no rule, or no room for it. */
bool hk_frames_learn(const struct hk_frame *at);

#endif /* HK_FRAMES_H */
