/* SPDX-License-Identifier: MIT
 *
 * check.h - HAKMEM_CHECK: walks every structure and verifies the invariants.
 */
#ifndef HK_CHECK_H
#define HK_CHECK_H

/* Takes all locks; a broken invariant is reported and the process aborted. */
void hk_check(void);

#endif /* HK_CHECK_H */
