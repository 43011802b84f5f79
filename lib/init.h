/* SPDX-License-Identifier: MIT
 *
 * init.h - from the first call of any entry point, whenever that is: before constructors,
 * before libc's own, from the loader.
 */
#ifndef HK_INIT_H
#define HK_INIT_H

#include <stdatomic.h>

#include "lock.h"

extern _Atomic bool hk_ready;
extern struct hk_lock hk_init_lock;
HK_COLD void hk_init_slow(void);

static inline void hk_init(void)
{
	if (HK_UNLIKELY(!atomic_load_explicit(&hk_ready, memory_order_acquire)))
		hk_init_slow();
}

#endif /* HK_INIT_H */
