/* SPDX-License-Identifier: MIT
 *
 * poison.h - the patterns of the debug library: of what the program must not write to, before
 * and behind its block, and of what it has freed.
 *
 *   canary   16 bytes before the block; behind it to the end of its room, at most 128
 *   poison   a block that was handed out and not yet written; one that was freed
 *
 * As a pointer, eight of either are an address that cannot be.
 */
#ifndef HK_POISON_H
#define HK_POISON_H

#include <string.h>

#include "debug/block.h"

#define HK_POISON_BYTE 0xdf
#define HK_CANARY_BYTE 0xbd
#define HK_CANARY_FRONT 16
#define HK_CANARY_BACK_MIN 8
#define HK_CANARY_BACK_MAX 128

typedef uint64_t hk_eight __attribute__((aligned(1), may_alias));
typedef uint64_t hk_sixteen __attribute__((vector_size(16), aligned(1), may_alias));

/* Most are shorter than a call of memset() or memcmp() is worth. */
#define HK_PATTERN_SHORT 256

HK_INLINE void hk_pattern_put(void *start, size_t size, uint8_t byte)
{
	uint64_t eight = 0x0101010101010101 * byte;
	char *at = start, *last = at + size;

	if (HK_LIKELY(size >= 16 && size <= HK_PATTERN_SHORT)) {
		for (last -= 16; at < last; at += 16) {
			*(hk_sixteen *)at = (hk_sixteen){ eight, eight };
			/* GCC would call memset(). */
			__asm__("" : "+r"(at));
		}
		*(hk_sixteen *)last = (hk_sixteen){ eight, eight };
	} else if (size >= 8 && size < 16) {
		*(hk_eight *)at = eight;
		*(hk_eight *)(last - 8) = eight;
	} else {
		memset(start, byte, size);
	}
}

HK_INLINE bool hk_pattern_is(const void *start, size_t size, uint8_t byte)
{
	uint64_t eight = 0x0101010101010101 * byte;
	hk_sixteen pattern = { eight, eight }, other;
	const char *at = start, *last = at + size;

	if (HK_LIKELY(size >= 16)) {
		last -= 16;
		other = *(const hk_sixteen *)last ^ pattern;
		if (HK_LIKELY(size <= HK_PATTERN_SHORT)) {
			for (; at < last; at += 16)
				other |= *(const hk_sixteen *)at ^ pattern;
			return !(other[0] | other[1]);
		}
		/* All are as those 16 further on. */
		return !(other[0] | other[1]) && !memcmp(at, at + 16, size - 16);
	}
	if (size >= 8)
		return *(const hk_eight *)at == eight &&
		       *(const hk_eight *)(last - 8) == eight;
	while (at < last)
		if ((uint8_t)*at++ != byte)
			return false;
	return true;
}

HK_INLINE void hk_poison_fill(void *start, size_t size)
{
	hk_pattern_put(start, size, HK_POISON_BYTE);
}

/* The first byte that is another; there is one. */
const unsigned char *hk_pattern_other(const void *start, size_t size, uint8_t byte);

/* The first byte that is not poison; NULL: all are. */
HK_INLINE const unsigned char *hk_poison_changed(const void *start, size_t size)
{
	return HK_LIKELY(hk_pattern_is(start, size, HK_POISON_BYTE))
		       ? NULL
		       : hk_pattern_other(start, size, HK_POISON_BYTE);
}

HK_INLINE size_t hk_canary_size_before(const struct hk_block *block)
{
	size_t size = (size_t)(block->start - block->room);

	return size < HK_CANARY_FRONT ? size : HK_CANARY_FRONT;
}

HK_INLINE size_t hk_canary_size_behind(const struct hk_block *block)
{
	size_t size = (size_t)(block->room + block->room_size -
			       (block->start + block->size));

	return size < HK_CANARY_BACK_MAX ? size : HK_CANARY_BACK_MAX;
}

HK_INLINE void hk_canary_put(const struct hk_block *block)
{
	size_t before = hk_canary_size_before(block);

	hk_pattern_put(block->start - before, before, HK_CANARY_BYTE);
	hk_pattern_put(block->start + block->size, hk_canary_size_behind(block),
		       HK_CANARY_BYTE);
}

HK_INLINE bool hk_canary_intact(const struct hk_block *block)
{
	size_t before = hk_canary_size_before(block);

	return hk_pattern_is(block->start - before, before, HK_CANARY_BYTE) &&
	       hk_pattern_is(block->start + block->size, hk_canary_size_behind(block),
			     HK_CANARY_BYTE);
}

/*
 * Of what lies before, or behind, the block (canary_only: of the canary there), the byte nearest to
 * it that is another; NULL: there is none.
 */
const unsigned char *hk_changed_before(const struct hk_block *block, bool canary_only,
				       uint8_t byte);
const unsigned char *hk_changed_behind(const struct hk_block *block, bool canary_only,
				       uint8_t byte);

/*
 * Into memory that reads as zero; but for pages that are zero themselves, which may never have been
 * touched: the production library moves large blocks by their page tables.
 */
void hk_copy_but_zeros(char *to, const char *from, size_t size);

#endif /* HK_POISON_H */
