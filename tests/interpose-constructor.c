/* SPDX-License-Identifier: MIT
 *
 * A program that allocates 64 MiB in a constructor of its own: HAKMEM_BACKGROUND starts no
 * thread before main.
 */
#include "libtap.h"

#include <sys/stat.h>

enum { BLOCKS = 65536, SIZE = 1024 };

static void *blocks[BLOCKS];
static unsigned early;

static unsigned threads(void)
{
	struct stat status;

	return stat("/proc/self/task", &status) == 0 ? (unsigned)status.st_nlink - 2 : 0;
}

static void work(void)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(opaque_size(SIZE));
		memset(blocks[i], 1, SIZE);
	}
	for (size_t i = 0; i < BLOCKS; i++)
		free(opaque(blocks[i]));
}

__attribute__((constructor)) static void construct(void)
{
	work();
	early = threads();
}

int main(void)
{
	unsigned later = 0;

	require_library();
	ok(early == 1, "in the program's constructor there is no thread but main's: %u",
	   early);
	for (unsigned i = 0; i < 100 && later != 2; i++) {
		usleep(50000);
		work();
		later = threads();
	}
	ok(later == 2, "later there is: %u", later);
	return tap_end();
}
