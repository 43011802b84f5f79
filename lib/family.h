/* SPDX-License-Identifier: MIT
 *
 * family.h - the functions that belong together: what one of them gave, another of the same
 * family frees.
 */
#ifndef HK_FAMILY_H
#define HK_FAMILY_H

enum hk_family { HK_BY_MALLOC, HK_BY_NEW, HK_BY_NEW_ARRAY, HK_FAMILIES };

#endif /* HK_FAMILY_H */
