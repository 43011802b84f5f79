/* SPDX-License-Identifier: MIT
 *
 * grains.c - see grains.h.  Makes no system call.
 */
#include "grains.h"

#include <string.h>

#include "debug/block.h"
#include "os.h"
#include "pool.h"

/* Of each list so many SuperSlabs are tried. */
#define TRIES 16

_Static_assert(HK_BITMAP_INLINE_WORDS == HK_GRAIN_WORDS,
	       "the free grains of a slot take the place of a slab's free blocks");

/* Four lists to a doubling of longest; and a bit for each that is not empty. */
#define LISTS 64
static struct hk_superslab *lists[LISTS];
static uint64_t listed;

/* ---- lists by the longest free run ---- */

static unsigned list_for(unsigned grains)
{
	unsigned log;

	if (grains < 8)
		return grains;
	log = 31 - (unsigned)__builtin_clz(grains);
	return 4 * (log - 1) + (grains >> (log - 2) & 3);
}

static void list(struct hk_superslab *superslab, unsigned longest)
{
	unsigned n = list_for(longest);

	superslab->longest = (uint16_t)longest;
	superslab->medium_previous = NULL;
	superslab->medium_next = lists[n];
	if (lists[n])
		lists[n]->medium_previous = superslab;
	lists[n] = superslab;
	listed |= (uint64_t)1 << n;
}

static void unlist(struct hk_superslab *superslab)
{
	unsigned n = list_for(superslab->longest);

	if (superslab->medium_next)
		superslab->medium_next->medium_previous = superslab->medium_previous;
	if (superslab->medium_previous)
		superslab->medium_previous->medium_next = superslab->medium_next;
	else
		lists[n] = superslab->medium_next;
	if (!lists[n])
		listed &= ~((uint64_t)1 << n);
}

static void relist(struct hk_superslab *superslab, unsigned longest)
{
	if (list_for(longest) == list_for(superslab->longest)) {
		superslab->longest = (uint16_t)longest;
		return;
	}
	unlist(superslab);
	list(superslab, longest);
}

/* The run of this grain, if that is free, is a new one: it may be the longest. */
static void note_run(struct hk_superslab *superslab, unsigned grain)
{
	unsigned first, run;
	struct hk_slab *slab;

	if (grain == HK_ALL_GRAINS || !hk_grain_has(superslab, hk_free_bits, grain))
		return;
	first = hk_grain_below(superslab, hk_taken_bits, grain);
	run = hk_grain_from(superslab, hk_taken_bits, grain) - first;
	slab = &superslab->slab[first / HK_GRAINS];
	if (run > slab->hint)
		slab->hint = (uint16_t)run;
	if (run > superslab->longest)
		relist(superslab, run);
}

/* ---- taking ---- */

/*
 * The lowest run of n grains at a multiple of align in the free runs that begin in the slot, or
 * of them from this grain on; HK_ALL_GRAINS: there is none, and of the whole slot that is noted.
 */
static unsigned find_in_slot(struct hk_superslab *superslab, unsigned slot, unsigned from,
			     unsigned n, unsigned align)
{
	unsigned start = slot * HK_GRAINS, end = start + HK_GRAINS, longest = 0;
	unsigned first = from > start ? from : start;

	/* The rest of one that began before. */
	if (first == start && start && hk_grain_has(superslab, hk_free_bits, start - 1))
		first = hk_grain_from(superslab, hk_taken_bits, start);
	for (; (first = hk_grain_between(superslab, hk_free_bits, first, end)) < end;) {
		unsigned aligned = (first + align - 1) & ~(align - 1);
		unsigned after = hk_grain_from(superslab, hk_taken_bits, first);

		if (aligned + n <= after)
			return aligned;
		if (after - first > longest)
			longest = after - first;
		first = after;
	}
	if (from <= start)
		superslab->slab[slot].hint = (uint16_t)longest;
	return HK_ALL_GRAINS;
}

/*
 * The lowest free run of n grains at a multiple of align, from this grain on; HK_ALL_GRAINS: none,
 * and *longest is one that no free run exceeds.
 */
static unsigned find_run(struct hk_superslab *superslab, unsigned from, unsigned n,
			 unsigned align, unsigned *longest)
{
	*longest = 0;
	for (unsigned slot = from / HK_GRAINS; slot < HK_SLOTS; slot++) {
		const struct hk_slab *slab = &superslab->slab[slot];
		unsigned found;

		if (!hk_grains_in(superslab, slot))
			continue;
		if (slab->hint >= n) {
			found = find_in_slot(superslab, slot, from, n, align);
			if (found != HK_ALL_GRAINS)
				return found;
		}
		if (slab->hint > *longest)
			*longest = slab->hint;
	}
	return HK_ALL_GRAINS;
}

unsigned hk_grains_find(struct hk_superslab *superslab, unsigned from, unsigned n,
			unsigned align)
{
	unsigned ignored;

	return find_run(superslab, from, n, align, &ignored);
}

struct hk_superslab *hk_grains_best(unsigned n, unsigned align, unsigned *grain)
{
	unsigned first = list_for(n), longest;
	uint64_t left = listed >> first << first;

	for (; left; left &= left - 1) {
		struct hk_superslab *superslab = lists[__builtin_ctzl(left)], *next;

		for (unsigned tries = TRIES; superslab && tries--; superslab = next) {
			next = superslab->medium_next;
			if (superslab->longest < n)
				continue;
			*grain = find_run(superslab, 0, n, align, &longest);
			if (*grain != HK_ALL_GRAINS)
				return superslab;
			relist(superslab, longest);
		}
	}
	return NULL;
}

/* The bits of this word that stand for grains first .. end - 1; not none. */
static uint64_t part_of_word(unsigned word, unsigned first, unsigned end)
{
	uint64_t bits = UINT64_MAX;

	if (word == first / 64)
		bits &= UINT64_MAX << first % 64;
	if (word == (end - 1) / 64)
		bits &= UINT64_MAX >> (63 - (end - 1) % 64);
	return bits;
}

/*
 * In both, of grains that become taken the end is marked before they cease to be free, and
 * hk_end_bits() reads free before last: so the grain before a block is at any time one that is free
 * or one that ends something, whatever becomes of it.
 */
void hk_grains_end(struct hk_superslab *superslab, unsigned first, unsigned end)
{
	for (unsigned word = first / 64; word <= (end - 1) / 64; word++) {
		uint64_t bits = part_of_word(word, first, end), ends = 0;

		if (word == (end - 1) / 64)
			ends = (uint64_t)1 << (end - 1) % 64;
		atomic_store_explicit(
			&superslab->last[word / HK_GRAIN_WORDS][word % HK_GRAIN_WORDS],
			(hk_last_bits(superslab, word) & ~bits) | ends,
			memory_order_relaxed);
	}
}

void hk_grains_mark(struct hk_superslab *superslab, unsigned first, unsigned end,
		    bool is_free)
{
	for (unsigned word = first / 64; word <= (end - 1) / 64; word++) {
		struct hk_slab *slab = &superslab->slab[word / HK_GRAIN_WORDS];
		uint64_t bits = part_of_word(word, first, end),
			 before = hk_free_bits(superslab, word);

		hk_assert((before & bits) == (is_free ? 0 : bits));
		atomic_store_explicit(&slab->grains[word % HK_GRAIN_WORDS], before ^ bits,
				      memory_order_release);
	}
}

/* So many grains of a slot have been taken; or, less than none, given back. */
static void count_used(struct hk_slab *slab, int grains)
{
	int before = (int)hk_slab_weight(slab), after;

	slab->used = (uint16_t)(slab->used + grains);
	after = (int)hk_slab_weight(slab);
	if (after != before)
		hk_pool_use(hk_slab_superslab(slab), after - before);
}

/* A part of a run, that which lies in one slot: its grains from first to end - 1. */
struct part {
	struct hk_slab *slab;
	unsigned first, end;
};

/* The next part of the run from *grain on, which moves on to the one after. */
static bool next_part(struct hk_superslab *superslab, unsigned *grain, unsigned end,
		      struct part *part)
{
	unsigned slot = *grain / HK_GRAINS, start = slot * HK_GRAINS;

	if (*grain >= end)
		return false;
	part->slab = &superslab->slab[slot];
	part->first = *grain - start;
	part->end = (end < start + HK_GRAINS ? end : start + HK_GRAINS) - start;
	*grain = start + part->end;
	return true;
}

/* The pages that a part touches, a bit for each. */
static unsigned pages_of(const struct part *part)
{
	unsigned shift = (unsigned)__builtin_ctzl(hk_os_page_size) - HK_GRAIN_SHIFT;
	unsigned first = part->first >> shift, last = (part->end - 1) >> shift;

	return (2u << last) - (1u << first);
}

/* Touch the part: its pages are not purged any more.  Did it read as zero? */
static bool touch(const struct part *part)
{
	struct hk_slab *slab = part->slab;
	_Atomic uint16_t *purged = &hk_slab_superslab(slab)->purged[hk_slab_slot(slab)];
	unsigned gone = atomic_load_explicit(purged, memory_order_relaxed);
	unsigned pages = pages_of(part);
	bool zero = (slab->zero && part->first >= slab->fresh) || (gone & pages) == pages;

	if (gone & pages)
		atomic_store_explicit(purged, (uint16_t)(gone & ~pages),
				      memory_order_relaxed);
	if (part->end > slab->fresh)
		slab->fresh = (uint16_t)part->end;
	return zero;
}

char *hk_grains_take(struct hk_superslab *superslab, unsigned first, unsigned n,
		     bool *zero)
{
	unsigned grain = first;
	struct part part;

	*zero = true;
	hk_grains_end(superslab, first, first + n);
	hk_grains_mark(superslab, first, first + n, false);
	while (next_part(superslab, &grain, first + n, &part)) {
		*zero &= touch(&part);
		count_used(part.slab, (int)(part.end - part.first));
	}
	/* What is left of the run may begin in another slot than it did. */
	note_run(superslab, first + n);
	return hk_grain_address(superslab, first);
}

void hk_grains_attach(struct hk_slab *run, bool zero)
{
	struct hk_superslab *superslab = hk_slab_superslab(run);
	unsigned first = hk_slab_slot(run), end = first + run->slots;
	uint32_t mask = 0;

	for (unsigned slot = first; slot < end; slot++) {
		struct hk_slab *slab = &superslab->slab[slot];

		*slab = (struct hk_slab){ .kind = HK_KIND_MEDIUM,
					  .slots = 1,
					  .first = (uint8_t)slot,
					  .blocks = HK_GRAINS,
					  .zero = zero };
		for (unsigned i = 0; i < HK_GRAIN_WORDS; i++) {
			atomic_store_explicit(&slab->grains[i], UINT64_MAX,
					      memory_order_relaxed);
			atomic_store_explicit(&superslab->last[slot][i], 0,
					      memory_order_relaxed);
		}
		hk_block_reset(slab);
		mask |= (uint32_t)1 << slot;
	}
	if (!superslab->medium)
		list(superslab, 0);
	atomic_store_explicit(&superslab->medium, superslab->medium | mask,
			      memory_order_release);
	note_run(superslab, first * HK_GRAINS);
}

/* Until now the slots counted as full, so that meanwhile the SuperSlab did not look DRAINING. */
void hk_grains_filled(struct hk_slab *run, unsigned slots)
{
	hk_pool_use(hk_slab_superslab(run), -(int)(slots * HK_SLOT_WEIGHT));
}

/* ---- giving back ---- */

/*
 * These grains are free again; those of their slots that are all free go to the pool.  After the
 * last of those has gone, the SuperSlab may.
 */
static bool settle(struct hk_superslab *superslab, unsigned first, unsigned end)
{
	uint32_t leaving = 0;
	bool tidy = false;

	for (unsigned slot = first / HK_GRAINS; slot <= (end - 1) / HK_GRAINS; slot++) {
		if (hk_grains_in(superslab, slot) && !superslab->slab[slot].used)
			leaving |= (uint32_t)1 << slot;
	}
	if (leaving)
		atomic_store_explicit(&superslab->medium, superslab->medium & ~leaving,
				      memory_order_relaxed);
	if (!superslab->medium)
		unlist(superslab);
	else
		note_run(superslab, first);
	/* Without those slots, what is free behind them is a run of its own. */
	for (uint32_t left = superslab->medium ? leaving : 0; left; left &= left - 1)
		note_run(superslab, ((unsigned)__builtin_ctz(left) + 1) * HK_GRAINS);
	for (; leaving; leaving &= leaving - 1)
		tidy |= hk_pool_give(&superslab->slab[__builtin_ctz(leaving)]);
	return tidy;
}

bool hk_grains_give(struct hk_superslab *superslab, unsigned first, unsigned n)
{
	unsigned grain = first;
	struct part part;

	hk_block_gone(hk_grain_address(superslab, first));
	hk_registry_set_window(hk_grain_address(superslab, first), HK_KIND_MEDIUM);
	hk_grains_mark(superslab, first, first + n, true);
	while (next_part(superslab, &grain, first + n, &part))
		count_used(part.slab, (int)part.first - (int)part.end);
	return settle(superslab, first, first + n);
}

/* ---- pages ---- */

/*
 * The pages that a pass holds; there is one at a time.  They are not free, but whoever frees one
 * of their blocks meanwhile does it again.
 */
static const struct hk_superslab *holding;
static uint16_t held_pages[HK_SLOTS];

static unsigned grains_per_page(void)
{
	return (unsigned)(hk_os_page_size >> HK_GRAIN_SHIFT);
}

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
		count_used(&superslab->slab[grain / HK_GRAINS], (int)(end - grain));
	}
}

bool hk_grains_unhold(struct hk_superslab *superslab, const uint16_t *held,
		      const uint16_t *purged)
{
	unsigned grain = 0, end, longest;

	holding = NULL;
	for (; next_pages(held, &grain, &end); grain = end) {
		hk_grains_mark(superslab, grain, end, true);
		count_used(&superslab->slab[grain / HK_GRAINS], (int)grain - (int)end);
	}
	for (unsigned slot = 0; slot < HK_SLOTS; slot++) {
		unsigned gone = atomic_load_explicit(&superslab->purged[slot],
						     memory_order_relaxed);

		if (purged[slot])
			atomic_store_explicit(&superslab->purged[slot],
					      (uint16_t)(gone | purged[slot]),
					      memory_order_relaxed);
	}
	for (unsigned slot = 0; slot < HK_SLOTS; slot++) {
		if (hk_grains_in(superslab, slot))
			superslab->slab[slot].hint = UINT16_MAX;
	}
	find_run(superslab, 0, HK_ALL_GRAINS + 1, 1, &longest);
	relist(superslab, longest);
	return settle(superslab, 0, HK_ALL_GRAINS);
}

/* ---- invariants ---- */

static void check_slots(struct hk_superslab *superslab)
{
	unsigned longest = 0;

	for (unsigned slot = 0; slot < HK_SLOTS; slot++) {
		struct hk_slab *slab = &superslab->slab[slot];
		unsigned taken = 0, hint = slab->hint;

		if (!hk_grains_in(superslab, slot))
			continue;
		hk_assert(superslab->active >> slot & 1 && slab->kind == HK_KIND_MEDIUM);
		for (unsigned i = 0; i < HK_GRAIN_WORDS; i++)
			taken += (unsigned)__builtin_popcountl(
				hk_used_bits(superslab, slot * HK_GRAIN_WORDS + i));
		hk_assert(slab->used && slab->used == taken);
		hk_assert(find_in_slot(superslab, slot, 0, HK_ALL_GRAINS + 1, 1) ==
			  HK_ALL_GRAINS);
		hk_assert(slab->hint <= hint);
		slab->hint = (uint16_t)hint;
		if (hint > longest)
			longest = hint;
	}
	hk_assert(longest <= superslab->longest);
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
	size_t with_slots = 0, on_lists = 0;

	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next) {
		if (!s->medium)
			continue;
		with_slots++;
		check_slots(s);
		check_purged(s);
	}
	for (unsigned i = 0; i < LISTS; i++) {
		hk_assert(!lists[i] == !(listed >> i & 1));
		for (struct hk_superslab *s = lists[i]; s; s = s->medium_next) {
			hk_assert(list_for(s->longest) == i && s->medium);
			on_lists++;
		}
	}
	hk_assert(with_slots == on_lists);
}
