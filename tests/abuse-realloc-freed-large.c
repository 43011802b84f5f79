/* SPDX-License-Identifier: MIT
 *
 * realloc() of a large block that was freed.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size((size_t)5 << 20)));

	require_library();
	free(opaque(block));
	expect_fatal("realloc(): invalid pointer %p (not a block of this allocator%s)",
		     (void *)block, but(", and nothing is mapped there"));
	expect_party("passed", "main");
	if (!realloc(opaque(block), opaque_size((size_t)6 << 20)))
		puts("# it answered NULL");
	return survived();
}
