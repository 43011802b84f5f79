/* SPDX-License-Identifier: MIT
 *
 * poison.c - see poison.h.  Takes no lock, allocates nothing.
 */
#include "debug/poison.h"

#include "os.h"

const unsigned char *hk_pattern_other(const void *start, size_t size, uint8_t byte)
{
	const unsigned char *at = start;

	/* It may have been written back meanwhile: then the last. */
	for (; size > 1 && *at == byte; size--)
		at++;
	return at;
}

const unsigned char *hk_changed_before(const struct hk_block *block, bool canary_only,
				       uint8_t byte)
{
	size_t size = canary_only ? hk_canary_size_before(block)
				  : (size_t)(block->start - block->room);
	const unsigned char *at = (const unsigned char *)block->start - 1;

	if (hk_pattern_is(block->start - size, size, byte))
		return NULL;
	for (; size > 1 && *at == byte; size--)
		at--;
	return at;
}

const unsigned char *hk_changed_behind(const struct hk_block *block, bool canary_only,
				       uint8_t byte)
{
	const char *end = block->start + block->size;
	size_t size = canary_only ? hk_canary_size_behind(block)
				  : (size_t)(block->room + block->room_size - end);

	return hk_pattern_is(end, size, byte) ? NULL : hk_pattern_other(end, size, byte);
}

void hk_copy_but_zeros(char *to, const char *from, size_t size)
{
	size_t page = hk_os_page_size, part;

	for (; size; size -= part, to += part, from += part) {
		part = page - ((uintptr_t)from & (page - 1));
		if (part > size)
			part = size;
		if (!hk_pattern_is(from, part, 0))
			memcpy(to, from, part);
	}
}
