/* SPDX-License-Identifier: MIT
 *
 * A process that has as many mappings as the kernel allows (vm.max_map_count): a mapping cannot
 * be split any more, so the kernel refuses to unmap what lies in the middle of one, and to map
 * what it cannot join to another.  Blocks of all sizes come and go, or there are NULL and
 * ENOMEM; and when the program has given up its mappings, all memory goes back.
 */
#include "libtap.h"

enum { SMALL = 200000, MEDIUM = 400, LARGE = 24, MOST = 300000 };
enum { MIB = 1 << 20 };

static void *small[SMALL], *medium[MEDIUM], *large[LARGE];

static size_t map_count(void)
{
	unsigned long count = 0;
	FILE *file = fopen("/proc/sys/vm/max_map_count", "r");

	if (file && fscanf(file, "%lu", &count) != 1)
		count = 0;
	if (file)
		fclose(file);
	return count;
}

/* Use them up: every other page is protected otherwise. */
static char *use_up(size_t pages)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *base = mmap(NULL, pages * page, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return NULL;
	for (size_t i = 1; i < pages; i += 2) {
		if (mprotect(base + i * page, page, PROT_READ))
			return base;
	}
	munmap(base, pages * page);
	return NULL;
}

static size_t size_of_large(size_t i)
{
	return (i % 5 + 2) * MIB - 100;
}

static int take(void **blocks, size_t count, size_t (*size_of)(size_t), int *refused)
{
	int bad = 0;

	for (size_t i = 0; i < count; i++) {
		if (blocks[i])
			continue;
		errno = 0;
		blocks[i] = opaque(malloc(opaque_size(size_of(i))));
		if (blocks[i])
			memset(blocks[i], (int)(i & 0x7f) + 1,
			       size_of(i) < 300 ? size_of(i) : 300);
		else
			SILENT(bad, ++*refused && errno == ENOMEM, "block %zu", i);
	}
	return bad;
}

static int give(void **blocks, size_t count, size_t (*size_of)(size_t), size_t step)
{
	int bad = 0;

	for (size_t i = 0; i < count; i += step) {
		size_t size = size_of(i) < 300 ? size_of(i) : 300;

		SILENT(bad, !blocks[i] || all_bytes(blocks[i], (int)(i & 0x7f) + 1, size),
		       "block %zu", i);
		free(blocks[i]);
		blocks[i] = NULL;
	}
	return bad;
}

static size_t size_of_small(size_t i)
{
	return 16 + i % 700;
}

static size_t size_of_medium(size_t i)
{
	return 40000 + i * 800;
}

static int take_all(int *refused)
{
	return take(small, SMALL, size_of_small, refused) +
	       take(medium, MEDIUM, size_of_medium, refused) +
	       take(large, LARGE, size_of_large, refused);
}

static int give_all(size_t step)
{
	return give(small, SMALL, size_of_small, step) +
	       give(medium, MEDIUM, size_of_medium, step) +
	       give(large, LARGE, size_of_large, step);
}

static int resize_large(int *refused)
{
	int bad = 0;

	for (size_t i = 0; i < LARGE; i += 2) {
		void *block = large[i] ? realloc(large[i],
						 size_of_large(i) * (i % 4 ? 3 : 1) -
							 (i % 4 ? 0 : MIB / 2))
				       : NULL;

		if (block)
			large[i] = block;
		else
			++*refused;
		SILENT(bad, !large[i] || all_bytes(large[i], (int)(i & 0x7f) + 1, 300),
		       "block %zu", i);
	}
	return bad;
}

int main(void)
{
	size_t allowed = map_count();
	struct hakmem_stats before, after;
	int bad = 0, refused = 0, none = 0;
	char *used;

	require_library();
	if (!allowed || allowed > MOST) {
		printf("# vm.max_map_count is %zu: not tried\n", allowed);
		return tap_end();
	}
	/* Once without need: bookkeeping stays. */
	bad = take_all(&none) + give_all(1);
	ctl(HAKMEM_RELEASE, NULL, 0);
	before = stats_now();
	bad += take_all(&none);
	ok(!bad && !none, "blocks of all sizes");
	used = use_up(allowed + 10);
	if (!ok(used, "then the process has %zu mappings", allowed))
		return tap_end();
	bad += give_all(3);
	ok(ctl(HAKMEM_RELEASE, NULL, 0) == 0 && ctl(HAKMEM_CHECK, NULL, 0) == 0,
	   "a third of them freed and released: HAKMEM_CHECK finds nothing");
	bad += take_all(&refused);
	bad += resize_large(&refused);
	ok(!bad, "taken again, resized: whole, or NULL and ENOMEM (%d times)", refused);
	for (unsigned round = 0; round < 20; round++) {
		bad += give_all(2 + round % 3);
		bad += take_all(&refused);
	}
	bad += give_all(1);
	ok(!bad, "and twenty times more (%d times)", refused);
	ok(ctl(HAKMEM_RELEASE, NULL, 0) == 0 && ctl(HAKMEM_CHECK, NULL, 0) == 0,
	   "all freed and released: HAKMEM_CHECK finds nothing");
	munmap(used, (allowed + 10) * (size_t)sysconf(_SC_PAGESIZE));
	/* Where blocks have come to lie elsewhere, there are leaves of the registry for that. */
	ctl(HAKMEM_RELEASE, NULL, 0);
	after = stats_now();
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0 &&
		   after.superslabs_live + after.superslabs_cached <=
			   before.superslabs_live + before.superslabs_cached &&
		   after.bytes_mapped <= before.bytes_mapped + 5 * MIB,
	   "with mappings to spare, all goes back (%llu KiB mapped, %llu before)",
	   (unsigned long long)after.bytes_mapped / 1024,
	   (unsigned long long)before.bytes_mapped / 1024);
	none = 0;
	ok(!take_all(&none) && !none, "and there is memory again");
	give_all(1);
	return tap_end();
}
