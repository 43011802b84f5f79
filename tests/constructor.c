/* SPDX-License-Identifier: MIT
 *
 * A shared object to preload beside the library, for interpose-background: its constructor
 * allocates 64 MiB and counts the threads; and with NO_THREADS in the environment there
 * are none to be had.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { BLOCKS = 65536, SIZE = 1024 };

int threads_in_constructor;
_Atomic int threads_refused;

__attribute__((constructor)) static void construct(void)
{
	static void *blocks[BLOCKS];
	struct stat status;

	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(SIZE);
		if (blocks[i])
			memset(blocks[i], 1, SIZE);
	}
	for (size_t i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	if (stat("/proc/self/task", &status) == 0)
		threads_in_constructor = (int)status.st_nlink - 2;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
		   void *(*function)(void *), void *argument)
{
	int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	if (getenv("NO_THREADS")) {
		threads_refused++;
		return EAGAIN;
	}
	*(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
	return create(thread, attributes, function, argument);
}
