/* SPDX-License-Identifier: MIT
 *
 * guard.h - HAKMEM_DEBUG=guard:N: each Nth block ends at a page that nobody may touch,
 * and when it is freed its own pages are taken away, too; the fault tells of it.
 *
 * One reserved range of equal slots, each 64 KiB and a guard page behind, so that an
 * address finds its slot by arithmetic; freed slots are reused oldest first (the idea of
 * Electric Fence, Perens 1987; sampled, and with slots in one range, of GWP-ASan in
 * LLVM).
 *
 *         |<------------- a slot's 64 KiB ------------->|
 *   guard | not accessible |      front | block | gap   | guard
 *   guard | block | gap         | not accessible        | guard   every eighth slot
 *
 * What is between the two guards and accessible is the room.
 *
 * The gap of the first kind is what the alignment leaves, from no byte at all on; its
 * front has at least 16 bytes.  The second kind, which finds accesses before the start,
 * has no front, and a gap of at least 8 bytes.  A block of 0 bytes can lie right behind
 * its room.
 *
 * Where the mode finds nothing: system calls that are given such an address answer
 * EFAULT, without a signal; and a program that installs a handler for SIGSEGV after the
 * library's start replaces ours.  A handler from before is called once the story is told.
 */
#ifndef HK_GUARD_H
#define HK_GUARD_H

#include "debug/block.h"
#include "lock.h"

/* Which slots are free; a leaf, and no system call is made under it. */
extern struct hk_lock hk_guard_lock;

/*
 * After the options were read: reserve the range, and take over SIGSEGV and SIGBUS.  Says
 * so where there is no address space for it.
 */
void hk_guard_init(void);

/*
 * Is it the turn of this request, and is there a slot for it?  What the block's bytes are
 * is not defined; what *block->record has is the caller's business.  One relaxed load
 * while the mode is off.
 */
bool hk_guard_allocate(size_t size, size_t alignment, enum hk_family family,
		       struct hk_block *block);

/* Are there guarded blocks at all? */
extern struct hk_guard_range *_Atomic hk_guard_range HK_HIDDEN;

static inline bool hk_guard_is_on(void)
{
	return HK_UNLIKELY(atomic_load_explicit(&hk_guard_range, HK_CONSUME) != NULL);
}

/*
 * The block of the slot in which this address lies (guard page included); lock-free, any
 * address at all, also in a signal handler.  LIVE until hk_guard_free() is called, then
 * QUARANTINED until the slot is used again.
 */
bool hk_guard_find(const void *address, struct hk_block *block);

/* It has been freed (its record says so): its pages go, until the slot is wanted. */
void hk_guard_free(const struct hk_block *block);

/*
 * For hk_block_visit(), which tells who may call: every slot's block that is LIVE or
 * QUARANTINED.  It is LIVE from before its record is filled in until after its end was
 * noted there, so who wants the record or the canaries looks at record->word, too.
 */
void hk_guard_visit(void (*visit)(const struct hk_block *block, void *context),
		    void *context);

/* Is the block one of those? */
static inline bool hk_guard_has(const struct hk_block *block)
{
	struct hk_block ignored;

	return hk_guard_is_on() && hk_guard_find(block->start, &ignored);
}

#endif /* HK_GUARD_H */
