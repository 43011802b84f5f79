/* SPDX-License-Identifier: MIT
 *
 * growth.c - see growth.h.  Takes the pool's lock.
 */
#include "growth.h"

#include "config.h"
#include "pool.h"

#define DIVISOR 20 /* of what is in use, so much may lie free ... */
#define LEAST ((size_t)4 << 20 >> HK_GRAIN_SHIFT) /* ... or this */
#define CREDIT_ONCE 2   /* the part of what was in use that may be given back ... */
#define CREDIT_SHIFT 10 /* ... and as a power of two, of what is handed out */

/* Fresh ones between two looks. */
#define LOOK_GRAINS ((size_t)64 << 10 >> HK_GRAIN_SHIFT)

struct hk_growth hk_growth;
_Atomic bool hk_growth_is_over;

/* Grains that are, of all SuperSlabs; *others: those of them that are not of MEDIUM slots. */
static size_t resident(size_t *others)
{
	size_t active, empty_bytes;

	hk_pool_count(&active, &empty_bytes);
	*others = (active - hk_growth.slots) * HK_GRAINS;
	return *others + hk_growth.touched + (empty_bytes >> HK_GRAIN_SHIFT);
}

static size_t excess(void)
{
	size_t others, now = resident(&others), most = others + hk_growth.most;
	size_t allowed = most / DIVISOR, limit;

	limit = most + (allowed < LEAST ? LEAST : allowed);
	if (limit < hk_growth.reached)
		limit = hk_growth.reached;
	return now > limit ? now - limit : 0;
}

size_t hk_growth_excess_locked(void)
{
	size_t grains = excess(), others;

	if (grains < hk_growth.credit)
		return grains;
	if (grains)
		hk_growth.reached = resident(&others);
	return 0;
}

/* A block beyond the size classes. */
static void earn(size_t grains)
{
	size_t most = hk_growth.beyond / CREDIT_ONCE;

	hk_growth.handed += grains;
	hk_growth.credit += hk_growth.handed >> CREDIT_SHIFT;
	hk_growth.handed &= ((size_t)1 << CREDIT_SHIFT) - 1;
	if (hk_growth.credit > most)
		hk_growth.credit = most;
}

void hk_growth_look_locked(size_t grains, size_t fresh)
{
	if (grains > HK_CLASS_MAX >> HK_GRAIN_SHIFT)
		earn(grains);
	hk_growth.fresh += fresh;
	if (HK_LIKELY(hk_growth.fresh < LOOK_GRAINS))
		return;
	hk_growth.fresh = 0;
	/* Where huge pages are asked for, what is touched is not known, nor to be split. */
	if (HK_DEBUG || hk_config_thp() == HK_THP_ALWAYS)
		return;
	if (hk_growth.used > hk_growth.most ? excess() : hk_growth_excess_locked())
		atomic_store_explicit(&hk_growth_is_over, true, memory_order_relaxed);
}

void hk_growth_settle_locked(size_t beyond)
{
	if (hk_growth.used > hk_growth.most)
		hk_growth.most = hk_growth.used;
	if (beyond > hk_growth.beyond) {
		hk_growth.credit += (beyond - hk_growth.beyond) / CREDIT_ONCE;
		hk_growth.beyond = beyond;
	}
}

void hk_growth_spend_locked(size_t grains)
{
	hk_growth.credit -= grains < hk_growth.credit ? grains : hk_growth.credit;
}
