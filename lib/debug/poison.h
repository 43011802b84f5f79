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

#include "debug/block.h"

#define HK_POISON_BYTE 0xdf
#define HK_CANARY_BYTE 0xbd
#define HK_CANARY_FRONT 16
#define HK_CANARY_BACK_MIN 8
#define HK_CANARY_BACK_MAX 128

void hk_poison_fill(void *start, size_t size);

/* The first byte that is not poison; NULL: all are. */
const unsigned char *hk_poison_changed(const void *start, size_t size);

void hk_canary_put(const struct hk_block *block);

/* What of the room is not the block becomes poison, too. */
void hk_canary_poison(const struct hk_block *block);

/* The byte of the canary before, or behind, the block that lies nearest to it and was changed. */
const unsigned char *hk_canary_changed_before(const struct hk_block *block);
const unsigned char *hk_canary_changed_behind(const struct hk_block *block);

#endif /* HK_POISON_H */
