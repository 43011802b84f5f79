/* SPDX-License-Identifier: MIT
 *
 * free() of an address that no user mapping can have: it must not be touched.
 */
#include "libabuse.h"

int main(void)
{
	void *address = opaque((void *)(uintptr_t)0xdeadbeefdeadbee0u);

	require_library();
	expect_fatal("free(): invalid pointer %p (not a block of this allocator%s)",
		     address, but(", and nothing is mapped there"));
	expect_party("passed", "main");
	free(address);
	return survived();
}
