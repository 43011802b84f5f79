/* SPDX-License-Identifier: MIT
 *
 * A small block freed by two threads, each into its own magazine: found when the second
 * of them goes home, by the debug library at once.
 */
#include "libabuse.h"

static int other;

STEP void *free_it(void *block)
{
	other = this_thread();
	free(opaque(block));
	ctl(HAKMEM_FLUSH, NULL, 0);
	return NULL;
}

int main(void)
{
	pthread_t thread;
	char *block, *neighbour;

	require_library();
	block = opaque(malloc(opaque_size(64)));
	/* Keeps the slab, so that the second free still finds one. */
	neighbour = opaque(malloc(opaque_size(64)));
	if (on_debug_library())
		expect_fatal("free(): double free of %p (64-byte block)", (void *)block);
	else
		expect_fatal(
			"hakmem_ctl(): double free of %p (64-byte block, found at spill)",
			(void *)block);
	if (pthread_create(&thread, NULL, free_it, block) || pthread_join(thread, NULL))
		return 1;
	expect_party("freed again", "main");
	expect_party_of(other, "freed first", "free_it");
	expect_party("allocated", "main");
	free(opaque(block));
	ctl(HAKMEM_FLUSH, NULL, 0);
	free(neighbour);
	return survived();
}
