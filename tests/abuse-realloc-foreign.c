/* SPDX-License-Identifier: MIT
 *
 * realloc() to nothing of a mapping the program made itself.
 */
#include "libabuse.h"

int main(void)
{
	void *mapping = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	require_library();
	expect_fatal("realloc(): invalid pointer %p (not a block of this allocator%s)",
		     mapping, but(", but in an anonymous mapping"));
	expect_party("passed", "main");
	if (!realloc(opaque(mapping), opaque_size(0)))
		puts("# it answered NULL");
	return survived();
}
