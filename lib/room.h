/* SPDX-License-Identifier: MIT
 *
 * room.h - where a SuperSlab has room for medium blocks: runs of grains that are free, or in slots
 * that are the pool's, and which run is the least that will do.
 *
 * Each slot is on the list of the longest run that begins in it, sixteen lists to a doubling.  A
 * search begins with the first list that may have one, looks at the slots themselves, and goes on
 * while a longer run, whose pages are there, may cost less than one of which they are not: a page
 * that would have to be faulted in counts as two.  What the invariants
 * are is in medium.h, whose lock guards all of this, and which the caller holds.
 */
#ifndef HK_ROOM_H
#define HK_ROOM_H

#include "superslab.h"

/* Where the run of this grain, which is room, begins. */
unsigned hk_room_begin(const struct hk_superslab *superslab, unsigned grain);

/* The run of this grain, if that is room, is a new one. */
void hk_room_note(struct hk_superslab *superslab, unsigned grain);

/* Look again at the runs that begin in the slot; at all; there is none any more. */
void hk_room_look(struct hk_superslab *superslab, unsigned slot);
void hk_room_look_everywhere(struct hk_superslab *superslab);
void hk_room_forget(struct hk_superslab *superslab);

/* The invariants of the lists; the caller holds all locks. */
void hk_room_check(void);

#endif /* HK_ROOM_H */
