/* SPDX-License-Identifier: MIT
 *
 * medium.h - blocks of 64 KiB to 1 MiB, or of less with an alignment of up to 2 MiB: each is
 * a run of slots of its own, straight from the pool.
 *
 * The block begins where the run does and ends on a page; the run's rest is never touched.
 * Takes the pool's lock only.
 */
#ifndef HK_MEDIUM_H
#define HK_MEDIUM_H

#include "base.h"

/* alignment: a power of two up to 2 MiB.  *zero: the block reads as zero. */
void *hk_medium_allocate(size_t size, size_t alignment, bool last_try, bool *zero);

/* These report a pointer that is not the start of a live medium block. */
void hk_medium_free(void *block, const char *function);
size_t hk_medium_usable_size(const void *block, const char *function);

/* Make it this big without moving it; false: it does not fit, or wastes too much. */
bool hk_medium_resize(void *block, size_t size, const char *function);

/* Is it the start of a medium block that was freed, whose slots nobody has taken since? */
void hk_medium_report_freed(const void *pointer, const char *function);

#endif /* HK_MEDIUM_H */
