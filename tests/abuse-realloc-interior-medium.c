/* SPDX-License-Identifier: MIT
 *
 * realloc() of an address inside a medium block.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size(131072)));

	require_library();
	expect_fatal(
		"realloc(): interior pointer %p (64 bytes into the 131072-byte block %p)",
		(void *)(block + 64), (void *)block);
	expect_party("passed", "main");
	expect_party("allocated", "main");
	if (!realloc(opaque(block + 64), opaque_size(200000)))
		puts("# it answered NULL");
	return survived();
}
