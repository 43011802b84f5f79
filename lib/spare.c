/* SPDX-License-Identifier: MIT
 *
 * spare.c - a pointer for each class, and how many slots they hold.
 *
 * Takes no lock but, through hk_pool_use() and hk_pool_give_spare(), the pool's.  Makes no
 * system call.
 */
#include "spare.h"

#include "os.h"
#include "pool.h"

/* since is stored before slab, and may be that of another one: then a run goes too soon. */
static struct {
	_Atomic(struct hk_slab *) slab;
	_Atomic uint64_t since; /* in ms */
} spares[HK_CLASSES + 1];

static _Atomic uint32_t kept_slots;

static bool reserve(unsigned slots)
{
	uint32_t kept = atomic_load_explicit(&kept_slots, memory_order_relaxed);

	do {
		if (kept + slots > HK_SPARE_SLOTS)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&kept_slots, &kept, kept + slots,
							memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

/* The exchange commits: whoever gets the pointer has the run. */
static struct hk_slab *remove_from(unsigned size_class)
{
	struct hk_slab *slab;

	if (!atomic_load_explicit(&spares[size_class].slab, memory_order_relaxed))
		return NULL;
	slab = atomic_exchange_explicit(&spares[size_class].slab, NULL,
					memory_order_acquire);
	if (slab)
		atomic_fetch_sub_explicit(&kept_slots, slab->slots, memory_order_relaxed);
	return slab;
}

/* Without the slab, has its SuperSlab to leave, or to be left alone? */
static bool is_wanted_back(const struct hk_superslab *superslab, unsigned weight)
{
	unsigned rest = atomic_load_explicit(&superslab->use, memory_order_relaxed) -
			weight;

	return !rest ||
	       hk_tier_next(hk_superslab_tier(superslab), rest) == HK_TIER_DRAINING;
}

bool hk_spare_keep(struct hk_slab *slab)
{
	struct hk_superslab *superslab = hk_slab_superslab(slab);
	unsigned size_class = slab->kind, weight = hk_slab_weight(slab);

	if (atomic_load_explicit(&spares[size_class].slab, memory_order_relaxed) ||
	    is_wanted_back(superslab, weight) || !reserve(slab->slots))
		return false;
	hk_registry_set_kind(hk_slab_base(slab), slab->slots, HK_KIND_NONE);
	slab->former = slab->kind;
	slab->kind = HK_KIND_NONE;
	hk_pool_use(superslab, -(int)weight);
	atomic_store_explicit(&spares[size_class].since, hk_os_now_ms(),
			      memory_order_relaxed);
	/* It is NULL still: only under the class's lock does it become anything else. */
	atomic_store_explicit(&spares[size_class].slab, slab, memory_order_release);
	return true;
}

struct hk_slab *hk_spare_take(unsigned size_class)
{
	struct hk_slab *slab = remove_from(size_class);

	if (!slab)
		return NULL;
	if (hk_slab_is_draining(slab)) {
		hk_pool_give_spare(slab);
		return NULL;
	}
	/* Its pages are as they were: those that are purged stay so recorded (sparse.h). */
	*slab = (struct hk_slab){ .kind = (uint8_t)size_class,
				  .slots = slab->slots,
				  .first = slab->first,
				  .purged = slab->purged };
	hk_pool_use(hk_slab_superslab(slab), (int)hk_slab_weight(slab));
	hk_registry_set_kind(hk_slab_base(slab), slab->slots, size_class);
	return slab;
}

struct hk_slab *hk_spare_remove_locked(uint64_t before_ms)
{
	if (!hk_spare_slots())
		return NULL;
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		struct hk_slab *slab;

		if (atomic_load_explicit(&spares[i].since, memory_order_relaxed) >
		    before_ms)
			continue;
		slab = remove_from(i);
		if (slab)
			return slab;
	}
	return NULL;
}

unsigned hk_spare_slots(void)
{
	return atomic_load_explicit(&kept_slots, memory_order_relaxed);
}

uint64_t hk_spare_since(void)
{
	uint64_t oldest = UINT64_MAX;

	for (unsigned i = 1; i <= HK_CLASSES && hk_spare_slots(); i++) {
		uint64_t since = atomic_load_explicit(&spares[i].since,
						      memory_order_relaxed);

		if (since < oldest &&
		    atomic_load_explicit(&spares[i].slab, memory_order_relaxed))
			oldest = since;
	}
	return oldest;
}

bool hk_spare_has(const struct hk_slab *slab)
{
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		if (atomic_load_explicit(&spares[i].slab, memory_order_relaxed) == slab)
			return true;
	}
	return false;
}

void hk_spare_check(void)
{
	unsigned slots = 0;

	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		struct hk_slab *slab = atomic_load_explicit(&spares[i].slab,
							    memory_order_relaxed);

		if (!slab)
			continue;
		hk_assert(slab->kind == HK_KIND_NONE && slab->former == i);
		hk_assert(slab->slots == hk_class_info(i)->slots && !slab->used);
		hk_assert(slab->first == hk_slab_slot(slab));
		slots += slab->slots;
	}
	hk_assert(slots == hk_spare_slots() && slots <= HK_SPARE_SLOTS);
}
