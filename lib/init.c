/* SPDX-License-Identifier: MIT
 *
 * init.c - brings the library up, and writes the statistics when the process ends.
 */
#include "init.h"

#include "background.h"
#include "config.h"
#include "dump.h"
#include "fork.h"
#include "front.h"
#include "os.h"
#include "registry.h"
#include "sets.h"
#include "size_class.h"

_Atomic bool hk_ready HK_STARTUP_DATA;

/* The version, for those who have only the file: "hakmem doctor" reads this note. */
static const struct {
	uint32_t name_size, size, type;
	char name[8];
	char version[sizeof(HK_VERSION)];
} note __attribute__((section(".note.hakmem"), aligned(4), used)) = {
	sizeof("hakmem"), sizeof(HK_VERSION), 1, "hakmem", HK_VERSION
};

struct hk_lock hk_init_lock HK_STARTUP_DATA;

/*
 * What pthread_atfork() calls (Linux Standard Base, libc): that itself is linked into each
 * object, and so would be at the far end of ours (HK_STARTUP).
 */
extern void *__dso_handle HK_HIDDEN;
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
		      void *object);

/*
 * First of all handlers to be registered, ours are the last to run before fork() and the first
 * after it, so those of others may allocate; and so may this.
 */
HK_STARTUP static void register_for_fork(void)
{
	static _Atomic bool registered HK_STARTUP_DATA;

	if (!atomic_exchange_explicit(&registered, true, memory_order_relaxed))
		__register_atfork(hk_fork_prepare, hk_fork_parent, hk_fork_child,
				  __dso_handle);
}

HK_STARTUP void hk_init_slow(void)
{
	hk_lock(&hk_init_lock);
	if (atomic_load_explicit(&hk_ready, memory_order_relaxed)) {
		hk_unlock(&hk_init_lock);
		return;
	}
	/* None of these may allocate: a call of malloc would come back here. */
	hk_os_init();
	hk_registry_init();
	hk_size_class_init();
	hk_config_read_environment();
	hk_sets_init();
	atomic_store_explicit(&hk_ready, true, memory_order_release);
	hk_unlock(&hk_init_lock);
	register_for_fork();
}

/* If the first call came before libc's constructor, the environment was not yet there. */
__attribute__((constructor)) static void at_start(void)
{
	register_for_fork();
	/* Who neither allocates nor has set an option needs none of the rest. */
	if (HK_DEBUG || hk_config_in_environment()) {
		hk_init();
		hk_lock(&hk_config_lock);
		hk_config_read_environment();
		hk_unlock(&hk_config_lock);
	}
	hk_front_init();
	hk_background_init();
}

__attribute__((destructor)) static void at_exit(void)
{
	int fd = -1;

	if (hk_config_number(HK_OPTION_STATS) == HK_STATS_EXIT)
		fd = hk_config_open_stats();
	if (fd >= 0)
		hk_dump(fd, HAKMEM_TEXT);
	hk_front_exit();
}
