/* SPDX-License-Identifier: MIT
 *
 * Steps: fifty million random replacements at each size of the working set, TEST_STEPS of
 * them if that is set.  None may fail, whatever the registry, the pool or the caches have
 * been through before; every block keeps what was written to it.
 */
#include "libtap.h"

#define STEPS 50000000ul

static const struct {
	size_t slots, largest;
} sets[] = {
	{ 16, 4 << 20 }, { 256, 1024 },    { 1000, 200000 },
	{ 8192, 1024 },  { 200000, 4096 }, { 1000000, 64 },
};

#define SETS (sizeof(sets) / sizeof(sets[0]))

/* Each slot's block begins with this, so a block that two slots had would be seen. */
static uint64_t mark_of(size_t slot, size_t size)
{
	return ((uint64_t)slot << 32 | (uint32_t)size) * 0x9e3779b97f4a7c15;
}

struct slot {
	uint64_t *block;
	size_t size;
};

static void replace(struct slot *slot, size_t number, size_t size, int *bad)
{
	if (slot->block)
		SILENT(*bad, *slot->block == mark_of(number, slot->size), "slot %zu",
		       number);
	free(slot->block);
	slot->size = size;
	slot->block = opaque(malloc(opaque_size(size)));
	SILENT(*bad, slot->block, "%zu bytes", size);
	if (slot->block)
		*slot->block = mark_of(number, size);
}

int main(void)
{
	const char *text = getenv("TEST_STEPS");
	unsigned long steps = text ? strtoul(text, NULL, 10) : STEPS;
	uint64_t random = tap_seed();
	struct hakmem_stats before;

	require_library();
	before = stats_now();
	for (size_t i = 0; i < SETS; i++) {
		size_t slots = sets[i].slots, bytes = slots * sizeof(struct slot);
		struct slot *slot = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		unsigned long done = steps;
		int bad = 0;

		if (slot == MAP_FAILED) {
			ok(false, "%zu slots", slots);
			break;
		}
		/* A step of blocks that have mappings of their own is a system call or two. */
		if (sets[i].largest > 65536)
			done /= 50;
		for (unsigned long step = 0; step < done; step++) {
			size_t number = random_below(&random, slots);

			replace(&slot[number], number,
				8 + random_below(&random, sets[i].largest - 7), &bad);
		}
		ok(!bad, "%lu steps among %zu slots of up to %zu bytes", done, slots,
		   sets[i].largest);
		for (size_t number = 0; number < slots; number++)
			free(slot[number].block);
		munmap(slot, bytes);
		ok(stats_now().blocks_live == before.blocks_live, "all freed");
	}
	ok(stats_now().failed_total == before.failed_total, "no request failed");
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK");
	return tap_end();
}
