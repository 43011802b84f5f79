/* SPDX-License-Identifier: MIT
 *
 * free() of a variable with static storage.
 */
#include "libabuse.h"

static char variable[64] __attribute__((aligned(16)));

int main(void)
{
	require_library();
	expect_fatal("free(): invalid pointer %p (not a block of this allocator%s%s)",
		     (void *)variable, but(", but in "), but(program_path()));
	expect_party("passed", "main");
	free(opaque(variable));
	return survived();
}
