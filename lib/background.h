/* SPDX-License-Identifier: MIT
 *
 * background.h - HAKMEM_BACKGROUND: one thread for each process, which does on wall-clock
 * time what the slow paths do otherwise, for a program that is idle takes none.
 *
 *   NONE ---> STARTING ---> RUNNING ---> NONE        in the child of fork() always NONE
 *        start         run         the option is 0
 *
 * From RUNNING on, the slow paths age nothing; in the other states, and if no thread can be
 * had, they do.  The thread ages all magazines and depots once in HK_INTERVAL_MS, purges when
 * something is due, and where there is nothing to do it rests until a slow path wakes it.
 *
 * It is started from malloc's slow path only, never from free's: libc frees a dead thread's
 * memory under the lock that pthread_create() takes for a stack.
 */
#ifndef HK_BACKGROUND_H
#define HK_BACKGROUND_H

#include "config.h"

#define HK_INTERVAL_MS 500

/* By the constructor, when the options are known; in the child of fork(), under no lock. */
void hk_background_init(void);
void hk_background_adopt(void);

/* HAKMEM_BACKGROUND was set at run time.  Under no lock. */
void hk_background_changed(void);

bool hk_background_check(bool may_start);

/*
 * At a slow path, under no lock: does the thread do the ageing?  Wakes it, and with may_start
 * starts it, where that is due.
 */
static inline bool hk_background_serves(bool may_start)
{
	if (HK_LIKELY(!hk_config_number(HK_OPTION_BACKGROUND)))
		return false;
	return hk_background_check(may_start);
}

#endif /* HK_BACKGROUND_H */
