/* SPDX-License-Identifier: MIT
 *
 * query.h - what is this address?
 */
#ifndef HK_QUERY_H
#define HK_QUERY_H

#include "base.h"

/* Fill in all but query->address.  Any address is safe: it is never touched. */
void hk_query(struct hakmem_query *query);

#endif /* HK_QUERY_H */
