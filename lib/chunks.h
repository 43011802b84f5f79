/* SPDX-License-Identifier: MIT
 *
 * chunks.h - memory for large blocks: from the spans that others have left (spans.h), from the
 * kernel, or from both.
 *
 * A block is a span that is in use.  Behind its end it may have what was touched before, a
 * sixth of its bytes at most; what is more is purged.  It grows in place where the addresses
 * behind it are free, else by moving its page tables; and as what has grown was full, and what
 * is new will be written next, so much of that as may lie behind a block's end is faulted in at
 * once.
 */
#ifndef HK_CHUNKS_H
#define HK_CHUNKS_H

#include "large.h"

/*
 * A record with `bytes' bytes, at a multiple of alignment, or NULL.  *zero: it has to read as
 * zero, so nothing that was touched will do; and whether it does.
 */
struct hk_large *hk_chunks_take(size_t bytes, size_t alignment, bool last_try,
				bool *zero);

/* Of a live block, where it is; false: nothing has changed. */
bool hk_chunks_resize(struct hk_large *large, size_t bytes, bool last_try);

/* The same, of one that is on no list meanwhile: its addresses change. */
bool hk_chunks_move(struct hk_large *large, size_t bytes, bool last_try);

#endif /* HK_CHUNKS_H */
