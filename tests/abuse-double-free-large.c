/* SPDX-License-Identifier: MIT
 *
 * A large block freed twice: the first free unmapped it, as it is too large for the debug
 * library's quarantine, too; but that one knows who it was.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size((size_t)5 << 20)));

	require_library();
	free(opaque(block));
	if (on_debug_library())
		expect_fatal("free(): double free of %p (5242880-byte block)",
			     (void *)block);
	else
		expect_fatal("free(): invalid pointer %p (not a block of this allocator)",
			     (void *)block);
	expect_party("freed again", "main");
	expect_party("freed first", "main");
	expect_party("allocated", "main");
	free(opaque(block));
	return survived();
}
