/* SPDX-License-Identifier: MIT
 *
 * realloc() of an address inside a small block: told at once.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size(100)));

	require_library();
	expect_fatal(
		"realloc(): interior pointer %p (16 bytes into the %d-byte block %p)",
		(void *)(block + 16), on_debug_library() ? 100 : 112, (void *)block);
	expect_party("passed", "main");
	expect_party("allocated", "main");
	if (!realloc(opaque(block + 16), opaque_size(1000)))
		puts("# it answered NULL");
	return survived();
}
