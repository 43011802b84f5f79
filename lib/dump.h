/* SPDX-License-Identifier: MIT
 *
 * dump.h - the statistics as text, JSON or OpenMetrics, without allocating.
 */
#ifndef HK_DUMP_H
#define HK_DUMP_H

#include "base.h"

/* format: HAKMEM_TEXT, _JSON or _OPENMETRICS.  0, or the errno of write(2). */
int hk_dump(int fd, uint32_t format);

#endif /* HK_DUMP_H */
