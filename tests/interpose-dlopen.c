/* SPDX-License-Identifier: MIT
 *
 * dlopen() and dlclose(): the loader allocates, the objects allocate while they are
 * loaded and free while they go, and a block outlives the object that allocated it.
 *
 * The argument is the path of a shared object made from module.c.
 */
#include "libtap.h"

#include <iconv.h>

static const char *module;
static _Atomic bool stop;

static void *churn(void *argument)
{
	uint64_t random = (uintptr_t)argument;
	void *blocks[64] = { NULL };

	while (!stop) {
		size_t i = random_below(&random, 64);

		free(blocks[i]);
		blocks[i] = malloc(random_below(&random, 3000));
	}
	for (size_t i = 0; i < 64; i++)
		free(blocks[i]);
	return NULL;
}

static int load_once(unsigned round)
{
	int bad = 0, (*is_whole)(void);
	char *(*block_of)(size_t), *block;
	void (*use_thread)(void);
	void *object = dlopen(module, RTLD_NOW | RTLD_LOCAL);

	SILENT(bad, object != NULL, "round %u: %s", round, dlerror());
	if (!object)
		return bad;
	*(void **)&is_whole = dlsym(object, "module_is_whole");
	*(void **)&block_of = dlsym(object, "module_block");
	*(void **)&use_thread = dlsym(object, "module_thread");
	SILENT(bad, is_whole && block_of && use_thread, "round %u: %s", round, dlerror());
	if (bad)
		return bad;
	use_thread();
	SILENT(bad, is_whole(), "round %u", round);
	block = block_of(round + 1);
	SILENT(bad, dlclose(object) == 0, "round %u: %s", round, dlerror());
	SILENT(bad, block && all_bytes(block, 4, round + 1), "round %u", round);
	free(block);
	return bad;
}

static void *load_often(void *argument)
{
	uintptr_t bad = 0;

	(void)argument;
	for (unsigned i = 0; i < 200 && bad < 5; i++)
		bad += (uintptr_t)load_once(i);
	return (void *)bad;
}

int main(int argc, char **argv)
{
	static const char *const sets[] = { "UTF-16", "ISO-8859-15", "KOI8-R", "EUC-JP",
					    "CP1252" };
	pthread_t threads[4];
	uintptr_t bad = 0;
	void *result;
	int lost = 0;

	if (argc != 2)
		return 2;
	module = argv[1];
	require_library();
	ok(!load_once(0), "an object is loaded, allocates, frees and goes");
	for (unsigned i = 1; i < 200 && bad < 5; i++)
		bad += (uintptr_t)load_once(i);
	ok(!bad, "and 199 times more");

	for (size_t i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, i < 2 ? churn : load_often,
				   (void *)(uintptr_t)i))
			return 1;
	for (size_t i = 2; i < 4; i++) {
		pthread_join(threads[i], &result);
		bad += (uintptr_t)result;
	}
	stop = true;
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ok(!bad, "two threads load and unload, two allocate");

	/* Objects of libc itself, loaded with the locks of iconv_open(3) held. */
	for (unsigned i = 0; i < 100; i++) {
		iconv_t state = iconv_open("UTF-8", sets[i % 5]);

		SILENT(lost, state != (iconv_t)-1 || errno == EINVAL, "%s: %s",
		       sets[i % 5], strerror(errno));
		if (state != (iconv_t)-1)
			iconv_close(state);
	}
	ok(!lost, "iconv_open loads its modules");
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	return tap_end();
}
