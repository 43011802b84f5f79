/* SPDX-License-Identifier: MIT
 *
 * malloc_usable_size() of an address of 52 bits that differs from a block's in the highest of
 * them alone.
 */
#include "libabuse.h"

int main(void)
{
	void *block = opaque(malloc(100));
	void *address = opaque((void *)((uintptr_t)block | (uintptr_t)1 << 51));

	require_library();
	expect_fatal(
		"malloc_usable_size(): invalid pointer %p (not a block of this allocator%s)",
		address, but(", and nothing is mapped there"));
	expect_party("passed", "main");
	if (!malloc_usable_size(address))
		puts("# it answered 0");
	return survived();
}
