/* SPDX-License-Identifier: MIT
 *
 * poison.h - debug builds: a free block is filled with a pattern, from its first slab on,
 * and the pattern is looked at when the block is handed out again.
 *
 * In the production library these are nothing at all.
 */
#ifndef HK_POISON_H
#define HK_POISON_H

#include "base.h"

#define HK_POISON_BYTE 0xdf

#if HK_DEBUG
#define HK_POISON true /* no block reads as zero */

/* A block that was never handed out comes into a magazine. */
void hk_poison_fresh(void *block, size_t size);

/* The program frees a block. */
void hk_poison_freed(void *block, size_t size);

/* The program gets the block; reports the first byte that was written since it was freed. */
void hk_poison_check(const void *block, size_t size, const char *function);
#else
#define HK_POISON false

static inline void hk_poison_fresh(void *block, size_t size)
{
	(void)block;
	(void)size;
}

static inline void hk_poison_freed(void *block, size_t size)
{
	(void)block;
	(void)size;
}

static inline void hk_poison_check(const void *block, size_t size, const char *function)
{
	(void)block;
	(void)size;
	(void)function;
}
#endif

#endif /* HK_POISON_H */
