/* SPDX-License-Identifier: MIT
 *
 * free_aligned_sized() with an alignment that the block does not have.
 */
#include "libabuse.h"

int main(void)
{
	void (*free_aligned_sized_)(void *, size_t, size_t);
	char *blocks[3];

	require_library();
	*(void **)&free_aligned_sized_ = dlsym(RTLD_DEFAULT, "free_aligned_sized");
	/* Of three neighbours of 48 bytes one at least is not at a multiple of 64. */
	for (size_t i = 0; i < 3; i++)
		blocks[i] = opaque(malloc(opaque_size(48)));
	for (size_t i = 0; i < 3; i++) {
		if ((uintptr_t)blocks[i] % 64 == 0)
			continue;
		expect_fatal(
			"free_aligned_sized(): alignment mismatch for %p (alignment 64)",
			(void *)blocks[i]);
		expect_party("freed", "main");
		expect_party("allocated", "main");
		free_aligned_sized_(blocks[i], 64, 48);
		break;
	}
	return survived();
}
