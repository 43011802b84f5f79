/* SPDX-License-Identifier: MIT
 *
 * spans.h - what freed large blocks have left: the cache, from which the next ones are made.
 *
 * A freed block's pages serve the next request without being faulted in again, wherever they
 * are: where no span fits, the request gets addresses of its own (chunks.h) and the kernel moves
 * page tables there, a chunk of 2 MiB at a time, from several spans if need be.  So what is
 * cached is of use for any size, nothing in it is too small, and what large blocks have resident
 * is not more than was once in use.
 *
 *   addresses  |....:....:....:..|  |....:....:..  |     |....:....:....:....:.   |
 *   touched     ################     ###########          #####################
 *               a span              another              a new block: 2 chunks of each, and
 *                                                        the end of a third
 *
 *   A span begins at a multiple of 2 MiB and is whole chunks, `mapped' bytes of them; `touched',
 *   from its start on, is what may be resident; `huge', likewise, for what huge pages are
 *   asked.  Only a block that got what the kernel or a limit had left is mapped to its last
 *   page; it is unmapped when it is freed.
 *   A chunk lies in one mapping of the kernel's: it is mapped at once, and moved at once.  So it
 *   can be moved: mremap(2) takes no more than one mapping, before Linux 6.17.
 *   `splits': those mappings but one, at most.  While they and all else that the library has
 *   mapped are half of what vm.max_map_count allows, no more are split: spans serve what fits
 *   into them.
 *
 * Of what was cached, the least in 4 times HAKMEM_PURGE_DELAY_MS was not needed in that time: so
 * much is unmapped then.  And never more is cached than is live, or 32 MiB, nor more than 128
 * spans.  With a delay of 0, and in the debug library, nothing is; but spans that the kernel will
 * not unmap (vm.max_map_count) are here, purged, until it does.
 *
 * Under hk_large_lock: the cache.  A span is in it, or with who took it out, who may make system
 * calls on it; a fork() in that moment leaves it mapped in the child, unused.
 *
 * A free list of whole pages whose runs are found by size, and that gives back what it has too
 * much of by and by, is jemalloc's (Evans, "A scalable concurrent malloc(3) implementation for
 * FreeBSD", BSDCan 2006, and its decay since 4.1); that spans need not be neighbours is ours.
 */
#ifndef HK_SPANS_H
#define HK_SPANS_H

#include "large.h"

#define HK_CHUNK_BYTES HK_SUPERSLAB_BYTES

/* So much that was touched may lie behind the end of a block. */
#define HK_BEHIND(bytes) ((bytes) / 6)

static inline size_t hk_chunks_of(size_t bytes)
{
	return hk_align_up(bytes, HK_CHUNK_BYTES);
}

static inline size_t hk_least(size_t one, size_t other)
{
	return one < other ? one : other;
}

/* ---- a span, or a block ---- */

static inline bool hk_span_is_whole(const struct hk_large *span)
{
	return !(span->mapped % HK_CHUNK_BYTES);
}

/* All splits are counted, so nothing else sets them. */
void hk_span_set_splits(struct hk_large *span, size_t splits);

/* Of what is mapped, so much is left, from the start on. */
void hk_span_shorten(struct hk_large *span, size_t bytes);

/* ---- the cache ---- */

/* Is a block that is freed cached? */
bool hk_spans_keep(void);

/* Or would that come near the kernel's limit? */
bool hk_spans_may_split(void);

/*
 * One that is as many chunks as the bytes need, all of them touched but for what no other has
 * either; or if it shall read as zero, none.  NULL: there is no such.
 */
struct hk_large *hk_spans_take(size_t bytes, size_t alignment, bool zero);

/*
 * Onto the target, fresh memory from hk_os_reserve(), from any spans, what is touched wholly
 * first: so many bytes of chunks.  How many have been moved.
 */
size_t hk_spans_move_chunks(char *target, size_t bytes);

/*
 * The same for a block's last chunk, of which so many bytes are wanted: the end of a span where
 * as much was touched; or, if any will do, another chunk.  How much of it was touched, 0: none.
 */
size_t hk_spans_move_tail(char *target, size_t bytes, bool any);

/* A request has had what it needed. */
void hk_spans_note(void);

/* A freed block, which the kernel gets if it is not to be cached. */
void hk_spans_give(struct hk_large *span);

/* What is left of one that was taken from. */
void hk_spans_put(struct hk_large *span);

/* Unmap what is due; in how many milliseconds more will be, or UINT64_MAX. */
uint64_t hk_spans_tidy(void);

/* Unmap all that is cached; bytes that went back. */
size_t hk_spans_release(void);

/* The bytes of a block that began there, was freed, and is cached; 0: there is none. */
size_t hk_spans_freed_locked(const void *address);

/* Bytes that were touched, and for which huge pages are asked; live and cached. */
void hk_spans_count_locked(size_t *touched, size_t *huge);

/* The invariants. */
void hk_spans_check_locked(void);

#endif /* HK_SPANS_H */
