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
	expect_fatal("realloc(): double free of %p (5242880-byte block)", (void *)block);
	expect_party("freed again", "main");
	expect_party("freed first", "main");
	expect_party("allocated", "main");
	if (!realloc(opaque(block), opaque_size((size_t)6 << 20)))
		puts("# it answered NULL");
	return survived();
}
