/* SPDX-License-Identifier: MIT
 *
 * A small block freed twice, and another in between: found when later frees fill the
 * magazine; by the debug library at once.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size(100)));
	char *between = opaque(malloc(opaque_size(100)));

	require_library();
	if (on_debug_library())
		expect_fatal("free(): double free of %p (100-byte block)", (void *)block);
	else
		expect_fatal("free(): double free of %p (112-byte block, found at spill)",
			     (void *)block);
	expect_party("freed again", "main");
	expect_party("freed first", "main");
	expect_party("allocated", "main");
	free(opaque(block));
	free(opaque(between));
	free(opaque(block));
	free_many(100);
	return survived();
}
