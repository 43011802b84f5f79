/* SPDX-License-Identifier: MIT
 *
 * Crimes after much dlopen() and dlclose(), when other code may stand where some stood before:
 * the stacks are as good as ever.
 */
#include "libabuse.h"

/* More than the library can hold the addresses of. */
enum { OFTEN = 4200 };

STEP void load_and_unload(size_t times)
{
	const char *path = getenv("TEST_MODULE");

	for (size_t i = 0; path && i < times; i++) {
		void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

		if (!handle || dlclose(handle)) {
			printf("not ok - %s\n", dlerror());
			return;
		}
	}
	if (!path)
		puts("not ok - TEST_MODULE is set");
}

/* Frames that are found by unwind tables alone, unless there are frame pointers. */
STEP void twice(char *block)
{
	drop(block);
	drop_again(block);
	STAY();
}

static void expect_double(const char *block, const char *caller)
{
	char parties[2][80];

	snprintf(parties[0], sizeof(parties[0]), "drop_again; twice; %s", caller);
	snprintf(parties[1], sizeof(parties[1]), "drop; twice; %s", caller);
	expect_fatal("free(): double free of %p (40-byte block)", (const void *)block);
	expect_party("freed again", parties[0]);
	expect_party("freed first", parties[1]);
}

STEP void often(void)
{
	char *block;

	load_and_unload(OFTEN);
	block = (char *)make(40);
	expect_double(block, "often; commit; main");
	expect_party("allocated", "make; often; commit; main");
	twice(block);
	STAY();
}

static _Atomic bool stop;

/* Who is fast enough gets the place of the module that has just gone. */
STEP void *map_and_unmap(void *unused)
{
	(void)unused;
	while (!stop) {
		void *mapping = mmap(NULL, 16384, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
				     -1, 0);

		munmap(mapping, 16384);
	}
	return NULL;
}

STEP void beside_threads(void)
{
	pthread_t threads[2];
	char *block;

	for (size_t i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, map_and_unmap, NULL);
	load_and_unload(300);
	stop = true;
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	block = (char *)make(40);
	expect_double(block, "beside_threads; commit; main");
	expect_party("allocated", "make; beside_threads; commit; main");
	twice(block);
	STAY();
}

STEP void *twice_there(void *unused)
{
	char *block = (char *)make(40);

	(void)unused;
	expect_double(block, "twice_there");
	expect_party("allocated", "make; twice_there");
	twice(block);
	return NULL;
}

STEP void by_later_thread(void)
{
	load_and_unload(OFTEN);
	run_here(twice_there, NULL);
	STAY();
}

static pthread_barrier_t barrier;

STEP void *twice_there_after(void *unused)
{
	drop(make(100));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	twice_there(unused);
	return NULL;
}

STEP void by_earlier_thread(void)
{
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, twice_there_after, NULL);
	pthread_barrier_wait(&barrier);
	load_and_unload(OFTEN);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
}

static const struct crime crimes[] = {
	{ "often", NULL, often },
	{ "beside-threads", NULL, beside_threads },
	{ "by-later-thread", NULL, by_later_thread },
	{ "by-earlier-thread", NULL, by_earlier_thread },
};

FAMILY(crimes)
