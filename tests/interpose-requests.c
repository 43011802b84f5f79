/* SPDX-License-Identifier: MIT
 *
 * A long random run: 1,600,000 requests, none of which may fail, through every entry
 * point, beside a model of what each block must be.  The seed is printed; TEST_SEED
 * replays it.
 */
#include "libtap.h"

enum { THREADS = 4, REQUESTS = 400000, SLOTS = 1000 };

struct block {
	unsigned char *bytes;
	size_t size;
	unsigned char pattern;
};

struct run {
	uint64_t random;
	struct block blocks[SLOTS];
	unsigned long failed;
	int bad;
	size_t live;
};

/* Blocks change hands here: another thread verifies and frees. */
static pthread_mutex_t exchange_lock = PTHREAD_MUTEX_INITIALIZER;
static struct block exchange[64];

/* Both ends, and a little between: all of every block would take too long. */
static void write_pattern(struct block *block)
{
	size_t edge = block->size < 128 ? block->size : 64;

	memset(block->bytes, block->pattern, edge);
	memset(block->bytes + block->size - edge, block->pattern, edge);
	for (size_t i = edge; i < block->size; i += 4096)
		block->bytes[i] = block->pattern;
}

static bool is_whole(const struct block *block, size_t size)
{
	size_t edge = block->size < 128 ? block->size : 64;

	if (edge > size)
		edge = size;
	if (!all_bytes(block->bytes, block->pattern, edge))
		return false;
	if (size == block->size &&
	    !all_bytes(block->bytes + block->size - edge, block->pattern, edge))
		return false;
	for (size_t i = block->size < 128 ? block->size : 64; i < size; i += 4096)
		if (block->bytes[i] != block->pattern)
			return false;
	return true;
}

static void free_block(struct run *run, struct block *block)
{
	SILENT(run->bad, is_whole(block, block->size), "%zu bytes at %p", block->size,
	       (void *)block->bytes);
	free(block->bytes);
	block->bytes = NULL;
}

static void fill_block(struct run *run, struct block *block)
{
	size_t size = random_size(&run->random), alignment = 1;
	unsigned dice = (unsigned)random_below(&run->random, 100);
	void *memory = NULL;

	if (dice < 70) {
		memory = malloc(size);
	} else if (dice < 88) {
		memory = calloc(1, size);
		if (memory)
			SILENT(run->bad, all_bytes(memory, 0, size),
			       "calloc of %zu bytes at %p", size, memory);
	} else {
		alignment = (size_t)8 << random_below(&run->random, dice < 99 ? 10 : 19);
		if (posix_memalign(&memory, alignment, size))
			memory = NULL;
	}
	if (size >= 16 && alignment < 16)
		alignment = 16;
	run->failed += !memory;
	SILENT(run->bad, (uintptr_t)memory % alignment == 0,
	       "%zu bytes at %p, alignment %zu", size, memory, alignment);
	block->bytes = memory;
	block->size = size;
	block->pattern = (unsigned char)random_next(&run->random);
	if (memory)
		write_pattern(block);
}

static void resize_block(struct run *run, struct block *block)
{
	size_t size = random_size(&run->random) + 1;
	unsigned char *bytes = realloc(block->bytes, size);

	run->failed += !bytes;
	if (!bytes)
		return;
	block->bytes = bytes;
	SILENT(run->bad, is_whole(block, size < block->size ? size : block->size),
	       "realloc from %zu to %zu bytes at %p", block->size, size, (void *)bytes);
	block->size = size;
	write_pattern(block);
}

static void *requests(void *argument)
{
	struct run *run = argument;

	for (unsigned i = 0; i < REQUESTS; i++) {
		struct block *block = &run->blocks[random_below(&run->random, SLOTS)];
		unsigned dice = (unsigned)random_below(&run->random, 100);

		if (!block->bytes) {
			fill_block(run, block);
		} else if (dice < 15) {
			resize_block(run, block);
		} else if (dice < 30) {
			struct block *other = &exchange[random_below(&run->random, 64)];
			struct block kept;

			pthread_mutex_lock(&exchange_lock);
			kept = *other;
			*other = *block;
			pthread_mutex_unlock(&exchange_lock);
			*block = kept;
			if (kept.bytes)
				free_block(run, block);
			fill_block(run, block);
		} else {
			free_block(run, block);
			fill_block(run, block);
		}
	}
	for (size_t i = 0; i < SLOTS; i++)
		if (run->blocks[i].bytes)
			free_block(run, &run->blocks[i]);
	return NULL;
}

int main(void)
{
	static struct run runs[THREADS];
	pthread_t threads[THREADS];
	unsigned long failed = 0;
	struct hakmem_stats stats, before;
	uint64_t seed;
	int bad = 0;

	require_library();
	seed = tap_seed();
	before = stats_now();
	for (size_t i = 0; i < THREADS; i++) {
		runs[i].random = seed + i;
		if (pthread_create(&threads[i], NULL, requests, &runs[i]))
			return 1;
	}
	for (size_t i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		failed += runs[i].failed;
		bad += runs[i].bad;
	}
	for (size_t i = 0; i < 64; i++)
		if (exchange[i].bytes)
			free_block(&runs[0], &exchange[i]);
	bad += runs[0].bad;
	ok(!failed, "none of %u requests fails (%lu did)", THREADS * REQUESTS, failed);
	ok(!bad,
	   "every block is aligned, zeroed where it must be, whole, and nobody else's");
	stats = stats_now();
	ok(stats.failed_total == before.failed_total, "failed_total says so too");
	ok(stats.blocks_live <= before.blocks_live + 64,
	   "all came back: %llu live, then %llu", (unsigned long long)before.blocks_live,
	   (unsigned long long)stats.blocks_live);
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	return tap_end();
}
