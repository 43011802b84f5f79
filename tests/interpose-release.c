/* SPDX-License-Identifier: MIT
 *
 * HAKMEM_FLUSH and HAKMEM_RELEASE: a program that has freed all its blocks holds nothing
 * afterwards, whoever allocated and freed them; and nothing that lives is disturbed.
 *
 * The program allocates nothing behind its own back: standard output has a static
 * buffer, and threads run on stacks of its own, for which libc keeps no bookkeeping
 * when they end.
 */
#include "libtap.h"

static const size_t sizes[] = { 1,     8,     16,    24,     64,      100,    200,
				400,   512,   1000,  1024,   1500,    4096,   10000,
				30000, 65536, 70000, 200000, 1000000, 3000000 };

enum { SIZES = sizeof(sizes) / sizeof(sizes[0]), EACH = 300 };

struct holder {
	void *blocks[SIZES][EACH];
};

static size_t how_many(size_t size)
{
	return size < 5000 ? EACH : size < 100000 ? 40 : 4;
}

static bool take_all(struct holder *holder)
{
	for (size_t i = 0; i < SIZES; i++)
		for (size_t j = 0; j < how_many(sizes[i]); j++) {
			holder->blocks[i][j] = opaque(malloc(opaque_size(sizes[i])));
			if (!holder->blocks[i][j])
				return false;
			memset(holder->blocks[i][j], (int)j, sizes[i]);
		}
	return true;
}

static void free_all(struct holder *holder)
{
	for (size_t i = 0; i < SIZES; i++)
		for (size_t j = 0; j < how_many(sizes[i]); j++)
			free(holder->blocks[i][j]);
}

static bool whole(struct holder *holder)
{
	for (size_t i = 0; i < SIZES; i++)
		for (size_t j = 0; j < how_many(sizes[i]); j++)
			if (!all_bytes(holder->blocks[i][j], (int)j, sizes[i]))
				return false;
	return true;
}

static void nothing_left(const char *what)
{
	struct hakmem_release release = { 0 };
	struct hakmem_stats stats = stats_now();
	int answer;

	ok(stats.blocks_live == 0 && stats.bytes_live == 0,
	   "%s: all blocks are freed (%llu live, %llu bytes)", what,
	   (unsigned long long)stats.blocks_live, (unsigned long long)stats.bytes_live);
	answer = ctl(HAKMEM_RELEASE, &release, sizeof(release));
	ok(answer == 0, "%s: RELEASE", what);
	ok(release.pinned_superslabs == 0 && release.pinned_blocks == 0 &&
		   release.pinned_bytes == 0,
	   "%s: nothing is pinned (%llu SuperSlabs, %llu blocks, %llu bytes)", what,
	   (unsigned long long)release.pinned_superslabs,
	   (unsigned long long)release.pinned_blocks,
	   (unsigned long long)release.pinned_bytes);
	stats = stats_now();
	ok(stats.superslabs_live == 0 && stats.superslabs_cached == 0 &&
		   stats.bytes_cached == 0 && stats.blocks_cached == 0 &&
		   stats.large_live == 0 && stats.slabs_active == 0 &&
		   stats.slabs_empty == 0,
	   "%s: superslabs_live %llu, superslabs_cached %llu, bytes_cached %llu", what,
	   (unsigned long long)stats.superslabs_live,
	   (unsigned long long)stats.superslabs_cached,
	   (unsigned long long)stats.bytes_cached);
	ok(stats.superslabs_mapped_total == stats.superslabs_unmapped_total &&
		   stats.superslabs_mapped_total > 0,
	   "%s: as many SuperSlabs unmapped as mapped (%llu of %llu)", what,
	   (unsigned long long)stats.superslabs_unmapped_total,
	   (unsigned long long)stats.superslabs_mapped_total);
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "%s: HAKMEM_CHECK finds nothing", what);
}

static void one_thread(void)
{
	static struct holder holder;
	struct hakmem_flush flush = { 0 };
	struct hakmem_stats before, after;

	if (!ok(take_all(&holder), "one thread: took blocks of %d sizes", SIZES))
		return;
	before = stats_now();
	ok(before.superslabs_live > 0 && before.blocks_live > SIZES * 4ul &&
		   before.large_live >= 4,
	   "the counters know of them (%llu blocks)",
	   (unsigned long long)before.blocks_live);
	ok(ctl(HAKMEM_RELEASE, NULL, 0) == 0 && whole(&holder),
	   "RELEASE leaves live blocks whole");
	after = stats_now();
	ok(after.blocks_live == before.blocks_live &&
		   after.bytes_live == before.bytes_live,
	   "and as many as before");
	free_all(&holder);
	after = stats_now();
	ok(after.blocks_cached > 0, "free leaves some in magazines (%llu)",
	   (unsigned long long)after.blocks_cached);
	ok(ctl(HAKMEM_FLUSH, &flush, sizeof(flush)) == 0 &&
		   flush.blocks == after.blocks_cached &&
		   flush.bytes == after.bytes_cached && flush.unreached == 0,
	   "FLUSH sends them home: %llu blocks, %llu bytes, %llu unreached",
	   (unsigned long long)flush.blocks, (unsigned long long)flush.bytes,
	   (unsigned long long)flush.unreached);
	flush.scope = HAKMEM_SELF;
	ok(ctl(HAKMEM_FLUSH, &flush, sizeof(flush)) == 0 && flush.blocks == 0 &&
		   flush.bytes == 0,
	   "a second FLUSH finds none");
	nothing_left("one thread");
}

/* ---- threads ---- */

static pthread_barrier_t gate;
static struct holder holders[4];
static _Atomic bool failed;

static void *take_then_free_next(void *argument)
{
	size_t me = (size_t)(uintptr_t)argument;

	if (!take_all(&holders[me]))
		failed = true;
	pthread_barrier_wait(&gate);
	free_all(&holders[(me + 1) % 4]);
	return NULL;
}

static void ended_threads(void)
{
	struct tap_thread threads[4];

	pthread_barrier_init(&gate, NULL, 4);
	for (size_t i = 0; i < 4; i++)
		tap_start(&threads[i], take_then_free_next, (void *)(uintptr_t)i);
	for (size_t i = 0; i < 4; i++)
		tap_join(&threads[i]);
	ok(!failed, "four threads took blocks, freed those of the next, and ended");
	nothing_left("ended threads");
}

/*
 * Threads that sleep with full magazines.  Either they are reached (unreached is 0, and
 * nothing is left), or they are counted, and answer at their next slow path.
 */
static void *free_sleep_work(void *argument)
{
	size_t me = (size_t)(uintptr_t)argument;
	static __thread void *blocks[2000];

	if (!take_all(&holders[me]))
		failed = true;
	free_all(&holders[me]);
	pthread_barrier_wait(&gate); /* has freed */
	pthread_barrier_wait(&gate); /* was asked */
	/*
	 * More than any magazine holds: a slow path.  One class only, so little stays
	 * behind.
	 */
	for (size_t i = 0; i < 2000; i++)
		blocks[i] = opaque(malloc(opaque_size(48)));
	for (size_t i = 0; i < 2000; i++)
		free(blocks[i]);
	pthread_barrier_wait(&gate); /* has worked */
	pthread_barrier_wait(&gate); /* was looked at */
	return NULL;
}

static void sleeping_threads(void)
{
	struct hakmem_flush flush = { 0 };
	struct hakmem_stats stats, then;
	struct tap_thread threads[4];

	pthread_barrier_destroy(&gate);
	pthread_barrier_init(&gate, NULL, 5);
	for (size_t i = 0; i < 4; i++)
		tap_start(&threads[i], free_sleep_work, (void *)(uintptr_t)i);
	pthread_barrier_wait(&gate);
	stats = stats_now();
	ok(stats.blocks_cached > 0, "four threads sleep with %llu blocks in magazines",
	   (unsigned long long)stats.blocks_cached);
	ok(ctl(HAKMEM_FLUSH, &flush, sizeof(flush)) == 0, "FLUSH");
	then = stats_now();
	if (flush.unreached == 0) {
		ok(then.blocks_cached == 0, "every cache was reached, and is empty");
	} else {
		ok(flush.unreached == 4 && then.blocks_cached > 0,
		   "%llu caches were not reached, and are counted",
		   (unsigned long long)flush.unreached);
	}
	pthread_barrier_wait(&gate);
	pthread_barrier_wait(&gate);
	then = stats_now();
	ok(then.bytes_cached < stats.bytes_cached / 4,
	   "after some work what the threads had cached is home: %llu bytes, then %llu",
	   (unsigned long long)stats.bytes_cached, (unsigned long long)then.bytes_cached);
	pthread_barrier_wait(&gate);
	for (size_t i = 0; i < 4; i++)
		tap_join(&threads[i]);
	nothing_left("threads that were asked");
}

/* RELEASE over and over, beside threads that allocate: nothing they hold is disturbed. */
static _Atomic bool stop;
static _Atomic int disturbed;

static void *work(void *argument)
{
	uint64_t random = (uintptr_t)argument;
	unsigned char *blocks[256] = { NULL };
	size_t sizes_now[256] = { 0 };

	while (!stop) {
		size_t i = random_below(&random, 256);

		if (blocks[i] && !all_bytes(blocks[i], (int)i, sizes_now[i]))
			disturbed++;
		free(blocks[i]);
		sizes_now[i] = random_size(&random);
		blocks[i] = malloc(sizes_now[i]);
		if (blocks[i])
			memset(blocks[i], (int)i, sizes_now[i]);
		else
			disturbed++;
	}
	for (size_t i = 0; i < 256; i++)
		free(blocks[i]);
	return NULL;
}

static void beside_work(void)
{
	struct tap_thread threads[3];
	int bad = 0;

	for (size_t i = 0; i < 3; i++)
		tap_start(&threads[i], work, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < 300; i++) {
		struct hakmem_release release = { 0 };
		struct hakmem_stats stats;

		SILENT(bad, ctl(HAKMEM_RELEASE, &release, sizeof(release)) == 0,
		       "round %u", i);
		SILENT(bad, ctl(HAKMEM_CHECK, NULL, 0) == 0, "round %u", i);
		stats = stats_now();
		SILENT(bad,
		       stats.superslabs_hot + stats.superslabs_draining ==
			       stats.superslabs_live,
		       "round %u: %llu + %llu of %llu", i,
		       (unsigned long long)stats.superslabs_hot,
		       (unsigned long long)stats.superslabs_draining,
		       (unsigned long long)stats.superslabs_live);
		SILENT(bad, stats.bytes_live + stats.bytes_cached <= stats.bytes_mapped,
		       "round %u", i);
		SILENT(bad, stats.bytes_committed <= stats.bytes_mapped, "round %u", i);
		usleep(2000);
	}
	stop = true;
	for (size_t i = 0; i < 3; i++)
		tap_join(&threads[i]);
	ok(!bad && !disturbed,
	   "300 times RELEASE and CHECK beside three threads at work");
	nothing_left("after that work");
}

/* What a release cannot give back is told: one small block pins its SuperSlab. */
static void pinned(void)
{
	struct hakmem_release release = { 0 };
	void *block = opaque(malloc(opaque_size(64)));
	struct hakmem_query query = { .address = block };

	ctl(HAKMEM_QUERY, &query, sizeof(query));
	ok(ctl(HAKMEM_RELEASE, &release, sizeof(release)) == 0 &&
		   release.pinned_superslabs == 1 && release.pinned_blocks == 1 &&
		   release.pinned_bytes == ((size_t)2 << 20) - query.class_size,
	   "one live block pins one SuperSlab, all of it but itself (%llu, %llu, %llu)",
	   (unsigned long long)release.pinned_superslabs,
	   (unsigned long long)release.pinned_blocks,
	   (unsigned long long)release.pinned_bytes);
	free(block);
	release = (struct hakmem_release){ 0 };
	ok(ctl(HAKMEM_RELEASE, &release, sizeof(release)) == 0 &&
		   release.superslabs == 1 && release.bytes >= (size_t)64 << 10 &&
		   release.pinned_superslabs == 0,
	   "freed, it goes: %llu SuperSlab, %llu bytes",
	   (unsigned long long)release.superslabs, (unsigned long long)release.bytes);
}

int main(void)
{
	size_t resident;

	require_library();
	one_thread();
	pinned();
	resident = resident_kib();
	ended_threads();
	sleeping_threads();
	beside_work();
	/* The debug library's stacks, and the room for its queue, stay. */
	ok(resident_kib() <= resident + (on_debug_library() ? 4096 : 1024),
	   "resident: %zu KiB, then %zu", resident, resident_kib());
	return tap_end();
}
