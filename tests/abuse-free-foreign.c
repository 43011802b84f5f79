/* SPDX-License-Identifier: MIT
 *
 * free() of a mapping the program made itself, aligned as a SuperSlab is.
 */
#include "libabuse.h"

int main(void)
{
	size_t alignment = (size_t)2 << 20;
	char *mapping = mmap(NULL, 2 * alignment, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *block = (char *)(((uintptr_t)mapping + alignment - 1) & ~(alignment - 1));

	require_library();
	expect_fatal("free(): invalid pointer %p (not a block of this allocator%s)",
		     (void *)block, but(", but in an anonymous mapping"));
	expect_party("passed", "main");
	free(opaque(block));
	return survived();
}
