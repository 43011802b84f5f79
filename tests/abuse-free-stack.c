/* SPDX-License-Identifier: MIT
 *
 * free() of an automatic variable.
 */
#include "libabuse.h"

int main(void)
{
	char variable[64];

	require_library();
	expect_fatal("free(): invalid pointer %p (not a block of this allocator)",
		     (void *)variable);
	free(opaque(variable));
	return survived();
}
