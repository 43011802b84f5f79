/* SPDX-License-Identifier: MIT
 *
 * producers THREADS SIZE BLOCKS - every block is freed by another thread.
 *
 * Half of the THREADS allocate BLOCKS blocks of SIZE bytes each, the other half free them;
 * each pair is joined by a ring of 4,096 places.  Places are handed over 64 at a time, so
 * that the traffic between processors is the allocator's and not the ring's.
 */
#include "load.h"

#include <stdatomic.h>

enum { PLACES = 4096, HANDOVER = 64, PATIENCE = 64 };

struct ring {
	_Alignas(64) atomic_size_t filled;
	_Alignas(64) atomic_size_t emptied;
	_Alignas(64) unsigned char *place[PLACES];
};

static size_t threads, size, blocks;
static struct ring *rings;

/* Waits until the other side's count has reached a value: it runs, or is let run. */
static void await(atomic_size_t *count, size_t value)
{
	for (int tries = 0; atomic_load_explicit(count, memory_order_acquire) < value;)
		if (++tries > PATIENCE)
			sched_yield();
}

static void produce(struct ring *ring)
{
	for (size_t i = 0; i < blocks; i += HANDOVER) {
		if (i >= PLACES)
			await(&ring->emptied, i + HANDOVER - PLACES);
		for (size_t j = i; j < i + HANDOVER; j++)
			ring->place[j % PLACES] = load_block(size);
		atomic_store_explicit(&ring->filled, i + HANDOVER, memory_order_release);
	}
}

static void consume(struct ring *ring)
{
	for (size_t i = 0; i < blocks; i += HANDOVER) {
		await(&ring->filled, i + HANDOVER);
		for (size_t j = i; j < i + HANDOVER; j++)
			free(ring->place[j % PLACES]);
		atomic_store_explicit(&ring->emptied, i + HANDOVER, memory_order_release);
	}
}

static void *work(void *argument)
{
	size_t thread = (size_t)argument;

	if (thread % 2)
		consume(&rings[thread / 2]);
	else
		produce(&rings[thread / 2]);
	return NULL;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "THREADS", "SIZE", "BLOCKS" };
	size_t values[3];

	load_arguments(argc, argv, names, values, 3);
	threads = values[0];
	size = values[1];
	blocks = (values[2] + HANDOVER - 1) / HANDOVER * HANDOVER;
	if (threads % 2)
		load_die("%s: THREADS must be even", argv[0]);
	rings = load_map(threads / 2 * sizeof(*rings));
	load_begin();

	uint64_t begin = load_now_ns(threads);
	load_threads(threads, work);
	double elapsed = (double)(load_now_ns(threads) - begin);

	load_report("ns", "%.4f", elapsed / (double)(threads / 2 * blocks));
	load_report("peak", "%ld", load_peak_kib());
	return 0;
}
