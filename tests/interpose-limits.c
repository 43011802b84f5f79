/* SPDX-License-Identifier: MIT
 *
 * When the kernel has no more to give: NULL and ENOMEM, never a crash, never a lost
 * block, and everything works again once there is memory.
 */
#include "libtap.h"

#include <sys/resource.h>

static size_t address_space(void)
{
	size_t pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file || fscanf(file, "%zu", &pages) != 1)
		exit(1);
	fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void limit(size_t more)
{
	struct rlimit rlimit;

	getrlimit(RLIMIT_AS, &rlimit);
	rlimit.rlim_cur = more ? address_space() + more : rlimit.rlim_max;
	if (setrlimit(RLIMIT_AS, &rlimit)) {
		puts("not ok - setrlimit");
		exit(1);
	}
}

struct link {
	struct link *next;
	size_t size;
};

/* Take blocks of this size until there are no more; how many there were. */
static size_t exhaust(size_t size, struct link **chain)
{
	size_t count = 0;

	for (;;) {
		struct link *block;

		errno = 0;
		block = opaque(malloc(opaque_size(size)));
		if (!block)
			break;
		memset(block, 0x77, size < 4096 ? size : 4096);
		block->next = *chain;
		block->size = size;
		*chain = block;
		count++;
	}
	return count;
}

static void drop(struct link **chain)
{
	while (*chain) {
		struct link *next = (*chain)->next;

		free(*chain);
		*chain = next;
	}
}

static void run_out(size_t size)
{
	enum { ROOM = 48 << 20 };
	struct link *chain = NULL;
	struct hakmem_stats before = stats_now(), after;
	size_t first, second, got, least;
	char *block = opaque(malloc(opaque_size(100000))), *grown;
	void *aligned = &chain;

	memset(block, 0x42, 100000);
	limit(ROOM);
	first = exhaust(size, &chain);
	ok(errno == ENOMEM && first, "%zu-byte blocks: %zu of them, then NULL and ENOMEM",
	   size, first);
	got = first * size;
	/* Each SuperSlab of the debug library's has more than twice its addresses of records. */
	least = on_debug_library() ? ROOM / 10 : ROOM / 2;
	ok(got >= least, "enough of the room was given out (%zu KiB of %d)", got / 1024,
	   ROOM / 1024);

	errno = 0;
	grown = opaque(realloc(opaque(block), opaque_size((size_t)64 << 20)));
	ok(!grown && errno == ENOMEM && all_bytes(block, 0x42, 100000),
	   "realloc to 64 MiB: NULL and ENOMEM, the block is whole");
	errno = 0;
	ok(!calloc(opaque_size(64), opaque_size(1 << 20)) && errno == ENOMEM,
	   "calloc of 64 MiB: NULL and ENOMEM");
	ok(posix_memalign(&aligned, 2 << 20, opaque_size((size_t)64 << 20)) == ENOMEM &&
		   aligned == &chain,
	   "posix_memalign of 64 MiB: ENOMEM, *memptr as it was");
	after = stats_now();
	ok(after.failed_total - before.failed_total == 4,
	   "failed_total counted %llu of 4",
	   (unsigned long long)(after.failed_total - before.failed_total));

	/* What is freed can be had again, still under the limit. */
	drop(&chain);
	second = exhaust(size, &chain);
	ok(second >= first - first / 8,
	   "freed and taken again, under the limit: %zu blocks", second);
	drop(&chain);

	/* Also as blocks of another size: nothing stays with the class that had it. */
	second = exhaust(size < 65536 ? 150000 : 48, &chain);
	got = second * (size < 65536 ? 150000 : 48);
	ok(got >= least / 3 * 2, "and as blocks of another size: %zu KiB", got / 1024);
	drop(&chain);
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");

	limit(0);
	grown = opaque(realloc(opaque(block), opaque_size((size_t)64 << 20)));
	ok(grown && all_bytes(grown, 0x42, 100000), "without the limit realloc succeeds");
	free(grown);
}

/* More threads than there is memory for: each is refused, and none is lost. */
static void *hungry(void *argument)
{
	struct link *chain = NULL;
	size_t size = (size_t)(uintptr_t)argument;

	for (unsigned i = 0; i < 3; i++) {
		exhaust(size, &chain);
		drop(&chain);
	}
	return NULL;
}

static void threads_run_out(void)
{
	pthread_t threads[6];
	struct link *chain = NULL;
	size_t count = 0;

	/* Their stacks, and so that libc has its own for them already. */
	for (size_t i = 0; i < 6; i++) {
		pthread_attr_t attributes;

		pthread_attr_init(&attributes);
		pthread_attr_setstacksize(&attributes, 256 * 1024);
		if (i == 5)
			limit(32 << 20);
		if (pthread_create(&threads[i], &attributes, hungry,
				   (void *)(uintptr_t)(i % 2 ? 40000 : 600)))
			break;
		count++;
	}
	for (size_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	limit(0);
	ok(count >= 5, "%zu threads ran out of memory, side by side, three times", count);
	limit(16 << 20);
	ok(exhaust(1000, &chain) > 8000, "and afterwards there is memory again");
	drop(&chain);
	limit(0);
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
}

int main(void)
{
	require_library();
	run_out(24);
	run_out(1000);
	run_out(30000);
	run_out(200000);
	run_out(3 << 20);
	threads_run_out();
	return tap_end();
}
