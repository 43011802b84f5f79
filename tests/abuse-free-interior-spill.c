/* SPDX-License-Identifier: MIT
 *
 * free() of an address inside a small block: found when later frees fill the
 * magazine; by the debug library at once.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size(208)));

	require_library();
	if (on_debug_library())
		expect_fatal(
			"free(): interior pointer %p (16 bytes into the 208-byte block %p)",
			(void *)(block + 16), (void *)block);
	else
		expect_fatal("free(): interior pointer %p "
			     "(16 bytes into the 208-byte block %p, found at spill)",
			     (void *)(block + 16), (void *)block);
	expect_party("passed", "main");
	expect_party("allocated", "main");
	free(opaque(block + 16));
	free_many(208);
	return survived();
}
