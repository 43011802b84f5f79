/* SPDX-License-Identifier: MIT
 *
 * pulse.c - see pulse.h.  Under the pool's lock; reads the clock.
 */
#include "pulse.h"

#include "os.h"

#define PULSE_MS 100
#define WINDOW_MS 500

static struct {
	size_t given_back; /* lately */
	uint64_t given_at; /* when the last of them was, in ms */
	size_t allowance;
	uint64_t window;    /* when it began, while there is an allowance */
	size_t least, most; /* that were kept in it */
} pulse;

static void begin_window(uint64_t now, size_t kept)
{
	pulse.window = now;
	pulse.least = pulse.most = kept;
}

void hk_pulse_look(size_t kept)
{
	pulse.least = kept < pulse.least ? kept : pulse.least;
	pulse.most = kept > pulse.most ? kept : pulse.most;
}

/* At each look at the allowance. */
static void roll(uint64_t now, size_t kept)
{
	size_t swing;

	hk_pulse_look(kept);
	if (now - pulse.window < WINDOW_MS)
		return;
	/* The next window has passed, too: had it seen demand, this one were not the last. */
	swing = now - pulse.window < 2 * WINDOW_MS ? pulse.most - pulse.least : 0;
	if (pulse.allowance > swing)
		pulse.allowance = swing;
	begin_window(now, kept);
}

void hk_pulse_give(size_t slots)
{
	uint64_t now = hk_os_now_ms();

	if (now - pulse.given_at > PULSE_MS)
		pulse.given_back = 0;
	pulse.given_back += slots;
	pulse.given_at = now;
}

void hk_pulse_take(size_t slots, size_t kept)
{
	uint64_t now;

	if (!pulse.given_back)
		return;
	now = hk_os_now_ms();
	if (now - pulse.given_at > PULSE_MS) {
		pulse.given_back = 0;
		return;
	}
	if (slots > pulse.given_back)
		slots = pulse.given_back;
	pulse.given_back -= slots;
	if (!pulse.allowance)
		begin_window(now, kept);
	pulse.allowance += slots;
}

size_t hk_pulse_allowance(size_t kept)
{
	if (pulse.allowance)
		roll(hk_os_now_ms(), kept);
	return pulse.allowance;
}

uint64_t hk_pulse_ends(void)
{
	return pulse.window + WINDOW_MS;
}
