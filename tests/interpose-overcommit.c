/* SPDX-License-Identifier: MIT
 *
 * Where memory is not overcommitted (vm.overcommit_memory=2) each private mapping that can be
 * written counts in full: what the library has of them at the start, and that blocks are had
 * until there is no more of them, and again when some were freed.  preload-overcommit.sh makes
 * it so; the limit is this process's alone:
 *
 * A process may have a 32nd part less than the others, of all its addresses.  So it reserves, of
 * addresses, 32 times what it shall not have, which is the argument, in KiB.
 */
#include "libtap.h"

struct link {
	struct link *next;
	size_t size;
};

enum { MIB = 1 << 20, NO_ROOM = 8 * MIB };

/* In KiB: what the kernel has charged this process with, by the flag "ac" of its mappings. */
static size_t charged(void)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	char line[512];
	size_t kib = 0, sum = 0;

	while (file && fgets(line, sizeof(line), file)) {
		sscanf(line, "Size: %zu kB", &kib);
		if (!strncmp(line, "VmFlags:", 8) && strstr(line, " ac"))
			sum += kib;
	}
	if (file)
		fclose(file);
	return sum;
}

static bool kernel_has_room(void)
{
	void *base = mmap(NULL, NO_ROOM, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base != MAP_FAILED)
		munmap(base, NO_ROOM);
	return base != MAP_FAILED;
}

/* Blocks of this size, until there are no more; bytes.  Of each a page is touched. */
static size_t exhaust(size_t size, struct link **chain)
{
	size_t bytes = 0;

	for (;;) {
		struct link *block;

		errno = 0;
		block = opaque(malloc(opaque_size(size)));
		if (!block)
			return bytes;
		memset(block, 0x77, size < 4096 ? size : 4096);
		block->next = *chain;
		block->size = size;
		*chain = block;
		bytes += size;
	}
}

/* false: one is not as it was. */
static bool drop(struct link **chain)
{
	bool good = true;

	while (*chain) {
		struct link *block = *chain, *next = block->next;
		size_t touched = block->size < 4096 ? block->size : 4096;

		good &= all_bytes(block + 1, 0x77, touched - sizeof(*block));
		free(block);
		*chain = next;
	}
	return good;
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = { 3 * MIB, 200000, 1000, 24 };
	size_t reserved = argc > 1 ? strtoul(argv[1], NULL, 10) << 15 : 0;
	struct link *chain = NULL;
	size_t first = 0, second, start, most;
	void *addresses;
	char *block;

	require_library();
	start = charged();
	most = on_debug_library() ? 40 << 10 : 11 << 10;
	ok(start > 1000 && start <= most, "%zu KiB are charged at the start", start);
	addresses = mmap(NULL, reserved, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!ok(addresses != MAP_FAILED, "reserving addresses"))
		return tap_end();
	block = opaque(malloc(opaque_size(100000)));
	memset(block, 0x42, 100000);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t bytes = exhaust(sizes[i], &chain);

		first += bytes;
		ok(errno == ENOMEM && !kernel_has_room(),
		   "%zu-byte blocks: %zu KiB of them, then NULL and ENOMEM, as it is for mmap",
		   sizes[i], bytes >> 10);
	}
	ok(first >= 100 * MIB, "in all %zu MiB", first / MIB);
	errno = 0;
	ok(!realloc(opaque(block), opaque_size(64 * MIB)) && errno == ENOMEM &&
		   all_bytes(block, 0x42, 100000),
	   "realloc to 64 MiB: NULL and ENOMEM, the block is whole");
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	ok(drop(&chain), "all of them are as they were");
	/*
	 * Others may have taken a part of it meanwhile.  And a SuperSlab's records, 64 KiB, stay
	 * when it has gone; the debug library has 2 MiB more of them.
	 */
	second = exhaust(200000, &chain);
	ok(second >= first / (on_debug_library() ? 8 : 2),
	   "freed and taken again, as other blocks: %zu MiB", second / MIB);
	ok(drop(&chain), "and those are, too");
	munmap(addresses, reserved);
	ok(kernel_has_room(), "when there is more");
	block = opaque(realloc(opaque(block), opaque_size(64 * MIB)));
	ok(block && all_bytes(block, 0x42, 100000), "realloc succeeds");
	free(block);
	ctl(HAKMEM_RELEASE, NULL, 0);
	most = start + (8 << 10) + (second >> 10) / 16;
	if (on_debug_library())
		most += (second >> 10) * 2;
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0 && charged() <= most,
	   "released: %zu KiB are charged, %zu are allowed", charged(), most);
	return tap_end();
}
