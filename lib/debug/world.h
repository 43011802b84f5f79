/* SPDX-License-Identifier: MIT
 *
 * world.h - all other threads of the process stopped, and their registers.
 *
 * A helper task that shares the memory (clone(2) with CLONE_VM, as LeakSanitizer does it)
 * attaches to every thread by ptrace(2), runs work() while nothing else moves, and detaches.
 * The caller sleeps meanwhile.  work() may not allocate, take a lock that a stopped thread may
 * hold, or use thread-local storage other than errno.
 */
#ifndef HK_WORLD_H
#define HK_WORLD_H

#include "base.h"

struct hk_world_thread {
	uint32_t id;
	uintptr_t stack_pointer; /* the lowest address that is in use */
	uintptr_t thread_pointer;
	uintptr_t registers[40]; /* all general ones; the caller's lie on its stack */
	unsigned count;
};

struct hk_world {
	const struct hk_world_thread *threads; /* with the caller's own */
	size_t count;
	size_t missed; /* threads that could not be stopped */
};

/*
 * Where the library was entered: HK_WORLD_ENTER() in that function, HK_WORLD_LEAVE() at its end.
 * Its own frames below hold addresses of blocks that the program does not have any more; the
 * registers that functions preserve are put into the frame of that function.
 */
extern _Thread_local uintptr_t hk_world_floor;

#define HK_WORLD_ENTER()                                                \
	do {                                                            \
		__builtin_unwind_init();                                \
		hk_world_floor = (uintptr_t)__builtin_frame_address(0); \
	} while (0)
#define HK_WORLD_LEAVE() ((void)(hk_world_floor = 0))

/*
 * false: not possible here (no /proc, no ptrace, a debugger has the threads), or the helper
 * was killed; work() was not called, or not to its end.
 */
bool hk_world_stop(void (*work)(const struct hk_world *world, void *context),
		   void *context);

#endif /* HK_WORLD_H */
