/* SPDX-License-Identifier: MIT
 *
 * large.h - blocks beyond 1 MiB, or aligned to more than 2 MiB: addresses of its own each,
 * aligned to 2 MiB, so that no two meet in one entry of the registry's owners.  Where their
 * memory comes from: chunks.h; and goes: spans.h.
 *
 * Only the first granule is marked in the registry; what lies further inside is found by a
 * walk of the list, which only messages and HAKMEM_QUERY need.
 *
 * One lock, hk_large_lock, a leaf but for the records'.  No system call is made under it.
 */
#ifndef HK_LARGE_H
#define HK_LARGE_H

#if HK_DEBUG
#include "debug/block.h"
#endif
#include "lock.h"
#include "record.h"

struct hk_large {
	char *base;
	size_t bytes;   /* of the block: whole pages, all of them usable */
	size_t mapped;  /* from its start on; spans.h has these four */
	size_t touched; /* likewise: behind it, all is zero and not resident */
	size_t huge;    /* likewise: huge pages were asked for */
	size_t splits;
	struct hk_large *next, *previous;
#if HK_DEBUG
	struct hk_block_record block;
#endif
};

extern struct hk_lock hk_large_lock;
extern struct hk_records hk_large_records;

/* Under the lock. */
extern struct hk_large *hk_large_blocks;
extern uint64_t hk_large_count, hk_large_bytes;

/*
 * NULL: no memory, or a limit is reached (last_try passes the soft one).  *zero: the block has
 * to read as zero, if that is no more work than faulting it in; and whether it does.
 */
void *hk_large_allocate(size_t size, size_t alignment, bool last_try, bool *zero);

/* These report a pointer that is not the start of a live large block. */
void hk_large_free(void *block, const char *function);
size_t hk_large_usable_size(const void *block, const char *function);

/*
 * Grow or shrink by the kernel's page tables, never by copying; the block may move.  NULL:
 * not possible, nothing has changed.
 */
void *hk_large_resize(void *block, size_t size, bool last_try, const char *function);

/* Onto a list, of the program's or of the cache's, and off it; under the lock. */
static inline void hk_large_link(struct hk_large **list, struct hk_large *large)
{
	large->previous = NULL;
	large->next = *list;
	if (*list)
		(*list)->previous = large;
	*list = large;
}

static inline void hk_large_unlink(struct hk_large **list, struct hk_large *large)
{
	if (large->next)
		large->next->previous = large->previous;
	if (large->previous)
		large->previous->next = large->next;
	else
		*list = large->next;
}

/* The block in which the address lies, or NULL; the caller holds the lock. */
struct hk_large *hk_large_find_locked(const void *address);

#endif /* HK_LARGE_H */
