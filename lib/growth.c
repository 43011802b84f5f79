/* SPDX-License-Identifier: MIT
 *
 * growth.c - see growth.h.  Takes the pool's lock.
 */
#include "growth.h"

#include "config.h"
#include "pool.h"

#define DIVISOR 20 /* of what is in use, so much may lie free ... */
#define LEAST ((size_t)4 << 20 >> HK_GRAIN_SHIFT) /* ... or this */
#define CREDIT_DIVISOR 32
#define CREDIT_MOST ((size_t)8 << 20 >> HK_GRAIN_SHIFT)

/* Fresh ones between two looks. */
#define LOOK_GRAINS ((size_t)64 << 10 >> HK_GRAIN_SHIFT)

struct hk_growth hk_growth;
_Atomic bool hk_growth_is_over;

static size_t excess(void)
{
	size_t active, empty_bytes, others, resident, most, allowed;

	hk_pool_count(&active, &empty_bytes);
	others = (active - hk_growth.slots) * HK_GRAINS;
	resident = others + hk_growth.touched + (empty_bytes >> HK_GRAIN_SHIFT);
	most = others + hk_growth.most;
	allowed = most / DIVISOR;
	if (allowed < LEAST)
		allowed = LEAST;
	return resident > most + allowed ? resident - most - allowed : 0;
}

size_t hk_growth_excess_locked(void)
{
	size_t grains = excess();

	return grains < hk_growth.credit ? grains : 0;
}

void hk_growth_look_locked(size_t grains, size_t fresh)
{
	hk_growth.credit += grains / CREDIT_DIVISOR;
	if (hk_growth.credit > CREDIT_MOST)
		hk_growth.credit = CREDIT_MOST;
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

void hk_growth_settle_locked(void)
{
	if (hk_growth.used > hk_growth.most)
		hk_growth.most = hk_growth.used;
}

void hk_growth_spend_locked(size_t grains)
{
	hk_growth.credit -= grains < hk_growth.credit ? grains : hk_growth.credit;
}
