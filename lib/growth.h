/* SPDX-License-Identifier: MIT
 *
 * growth.h - how far the resident size of the SuperSlabs may grow beyond what is in use.
 *
 * Where medium blocks come and go, a tenth of their SuperSlabs lies free between them.  A request
 * for which the pages that are free do not suffice faults others in, and the resident size grows,
 * until any request fits; that is the peak.  Here it ends at the most that was ever in use and a
 * twentieth: such a request first gives back to the kernel as much of what lies free (sparse.h).
 * What that costs is faults, when those pages are wanted after all: 1.8 us for each page given
 * back, and for as long as the program goes on as it does.  So no more is given back for it than
 * half of the most that was in use, once, and a thousandth of what is handed out.  When that does
 * not suffice, what is resident is the limit from then on.  Both are of blocks beyond the size
 * classes: others are handed out too fast for that; 4,000 blocks of 4 to 64 KiB in turns took
 * 0.32 us instead of 0.20, for 160 MB instead of 164.
 *
 *   touched   grains of MEDIUM slots on pages that were touched, and not purged since
 *   used      of those, in use; what lies in magazines is, too
 *   most      the most that was in use whenever it was looked at, nothing lying in the magazines
 *   beyond    the most of those that were in blocks beyond the size classes
 *   handed    such as were handed out, of which the credit does not know yet
 *   credit    grains that may be given back
 *   reached   what was resident when there was too little credit to prevent it
 *
 * Grains of 256 bytes are the unit.  hk_medium_lock guards all of it.
 */
#ifndef HK_GROWTH_H
#define HK_GROWTH_H

#include <stdatomic.h>

#include "base.h"

#define HK_GROWTH_TIGHT ((size_t)80 << 20 >> HK_GRAIN_SHIFT)

struct hk_growth {
	size_t touched, used, slots;
	size_t most, beyond, handed, credit, reached;
	size_t fresh; /* since the last look */
	uint32_t gifts;
};

extern struct hk_growth hk_growth;

/* Blocks are being handed out on pages that are too many; a hint. */
extern _Atomic bool hk_growth_is_over;

/* So many grains were handed out, so many of them on pages that have to be faulted in. */
void hk_growth_look_locked(size_t grains, size_t fresh);

/* Has so much been in use that what may lie free beside it is little for so many blocks? */
static inline bool hk_growth_is_tight_locked(void)
{
	return hk_growth.most > HK_GROWTH_TIGHT;
}

/* Nothing lies in the magazines now; so many grains are in use beyond the size classes. */
void hk_growth_settle_locked(size_t beyond);

/* So many grains are to be given back, because requests have grown beyond what is wanted. */
size_t hk_growth_excess_locked(void);

/* So many were. */
void hk_growth_spend_locked(size_t grains);

#endif /* HK_GROWTH_H */
