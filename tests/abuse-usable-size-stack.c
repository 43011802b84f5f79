/* SPDX-License-Identifier: MIT
 *
 * malloc_usable_size() of an automatic variable.
 */
#include "libabuse.h"

int main(void)
{
	char variable[64];

	require_library();
	expect_fatal(
		"malloc_usable_size(): invalid pointer %p (not a block of this allocator%s)",
		(void *)variable, but(", but on this thread's stack"));
	expect_party("passed", "main");
	if (!malloc_usable_size(opaque(variable)))
		puts("# it answered 0");
	return survived();
}
