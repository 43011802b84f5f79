/* SPDX-License-Identifier: MIT
 *
 * realloc() of an automatic variable.
 */
#include "libabuse.h"

int main(void)
{
	char variable[64];

	require_library();
	expect_fatal("realloc(): invalid pointer %p (not a block of this allocator%s)",
		     (void *)variable, but(", but on this thread's stack"));
	expect_party("passed", "main");
	if (!realloc(opaque(variable), opaque_size(100)))
		puts("# it answered NULL");
	return survived();
}
