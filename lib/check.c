/* SPDX-License-Identifier: MIT
 *
 * check.c - the walk of HAKMEM_CHECK; each part verifies itself where it is written down.
 */
#include "check.h"

#include "fork.h"
#include "large.h"
#include "medium.h"
#include "sets.h"
#include "pool.h"
#include "registry.h"
#include "slab.h"
#include "spans.h"
#include "spare.h"
#include "sparse.h"

static void check_large(void)
{
	uint64_t count = 0, bytes = 0;

	for (struct hk_large *large = hk_large_blocks; large; large = large->next) {
		hk_assert(hk_registry_owner(large->base) == large);
		hk_assert(hk_registry_kind(large->base) == HK_KIND_LARGE);
		hk_assert(!large->next || large->next->previous == large);
		count++;
		bytes += large->bytes;
	}
	hk_assert(count == hk_large_count && bytes == hk_large_bytes);
	hk_spans_check_locked();
}

/* Also: the weights of the runs are the SuperSlab's use. */
static void check_runs(const struct hk_superslab *superslab)
{
	unsigned slot = 0, use = 0;

	while (slot < HK_SLOTS) {
		const struct hk_slab *slab = &superslab->slab[slot];
		const char *base = superslab->base + ((size_t)slot << HK_SLOT_SHIFT);
		unsigned slots = 1;

		if (superslab->active >> slot & 1) {
			slots = slab->slots;
			hk_assert(slots && slot + slots <= HK_SLOTS);
			hk_assert(slab->kind || hk_spare_has(slab));
			use += hk_slab_weight(slab);
			hk_assert((superslab->active & hk_run_mask(slot, slots)) ==
				  hk_run_mask(slot, slots));
		}
		for (unsigned i = 0; i < slots; i++) {
			const char *granule = base + ((size_t)i << HK_SLOT_SHIFT);
			bool active = superslab->active >> slot & 1;

			hk_assert(hk_registry_kind_of_slot(granule) ==
				  (active ? slab->kind : HK_KIND_NONE));
			hk_assert(!active || slab[i].first == slot);
		}
		slot += slots;
	}
	hk_assert(use == superslab->use);
}

static void check_tier(const struct hk_superslab *superslab)
{
	enum hk_tier tier = hk_superslab_tier(superslab);

	hk_assert(tier <= HK_TIER_DRAINING && tier == hk_tier_next(tier, superslab->use));
	hk_assert((tier == HK_TIER_FREE) == (superslab->free_slots == HK_SLOTS));
}

void hk_check_superslab(const struct hk_superslab *s)
{
	uint32_t parts = s->active ^ s->empty ^ s->unused ^ s->busy;

	hk_assert(hk_registry_owner(s->base) == s);
	hk_assert(parts == HK_ALL_SLOTS &&
		  (s->active | s->empty | s->unused | s->busy) == HK_ALL_SLOTS);
	hk_assert(!(s->active & s->empty) && !(s->active & s->unused) &&
		  !(s->active & s->busy) && !(s->empty & s->unused));
	hk_assert(s->free_slots == (unsigned)__builtin_popcount(s->empty | s->unused) &&
		  s->empty_slots == (unsigned)__builtin_popcount(s->empty));
	check_runs(s);
	check_tier(s);
}

void hk_check(void)
{
	hk_lock_all();
	hk_sets_stop();
	hk_pool_check();
	hk_slab_check();
	hk_medium_check();
	hk_spare_check();
	hk_sparse_check();
	hk_sets_check();
	check_large();
	hk_sets_resume();
	hk_unlock_all();
}
