/* SPDX-License-Identifier: MIT
 *
 * sleepers THREADS MIB - memory that sleeping threads hold back.
 *
 * THREADS threads allocate MIB MiB each in blocks of 16 to 1,024 bytes, all of them written
 * and all of them live at once; then each thread frees its own and goes to sleep.  The main
 * thread asks the allocator to give everything back, and tells what is still resident over
 * the start.  That includes the threads' own stacks: they are alive.
 */
#include "load.h"

enum { LOWEST = 16, LARGEST = 1024 };

static size_t bytes, most_blocks;
static unsigned char **all_blocks;
static pthread_barrier_t all_live, all_freed, over;

static void *allocate_free_sleep(void *argument)
{
	size_t thread = (size_t)argument, blocks = 0;
	unsigned char **block = all_blocks + thread * most_blocks;
	uint64_t state = load_seed(thread);

	for (size_t got = 0; got < bytes;) {
		size_t size = load_between(load_random(&state), LOWEST, LARGEST);

		if (blocks == most_blocks)
			load_die("the blocks' sizes are not as random as they should be");
		block[blocks] = load_block(size);
		memset(block[blocks++], (int)size, size);
		got += size;
	}
	pthread_barrier_wait(&all_live);
	for (size_t i = 0; i < blocks; i++)
		free(block[i]);
	pthread_barrier_wait(&all_freed);
	pthread_barrier_wait(&over);
	return NULL;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "THREADS", "MIB" };
	size_t values[2];

	load_arguments(argc, argv, names, values, 2);

	size_t threads = values[0];
	bytes = values[1] << 20;
	/* A quarter more than the mean: thousands of random sizes do not stray so far. */
	most_blocks = bytes / ((LOWEST + LARGEST) / 2) * 5 / 4;
	all_blocks = load_map(threads * most_blocks * sizeof(*all_blocks));

	pthread_t *handles = load_map(threads * sizeof(*handles));
	pthread_barrier_init(&all_live, NULL, (unsigned int)threads);
	pthread_barrier_init(&all_freed, NULL, (unsigned int)threads + 1);
	pthread_barrier_init(&over, NULL, (unsigned int)threads + 1);
	load_begin();

	long start = load_resident_kib();
	for (size_t i = 0; i < threads; i++) {
		int error = pthread_create(&handles[i], NULL, allocate_free_sleep,
					   (void *)i);

		if (error)
			load_die("cannot start thread %zu: %s", i, strerror(error));
	}
	pthread_barrier_wait(&all_freed);
	/* The last threads to arrive need the processor once more before they sleep. */
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);

	long freed = load_resident_kib() - start;
	const char *call = load_give_back();
	long left = load_resident_kib() - start;
	pthread_barrier_wait(&over);
	for (size_t i = 0; i < threads; i++)
		pthread_join(handles[i], NULL);

	load_report("start", "%ld", start);
	load_report("freed", "%ld", freed);
	load_report("left", "%ld", left);
	load_report("call", "%s", call);
	load_report("peak", "%ld", load_peak_kib());
	return 0;
}
