/* SPDX-License-Identifier: MIT
 *
 * check.h - HAKMEM_CHECK: walks every structure and verifies the invariants.
 */
#ifndef HK_CHECK_H
#define HK_CHECK_H

struct hk_superslab;

/* Takes all locks; a broken invariant is reported and the process aborted. */
void hk_check(void);

/* Of one SuperSlab: states, runs, use and tier.  The caller holds the locks. */
void hk_check_superslab(const struct hk_superslab *s);

#endif /* HK_CHECK_H */
