/* SPDX-License-Identifier: MIT
 *
 * A medium block freed twice: told at once, whether its memory stays or not.
 */
#include "libabuse.h"

int main(void)
{
	char *before = opaque(malloc(opaque_size(131072)));
	char *block = opaque(malloc(opaque_size(131072)));
	char *after = opaque(malloc(opaque_size(131072)));

	require_library();
	free(opaque(block));
	expect_fatal("free(): double free of %p (131072-byte block)", (void *)block);
	expect_party("freed again", "main");
	expect_party("freed first", "main");
	expect_party("allocated", "main");
	free(opaque(block));
	before[0] = after[0] = 0;
	return survived();
}
