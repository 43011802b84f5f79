/* SPDX-License-Identifier: MIT
 *
 * interpose-sparse: pages inside slabs in use leave at a release, and in time without one,
 * while the blocks beside them, and other threads, go on as if nothing was.
 */
#include "libtap.h"

#include <sys/wait.h>

enum { BLOCKS = 100000, THREADS = 3, OWN = 4000, FORKS = 20 };

struct own {
	unsigned char *block;
	uint32_t size;
};

static struct own heap[BLOCKS];
static _Atomic bool stop;
static _Atomic unsigned long rounds;
static _Atomic int bad;

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool is_whole(const struct own *own, unsigned char byte)
{
	for (uint32_t i = 0; i < own->size; i++) {
		if (own->block[i] != byte)
			return false;
	}
	return true;
}

static void fill(struct own *own, uint64_t *state, unsigned char byte)
{
	own->size = 16 + (uint32_t)(random_next(state) % 497);
	own->block = opaque(malloc(opaque_size(own->size)));
	memset(own->block, byte, own->size);
}

static void drop(struct own *own)
{
	free(opaque(own->block));
	own->block = NULL;
}

static void make_sparse(uint64_t *state)
{
	for (size_t i = 0; i < BLOCKS; i++)
		fill(&heap[i], state, (unsigned char)i);
	for (size_t i = 0; i < BLOCKS; i++) {
		if (random_next(state) % 10)
			drop(&heap[i]);
	}
}

static bool heap_is_whole(void)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		if (heap[i].block && !is_whole(&heap[i], (unsigned char)i))
			return false;
	}
	return true;
}

static void leave_at_a_release(uint64_t *state)
{
	struct hakmem_release release = { 0 };
	size_t before, others = 0;
	struct hakmem_stats stats;

	make_sparse(state);
	ctl(HAKMEM_FLUSH, NULL, 0);
	before = resident_kib();
	ctl(HAKMEM_RELEASE, &release, sizeof(release));
	stats = stats_now();
	ok(stats.bytes_purged > 4 << 20, "%llu KiB of slabs in use are purged",
	   (unsigned long long)stats.bytes_purged >> 10);
	ok(release.bytes >= stats.bytes_purged, "and told: %llu KiB",
	   (unsigned long long)release.bytes >> 10);
	ok(resident_kib() + (stats.bytes_purged >> 10) * 9 / 10 < before,
	   "and gone: from %zu to %zu KiB resident", before, resident_kib());
	ok(heap_is_whole(), "the blocks beside them are as they were");
	for (size_t i = 0; i < BLOCKS; i++) {
		if (heap[i].block)
			continue;
		heap[i].block = opaque(calloc(1, opaque_size(heap[i].size)));
		others += !is_whole(&heap[i], 0);
		memset(heap[i].block, (unsigned char)i, heap[i].size);
	}
	ok(!others, "calloc's blocks from there are zero");
	ok(stats_now().bytes_purged < stats.bytes_purged / 2 && heap_is_whole(),
	   "and count as there again");
	for (size_t i = 0; i < BLOCKS; i++)
		drop(&heap[i]);
}

/* The slow paths of a program that goes on, with requests that need no memory of slabs. */
static void leave_in_time(uint64_t *state)
{
	struct hakmem_stats stats;
	uint64_t end = now_ms() + 30000;

	make_sparse(state);
	do {
		void *block[64];

		for (size_t i = 0; i < 64; i++)
			block[i] = opaque(malloc(opaque_size(60000)));
		for (size_t i = 0; i < 64; i++)
			free(opaque(block[i]));
		usleep(20000);
		stats = stats_now();
	} while (!stats.bytes_purged && now_ms() < end);
	ok(stats.bytes_purged > 0, "without a release, after some time: %llu KiB",
	   (unsigned long long)stats.bytes_purged >> 10);
	ok(heap_is_whole(), "the blocks beside them are as they were");
}

static void *allocate(void *number)
{
	static struct own own[THREADS][OWN];
	uint64_t state = (uintptr_t)number;
	struct own *mine = own[(uintptr_t)number];
	unsigned char byte = (unsigned char)(0xa0 + (uintptr_t)number);

	while (!stop) {
		for (size_t i = 0; i < 4 * OWN; i++) {
			struct own *at = &mine[random_next(&state) % OWN];

			if (at->block) {
				bad += !is_whole(at, byte);
				drop(at);
			}
			if (i < 2 * OWN || random_next(&state) % 8 == 0)
				fill(at, &state, byte);
		}
		rounds++;
	}
	for (size_t i = 0; i < OWN; i++)
		drop(&mine[i]);
	return NULL;
}

static void *release(void *unused)
{
	while (!stop) {
		ctl(HAKMEM_RELEASE, NULL, 0);
		rounds++;
	}
	return unused;
}

static bool child_is_well(void)
{
	pid_t child = fork();
	int status = -1;

	if (child == 0) {
		bool good = ctl(HAKMEM_CHECK, NULL, 0) == 0 && heap_is_whole();

		ctl(HAKMEM_RELEASE, NULL, 0);
		good = good && ctl(HAKMEM_CHECK, NULL, 0) == 0 && heap_is_whole();
		_exit(!good);
	}
	return waitpid(child, &status, 0) == child && status == 0;
}

static void pass_among_threads(void)
{
	pthread_t threads[THREADS + 2];
	unsigned well = 0;
	uint64_t before = stats_now().purged_bytes_total;

	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, allocate, (void *)i);
	for (uintptr_t i = 0; i < 2; i++)
		pthread_create(&threads[THREADS + i], NULL, release, NULL);
	while (rounds < 100)
		usleep(1000);
	for (unsigned i = 0; i < FORKS; i++) {
		well += child_is_well();
		ctl(HAKMEM_CHECK, NULL, 0);
	}
	stop = true;
	for (size_t i = 0; i < THREADS + 2; i++)
		pthread_join(threads[i], NULL);
	ok(stats_now().purged_bytes_total > before && !bad && heap_is_whole(),
	   "amid releases, each block is its owner's: %d are not", bad);
	ok(well == FORKS, "%u of %d children, forked amid passes, are well", well, FORKS);
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "and so is the parent");
}

int main(void)
{
	uint64_t state = tap_seed();

	require_library();
	leave_at_a_release(&state);
	leave_in_time(&state);
	pass_among_threads();
	return tap_end();
}
