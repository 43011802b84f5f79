/* SPDX-License-Identifier: MIT
 *
 * config.h - the options of options.def: from the environment, once, and by HAKMEM_SET.
 *
 * Numbers are read without a lock by everyone; HAKMEM_SET writes under the lock of config.c.
 */
#ifndef HK_CONFIG_H
#define HK_CONFIG_H

#include <stdatomic.h>

#include "lock.h"

enum hk_option {
#define HK_OPTION(name, type, value, number, when, words, help) HK_OPTION_##name,
#include "options.def"
#undef HK_OPTION
	HK_OPTIONS
};

/* HAKMEM_THP, in the order of its words in options.def. */
enum hk_thp { HK_THP_NEVER, HK_THP_DENSE, HK_THP_ALWAYS };

/* HAKMEM_STATS, likewise. */
enum hk_stats_when { HK_STATS_NONE, HK_STATS_EXIT };

extern _Atomic uint64_t hk_option_numbers[HK_OPTIONS];

/* The option's value; of a WORD option, which word. */
static inline uint64_t hk_config_number(enum hk_option option)
{
	return atomic_load_explicit(&hk_option_numbers[option], memory_order_relaxed);
}

static inline enum hk_thp hk_config_thp(void)
{
	return (enum hk_thp)hk_config_number(HK_OPTION_THP);
}

/*
 * When the environment is there (it is not, before libc's own constructor), read it once; till
 * then the defaults hold.  Says on stderr what it cannot understand.
 */
void hk_config_read_environment(void);

/* Is any option set there? */
bool hk_config_in_environment(void);

/* HAKMEM_GET and HAKMEM_SET: 0, or ENOENT, EACCES, EINVAL. */
int hk_config_get(const char *name, char *value, size_t size);
int hk_config_set(const char *name, const char *value);

/* The option's name in lower case, into a buffer of HK_OPTION_NAME_MAX, for the dump. */
#define HK_OPTION_NAME_MAX 32
void hk_config_name(enum hk_option option, char *name);

/* Standard error as it was at the start, if it was kept then; else as it is. */
int hk_config_stderr(void);

/* A descriptor for HAKMEM_STATS=exit: the file it names, else stderr; -1: neither. */
int hk_config_open_stats(void);

extern struct hk_lock hk_config_lock; /* of the values that are no plain number */

#endif /* HK_CONFIG_H */
