/* SPDX-License-Identifier: MIT
 *
 * A small block freed by two threads, each into its own magazine: found when the second
 * of them goes home.
 */
#include "libabuse.h"

static void *free_it(void *block)
{
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
	expect_fatal("hakmem_ctl(): double free of %p (64-byte block, found at spill)",
		     (void *)block);
	if (pthread_create(&thread, NULL, free_it, block) || pthread_join(thread, NULL))
		return 1;
	free(opaque(block));
	ctl(HAKMEM_FLUSH, NULL, 0);
	free(neighbour);
	return survived();
}
