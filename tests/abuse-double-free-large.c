/* SPDX-License-Identifier: MIT
 *
 * A large block freed twice: it waits for the next request.  In the debug library the first
 * free unmapped it, as it is too large for the quarantine; but that knows who it was.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size((size_t)5 << 20)));

	require_library();
	free(opaque(block));
	expect_fatal("free(): double free of %p (5242880-byte block)", (void *)block);
	expect_party("freed again", "main");
	expect_party("freed first", "main");
	expect_party("allocated", "main");
	free(opaque(block));
	return survived();
}
