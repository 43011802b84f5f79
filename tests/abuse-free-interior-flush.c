/* SPDX-License-Identifier: MIT
 *
 * free() of an address inside a small block: found when a flush spills the
 * magazine; by the debug library at once.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size(32)));

	require_library();
	if (on_debug_library())
		expect_fatal(
			"free(): interior pointer %p (8 bytes into the 32-byte block %p)",
			(void *)(block + 8), (void *)block);
	else
		expect_fatal("hakmem_ctl(): interior pointer %p "
			     "(8 bytes into the 32-byte block %p, found at spill)",
			     (void *)(block + 8), (void *)block);
	expect_party("passed", "main");
	expect_party("allocated", "main");
	free(opaque(block + 8));
	ctl(HAKMEM_FLUSH, NULL, 0);
	return survived();
}
