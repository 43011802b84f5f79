/* SPDX-License-Identifier: MIT
 *
 * free() of an automatic variable.
 */
#include "libabuse.h"

int main(void)
{
	char variable[64];

	require_library();
	expect_fatal("free(): invalid pointer %p (not a block of this allocator%s)",
		     (void *)variable, but(", but on this thread's stack"));
	expect_party("passed", "main");
	free(opaque(variable));
	return survived();
}
