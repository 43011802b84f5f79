/* SPDX-License-Identifier: MIT
 *
 * sort.h - sorting in place: qsort(3) may allocate.  For reach.c and leaks.c.
 */
#ifndef HK_SORT_H
#define HK_SORT_H

#include "base.h"

/* Records of so many 64-bit words each, ascending by the first. */
void hk_sort(void *records, size_t count, size_t words);

#endif /* HK_SORT_H */
