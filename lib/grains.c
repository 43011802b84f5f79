/* SPDX-License-Identifier: MIT
 *
 * grains.c - see grains.h.  Makes no system call.
 */
#include "grains.h"

#include <string.h>

#include "debug/block.h"
#include "growth.h"
#include "os.h"
#include "pool.h"
#include "room.h"

_Static_assert(HK_BITMAP_INLINE_WORDS == HK_GRAIN_WORDS,
	       "the free grains of a slot take the place of a slab's free blocks");

/* So many slots were attached that count as full until something is taken of them. */
static unsigned unfilled;

/* ---- pages ---- */

static unsigned grains_per_page(void)
{
	return 1u << hk_grains_page_shift();
}

/* A bit for each page of a slot that begins at this grain or behind it. */
static unsigned pages_from(unsigned grain)
{
	unsigned shift = hk_grains_page_shift();
	unsigned page = (grain + (1u << shift) - 1) >> shift;

	return (1u << (HK_GRAINS >> shift)) - (1u << page);
}

/* On so many of a slot's pages. */
static unsigned grains_on(unsigned pages)
{
	if (HK_LIKELY(!pages || pages == pages_from(0)))
		return pages ? HK_GRAINS : 0;
	return (unsigned)__builtin_popcount(pages) << hk_grains_page_shift();
}

unsigned hk_grains_absent(const struct hk_superslab *superslab, unsigned slot)
{
	const struct hk_slab *slab = &superslab->slab[slot];
	unsigned gone = atomic_load_explicit(&superslab->purged[slot],
					     memory_order_relaxed);

	if (slab->zero)
		gone |= pages_from(slab->fresh);
	return gone;
}

/* Grains of the slot on pages that were touched. */
static unsigned touched(const struct hk_superslab *superslab, unsigned slot)
{
	return HK_GRAINS - grains_on(hk_grains_absent(superslab, slot));
}

static void add_slack(struct hk_superslab *superslab, int grains)
{
	int slack = atomic_load_explicit(&superslab->slack, memory_order_relaxed);

	atomic_store_explicit(&superslab->slack, (uint16_t)(slack + grains),
			      memory_order_relaxed);
}

/* So many more, or less, than before. */
static void count_touched(struct hk_superslab *superslab, int grains)
{
	hk_growth.touched += (size_t)(ptrdiff_t)grains;
	add_slack(superslab, grains);
}

static void set_purged(struct hk_superslab *superslab, unsigned slot, unsigned pages)
{
	int before = (int)touched(superslab, slot);

	atomic_store_explicit(&superslab->purged[slot], (uint16_t)pages,
			      memory_order_relaxed);
	count_touched(superslab, (int)touched(superslab, slot) - before);
}

/* ---- taking ---- */

unsigned hk_grains_find(struct hk_superslab *superslab, unsigned from, unsigned n)
{
	unsigned first = from, after;

	while ((first = hk_grain_from(superslab, hk_free_bits, first)) < HK_ALL_GRAINS) {
		after = hk_grain_from(superslab, hk_taken_bits, first);
		if (first + n <= after)
			return first;
		first = after;
	}
	return HK_ALL_GRAINS;
}

static void attach(struct hk_superslab *superslab, unsigned first, unsigned slots,
		   uint32_t dirty)
{
	uint32_t mask = 0;

	for (unsigned slot = first; slot < first + slots; slot++) {
		struct hk_slab *slab = &superslab->slab[slot];

		*slab = (struct hk_slab){ .kind = HK_KIND_MEDIUM,
					  .slots = 1,
					  .first = (uint8_t)slot,
					  .blocks = HK_GRAINS,
					  .zero = !(dirty >> slot & 1) };
		for (unsigned i = 0; i < HK_GRAIN_WORDS; i++) {
			atomic_store_explicit(&slab->grains[i], UINT64_MAX,
					      memory_order_relaxed);
			atomic_store_explicit(&superslab->last[slot][i], 0,
					      memory_order_relaxed);
		}
		count_touched(superslab, (int)touched(superslab, slot));
		hk_block_reset(slab);
		mask |= (uint32_t)1 << slot;
	}
	hk_growth.slots += slots;
	unfilled += slots;
	atomic_store_explicit(&superslab->medium, superslab->medium | mask,
			      memory_order_release);
}

void hk_grains_attach(struct hk_slab *run, bool zero)
{
	struct hk_superslab *superslab = hk_slab_superslab(run);
	bool first = !superslab->medium;
	unsigned slot = hk_slab_slot(run);

	attach(superslab, slot, run->slots, zero ? 0 : UINT32_MAX);
	if (first)
		hk_room_look_everywhere(superslab);
	else
		hk_room_note(superslab, slot * HK_GRAINS);
}

bool hk_grains_claim(struct hk_superslab *superslab, unsigned first, unsigned n)
{
	unsigned slot = first / HK_GRAINS, end = (first + n - 1) / HK_GRAINS + 1;
	uint32_t dirty;

	/* At the ends are those of which a part is taken, between them such as are not. */
	if (slot < end && hk_grains_in(superslab, slot))
		slot++;
	if (slot < end && hk_grains_in(superslab, end - 1))
		end--;
	if (slot == end)
		return true;
	if (!hk_pool_claim(superslab, slot, end - slot, HK_KIND_MEDIUM, &dirty))
		return false;
	attach(superslab, slot, end - slot, dirty);
	return true;
}

/*
 * In both, of grains that become taken the end is marked before they cease to be free, and
 * hk_end_bits() reads free before last: so the grain before a block is at any time one that is free
 * or one that ends something, whatever becomes of it.
 */
void hk_grains_end(struct hk_superslab *superslab, unsigned first, unsigned end)
{
	_Atomic uint64_t *words = hk_last_words(superslab);
	unsigned word = first / 64, at = end - 1;
	uint64_t bits = UINT64_MAX << first % 64, last = (uint64_t)1 << at % 64;

	for (; word < at / 64; word++, bits = UINT64_MAX)
		atomic_store_explicit(&words[word], hk_last_bits(superslab, word) & ~bits,
				      memory_order_relaxed);
	bits &= last - 1;
	atomic_store_explicit(&words[word],
			      (hk_last_bits(superslab, word) & ~bits) | last,
			      memory_order_relaxed);
}

/* These bits of a word, which are as in before. */
HK_INLINE void flip(_Atomic uint64_t *word, uint64_t bits, uint64_t before)
{
	uint64_t now = atomic_load_explicit(word, memory_order_relaxed);

	hk_assert(!((now ^ before) & bits));
	atomic_store_explicit(word, now ^ bits, memory_order_release);
}

static void flip_slot(_Atomic uint64_t *words, uint64_t before)
{
	uint64_t wrong = 0;

	for (unsigned i = 0; i < HK_GRAIN_WORDS; i++) {
		wrong |= atomic_load_explicit(&words[i], memory_order_relaxed) ^ before;
		atomic_store_explicit(&words[i], ~before, memory_order_release);
	}
	hk_assert(!wrong);
}

/* Of one slot, these grains. */
static void mark(_Atomic uint64_t *words, unsigned first, unsigned end, uint64_t before)
{
	uint64_t bits = UINT64_MAX << first % 64;
	unsigned word = first / 64, last = (end - 1) / 64;

	if (end - first == HK_GRAINS) {
		flip_slot(words, before);
		return;
	}
	for (; word < last; word++, bits = UINT64_MAX)
		flip(&words[word], bits, before);
	flip(&words[word], bits & UINT64_MAX >> (63 - (end - 1) % 64), before);
}

void hk_grains_mark(struct hk_superslab *superslab, unsigned first, unsigned end,
		    bool is_free)
{
	struct hk_part part;

	while (hk_next_part(&first, end, &part))
		mark(superslab->slab[part.slot].grains, part.first, part.end,
		     is_free ? 0 : UINT64_MAX);
}

/*
 * So many grains of a slot have been taken; or, less than none, given back.  What that changes of
 * its SuperSlab's use; the caller tells hk_pool_use().
 */
static int count_used(struct hk_slab *slab, int grains)
{
	int before = (int)hk_grains_weight(slab->used);

	slab->used = (uint16_t)(slab->used + grains);
	return (int)hk_grains_weight(slab->used) - before;
}

/* And of all its slots, so many. */
static void count_all(struct hk_superslab *superslab, int grains)
{
	hk_growth.used += (size_t)(ptrdiff_t)grains;
	add_slack(superslab, -grains);
}

static void use(struct hk_superslab *superslab, int change)
{
	if (change)
		hk_pool_use(superslab, change);
}

/* Touch the part: its pages are there from now on. */
HK_INLINE void touch(struct hk_superslab *superslab, const struct hk_part *part,
		     struct hk_taken *taken)
{
	struct hk_slab *slab = &superslab->slab[part->slot];
	unsigned page_shift = hk_grains_page_shift();
	unsigned first = part->first >> page_shift, last = (part->end - 1) >> page_shift;
	unsigned pages = (2u << last) - (1u << first), start = part->slot * HK_GRAINS;
	unsigned gone = hk_grains_absent(superslab, part->slot), fresh = gone & pages;

	taken->zero &= (slab->zero && part->first >= slab->fresh) || fresh == pages;
	if (part->end > slab->fresh)
		slab->fresh = (uint16_t)part->end;
	if (!fresh)
		return;
	if (!taken->end)
		taken->first = start + ((unsigned)__builtin_ctz(fresh) << page_shift);
	taken->end = start + ((32u - (unsigned)__builtin_clz(fresh)) << page_shift);
	taken->fresh += grains_on(fresh);
	count_touched(superslab, (int)grains_on(fresh));
	/* What lies before it and was never touched counts as purged. */
	gone &= ~pages;
	if (slab->zero)
		gone &= ~pages_from(slab->fresh);
	atomic_store_explicit(&superslab->purged[part->slot], (uint16_t)gone,
			      memory_order_relaxed);
}

char *hk_grains_take(struct hk_superslab *superslab, unsigned first, unsigned n,
		     struct hk_taken *taken)
{
	unsigned begin = hk_room_begin(superslab, first) / HK_GRAINS;
	unsigned grain = first;
	struct hk_part part;
	int change = 0;

	*taken = (struct hk_taken){ .zero = true };
	hk_grains_end(superslab, first, first + n);
	hk_grains_mark(superslab, first, first + n, false);
	while (hk_next_part(&grain, first + n, &part)) {
		touch(superslab, &part, taken);
		change += count_used(&superslab->slab[part.slot],
				     (int)(part.end - part.first));
	}
	count_all(superslab, (int)n);
	/* Until now they counted as full, so that the SuperSlab did not look DRAINING. */
	use(superslab, change - (int)(unfilled * HK_SLOT_WEIGHT));
	unfilled = 0;
	hk_growth_look_locked(n, taken->fresh);
	hk_room_look(superslab, begin);
	if ((first + n) / HK_GRAINS != begin)
		hk_room_note(superslab, first + n);
	return hk_grain_address(superslab, first);
}

/* ---- giving back ---- */

/* Neighbours go as one run. */
static bool give_slots(struct hk_superslab *superslab, unsigned first, unsigned slots)
{
	struct hk_slab *slab = &superslab->slab[first];

	for (unsigned i = 1; i < slots; i++) {
		slab[i].former = slab[i].kind;
		slab[i].kind = HK_KIND_NONE;
	}
	slab->slots = (uint8_t)slots;
	return hk_pool_give(slab);
}

/*
 * These grains are free again; those of their slots that are all free go to the pool.  After the
 * last of those has gone, the SuperSlab may.
 */
static bool settle(struct hk_superslab *superslab, unsigned first, unsigned end)
{
	uint32_t leaving = 0;
	bool tidy = false, stays;

	for (unsigned slot = first / HK_GRAINS; slot <= (end - 1) / HK_GRAINS; slot++) {
		if (hk_grains_in(superslab, slot) && !superslab->slab[slot].used)
			leaving |= (uint32_t)1 << slot;
	}
	if (leaving)
		atomic_store_explicit(&superslab->medium, superslab->medium & ~leaving,
				      memory_order_relaxed);
	/* The SuperSlab stays only with others. */
	stays = superslab->medium != 0;
	if (!stays)
		hk_room_forget(superslab);
	/* Of EMPTY slots it is known, too, which pages are not there. */
	for (uint32_t left = leaving; left; left &= left - 1, hk_growth.slots--) {
		unsigned slot = (unsigned)__builtin_ctz(left);

		count_touched(superslab, -(int)touched(superslab, slot));
		atomic_store_explicit(&superslab->purged[slot],
				      (uint16_t)hk_grains_absent(superslab, slot),
				      memory_order_relaxed);
	}
	while (leaving) {
		unsigned slot = (unsigned)__builtin_ctz(leaving), slots;

		slots = (unsigned)__builtin_ctzl(~(uint64_t)(leaving >> slot));
		leaving &= slots < HK_SLOTS ? ~(((1u << slots) - 1) << slot) : 0;
		tidy |= give_slots(superslab, slot, slots);
	}
	if (stays)
		hk_room_note(superslab, first);
	return tidy;
}

bool hk_grains_give(struct hk_superslab *superslab, unsigned first, unsigned n)
{
	unsigned grain = first;
	struct hk_part part;
	int change = 0;

	hk_block_gone(hk_grain_address(superslab, first));
	hk_registry_set_window(hk_grain_address(superslab, first), HK_KIND_MEDIUM);
	hk_grains_mark(superslab, first, first + n, true);
	while (hk_next_part(&grain, first + n, &part))
		change += count_used(&superslab->slab[part.slot],
				     (int)part.first - (int)part.end);
	count_all(superslab, -(int)n);
	atomic_store_explicit(&superslab->given, ++hk_growth.gifts, memory_order_relaxed);
	use(superslab, change);
	return settle(superslab, first, first + n);
}

/* ---- pages ---- */

/*
 * The pages that a pass holds; there is one at a time.  They are not free, but whoever frees one
 * of their blocks meanwhile does it again.
 */
static const struct hk_superslab *holding;
static uint16_t held_pages[HK_SLOTS];

bool hk_grains_held(const struct hk_superslab *superslab, unsigned grain)
{
	return superslab == holding &&
	       (held_pages[grain / HK_GRAINS] >> grain % HK_GRAINS / grains_per_page() &
		1);
}

bool hk_grains_find_pages(struct hk_superslab *superslab, bool huge, uint16_t *pages,
			  unsigned *used, unsigned *grains)
{
	unsigned per_page = grains_per_page();
	bool found = false;

	*used = *grains = 0;
	for (unsigned slot = 0; slot < HK_SLOTS; slot++) {
		const struct hk_slab *slab = &superslab->slab[slot];
		unsigned gone = atomic_load_explicit(&superslab->purged[slot],
						     memory_order_relaxed);
		unsigned start = slot * HK_GRAINS, touched = HK_GRAINS, mask = 0;

		pages[slot] = 0;
		if (!hk_grains_in(superslab, slot))
			continue;
		*used += slab->used;
		*grains += HK_GRAINS;
		if (slab->zero && !huge)
			touched = slab->fresh;
		for (unsigned at = 0; at < touched; at += per_page) {
			unsigned bit = 1u << at / per_page;

			if (!(gone & bit) &&
			    hk_grain_from(superslab, hk_taken_bits, start + at) >=
				    start + at + per_page)
				mask |= bit;
		}
		pages[slot] = (uint16_t)mask;
		found |= mask != 0;
	}
	return found;
}

/* The pages as runs of grains, one after the other; *grain: where to look. */
static bool next_pages(const uint16_t *pages, unsigned *grain, unsigned *end)
{
	unsigned per_page = grains_per_page();

	for (; *grain < HK_ALL_GRAINS; *grain += per_page) {
		if (pages[*grain / HK_GRAINS] >> (*grain % HK_GRAINS / per_page) & 1) {
			*end = *grain + per_page;
			return true;
		}
	}
	return false;
}

void hk_grains_hold(struct hk_superslab *superslab, const uint16_t *held)
{
	unsigned grain = 0, end;

	holding = superslab;
	memcpy(held_pages, held, sizeof(held_pages));
	for (; next_pages(held, &grain, &end); grain = end) {
		unsigned next = end, ignored;

		/* A block may begin behind them, but none between: what is known of these stays. */
		if (!next_pages(held, &next, &ignored) || next > end)
			hk_grains_end(superslab, end - 1, end);
		hk_grains_mark(superslab, grain, end, false);
		use(superslab,
		    count_used(&superslab->slab[grain / HK_GRAINS], (int)(end - grain)));
		count_all(superslab, (int)(end - grain));
	}
}

bool hk_grains_unhold(struct hk_superslab *superslab, const uint16_t *held,
		      const uint16_t *purged)
{
	unsigned grain = 0, end;

	holding = NULL;
	for (; next_pages(held, &grain, &end); grain = end) {
		hk_grains_mark(superslab, grain, end, true);
		use(superslab, count_used(&superslab->slab[grain / HK_GRAINS],
					  (int)grain - (int)end));
		count_all(superslab, (int)grain - (int)end);
	}
	for (unsigned slot = 0; slot < HK_SLOTS; slot++) {
		unsigned gone = atomic_load_explicit(&superslab->purged[slot],
						     memory_order_relaxed);

		if (purged[slot])
			set_purged(superslab, slot, gone | purged[slot]);
	}
	hk_room_look_everywhere(superslab);
	return settle(superslab, 0, HK_ALL_GRAINS);
}

/* ---- invariants ---- */

/* Has the pool given the slot away, and nobody been told of it? */
static bool is_on_its_way(const struct hk_superslab *superslab, unsigned slot)
{
	const struct hk_slab *slab = &superslab->slab[superslab->slab[slot].first];

	return slab->kind && !slab->blocks;
}

/* The run that begins at this grain, or some part of the room that it belongs to, is listed. */
static bool is_known(const struct hk_superslab *superslab, unsigned grain)
{
	unsigned first = hk_grain_below(superslab, hk_wall_bits, grain);
	unsigned end = hk_grain_from(superslab, hk_taken_bits, grain);

	if (first && first % HK_GRAINS == 0 &&
	    is_on_its_way(superslab, first / HK_GRAINS - 1))
		return true;
	for (unsigned slot = first / HK_GRAINS; slot <= grain / HK_GRAINS; slot++) {
		if (superslab->longest[slot] >= end - grain)
			return true;
	}
	return false;
}

static void check_slots(struct hk_superslab *superslab, struct hk_growth *sum)
{
	unsigned grain = 0, slack = 0;

	for (unsigned slot = 0; slot < HK_SLOTS; slot++) {
		struct hk_slab *slab = &superslab->slab[slot];
		unsigned taken = 0;

		if (!hk_grains_in(superslab, slot))
			continue;
		hk_assert(superslab->active >> slot & 1 && slab->kind == HK_KIND_MEDIUM);
		for (unsigned i = 0; i < HK_GRAIN_WORDS; i++)
			taken += (unsigned)__builtin_popcountl(
				hk_used_bits(superslab, slot * HK_GRAIN_WORDS + i));
		hk_assert(slab->used && slab->used == taken);
		slack += touched(superslab, slot) - taken;
		sum->touched += touched(superslab, slot);
		sum->used += taken;
		sum->slots++;
	}
	hk_assert(superslab->slack == slack);
	while ((grain = hk_grain_from(superslab, hk_free_bits, grain)) < HK_ALL_GRAINS) {
		hk_assert(is_known(superslab, grain));
		grain = hk_grain_from(superslab, hk_taken_bits, grain);
	}
}

/* A purged page has only free grains. */
static void check_purged(struct hk_superslab *superslab)
{
	unsigned grain = 0, end;
	uint16_t purged[HK_SLOTS] = { 0 };

	for (unsigned slot = 0; slot < HK_SLOTS; slot++) {
		if (hk_grains_in(superslab, slot))
			purged[slot] = atomic_load_explicit(&superslab->purged[slot],
							    memory_order_relaxed);
	}
	for (; next_pages(purged, &grain, &end); grain = end)
		hk_assert(hk_grain_from(superslab, hk_taken_bits, grain) >= end);
}

void hk_grains_check(void)
{
	struct hk_growth sum = { 0 };

	hk_assert(!unfilled);
	hk_room_check();
	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next) {
		hk_assert(s->medium || !s->slack);
		if (!s->medium)
			continue;
		check_slots(s, &sum);
		check_purged(s);
	}
	hk_assert(sum.slots == hk_growth.slots && sum.used == hk_growth.used &&
		  sum.touched == hk_growth.touched);
}
