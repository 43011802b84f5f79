/* SPDX-License-Identifier: MIT
 *
 * poison.c - see poison.h.  Takes no lock, allocates nothing.
 */
#include "debug/poison.h"

#include <string.h>

void hk_poison_fill(void *start, size_t size)
{
	memset(start, HK_POISON_BYTE, size);
}

/* The first byte that is another. */
static const unsigned char *first_other(const unsigned char *byte, size_t size,
					unsigned char value)
{
	/* All of them equal the first, and that is the value: memcmp() is fast. */
	if (!size || (*byte == value && !memcmp(byte, byte + 1, size - 1)))
		return NULL;
	while (*byte == value)
		byte++;
	return byte;
}

const unsigned char *hk_poison_changed(const void *start, size_t size)
{
	return first_other(start, size, HK_POISON_BYTE);
}

static size_t size_before(const struct hk_block *block)
{
	size_t size = (size_t)(block->start - block->room);

	return size < HK_CANARY_FRONT ? size : HK_CANARY_FRONT;
}

static size_t size_behind(const struct hk_block *block)
{
	size_t size = (size_t)(block->room + block->room_size -
			       (block->start + block->size));

	return size < HK_CANARY_BACK_MAX ? size : HK_CANARY_BACK_MAX;
}

void hk_canary_put(const struct hk_block *block)
{
	size_t before = size_before(block);

	memset(block->start - before, HK_CANARY_BYTE, before);
	memset(block->start + block->size, HK_CANARY_BYTE, size_behind(block));
}

void hk_canary_poison(const struct hk_block *block)
{
	char *end = block->start + block->size;

	hk_poison_fill(block->room, (size_t)(block->start - block->room));
	hk_poison_fill(end, (size_t)(block->room + block->room_size - end));
}

const unsigned char *hk_canary_changed_before(const struct hk_block *block)
{
	const unsigned char *start = (const unsigned char *)block->start;
	const unsigned char *byte = start - 1;
	size_t size = size_before(block);

	if (!first_other(start - size, size, HK_CANARY_BYTE))
		return NULL;
	while (*byte == HK_CANARY_BYTE)
		byte--;
	return byte;
}

const unsigned char *hk_canary_changed_behind(const struct hk_block *block)
{
	return first_other((const unsigned char *)block->start + block->size,
			   size_behind(block), HK_CANARY_BYTE);
}
