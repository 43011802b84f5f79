/* SPDX-License-Identifier: MIT
 *
 * origin.h - what an address is that is none of the allocator's: for reports.
 */
#ifndef HK_ORIGIN_H
#define HK_ORIGIN_H

#include "base.h"

struct hk_origin {
	const char *what; /* ", but on this thread's stack", or "" */
	char where[256];  /* the object's path, or "" */
};

/* Reads /proc/self/maps; allocates nothing. */
void hk_origin_find(const void *address, struct hk_origin *origin);

#endif /* HK_ORIGIN_H */
