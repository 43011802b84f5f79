/* SPDX-License-Identifier: MIT
 *
 * hakmem_ctl() as its page has it: what the counters count, what an address is, the three
 * formats of the dump.  The argument is a directory for the dumps, which
 * preload-interpose.sh reads with parsers of their formats.
 */
#include "libtap.h"

#include <fcntl.h>
#include <sys/mman.h>

static struct hakmem_query query_of(const void *address)
{
	struct hakmem_query query = { .address = address };

	if (ctl(HAKMEM_QUERY, &query, sizeof(query)))
		query.kind = UINT32_MAX;
	return query;
}

static void version(void)
{
	const char *(*hakmem_version_)(void);

	*(void **)&hakmem_version_ = dlsym(RTLD_DEFAULT, "hakmem_version");
	ok(hakmem_version_ && !strcmp(hakmem_version_(), "0.1.0"),
	   "hakmem_version() is 0.1.0");
}

static void stats(void)
{
	enum { MANY = 5000 };
	static void *blocks[MANY];
	struct hakmem_stats before = stats_now(), after;
	void *large;

	for (size_t i = 0; i < MANY; i++)
		blocks[i] = opaque(malloc(opaque_size(64)));
	after = stats_now();
	ok(after.blocks_live - before.blocks_live == MANY &&
		   after.bytes_live - before.bytes_live ==
			   MANY * query_of(blocks[0]).class_size,
	   "%d blocks of 64 bytes: blocks_live grew by %llu, bytes_live by %llu", MANY,
	   (unsigned long long)(after.blocks_live - before.blocks_live),
	   (unsigned long long)(after.bytes_live - before.bytes_live));
	ok(after.refills_total > before.refills_total, "refills were counted");
	ok(after.bytes_mapped >= after.bytes_live + after.bytes_cached &&
		   after.bytes_committed <= after.bytes_mapped &&
		   after.bytes_metadata > 0,
	   "mapped covers live and cached");
	for (size_t i = 0; i < MANY; i++)
		free(blocks[i]);
	/* Out of the debug library's quarantine. */
	if (on_debug_library())
		ctl(HAKMEM_FLUSH, NULL, 0);
	after = stats_now();
	ok(after.blocks_live == before.blocks_live &&
		   after.bytes_live == before.bytes_live,
	   "freed: as before");
	ok(after.spills_total > before.spills_total, "spills were counted");

	before = stats_now();
	large = opaque(malloc(opaque_size((size_t)10 << 20)));
	after = stats_now();
	ok(after.large_live == before.large_live + 1 &&
		   after.large_bytes >= before.large_bytes + ((size_t)10 << 20) &&
		   after.bytes_mapped >= before.bytes_mapped + ((size_t)10 << 20),
	   "a block of 10 MiB: large_live, large_bytes, bytes_mapped");
	free(large);
	after = stats_now();
	ok(after.large_live == before.large_live &&
		   after.large_bytes == before.large_bytes,
	   "freed: it is not live");
	ctl(HAKMEM_RELEASE, NULL, 0);
	after = stats_now();
	ok(after.bytes_mapped < before.bytes_mapped + ((size_t)10 << 20),
	   "released: it is unmapped");

	before = stats_now();
	ctl(HAKMEM_FLUSH, NULL, 0);
	ctl(HAKMEM_RELEASE, NULL, 0);
	if (malloc(opaque_size(PTRDIFF_MAX)))
		puts("# it was served");
	after = stats_now();
	ok(after.flushes_total > before.flushes_total &&
		   after.releases_total > before.releases_total &&
		   after.failed_total == before.failed_total + 1,
	   "flushes, releases and failures were counted");
}

/* Those of a size class, up to 2 KiB in slabs; larger ones share slots, and may span them. */
static void blocks_of_classes(void)
{
	static const size_t sizes[] = { 1, 16, 100, 1000, 5000, 40000, 65536 };
	int bad = 0;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		/* With what the debug library puts around it, the largest would be of none. */
		size_t size = sizes[i] - (on_debug_library() && sizes[i] == 65536) * 64;
		char *block = opaque(malloc(opaque_size(size)));
		size_t usable = malloc_usable_size(block);
		struct hakmem_query query = query_of(block + usable - 1);

		bool small = sizes[i] <= 1000;
		uint64_t last = query.block + (small ? usable : 1);

		SILENT(bad,
		       query.kind == (small ? HAKMEM_SMALL : HAKMEM_MEDIUM) &&
			       query.state == HAKMEM_LIVE,
		       "%zu bytes: kind %u, state %u", sizes[i], query.kind, query.state);
		SILENT(bad,
		       query.block == (uintptr_t)block && query.usable_size == usable &&
			       query.class_size >= usable,
		       "%zu bytes: block %#llx for %p, usable %llu, class %llu", sizes[i],
		       (unsigned long long)query.block, (void *)block,
		       (unsigned long long)query.usable_size,
		       (unsigned long long)query.class_size);
		SILENT(bad,
		       (query.slab <= query.block || !small) &&
			       last <= query.slab + query.slab_size &&
			       query.slab % 65536 == 0 &&
			       query.superslab % (2 << 20) == 0 &&
			       query.superslab <= query.slab &&
			       query.slab + query.slab_size <=
				       query.superslab + (2 << 20),
		       "%zu bytes: slab %#llx, SuperSlab %#llx", sizes[i],
		       (unsigned long long)query.slab,
		       (unsigned long long)query.superslab);
		free(opaque(block));
		query = query_of(block);
		SILENT(bad, query.state == HAKMEM_CACHED, "%zu bytes, freed: state %u",
		       sizes[i], query.state);
	}
	ok(!bad,
	   "QUERY of blocks of classes: live, by any of their addresses, then cached");
}

static void other_addresses(void)
{
	char *neighbour = opaque(malloc(opaque_size(48)));
	char *block = opaque(malloc(opaque_size(48)));
	char *medium = opaque(malloc(opaque_size(300000)));
	char *large = opaque(malloc(opaque_size((size_t)9 << 20)));
	void *foreign = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct hakmem_query query;
	int variable;

	free(opaque(block));
	ctl(HAKMEM_FLUSH, NULL, 0);
	query = query_of(block);
	ok(query.kind == HAKMEM_SMALL && query.state == HAKMEM_FREE &&
		   query.block == (uintptr_t)block,
	   "QUERY of a small block that went home: free (kind %u, state %u)", query.kind,
	   query.state);
	free(neighbour);

	query = query_of(medium + 200000);
	ok(query.kind == HAKMEM_MEDIUM && query.state == HAKMEM_LIVE &&
		   query.block == (uintptr_t)medium &&
		   query.usable_size == malloc_usable_size(medium) && query.superslab,
	   "QUERY of a medium block");
	query = query_of(large + (7 << 20));
	ok(query.kind == HAKMEM_LARGE && query.state == HAKMEM_LIVE &&
		   query.block == (uintptr_t)large &&
		   query.usable_size == malloc_usable_size(large) && !query.superslab,
	   "QUERY of a large block, deep inside");
	free(opaque(medium));
	free(opaque(large));
	query = query_of(large);
	ok(query.kind == HAKMEM_NONE && !query.block,
	   "QUERY of a large block that is gone");

	query = query_of(&variable);
	ok(query.kind == HAKMEM_NONE && query.state == HAKMEM_FREE && !query.block &&
		   !query.usable_size && !query.slab,
	   "QUERY of the stack: nothing");
	query = query_of(foreign);
	ok(query.kind == HAKMEM_NONE, "QUERY of a mapping that cannot be read");
	query = query_of(NULL);
	ok(query.kind == HAKMEM_NONE, "QUERY of NULL");
	query = query_of((void *)UINTPTR_MAX);
	ok(query.kind == HAKMEM_NONE, "QUERY of the last address");
	query = query_of((void *)((uintptr_t)block | (uintptr_t)1 << 47));
	ok(query.kind == HAKMEM_NONE, "QUERY of an address of 48 bits");
	query = query_of((void *)((uintptr_t)block | (uintptr_t)1 << 51));
	ok(query.kind == HAKMEM_NONE, "QUERY of an address of 52 bits");
	query = query_of((void *)((uintptr_t)1 << 63));
	ok(query.kind == HAKMEM_NONE, "QUERY of an address that is none");
}

static void dumps(const char *directory)
{
	static const char *const names[] = { "text", "json", "openmetrics" };
	char path[4096];

	for (uint32_t format = HAKMEM_TEXT; format <= HAKMEM_OPENMETRICS; format++) {
		struct hakmem_dump dump = { .format = format };
		struct hakmem_stats before = stats_now();

		snprintf(path, sizeof(path), "%s/dump.%s", directory, names[format]);
		dump.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
		ok(dump.fd >= 0 && ctl(HAKMEM_DUMP, &dump, sizeof(dump)) == 0 &&
			   lseek(dump.fd, 0, SEEK_CUR) > 500,
		   "DUMP, %s", names[format]);
		close(dump.fd);
		ok(stats_now().blocks_live == before.blocks_live,
		   "the dump allocates nothing");
	}
}

static void limits(void)
{
	struct hakmem_option option = { .name = "hard_limit" };
	void *blocks[64];
	size_t got = 0;

	ctl(HAKMEM_RELEASE, NULL, 0);
	snprintf(option.value, sizeof(option.value), "%llu",
		 (unsigned long long)stats_now().bytes_mapped + ((size_t)20 << 20));
	ok(ctl(HAKMEM_SET, &option, sizeof(option)) == 0, "SET hard_limit to %s",
	   option.value);
	while (got < 64 && (blocks[got] = opaque(malloc(opaque_size((size_t)3 << 20)))))
		got++;
	ok(got >= 3 && got <= 7 && errno == ENOMEM,
	   "20 MiB more: %zu blocks of 3 MiB, then ENOMEM", got);
	while (got)
		free(blocks[--got]);
	ok((blocks[0] = opaque(malloc(opaque_size((size_t)3 << 20)))) != NULL,
	   "what is freed can be had again");
	free(blocks[0]);
	strcpy(option.value, "0");
	ok(ctl(HAKMEM_SET, &option, sizeof(option)) == 0 &&
		   (blocks[0] = opaque(malloc(opaque_size((size_t)64 << 20)))) != NULL,
	   "without the limit there is more");
	free(blocks[0]);
}

static void profiles(void)
{
	static const char *const words[] = { "conservative", "hot", "full", "off" };
	enum { MANY = 2000 };
	static unsigned char *blocks[MANY];
	int bad = 0;

	for (size_t round = 0; round < 8; round++) {
		struct hakmem_option option = { .name = "tiny_profile" };

		strcpy(option.value, words[round % 4]);
		SILENT(bad, ctl(HAKMEM_SET, &option, sizeof(option)) == 0, "%s",
		       words[round % 4]);
		/* Of blocks taken under one profile, half are freed under the next. */
		for (size_t i = round % 2; i < MANY; i += 2) {
			SILENT(bad,
			       !blocks[i] ||
				       all_bytes(blocks[i], (int)(i % 251), i % 1100),
			       "block %zu", i);
			free(blocks[i]);
			blocks[i] = opaque(malloc(opaque_size(i % 1100)));
			SILENT(bad, malloc_usable_size(blocks[i]) >= i % 1100,
			       "block %zu", i);
			memset(blocks[i], (int)(i % 251), i % 1100);
		}
		SILENT(bad, ctl(HAKMEM_CHECK, NULL, 0) == 0, "%s", words[round % 4]);
	}
	for (size_t i = 0; i < MANY; i++)
		free(blocks[i]);
	ok(!bad, "SET tiny_profile to each, over and over, while blocks live");
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	require_library();
	version();
	stats();
	blocks_of_classes();
	other_addresses();
	dumps(argv[1]);
	limits();
	profiles();
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	return tap_end();
}
