/* SPDX-License-Identifier: MIT
 *
 * free_sized() with a size that the block cannot have.
 */
#include "libabuse.h"

int main(void)
{
	void (*free_sized_)(void *, size_t);
	void *block = opaque(malloc(opaque_size(32)));

	require_library();
	*(void **)&free_sized_ = dlsym(RTLD_DEFAULT, "free_sized");
	expect_fatal(
		"free_sized(): size mismatch for %p (size 100, but the block has 32 bytes)",
		block);
	expect_party("freed", "main");
	expect_party("allocated", "main");
	free_sized_(block, 100);
	return survived();
}
