/* SPDX-License-Identifier: MIT
 *
 * A small block freed twice, and another in between: found when a flush spills the magazine;
 * by the debug library at once.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size(32)));
	char *between = opaque(malloc(opaque_size(32)));

	require_library();
	if (on_debug_library())
		expect_fatal("free(): double free of %p (32-byte block)", (void *)block);
	else
		expect_fatal(
			"hakmem_ctl(): double free of %p (32-byte block, found at spill)",
			(void *)block);
	expect_party("freed again", "main");
	expect_party("freed first", "main");
	expect_party("allocated", "main");
	free(opaque(block));
	free(opaque(between));
	free(opaque(block));
	ctl(HAKMEM_FLUSH, NULL, 0);
	return survived();
}
