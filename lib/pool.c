/* SPDX-License-Identifier: MIT
 *
 * pool.c - lists of SuperSlabs by free slots, the LRU cache, and the purging of empty slots.
 *
 * Takes hk_pool_lock and, under it, nothing.  See pool.h for the policy and superslab.h for
 * the states of a slot.
 */
#include "pool.h"

#include "check.h"
#include "config.h"
#include "os.h"
#include "pulse.h"
#include "spare.h"

#define DIRTY_SLOTS_MIN 4      /* 256 KiB */
#define DIRTY_SLOTS_DIVISOR 10 /* of the ACTIVE ones */

struct hk_lock hk_pool_lock;
struct hk_pool_counters hk_pool_counters;
struct hk_superslab *hk_pool_superslabs;
struct hk_superslab *hk_pool_cursor;

/*
 * by_free[n]: those with n free slots; by_free[HK_SLOTS] is the LRU cache.  One group for the
 * DRAINING ones, one for all others.
 */
struct group {
	struct hk_superslab *by_free[HK_SLOTS + 1];
	uint64_t mask; /* of the lists that are not empty */
	size_t dirty;  /* EMPTY slots */
};

static struct group hot, draining;
static unsigned cached;

/* SuperSlabs with EMPTY slots, the one that has had them longest first. */
static struct hk_superslab *dirty_first, *dirty_last;
static size_t dirty_slots, active_slots;

/* Pages of EMPTY slots that are purged. */
static size_t purged_pages;

/* Slots that stay resident, or mapped, for the next demand. */
static size_t kept_slots(void)
{
	size_t mapped = (size_t)cached * HK_SLOTS;

	return mapped > dirty_slots ? mapped : dirty_slots;
}

/* ---- lists ---- */

static struct group *group_of(const struct hk_superslab *superslab)
{
	return hk_superslab_tier(superslab) == HK_TIER_DRAINING ? &draining : &hot;
}

static void list_add(struct hk_superslab *superslab)
{
	struct group *group = group_of(superslab);
	unsigned n = superslab->free_slots;

	superslab->previous = NULL;
	superslab->next = group->by_free[n];
	if (superslab->next)
		superslab->next->previous = superslab;
	group->by_free[n] = superslab;
	group->mask |= (uint64_t)1 << n;
	group->dirty += superslab->empty_slots;
	if (n == HK_SLOTS)
		cached++;
}

static void list_remove(struct hk_superslab *superslab)
{
	struct group *group = group_of(superslab);
	unsigned n = superslab->free_slots;

	if (superslab->next)
		superslab->next->previous = superslab->previous;
	if (superslab->previous)
		superslab->previous->next = superslab->next;
	else
		group->by_free[n] = superslab->next;
	if (!group->by_free[n])
		group->mask &= ~((uint64_t)1 << n);
	group->dirty -= superslab->empty_slots;
	if (n == HK_SLOTS)
		cached--;
}

static void dirty_add(struct hk_superslab *superslab)
{
	superslab->dirty_since = hk_os_now_ms();
	superslab->dirty_next = NULL;
	superslab->dirty_previous = dirty_last;
	if (dirty_last)
		dirty_last->dirty_next = superslab;
	else
		dirty_first = superslab;
	dirty_last = superslab;
}

static void dirty_remove(struct hk_superslab *superslab)
{
	if (superslab->dirty_next)
		superslab->dirty_next->dirty_previous = superslab->dirty_previous;
	else
		dirty_last = superslab->dirty_previous;
	if (superslab->dirty_previous)
		superslab->dirty_previous->dirty_next = superslab->dirty_next;
	else
		dirty_first = superslab->dirty_next;
}

static void all_add(struct hk_superslab *superslab)
{
	superslab->all_previous = NULL;
	superslab->all_next = hk_pool_superslabs;
	if (hk_pool_superslabs)
		hk_pool_superslabs->all_previous = superslab;
	hk_pool_superslabs = superslab;
}

static void all_remove(struct hk_superslab *superslab)
{
	if (hk_pool_cursor == superslab)
		hk_pool_cursor = superslab->all_next;
	if (superslab->all_next)
		superslab->all_next->all_previous = superslab->all_previous;
	if (superslab->all_previous)
		superslab->all_previous->all_next = superslab->all_next;
	else
		hk_pool_superslabs = superslab->all_next;
}

static void set_tier(struct hk_superslab *superslab, enum hk_tier tier)
{
	atomic_store_explicit(&superslab->tier, (uint8_t)tier, memory_order_seq_cst);
}

/* What most calls ask about are few, or none. */
static unsigned slots_in(uint32_t mask)
{
	return mask ? (unsigned)__builtin_popcount(mask) : 0;
}

/*
 * Move slots between the masks of a SuperSlab, and the SuperSlab between the lists that
 * follow from them.  The one place where a slot's state changes.
 */
static void set_masks(struct hk_superslab *superslab, uint32_t active, uint32_t empty,
		      uint32_t busy)
{
	unsigned n = slots_in(active), n_empty = slots_in(empty), n_busy = slots_in(busy);

	hk_assert(!(active & empty) && !(active & busy) && !(empty & busy));
	purged_pages += hk_superslab_purged(superslab, empty & ~superslab->empty);
	purged_pages -= hk_superslab_purged(superslab, superslab->empty & ~empty);
	dirty_slots += n_empty;
	dirty_slots -= superslab->empty_slots;
	active_slots += n;
	active_slots -= slots_in(superslab->active);
	if (empty && !superslab->empty)
		dirty_add(superslab);
	else if (!empty && superslab->empty)
		dirty_remove(superslab);
	list_remove(superslab);
	atomic_store_explicit(&superslab->active, active, memory_order_relaxed);
	atomic_store_explicit(&superslab->empty, empty, memory_order_relaxed);
	superslab->unused = ~(active | empty | busy);
	superslab->busy = busy;
	superslab->free_slots = (uint8_t)(HK_SLOTS - n - n_busy);
	superslab->empty_slots = (uint8_t)n_empty;
	if (superslab->free_slots == HK_SLOTS)
		set_tier(superslab, HK_TIER_FREE);
	else if (hk_superslab_tier(superslab) == HK_TIER_FREE)
		set_tier(superslab, HK_TIER_FRESH);
	list_add(superslab);
}

/* ---- tiers ---- */

/* See superslab.h: no change of use may be missed between the store and the look at it. */
static void settle_tier_locked(struct hk_superslab *superslab)
{
	for (;;) {
		enum hk_tier tier = hk_superslab_tier(superslab);
		unsigned use = atomic_load_explicit(&superslab->use,
						    memory_order_seq_cst);
		enum hk_tier next = hk_tier_next(tier, use);

		if (next == tier)
			return;
		list_remove(superslab);
		set_tier(superslab, next);
		list_add(superslab);
	}
}

void hk_pool_settle_tier(struct hk_superslab *superslab)
{
	hk_lock(&hk_pool_lock);
	settle_tier_locked(superslab);
	hk_unlock(&hk_pool_lock);
}

static void add_use_locked(struct hk_superslab *superslab, int change)
{
	hk_superslab_add_use(superslab, change);
	settle_tier_locked(superslab);
}

/* ---- taking ---- */

/* The lowest run of free slots at a multiple of align, or HK_SLOTS. */
static unsigned find_run(uint32_t free, unsigned slots, unsigned align)
{
	for (unsigned slot = 0; slot + slots <= HK_SLOTS; slot += align) {
		uint32_t run = hk_run_mask(slot, slots);

		if ((free & run) == run)
			return slot;
	}
	return HK_SLOTS;
}

/*
 * From the fullest SuperSlab that has room.  Of those with equally many free slots only a
 * few are tried, so that a heap full of holes too small for the run does not make this slow.
 */
#define TRIES 16

static struct hk_superslab *find_in_lists(const struct group *group, bool dirty,
					  unsigned slots, unsigned align, unsigned *slot)
{
	uint64_t lists = group->mask >> slots << slots;

	for (; lists; lists &= lists - 1) {
		struct hk_superslab *superslab = group->by_free[__builtin_ctzl(lists)];

		for (unsigned tries = TRIES; superslab && tries; tries--) {
			uint32_t unused = dirty ? 0 : superslab->unused;

			*slot = find_run(superslab->empty | unused, slots, align);
			if (*slot != HK_SLOTS)
				return superslab;
			superslab = superslab->next;
		}
	}
	return NULL;
}

/* Slots whose pages are there: others would add to the resident size. */
static struct hk_superslab *find_dirty(const struct group *group, unsigned slots,
				       unsigned align, unsigned *slot)
{
	return group->dirty < slots ? NULL
				    : find_in_lists(group, true, slots, align, slot);
}

static void activate(struct hk_superslab *superslab, unsigned slot, unsigned slots,
		     unsigned kind)
{
	uint32_t run = hk_run_mask(slot, slots);

	set_masks(superslab, superslab->active | run, superslab->empty & ~run,
		  superslab->busy);
	for (unsigned i = slot; i < slot + slots; i++) {
		superslab->slab[i].first = (uint8_t)slot;
		superslab->idle[i] = 0;
	}
	/* Medium blocks know which pages are not there. */
	if (kind != HK_KIND_MEDIUM)
		hk_superslab_forget_purged(superslab, run);
	/* Nothing of its former life: until its new owner has filled it in, it has no blocks. */
	superslab->slab[slot] = (struct hk_slab){ .kind = (uint8_t)kind,
						  .slots = (uint8_t)slots,
						  .first = (uint8_t)slot };
	add_use_locked(superslab, (int)hk_slab_weight(&superslab->slab[slot]));
	hk_registry_set_kind(superslab->base + ((size_t)slot << HK_SLOT_SHIFT), slots,
			     kind);
}

/* The caller holds the lock; the run has no kind any more. */
static void give_run(struct hk_slab *slab)
{
	struct hk_superslab *superslab = hk_slab_superslab(slab);
	uint32_t run = hk_run_mask(hk_slab_slot(slab), slab->slots);

	hk_assert((superslab->active & run) == run);
	set_masks(superslab, superslab->active & ~run, superslab->empty | run,
		  superslab->busy);
}

/* The caller holds the lock: what the classes keep becomes EMPTY. */
static bool reclaim_spares(uint64_t before_ms)
{
	struct hk_slab *slab;
	bool any = false;

	while ((slab = hk_spare_remove_locked(before_ms))) {
		give_run(slab);
		any = true;
	}
	return any;
}

static struct hk_superslab *find_anywhere(unsigned slots, unsigned align, unsigned *slot)
{
	struct hk_superslab *superslab = find_dirty(&hot, slots, align, slot);

	/* What is kept because demand swings is there to be used before it grows. */
	if (!superslab && hk_pulse_allowance(kept_slots()))
		superslab = find_dirty(&draining, slots, align, slot);
	if (!superslab)
		superslab = find_in_lists(&hot, false, slots, align, slot);
	if (!superslab)
		superslab = find_dirty(&draining, slots, align, slot);
	return superslab ? superslab
			 : find_in_lists(&draining, false, slots, align, slot);
}

bool hk_pool_limits_allow(size_t bytes, bool last_try)
{
	size_t after = hk_os_mapped() + bytes;
	uint64_t soft = hk_config_number(HK_OPTION_SOFT_LIMIT);
	uint64_t hard = hk_config_number(HK_OPTION_HARD_LIMIT);

	if (hard && after > hard)
		return false;
	return !soft || after <= soft || last_try;
}

bool hk_pool_split_locked(struct hk_superslab *superslab)
{
	if (!superslab->huge)
		return false;
	superslab->huge = false;
	hk_pool_counters.thp_splits++;
	return true;
}

struct hk_slab *hk_pool_take(unsigned kind, unsigned slots, unsigned align, bool last_try,
			     bool *zero)
{
	struct hk_superslab *superslab;
	unsigned slot = 0;
	uint32_t dirty;
	bool huge;

	hk_lock(&hk_pool_lock);
	superslab = find_anywhere(slots, align, &slot);
	if (!superslab && reclaim_spares(UINT64_MAX))
		superslab = find_anywhere(slots, align, &slot);
	if (!superslab) {
		hk_unlock(&hk_pool_lock);
		if (!hk_pool_limits_allow(HK_SUPERSLAB_BYTES, last_try))
			return NULL;
		superslab = hk_superslab_map();
		if (!superslab)
			return NULL;
		hk_lock(&hk_pool_lock);
		hk_pool_counters.superslabs_mapped++;
		all_add(superslab);
		list_add(superslab);
		slot = 0;
	}
	dirty = superslab->empty & hk_run_mask(slot, slots);
	*zero = !dirty;
	hk_pulse_take(slots - (size_t)__builtin_popcount(dirty), kept_slots());
	activate(superslab, slot, slots, kind);
	huge = hk_superslab_wants_huge_pages(superslab);
	hk_pulse_look(kept_slots());
	hk_unlock(&hk_pool_lock);
	if (huge)
		hk_os_huge_pages(superslab->base, HK_SUPERSLAB_BYTES, true);
	return &superslab->slab[slot];
}

bool hk_pool_claim(struct hk_superslab *superslab, unsigned slot, unsigned slots,
		   unsigned kind, uint32_t *dirty)
{
	uint32_t run = hk_run_mask(slot, slots);
	bool free;

	hk_lock(&hk_pool_lock);
	free = ((superslab->empty | superslab->unused) & run) == run;
	if (free) {
		*dirty = superslab->empty & run;
		hk_pulse_take(slots - (size_t)__builtin_popcount(*dirty), kept_slots());
		activate(superslab, slot, slots, kind);
		hk_pulse_look(kept_slots());
	}
	hk_unlock(&hk_pool_lock);
	return free;
}

void hk_pool_ask_for_huge_pages(struct hk_superslab *superslab)
{
	uint32_t active = atomic_load_explicit(&superslab->active, memory_order_relaxed);
	bool huge;

	if (HK_LIKELY(hk_config_thp() == HK_THP_NEVER) || active != HK_ALL_SLOTS)
		return;
	hk_lock(&hk_pool_lock);
	huge = hk_superslab_wants_huge_pages(superslab);
	hk_unlock(&hk_pool_lock);
	if (huge)
		hk_os_huge_pages(superslab->base, HK_SUPERSLAB_BYTES, true);
}

/* ---- giving back ---- */

static bool too_many_cached(void)
{
	size_t limit = hk_config_number(HK_OPTION_LRU_SUPERSLABS);

	return cached > limit &&
	       cached > limit + hk_pulse_allowance(kept_slots()) / HK_SLOTS;
}

/* Is it time to purge the SuperSlab that has had EMPTY slots longest? */
static bool too_many_dirty(void)
{
	size_t limit = DIRTY_SLOTS_MIN + active_slots / DIRTY_SLOTS_DIVISOR;
	uint64_t delay = hk_config_number(HK_OPTION_PURGE_DELAY_MS);
	size_t allowance;

	if (!dirty_slots)
		return false;
	allowance = hk_pulse_allowance(kept_slots());
	if (dirty_slots + hk_spare_slots() > limit + allowance)
		return true;
	return dirty_slots > allowance &&
	       hk_os_now_ms() - dirty_first->dirty_since >= delay;
}

bool hk_pool_give(struct hk_slab *slab)
{
	bool tidy;

	if (slab->kind && slab->kind <= HK_CLASSES && hk_spare_keep(slab))
		return false;
	hk_lock(&hk_pool_lock);
	hk_assert(slab->kind);
	add_use_locked(hk_slab_superslab(slab), -(int)hk_slab_weight(slab));
	hk_registry_set_kind(hk_slab_base(slab), slab->slots, HK_KIND_NONE);
	slab->former = slab->kind;
	slab->kind = HK_KIND_NONE;
	give_run(slab);
	tidy = too_many_cached() || too_many_dirty();
	hk_unlock(&hk_pool_lock);
	return tidy;
}

void hk_pool_give_spare(struct hk_slab *slab)
{
	hk_lock(&hk_pool_lock);
	give_run(slab);
	hk_unlock(&hk_pool_lock);
}

/*
 * Called with the lock held, returns with it held, drops it for the system calls: meanwhile
 * the slots are BUSY, so nobody takes them and nobody unmaps the SuperSlab.
 */
static size_t purge(struct hk_superslab *superslab)
{
	uint32_t slots = superslab->empty, left = slots, kept = 0;
	bool split = slots != HK_ALL_SLOTS && hk_pool_split_locked(superslab);
	size_t bytes = 0;

	set_masks(superslab, superslab->active, 0, superslab->busy | slots);
	hk_unlock(&hk_pool_lock);
	if (split)
		hk_os_huge_pages(superslab->base, HK_SUPERSLAB_BYTES, false);
	while (left) {
		unsigned first = (unsigned)__builtin_ctz(left), count = 1;
		uint32_t run;

		while (first + count < HK_SLOTS && (left >> (first + count) & 1))
			count++;
		run = hk_run_mask(first, count);
		left &= ~run;
		if (!hk_os_purge(superslab->base + first * HK_SLOT_BYTES,
				 count * HK_SLOT_BYTES)) {
			kept |= run;
			continue;
		}
		bytes += count * HK_SLOT_BYTES -
			 hk_superslab_purged(superslab, run) * hk_os_page_size;
		hk_superslab_forget_purged(superslab, run);
	}
	hk_lock(&hk_pool_lock);
	hk_pool_counters.purged_bytes += bytes;
	set_masks(superslab, superslab->active, superslab->empty | kept,
		  superslab->busy & ~slots);
	return bytes;
}

/* As purge(): the lock is held, dropped and held again.  false: the kernel refused. */
static bool unmap(struct hk_superslab *superslab)
{
	uint32_t empty = superslab->empty;
	bool done;

	set_masks(superslab, 0, 0, 0);
	list_remove(superslab);
	all_remove(superslab);
	hk_unlock(&hk_pool_lock);
	done = hk_superslab_unmap(superslab);
	hk_lock(&hk_pool_lock);
	if (done) {
		hk_pool_counters.superslabs_unmapped++;
		return true;
	}
	all_add(superslab);
	list_add(superslab);
	set_masks(superslab, 0, empty, 0);
	return false;
}

/* The FREE SuperSlab that has been so longest. */
static struct hk_superslab *least_recent(void)
{
	struct hk_superslab *superslab = hot.by_free[HK_SLOTS];

	while (superslab && superslab->next)
		superslab = superslab->next;
	return superslab;
}

void hk_pool_tidy(void)
{
	uint64_t now = hk_os_now_ms();
	uint64_t delay = hk_config_number(HK_OPTION_PURGE_DELAY_MS);

	hk_lock(&hk_pool_lock);
	reclaim_spares(now > delay ? now - delay : 0);
	while (too_many_cached() && unmap(least_recent()))
		hk_pulse_give(HK_SLOTS);
	/* A purge that the kernel refuses leaves the slots EMPTY, at the list's far end. */
	for (size_t tries = dirty_slots; tries && too_many_dirty(); tries--)
		hk_pulse_give(purge(dirty_first) / HK_SLOT_BYTES);
	hk_unlock(&hk_pool_lock);
}

uint64_t hk_pool_due_ms(void)
{
	uint64_t delay = hk_config_number(HK_OPTION_PURGE_DELAY_MS);
	uint64_t now = hk_os_now_ms(), due = UINT64_MAX, at;
	size_t allowance;

	hk_lock(&hk_pool_lock);
	allowance = hk_pulse_allowance(kept_slots());
	if (cached > hk_config_number(HK_OPTION_LRU_SUPERSLABS))
		due = allowance ? hk_pulse_ends() : now;
	if (dirty_slots) {
		at = dirty_first->dirty_since + delay;
		if (dirty_slots <= allowance && at < hk_pulse_ends())
			at = hk_pulse_ends();
		due = at < due ? at : due;
	}
	if (hk_spare_slots()) {
		at = hk_spare_since() + delay;
		due = at < due ? at : due;
	}
	hk_unlock(&hk_pool_lock);
	if (due == UINT64_MAX)
		return due;
	return due > now ? due - now : 0;
}

void hk_pool_release(struct hk_pool_released *released)
{
	*released = (struct hk_pool_released){ 0 };
	hk_lock(&hk_pool_lock);
	reclaim_spares(UINT64_MAX);
	for (size_t tries = cached; tries && hot.by_free[HK_SLOTS]; tries--) {
		if (!unmap(hot.by_free[HK_SLOTS]))
			break;
		released->superslabs++;
		released->bytes += HK_SUPERSLAB_BYTES;
	}
	for (size_t tries = dirty_slots; tries && dirty_first; tries--)
		released->bytes += purge(dirty_first);
	hk_unlock(&hk_pool_lock);
}

void hk_pool_adopt(void)
{
	hk_lock(&hk_pool_lock);
	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next)
		set_masks(s, s->active, s->empty | s->busy, 0);
	hk_unlock(&hk_pool_lock);
}

void hk_pool_count(size_t *active, size_t *resident)
{
	hk_lock(&hk_pool_lock);
	*active = active_slots;
	*resident = dirty_slots * HK_SLOT_BYTES - purged_pages * hk_os_page_size;
	hk_unlock(&hk_pool_lock);
}

size_t hk_pool_purge_locked(struct hk_superslab *superslab)
{
	return superslab->empty ? purge(superslab) : 0;
}

/* ---- invariants ---- */

static size_t check_lists(const struct group *group)
{
	size_t listed = 0, dirty = 0;

	for (unsigned n = 0; n <= HK_SLOTS; n++) {
		hk_assert(!group->by_free[n] == !(group->mask >> n & 1));
		for (struct hk_superslab *s = group->by_free[n]; s; s = s->next) {
			hk_assert(s->free_slots == n && group_of(s) == group);
			listed++;
			dirty += (size_t)__builtin_popcount(s->empty);
		}
	}
	hk_assert(dirty == group->dirty);
	return listed;
}

void hk_pool_check(void)
{
	size_t dirty = 0, active = 0, free_superslabs = 0, all = 0, purged = 0;

	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next, all++) {
		dirty += (size_t)__builtin_popcount(s->empty);
		active += (size_t)__builtin_popcount(s->active);
		purged += hk_superslab_purged(s, s->empty);
		free_superslabs += s->free_slots == HK_SLOTS;
		hk_check_superslab(s);
	}
	hk_assert(dirty == dirty_slots && active == active_slots &&
		  purged == purged_pages && free_superslabs == cached);
	hk_assert(check_lists(&hot) + check_lists(&draining) == all);
}
