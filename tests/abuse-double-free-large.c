/* SPDX-License-Identifier: MIT
 *
 * A large block freed twice: the first free unmapped it; it is too large for
 * the debug library's quarantine.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size((size_t)5 << 20)));

	require_library();
	free(opaque(block));
	expect_fatal("free(): invalid pointer %p (not a block of this allocator%s)",
		     (void *)block, but(", and nothing is mapped there"));
	expect_party("passed", "main");
	free(opaque(block));
	return survived();
}
