/* SPDX-License-Identifier: MIT
 *
 * free_sized() of an automatic variable.
 */
#include "libabuse.h"

int main(void)
{
	void (*free_sized_)(void *, size_t);
	char variable[64];

	require_library();
	*(void **)&free_sized_ = dlsym(RTLD_DEFAULT, "free_sized");
	expect_fatal("free_sized(): invalid pointer %p (not a block of this allocator%s)",
		     (void *)variable, but(", but on this thread's stack"));
	expect_party("passed", "main");
	free_sized_(opaque(variable), sizeof(variable));
	return survived();
}
