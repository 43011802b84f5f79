/* SPDX-License-Identifier: MIT
 *
 * malloc_usable_size() of an address inside a small block: told at once.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size(100)));

	require_library();
	expect_fatal(
		"malloc_usable_size(): interior pointer %p (1 bytes into the %d-byte block %p)",
		(void *)(block + 1), on_debug_library() ? 100 : 112, (void *)block);
	expect_party("passed", "main");
	expect_party("allocated", "main");
	if (!malloc_usable_size(opaque(block + 1)))
		puts("# it answered 0");
	return survived();
}
