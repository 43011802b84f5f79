/* SPDX-License-Identifier: MIT
 *
 * A small block freed twice, and nothing of its size in between: told at once, as it still
 * lies on top of its magazine.
 */
#include "libabuse.h"

#include <sched.h>

/* Another processor has other magazines. */
static void stay_here(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
}

int main(void)
{
	char *before = opaque(malloc(opaque_size(200)));
	char *block = opaque(malloc(opaque_size(200)));

	require_library();
	stay_here();
	free(opaque(before));
	expect_fatal("free(): double free of %p (%d-byte block)", (void *)block,
		     on_debug_library() ? 200 : 208);
	expect_party("freed again", "main");
	expect_party("freed first", "main");
	expect_party("allocated", "main");
	free(opaque(block));
	free(opaque(block));
	return survived();
}
