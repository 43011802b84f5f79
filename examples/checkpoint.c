/* SPDX-License-Identifier: MIT
 *
 * checkpoint.c - give memory back at a moment of the program's own choosing.
 *
 *	cc -o checkpoint checkpoint.c $(pkg-config --cflags --libs hakmem)
 *	./checkpoint [ROUNDS [ENTRIES]]
 *
 * Each round builds an index of words, looks every one of them up and drops the index.
 * Then comes a checkpoint, at which the program knows what the allocator cannot: that it
 * will not need the memory soon.  HAKMEM_RELEASE sends the free blocks home and the empty
 * SuperSlabs back to the kernel; the figures before and after are printed side by side.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hakmem.h>

#define BUCKETS 65536u

struct entry {
	struct entry *next;
	uint64_t count;
	char word[];
};

struct index {
	struct entry *bucket[BUCKETS];
};

struct figures {
	uint64_t live, cached, resident; /* bytes */
};

static void fail(const char *what)
{
	fprintf(stderr, "checkpoint: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

/* FNV-1a. */
static uint32_t hash(const char *word)
{
	uint32_t h = 2166136261u;

	while (*word)
		h = (h ^ (unsigned char)*word++) * 16777619u;
	return h;
}

static struct entry **find(struct index *index, const char *word)
{
	struct entry **link = &index->bucket[hash(word) % BUCKETS];

	while (*link && strcmp((*link)->word, word) != 0)
		link = &(*link)->next;
	return link;
}

static void add(struct index *index, const char *word)
{
	struct entry **link = find(index, word);

	if (!*link) {
		struct entry *entry = malloc(sizeof(*entry) + strlen(word) + 1);

		if (!entry)
			fail("malloc");
		entry->next = NULL;
		entry->count = 0;
		strcpy(entry->word, word);
		*link = entry;
	}
	(*link)->count++;
}

/* Words of 8 to 100 bytes, so that the blocks belong to a dozen size classes. */
static void spell(char word[128], unsigned round, unsigned number)
{
	snprintf(word, 128, "%u/%06u%.*s", round, number,
		 (int)(number * 2654435761u >> 16) % 93,
		 "-------------------------------------------------"
		 "-------------------------------------------------");
}

static void build_and_drop(unsigned round, unsigned entries)
{
	struct index *index = calloc(1, sizeof(*index));
	char word[128];

	if (!index)
		fail("calloc");
	for (unsigned i = 0; i < entries; i++) {
		spell(word, round, i);
		add(index, word);
	}
	for (unsigned i = 0; i < entries; i++) {
		spell(word, round, i);
		if (!*find(index, word)) {
			errno = ENOENT;
			fail(word);
		}
	}
	for (unsigned b = 0; b < BUCKETS; b++)
		while (index->bucket[b]) {
			struct entry *entry = index->bucket[b];

			index->bucket[b] = entry->next;
			free(entry);
		}
	free(index);
}

static uint64_t resident(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "r");
	unsigned long long kib = 0;
	char line[256];

	if (!file)
		fail("/proc/self/smaps_rollup");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Rss: %llu kB", &kib) == 1)
			break;
	fclose(file);
	return kib * 1024;
}

static struct figures measure(void)
{
	struct hakmem_stats stats;
	struct figures figures;

	if (hakmem_ctl(HAKMEM_STATS, &stats, sizeof(stats)) == -1)
		fail("HAKMEM_STATS");
	figures.live = stats.bytes_live;
	figures.cached = stats.bytes_cached;
	figures.resident = resident(); /* last, because fopen itself allocates */
	return figures;
}

static unsigned argument(int argc, char **argv, int i, unsigned otherwise)
{
	char *end;
	unsigned long value;

	if (i >= argc)
		return otherwise;
	value = strtoul(argv[i], &end, 10);
	if (*argv[i] < '0' || *argv[i] > '9' || *end || value == 0 || value > 100000000) {
		fprintf(stderr, "usage: checkpoint [ROUNDS [ENTRIES]]\n");
		exit(2);
	}
	return (unsigned)value;
}

int main(int argc, char **argv)
{
	unsigned rounds = argument(argc, argv, 1, 4);
	unsigned entries = argument(argc, argv, 2, 500000);

	printf("libhakmem %s, %u entries a round, KiB\n\n", hakmem_version(), entries);
	printf("%7s  %-26s  %-26s\n", "", "before HAKMEM_RELEASE", "after");
	printf("%7s  %8s %8s %8s  %8s %8s %8s\n", "round", "live", "cached", "resident",
	       "live", "cached", "resident");
	for (unsigned round = 1; round <= rounds; round++) {
		struct figures before, after;

		build_and_drop(round, entries);
		before = measure();
		if (hakmem_ctl(HAKMEM_RELEASE, NULL, 0) == -1)
			fail("HAKMEM_RELEASE");
		after = measure();
		printf("%7u  %8llu %8llu %8llu  %8llu %8llu %8llu\n", round,
		       (unsigned long long)before.live / 1024,
		       (unsigned long long)before.cached / 1024,
		       (unsigned long long)before.resident / 1024,
		       (unsigned long long)after.live / 1024,
		       (unsigned long long)after.cached / 1024,
		       (unsigned long long)after.resident / 1024);
	}
	return EXIT_SUCCESS;
}
