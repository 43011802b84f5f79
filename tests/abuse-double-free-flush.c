/* SPDX-License-Identifier: MIT
 *
 * A small block freed twice, found when a flush spills the magazine.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size(32)));

	require_library();
	if (on_debug_library())
		expect_fatal("free(): double free of %p (32-byte block, in a magazine)",
			     (void *)block);
	else
		expect_fatal(
			"hakmem_ctl(): double free of %p (32-byte block, found at spill)",
			(void *)block);
	free(opaque(block));
	free(opaque(block));
	ctl(HAKMEM_FLUSH, NULL, 0);
	return survived();
}
