/* SPDX-License-Identifier: MIT
 *
 * free() of an address inside a medium block, in its first 64 KiB.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size(131072)));

	require_library();
	expect_fatal(
		"free(): interior pointer %p (4096 bytes into the 131072-byte block %p)",
		(void *)(block + 4096), (void *)block);
	expect_party("passed", "main");
	expect_party("allocated", "main");
	free(opaque(block + 4096));
	return survived();
}
