/* SPDX-License-Identifier: MIT
 *
 * free() of an address deep inside a large block, where the registry has nothing.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size((size_t)8 << 20)));

	require_library();
	expect_fatal("free(): interior pointer %p (%d bytes into the %zu-byte block %p)",
		     (void *)(block + (5 << 20)), 5 << 20, malloc_usable_size(block),
		     (void *)block);
	expect_party("passed", "main");
	expect_party("allocated", "main");
	free(opaque(block + (5 << 20)));
	return survived();
}
