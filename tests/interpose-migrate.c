/* SPDX-License-Identifier: MIT
 *
 * Two threads flush, again and again, what eight others cache, who allocate, free, hand
 * each other blocks and are moved from CPU to CPU meanwhile.  No block loses its
 * pattern, none is had twice, none is lost.  TEST_SECONDS says for how long.
 */
#include "libtap.h"

#include <sched.h>

enum { WORKERS = 8, HELD = 1500, HANDED = 64, FLUSHERS = 2 };

struct block {
	uint64_t tag;
	size_t size;
	unsigned char rest[];
};

static uint64_t seed;
static _Atomic bool stop;
static _Atomic uint64_t operations, migrations, flushes, releases, flushed_blocks;
static _Atomic int bad;
static _Atomic pid_t ids[WORKERS];
static struct block *held[WORKERS][HELD];
static _Atomic(struct block *) handed[HANDED];

static struct block *make(uint64_t *random)
{
	unsigned dice = (unsigned)random_below(random, 64);
	size_t size = sizeof(struct block) +
		      random_below(random, dice ? dice < 60 ? 200 : 2000 : 30000);
	struct block *block = malloc(size);

	if (!block) {
		bad++;
		return NULL;
	}
	block->tag = random_next(random);
	block->size = size;
	memset(block->rest, (int)(block->tag & 0xff), size - sizeof(*block));
	return block;
}

/* Its size and its last byte would also be another's, if two had it. */
static bool is_whole(const struct block *block)
{
	return block->size >= sizeof(*block) && block->size < 40000 &&
	       all_bytes(block->rest, (int)(block->tag & 0xff),
			 block->size - sizeof(*block));
}

static void drop(struct block *block)
{
	SILENT(bad, is_whole(block), "%p of %zu bytes is not whole", (void *)block,
	       block->size);
	/* Whoever still has it would see this. */
	memset(block, 0xdd, sizeof(*block));
	free(block);
}

static void *work(void *argument)
{
	size_t me = (size_t)(uintptr_t)argument;
	uint64_t random = seed + me, steps = 0;

	ids[me] = (pid_t)syscall(SYS_gettid);
	while (!stop) {
		size_t i = random_below(&random, HELD);
		struct block *block = held[me][i];

		if (block && random_below(&random, 8) == 0) {
			/* What another thread put there is now this one's to free. */
			held[me][i] = atomic_exchange(
				&handed[random_below(&random, HANDED)], block);
		} else if (block) {
			held[me][i] = NULL;
			drop(block);
		} else {
			held[me][i] = make(&random);
		}
		if (++steps % 1024 == 0)
			operations += 1024;
	}
	return NULL;
}

static void *flush(void *argument)
{
	bool also_others = argument != NULL;

	while (!stop) {
		struct hakmem_flush ask = { .scope = HAKMEM_ALL };
		uint64_t round;

		SILENT(bad, ctl(HAKMEM_FLUSH, &ask, sizeof(ask)) == 0, "flush");
		SILENT(bad, !per_cpu_expected() || ask.unreached == 0, "unreached");
		flushed_blocks += ask.blocks;
		round = flushes++;
		if (also_others && round % 64 == 0) {
			SILENT(bad, ctl(HAKMEM_RELEASE, NULL, 0) == 0, "release");
			releases++;
		}
		if (also_others && round % 256 == 0)
			SILENT(bad, ctl(HAKMEM_CHECK, NULL, 0) == 0, "check");
		/* Else nothing is ever cached that could be flushed. */
		usleep((useconds_t)(round % 7) * 50);
	}
	return NULL;
}

/* Here and there, sometimes anywhere. */
static void migrate(uint64_t *random, const cpu_set_t *all)
{
	pid_t id = ids[random_below(random, WORKERS)];
	cpu_set_t one;
	size_t cpu;

	if (!id)
		return;
	CPU_ZERO(&one);
	do
		cpu = random_below(random, CPU_SETSIZE);
	while (!CPU_ISSET(cpu, all));
	CPU_SET(cpu, &one);
	if (sched_setaffinity(id, sizeof(one), random_below(random, 8) ? &one : all) == 0)
		migrations++;
}

static void free_all(struct hakmem_stats *before, struct hakmem_stats *after)
{
	uint64_t blocks = 0, bytes = 0;

	for (size_t i = 0; i < WORKERS * HELD + HANDED; i++) {
		struct block *block = i < WORKERS * HELD ? held[i / HELD][i % HELD]
							 : handed[i - WORKERS * HELD];

		if (!block)
			continue;
		blocks++;
		bytes += malloc_usable_size(block);
	}
	ok(after->blocks_live == before->blocks_live + blocks &&
		   after->bytes_live == before->bytes_live + bytes,
	   "%llu blocks and %llu bytes live, the program holds %llu and %llu",
	   (unsigned long long)(after->blocks_live - before->blocks_live),
	   (unsigned long long)(after->bytes_live - before->bytes_live),
	   (unsigned long long)blocks, (unsigned long long)bytes);
	for (size_t i = 0; i < WORKERS * HELD + HANDED; i++) {
		struct block *block = i < WORKERS * HELD ? held[i / HELD][i % HELD]
							 : handed[i - WORKERS * HELD];

		if (block)
			drop(block);
	}
}

int main(void)
{
	struct tap_thread workers[WORKERS], flushers[FLUSHERS];
	struct hakmem_stats before, after;
	unsigned long seconds;
	time_t end;
	cpu_set_t all;
	uint64_t random;

	require_library();
	seed = random = tap_seed();
	seconds = tap_number("TEST_SECONDS", 10);
	sched_getaffinity(0, sizeof(all), &all);
	ctl(HAKMEM_RELEASE, NULL, 0);
	before = stats_now();
	for (size_t i = 0; i < WORKERS; i++)
		tap_start(&workers[i], work, (void *)(uintptr_t)i);
	for (size_t i = 0; i < FLUSHERS; i++)
		tap_start(&flushers[i], flush, (void *)(uintptr_t)i);
	end = time(NULL) + (time_t)seconds;
	while (time(NULL) < end) {
		migrate(&random, &all);
		usleep(200);
	}
	stop = true;
	for (size_t i = 0; i < WORKERS; i++)
		tap_join(&workers[i]);
	for (size_t i = 0; i < FLUSHERS; i++)
		tap_join(&flushers[i]);

	ok(operations > seconds * 20000 && flushes > seconds * 20 &&
		   migrations > seconds * 50,
	   "%llu operations, %llu flushes, %llu migrations",
	   (unsigned long long)operations, (unsigned long long)flushes,
	   (unsigned long long)migrations);
	ok(!bad, "every block kept its pattern");
	after = stats_now();
	ok(after.flushes_total == before.flushes_total + flushes &&
		   after.releases_total == before.releases_total + releases,
	   "every flush and release is counted");
	/* Blocks leave the slabs and come back by batches of 1 to 64. */
	ok(after.refills_total - before.refills_total > flushes &&
		   after.spills_total - before.spills_total > flushes &&
		   flushed_blocks > flushes,
	   "%llu refills, %llu spills, %llu blocks flushed",
	   (unsigned long long)(after.refills_total - before.refills_total),
	   (unsigned long long)(after.spills_total - before.spills_total),
	   (unsigned long long)flushed_blocks);
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	free_all(&before, &after);
	ok(!bad, "and to the end");
	ctl(HAKMEM_RELEASE, NULL, 0);
	after = stats_now();
	ok(after.blocks_live == before.blocks_live && after.bytes_cached == 0 &&
		   after.superslabs_live == before.superslabs_live &&
		   after.superslabs_cached == 0,
	   "freed and released, the process holds what it held before");
	return tap_end();
}
