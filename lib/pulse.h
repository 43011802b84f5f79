/* SPDX-License-Identifier: MIT
 *
 * pulse.h - the pulse of demand: how much more than usual the pool may keep, because it has
 * just been wanted again.
 *
 * A slot that was given back to the kernel and is wanted again within PULSE_MS was given back
 * in vain: so many more may stay.  But of those only as many as a swing of demand used: what
 * nobody took in a whole window of WINDOW_MS is not part of the pulse any more.
 *
 * All of it under the pool's lock; all numbers are slots.  kept: what the pool keeps resident,
 * or mapped, for the next demand at the moment of the call.
 */
#ifndef HK_PULSE_H
#define HK_PULSE_H

#include "base.h"

/* Some were given back to the kernel. */
void hk_pulse_give(size_t slots);

/* Some were taken whose pages are not there. */
void hk_pulse_take(size_t slots, size_t kept);

/* Demand was served from what is kept: this may be the most or the least of it. */
void hk_pulse_look(size_t kept);

/* How many more may be kept. */
size_t hk_pulse_allowance(size_t kept);

/* When that may become less, in ms, while it is not 0. */
uint64_t hk_pulse_ends(void);

#endif /* HK_PULSE_H */
