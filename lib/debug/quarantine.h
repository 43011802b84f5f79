/* SPDX-License-Identifier: MIT
 *
 * quarantine.h - freed blocks that are kept from reuse: a queue, bounded in bytes, in blocks and
 * in time (HAKMEM_DEBUG=quarantine:BYTES,quarantine_ms:MS).  And, for reports, what was known of
 * those that went back to the heap last, whose own records go with their memory: the last 256 of
 * more than 64 KiB, which go back to the kernel soonest, and the last 256 others.
 *
 * One lock, hk_quarantine_lock, a leaf.  What leaves is handed to whoever made it leave, who
 * looks at its poison under no lock: it is QUARANTINED still, and nobody else's.
 */
#ifndef HK_QUARANTINE_H
#define HK_QUARANTINE_H

#include "debug/block.h"
#include "lock.h"

extern struct hk_lock hk_quarantine_lock;

#define HK_QUARANTINE_LEAVERS 4

/*
 * Keep this block, whose record tells when it was freed; which leave for it, the oldest first,
 * how many.  If it is too large, or there is no memory, it leaves itself.
 */
unsigned hk_quarantine_add(const struct hk_block *block,
			   struct hk_block leavers[HK_QUARANTINE_LEAVERS]);

/* If as many left as there is room for here, there may be more: a large one drives out many. */
unsigned hk_quarantine_leavers(uint32_t now,
			       struct hk_block leavers[HK_QUARANTINE_LEAVERS]);

/* The oldest leaves; false: there is none. */
bool hk_quarantine_take(struct hk_block *block);

/* Each block in it, the oldest first; the caller holds the lock. */
void hk_quarantine_visit_locked(void (*visit)(const struct hk_block *block,
					      void *context),
				void *context);

/* How many it holds, and their rooms' bytes; the caller holds the lock. */
void hk_quarantine_count_locked(uint64_t *blocks, uint64_t *bytes);

/*
 * The block that began at this address and has gone back to the heap, the last one if there were
 * several: block and *record become as they were; the room is not known.  false: it is not noted.
 */
bool hk_quarantine_find_left(const void *start, struct hk_block *block,
			     struct hk_block_record *record);

#endif /* HK_QUARANTINE_H */
