/* SPDX-License-Identifier: MIT
 *
 * free() of a small number: the first page is never mapped.
 */
#include "libabuse.h"

int main(void)
{
	void *address = opaque((void *)(uintptr_t)0x10);

	require_library();
	expect_fatal("free(): invalid pointer %p (not a block of this allocator%s)",
		     address, but(", and nothing is mapped there"));
	expect_party("passed", "main");
	free(address);
	return survived();
}
