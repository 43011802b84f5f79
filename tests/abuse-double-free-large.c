/* SPDX-License-Identifier: MIT
 *
 * A large block freed twice: the first free unmapped it.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size((size_t)5 << 20)));

	require_library();
	free(opaque(block));
	expect_fatal("free(): invalid pointer %p (not a block of this allocator)",
		     (void *)block);
	free(opaque(block));
	return survived();
}
