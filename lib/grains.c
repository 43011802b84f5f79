/* SPDX-License-Identifier: MIT
 *
 * grains.c - see grains.h.  Makes no system call.
 */
#include "grains.h"

#include <limits.h>
#include <string.h>

#include "debug/block.h"
#include "os.h"
#include "pool.h"

/* Of each list so many slots are tried. */
#define TRIES 16

/* A block's lines in the record are called for by so many slots. */
#define CALLED_FOR 6

_Static_assert(HK_BITMAP_INLINE_WORDS == HK_GRAIN_WORDS,
	       "the free grains of a slot take the place of a slab's free blocks");

/* Sixteen lists to a doubling of the run; and a bit for each that is not empty. */
#define LIST_FOR_ALL 160
#define LIST_WORDS (LIST_FOR_ALL / 64 + 1)
static struct hk_room *lists[LIST_WORDS * 64];
static uint64_t listed[LIST_WORDS];

/* So many slots were attached that count as full until something is taken of them. */
static unsigned unfilled;

/* ---- lists by the longest run ---- */

static unsigned list_for(unsigned grains)
{
	unsigned log;

	if (grains < 16)
		return grains;
	log = 31 - (unsigned)__builtin_clz(grains);
	return 16 * (log - 3) + (grains >> (log - 4) & 15);
}

/* The first list from this one on that is not empty, or one beyond the last. */
static unsigned next_list(unsigned n)
{
	unsigned word = n / 64;
	uint64_t rest;

	if (word >= LIST_WORDS)
		return LIST_WORDS * 64;
	rest = listed[word] >> n % 64 << n % 64;
	while (!rest && ++word < LIST_WORDS)
		rest = listed[word];
	return rest ? word * 64 + (unsigned)__builtin_ctzl(rest) : LIST_WORDS * 64;
}

void hk_grains_call_for(const struct hk_superslab *superslab, unsigned slot)
{
	__builtin_prefetch(&superslab->base, 1);
	__builtin_prefetch(superslab->longest, 1);
	__builtin_prefetch(&superslab->purged[slot], 1);
	__builtin_prefetch(&superslab->idle[slot], 1);
	for (unsigned end = slot + CALLED_FOR; slot < end && slot < HK_SLOTS; slot++) {
		__builtin_prefetch(&superslab->slab[slot], 1);
		if (slot % 2 == 0 || slot + CALLED_FOR == end)
			__builtin_prefetch(superslab->last[slot], 1);
	}
}

static struct hk_superslab *superslab_of(const struct hk_room *room)
{
	uintptr_t mask = ((uintptr_t)1 << HK_SUPERSLAB_RECORD_SHIFT) - 1;

	return (struct hk_superslab *)((uintptr_t)room & ~mask);
}

static void list(struct hk_room *room, unsigned n)
{
	room->previous = NULL;
	room->next = lists[n];
	if (lists[n])
		lists[n]->previous = room;
	lists[n] = room;
	listed[n / 64] |= (uint64_t)1 << n % 64;
}

static void unlist(struct hk_room *room, unsigned n)
{
	if (room->next)
		room->next->previous = room->previous;
	if (room->previous)
		room->previous->next = room->next;
	else
		lists[n] = room->next;
	if (!lists[n])
		listed[n / 64] &= ~((uint64_t)1 << n % 64);
}

static void set_longest(struct hk_superslab *superslab, unsigned slot, unsigned grains)
{
	unsigned before = superslab->longest[slot];

	superslab->longest[slot] = (uint16_t)grains;
	if (list_for(before) == list_for(grains))
		return;
	if (before)
		unlist(&superslab->room[slot], list_for(before));
	if (grains)
		list(&superslab->room[slot], list_for(grains));
}

/* ---- runs of room ---- */

/* Where the run of this grain, which is room, ends; slots of the pool's at a step. */
static unsigned room_end(const struct hk_superslab *superslab, unsigned grain)
{
	do {
		if (hk_grains_in(superslab, grain / HK_GRAINS))
			grain = hk_grain_from(superslab, hk_taken_bits, grain);
		else
			grain = (grain / HK_GRAINS + 1) * HK_GRAINS;
	} while (grain < HK_ALL_GRAINS && hk_grain_has(superslab, hk_room_bits, grain));
	return grain;
}

/* Where it begins. */
static unsigned room_begin(const struct hk_superslab *superslab, unsigned grain)
{
	for (;;) {
		if (hk_grains_in(superslab, grain / HK_GRAINS))
			grain = hk_grain_below(superslab, hk_taken_bits, grain);
		else
			grain = grain / HK_GRAINS * HK_GRAINS;
		if (!grain || !hk_grain_has(superslab, hk_room_bits, grain - 1))
			return grain;
		grain--;
	}
}

/* The first grain that is room from this one on in its slot, or the slot's end. */
static unsigned next_room(const struct hk_superslab *superslab, unsigned grain,
			  unsigned end)
{
	unsigned slot = end / HK_GRAINS - 1;

	if (hk_grains_in(superslab, slot))
		return hk_grain_between(superslab, hk_free_bits, grain, end);
	return grain < end && hk_grain_has(superslab, hk_room_bits, grain) ? grain : end;
}

/* The run of this grain, if that is room, is a new one. */
static void note_run(struct hk_superslab *superslab, unsigned grain)
{
	unsigned first, end, slot;

	if (grain == HK_ALL_GRAINS || !hk_grain_has(superslab, hk_room_bits, grain))
		return;
	first = room_begin(superslab, grain);
	end = room_end(superslab, grain);
	slot = first / HK_GRAINS;
	if (end - first > superslab->longest[slot])
		set_longest(superslab, slot, end - first);
	/* Of those that it has joined none begins here any more. */
	while (++slot < end / HK_GRAINS)
		set_longest(superslab, slot, 0);
}

/*
 * The first grain at a multiple of align of the shortest run of n or more that begins in the slot;
 * HK_ALL_GRAINS: none does.  *longest: of all that begin there.
 */
static unsigned find_in_slot(const struct hk_superslab *superslab, unsigned slot,
			     unsigned n, unsigned align, unsigned *longest)
{
	unsigned start = slot * HK_GRAINS, end = start + HK_GRAINS, first = start;
	unsigned found = HK_ALL_GRAINS, least = UINT_MAX;

	*longest = 0;
	/* The rest of one that began before. */
	if (start && hk_grain_has(superslab, hk_room_bits, start - 1) &&
	    hk_grain_has(superslab, hk_room_bits, start))
		first = room_end(superslab, start);
	while ((first = next_room(superslab, first, end)) < end) {
		unsigned aligned = (first + align - 1) & ~(align - 1);
		unsigned after = room_end(superslab, first);
		unsigned run = after - first;

		if (aligned + n <= after && run < least) {
			found = aligned;
			least = run;
		}
		if (run > *longest)
			*longest = run;
		first = after;
	}
	return found;
}

/* The longest of those that begin in the slot; one that has come to begin before is found there. */
static void seen(struct hk_superslab *superslab, unsigned slot, unsigned longest)
{
	unsigned start = slot * HK_GRAINS;

	set_longest(superslab, slot, longest);
	if (start && hk_grain_has(superslab, hk_room_bits, start - 1))
		note_run(superslab, start);
}

/* Look again at the runs that begin in the slot. */
static void look(struct hk_superslab *superslab, unsigned slot)
{
	unsigned longest;

	find_in_slot(superslab, slot, HK_ALL_GRAINS + 1, 1, &longest);
	seen(superslab, slot, longest);
}

/* And at all that there are, from one to the next. */
static void look_everywhere(struct hk_superslab *superslab)
{
	uint16_t longest[HK_SLOTS] = { 0 };
	unsigned grain = 0, slot, end;

	for (slot = 0; slot < HK_SLOTS; slot = grain / HK_GRAINS) {
		grain = next_room(superslab, grain, (slot + 1) * HK_GRAINS);
		if (grain == (slot + 1) * HK_GRAINS)
			continue;
		end = room_end(superslab, grain);
		if (end - grain > longest[slot])
			longest[slot] = (uint16_t)(end - grain);
		grain = end;
	}
	for (slot = 0; slot < HK_SLOTS; slot++)
		set_longest(superslab, slot, longest[slot]);
}

static void forget_runs(struct hk_superslab *superslab)
{
	for (unsigned slot = 0; slot < HK_SLOTS; slot++)
		set_longest(superslab, slot, 0);
}

void hk_grains_look(struct hk_superslab *superslab, unsigned slot)
{
	if (superslab->medium && slot < HK_SLOTS)
		note_run(superslab, slot * HK_GRAINS);
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
		hk_block_reset(slab);
		mask |= (uint32_t)1 << slot;
	}
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
		look_everywhere(superslab);
	else
		note_run(superslab, slot * HK_GRAINS);
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

/* In one list: the first run that will do, as they hardly differ. */
static struct hk_superslab *find_in_list(unsigned n, unsigned align, unsigned which,
					 unsigned *grain)
{
	struct hk_room *room = lists[which], *next;

	for (unsigned tries = TRIES; room && tries; tries--, room = next) {
		struct hk_superslab *superslab = superslab_of(room);
		unsigned slot = (unsigned)(room - superslab->room), longest;

		next = room->next;
		hk_grains_call_for(superslab, slot);
		if (superslab->longest[slot] < n)
			continue;
		*grain = find_in_slot(superslab, slot, n, align, &longest);
		if (*grain != HK_ALL_GRAINS && hk_grains_claim(superslab, *grain, n))
			return superslab;
		seen(superslab, slot, longest);
	}
	return NULL;
}

struct hk_superslab *hk_grains_best(unsigned n, unsigned align, unsigned *grain)
{
	struct hk_superslab *found = NULL;

	for (unsigned i = next_list(list_for(n)); i <= LIST_FOR_ALL && !found;
	     i = next_list(i + 1))
		found = find_in_list(n, align, i, grain);
	return found;
}

static _Atomic uint64_t *last_word(struct hk_superslab *superslab, unsigned word)
{
	return &superslab->last[word / HK_GRAIN_WORDS][word % HK_GRAIN_WORDS];
}

/*
 * In both, of grains that become taken the end is marked before they cease to be free, and
 * hk_end_bits() reads free before last: so the grain before a block is at any time one that is free
 * or one that ends something, whatever becomes of it.
 */
void hk_grains_end(struct hk_superslab *superslab, unsigned first, unsigned end)
{
	unsigned word = first / 64, at = end - 1;
	uint64_t bits = UINT64_MAX << first % 64, last = (uint64_t)1 << at % 64;

	for (; word < at / 64; word++, bits = UINT64_MAX)
		atomic_store_explicit(last_word(superslab, word),
				      hk_last_bits(superslab, word) & ~bits,
				      memory_order_relaxed);
	bits &= last - 1;
	atomic_store_explicit(last_word(superslab, word),
			      (hk_last_bits(superslab, word) & ~bits) | last,
			      memory_order_relaxed);
}

/* These bits of a word, which are as in before. */
HK_INLINE void flip(struct hk_superslab *superslab, unsigned word, uint64_t bits,
		    uint64_t before)
{
	struct hk_slab *slab = &superslab->slab[word / HK_GRAIN_WORDS];
	_Atomic uint64_t *grains = &slab->grains[word % HK_GRAIN_WORDS];
	uint64_t now = atomic_load_explicit(grains, memory_order_relaxed);

	hk_assert(!((now ^ before) & bits));
	atomic_store_explicit(grains, now ^ bits, memory_order_release);
}

void hk_grains_mark(struct hk_superslab *superslab, unsigned first, unsigned end,
		    bool is_free)
{
	uint64_t before = is_free ? 0 : UINT64_MAX, bits = UINT64_MAX << first % 64;
	unsigned word = first / 64, last = (end - 1) / 64;

	for (; word < last; word++, bits = UINT64_MAX)
		flip(superslab, word, bits, before);
	flip(superslab, word, bits & UINT64_MAX >> (63 - (end - 1) % 64), before);
}

/*
 * So many grains of a slot have been taken; or, less than none, given back.  What that changes of
 * its SuperSlab's use; the caller tells hk_pool_use().
 */
static int count_used(struct hk_slab *slab, int grains)
{
	int before = (int)hk_slab_weight(slab);

	slab->used = (uint16_t)(slab->used + grains);
	return (int)hk_slab_weight(slab) - before;
}

static void use(struct hk_superslab *superslab, int change)
{
	if (change)
		hk_pool_use(superslab, change);
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
	unsigned begin = room_begin(superslab, first) / HK_GRAINS;
	unsigned grain = first;
	struct part part;
	int change = 0;

	*zero = true;
	hk_grains_end(superslab, first, first + n);
	hk_grains_mark(superslab, first, first + n, false);
	while (next_part(superslab, &grain, first + n, &part)) {
		*zero &= touch(&part);
		change += count_used(part.slab, (int)(part.end - part.first));
	}
	/* Until now they counted as full, so that the SuperSlab did not look DRAINING. */
	use(superslab, change - (int)(unfilled * HK_SLOT_WEIGHT));
	unfilled = 0;
	look(superslab, begin);
	if ((first + n) / HK_GRAINS != begin)
		note_run(superslab, first + n);
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
		forget_runs(superslab);
	while (leaving) {
		unsigned slot = (unsigned)__builtin_ctz(leaving), slots;

		slots = (unsigned)__builtin_ctzl(~(uint64_t)(leaving >> slot));
		leaving &= slots < HK_SLOTS ? ~(((1u << slots) - 1) << slot) : 0;
		tidy |= give_slots(superslab, slot, slots);
	}
	if (stays)
		note_run(superslab, first);
	return tidy;
}

bool hk_grains_give(struct hk_superslab *superslab, unsigned first, unsigned n)
{
	unsigned grain = first;
	struct part part;
	int change = 0;

	hk_block_gone(hk_grain_address(superslab, first));
	hk_registry_set_window(hk_grain_address(superslab, first), HK_KIND_MEDIUM);
	hk_grains_mark(superslab, first, first + n, true);
	while (next_part(superslab, &grain, first + n, &part))
		change += count_used(part.slab, (int)part.first - (int)part.end);
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
		use(superslab,
		    count_used(&superslab->slab[grain / HK_GRAINS], (int)(end - grain)));
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
	}
	for (unsigned slot = 0; slot < HK_SLOTS; slot++) {
		unsigned gone = atomic_load_explicit(&superslab->purged[slot],
						     memory_order_relaxed);

		if (purged[slot])
			atomic_store_explicit(&superslab->purged[slot],
					      (uint16_t)(gone | purged[slot]),
					      memory_order_relaxed);
	}
	look_everywhere(superslab);
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

static void check_slots(struct hk_superslab *superslab)
{
	unsigned grain = 0;

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
	}
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
	size_t with_room = 0, on_lists = 0;

	hk_assert(!unfilled);
	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next) {
		for (unsigned slot = 0; slot < HK_SLOTS; slot++)
			with_room += s->longest[slot] != 0;
		if (!s->medium)
			continue;
		check_slots(s);
		check_purged(s);
	}
	for (unsigned i = 0; i < LIST_WORDS * 64; i++) {
		hk_assert(!lists[i] == !(listed[i / 64] >> i % 64 & 1));
		for (struct hk_room *room = lists[i]; room; room = room->next) {
			struct hk_superslab *s = superslab_of(room);

			hk_assert(list_for(s->longest[room - s->room]) == i && s->medium);
			on_lists++;
		}
	}
	hk_assert(with_room == on_lists);
}
