/* SPDX-License-Identifier: MIT
 *
 * The shared object that interpose-dlopen loads and unloads: it allocates when it is
 * loaded and for a thread of its own, and frees when it is unloaded.
 */
#include <stdlib.h>
#include <string.h>

static char *blocks[100];
static __thread char *of_thread;

char *module_block(size_t size);
int module_is_whole(void);
void module_thread(void);

__attribute__((constructor)) static void load(void)
{
	for (size_t i = 0; i < 100; i++) {
		blocks[i] = malloc(i * 50 + 1);
		if (blocks[i])
			memset(blocks[i], 3, i * 50 + 1);
	}
}

__attribute__((destructor)) static void unload(void)
{
	for (size_t i = 0; i < 100; i++)
		free(blocks[i]);
}

/* Dynamic thread-local storage: libc allocates it here, at its first use. */
void module_thread(void)
{
	free(of_thread);
	of_thread = malloc(100);
	free(of_thread);
	of_thread = NULL;
}

char *module_block(size_t size)
{
	char *block = malloc(size);

	if (block)
		memset(block, 4, size);
	return block;
}

int module_is_whole(void)
{
	for (size_t i = 0; i < 100; i++)
		for (size_t j = 0; j < i * 50 + 1; j++)
			if (!blocks[i] || blocks[i][j] != 3)
				return 0;
	return 1;
}
