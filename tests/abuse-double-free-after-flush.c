/* SPDX-License-Identifier: MIT
 *
 * A small block freed, flushed home, and freed again.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size(48)));
	char *neighbour = opaque(malloc(opaque_size(48)));

	require_library();
	free(opaque(block));
	ctl(HAKMEM_FLUSH, NULL, 0);
	if (on_debug_library())
		expect_fatal("free(): double free of %p (48-byte block)", (void *)block);
	else
		expect_fatal(
			"hakmem_ctl(): double free of %p (48-byte block, found at spill)",
			(void *)block);
	expect_party("freed again", "main");
	expect_party("freed first", "main");
	expect_party("allocated", "main");
	free(opaque(block));
	ctl(HAKMEM_FLUSH, NULL, 0);
	memset(neighbour, 0, 48);
	return survived();
}
