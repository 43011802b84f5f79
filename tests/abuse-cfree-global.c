/* SPDX-License-Identifier: MIT
 *
 * cfree() of a variable with static storage.
 */
#include "libabuse.h"

static char variable[64] __attribute__((aligned(16)));

int main(void)
{
	void (*cfree_)(void *);

	require_library();
	*(void **)&cfree_ = dlsym(RTLD_DEFAULT, "cfree");
	expect_fatal("cfree(): invalid pointer %p (not a block of this allocator%s%s)",
		     (void *)variable, but(", but in "), but(program_path()));
	expect_party("passed", "main");
	cfree_(opaque(variable));
	return survived();
}
