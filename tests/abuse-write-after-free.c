/* SPDX-License-Identifier: MIT
 *
 * A byte written into a freed block: the debug library finds it when the block leaves the
 * quarantine; the production library keeps nothing in blocks, and is not disturbed.
 */
#include "libabuse.h"

int main(void)
{
	char *block = opaque(malloc(opaque_size(200)));

	require_library();
	free(opaque(block));
	((char *)opaque(block))[77] = 1;
	if (on_debug_library())
		expect_fatal("hakmem_ctl(): write after free in %p "
			     "(200-byte block, changed to 0x1 at offset 77)",
			     (void *)block);
	expect_party("found", "main");
	expect_party("freed", "main");
	expect_party("allocated", "main");
	ctl(HAKMEM_FLUSH, NULL, 0);
	for (size_t i = 0; i < 100000; i++) {
		block = opaque(malloc(opaque_size(200)));
		memset(block, 1, 200);
	}
	if (on_debug_library())
		return survived();
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	return tap_end();
}
