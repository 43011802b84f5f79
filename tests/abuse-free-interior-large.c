/* SPDX-License-Identifier: MIT
 *
 * free() of an address inside a large block, in its first 64 KiB.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size((size_t)4 << 20)));

	require_library();
	expect_fatal("free(): interior pointer %p (16 bytes into the %zu-byte block %p)",
		     (void *)(block + 16), malloc_usable_size(block), (void *)block);
	expect_party("passed", "main");
	expect_party("allocated", "main");
	free(opaque(block + 16));
	return survived();
}
