/* SPDX-License-Identifier: MIT
 *
 * free() of an address inside a medium block, beyond its first 64 KiB.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size(262144)));

	require_library();
	expect_fatal(
		"free(): interior pointer %p (131072 bytes into the 262144-byte block %p)",
		(void *)(block + 131072), (void *)block);
	expect_party("passed", "main");
	expect_party("allocated", "main");
	free(opaque(block + 131072));
	return survived();
}
