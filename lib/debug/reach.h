/* SPDX-License-Identifier: MIT
 *
 * reach.h - which live blocks the program can still reach.
 *
 * Reached is a block to which an aligned word points, at its start or inside, that lies
 *   - in the data of a loaded object (.data, .bss, what is read-only after relocation), but
 *     for the library's own;
 *   - on a thread's stack, in its registers, in its thread-local storage;
 *   - in a block that is reached, or that the loader itself has allocated.
 * Other mappings of the program's are not looked at, as LeakSanitizer does not.  A block that
 * is not reached is lost; or indirectly lost, if a lost one reaches it, as memcheck tells them
 * apart.  Of blocks that reach each other in a circle one is lost, the others indirectly.
 */
#ifndef HK_REACH_H
#define HK_REACH_H

#include "debug/block.h"

enum hk_reach {
	HK_REACH_LOST,
	HK_REACH_INDIRECT,
	HK_REACH_REACHABLE,
	HK_REACH_QUARANTINED
};
#define HK_REACHES 4

/* Of the moment in which the world stood still. */
struct hk_reach_moment {
	uint32_t mark; /* what is allocated from then on has it, or a later one */
	size_t missed; /* threads whose stacks were not seen: they could not be stopped */
	bool loaded; /* an object was loaded just then: its data may not have been seen */
};

/*
 * Stop the world and tell of each block; tell() may neither allocate nor take a lock.  0, or
 * ENOMEM; ENOTSUP: the world cannot be stopped here; EAGAIN: there was more of something than was
 * counted before, and what was told is to be forgotten.  Called under no lock.
 */
int hk_reach(void (*tell)(void *context, const struct hk_block_record *record,
			  size_t size, enum hk_reach reach),
	     void *context, struct hk_reach_moment *moment);

#endif /* HK_REACH_H */
