/* SPDX-License-Identifier: MIT
 *
 * poison.c - see poison.h.  Takes no lock, allocates nothing.
 */
#include "debug/poison.h"

#include <string.h>

#include "config.h"
#include "fatal.h"

static bool is_on(void)
{
	return hk_config_number(HK_OPTION_DEBUG) == 0; /* its first word, "poison" */
}

void hk_poison_fresh(void *block, size_t size)
{
	if (is_on())
		memset(block, HK_POISON_BYTE, size);
}

void hk_poison_freed(void *block, size_t size)
{
	if (is_on())
		memset(block, HK_POISON_BYTE, size);
}

void hk_poison_check(const void *block, size_t size, const char *function)
{
	const unsigned char *byte = block;

	if (!is_on())
		return;
	for (size_t i = 0; i < size; i++) {
		if (HK_UNLIKELY(byte[i] != HK_POISON_BYTE))
			hk_fatal(HK_WRITE_AFTER_FREE, function, block,
				 "%lu-byte block, changed at offset %lu",
				 (unsigned long)size, (unsigned long)i);
	}
}
