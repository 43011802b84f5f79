/* SPDX-License-Identifier: MIT
 *
 * room.c - see room.h.  Makes no system call, and but for hk_grains_claim() takes no lock.
 */
#include "room.h"

#include <limits.h>

#include "grains.h"
#include "growth.h"
#include "os.h"
#include "pool.h"

/* Of each list so many slots are tried. */
#define TRIES 16

/* A block's lines in the record are called for by so many slots. */
#define CALLED_FOR 6

/* Sixteen lists to a doubling of the run; and a bit for each that is not empty. */
#define LIST_FOR_ALL 160
#define LIST_WORDS (LIST_FOR_ALL / 64 + 1)
static struct hk_room *lists[LIST_WORDS * 64];
static uint64_t listed[LIST_WORDS];

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

static void relist(struct hk_room *room, unsigned before, unsigned after)
{
	if (before == after)
		return;
	if (before)
		unlist(room, before);
	if (after)
		list(room, after);
}

HK_INLINE void set_longest(struct hk_superslab *superslab, unsigned slot, unsigned grains)
{
	unsigned before = superslab->longest[slot];

	if (HK_LIKELY(before == grains))
		return;
	superslab->longest[slot] = (uint16_t)grains;
	relist(&superslab->room[slot], list_for(before), list_for(grains));
}

/* ---- runs of room ---- */

/* Those of the slot that are free, if it is MEDIUM. */
static uint64_t free_bits(const struct hk_superslab *superslab, unsigned slot,
			  unsigned word)
{
	return atomic_load_explicit(&superslab->slab[slot].grains[word],
				    memory_order_relaxed);
}

/* Where the run of this grain, which is room, ends; slots of the pool's at a step. */
static unsigned room_end(const struct hk_superslab *superslab, unsigned grain)
{
	uint32_t medium = superslab->medium;
	uint32_t wall = atomic_load_explicit(&superslab->active, memory_order_relaxed) &
			~medium;
	unsigned slot = grain / HK_GRAINS, word = grain % HK_GRAINS / 64;
	uint64_t bits = UINT64_MAX << grain % 64;

	for (; slot < HK_SLOTS && !(wall >> slot & 1); slot++, word = 0) {
		for (; (medium >> slot & 1) && word < HK_GRAIN_WORDS; word++) {
			uint64_t taken = ~free_bits(superslab, slot, word) & bits;

			if (taken)
				return slot * HK_GRAINS + word * 64 +
				       (unsigned)__builtin_ctzl(taken);
			bits = UINT64_MAX;
		}
		bits = UINT64_MAX;
	}
	return slot * HK_GRAINS;
}

unsigned hk_room_begin(const struct hk_superslab *superslab, unsigned grain)
{
	uint32_t medium = superslab->medium;
	uint32_t wall = atomic_load_explicit(&superslab->active, memory_order_relaxed) &
			~medium;
	unsigned slot = grain / HK_GRAINS, word = grain % HK_GRAINS / 64;
	uint64_t bits = UINT64_MAX >> (63 - grain % 64);

	for (;; slot--, word = HK_GRAIN_WORDS - 1) {
		for (unsigned i = word + 1; (medium >> slot & 1) && i--;) {
			uint64_t taken = ~free_bits(superslab, slot, i) & bits;

			if (taken)
				return slot * HK_GRAINS + i * 64 + 64 -
				       (unsigned)__builtin_clzl(taken);
			bits = UINT64_MAX;
		}
		bits = UINT64_MAX;
		if (!slot || wall >> (slot - 1) & 1)
			return slot * HK_GRAINS;
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

void hk_room_note(struct hk_superslab *superslab, unsigned grain)
{
	unsigned first, end, slot;

	if (grain == HK_ALL_GRAINS || !hk_grain_has(superslab, hk_room_bits, grain))
		return;
	first = hk_room_begin(superslab, grain);
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
			found = first && hk_growth_is_tight_locked()
					? (after - n) & ~(align - 1)
					: aligned;
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
		hk_room_note(superslab, start);
}

void hk_room_look(struct hk_superslab *superslab, unsigned slot)
{
	unsigned longest;

	find_in_slot(superslab, slot, HK_ALL_GRAINS + 1, 1, &longest);
	seen(superslab, slot, longest);
}

void hk_room_look_everywhere(struct hk_superslab *superslab)
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

void hk_room_forget(struct hk_superslab *superslab)
{
	for (unsigned slot = 0; slot < HK_SLOTS; slot++)
		set_longest(superslab, slot, 0);
}

void hk_grains_look(struct hk_superslab *superslab, unsigned slot)
{
	if (superslab->medium && slot < HK_SLOTS)
		hk_room_note(superslab, slot * HK_GRAINS);
}

/* ---- the least that will do ---- */

struct fit {
	struct hk_superslab *superslab;
	unsigned slot, grain, cost;
};

/* The least run on the list. */
static unsigned least_on(unsigned which)
{
	if (which < 16)
		return which;
	return (16 + which % 16) << (which / 16 - 1);
}

/* How many of these grains, which are room, lie on pages that would have to be faulted in. */
static unsigned absent(const struct hk_superslab *superslab, unsigned first, unsigned n)
{
	unsigned page_shift = hk_grains_page_shift();
	uint32_t empty = atomic_load_explicit(&superslab->empty, memory_order_relaxed);
	unsigned pages = 0, end = first + n;
	struct hk_part part;

	while (hk_next_part(&first, end, &part)) {
		unsigned gone = UINT_MAX;

		if (hk_grains_in(superslab, part.slot))
			gone = hk_grains_absent(superslab, part.slot);
		else if (empty >> part.slot & 1)
			gone = atomic_load_explicit(&superslab->purged[part.slot],
						    memory_order_relaxed);
		gone &= (2u << ((part.end - 1) >> page_shift)) -
			(1u << (part.first >> page_shift));
		if (gone)
			pages += (unsigned)__builtin_popcount(gone);
	}
	return pages << page_shift;
}

/* In one list: the run that costs least, its length and once more what is not there of it. */
static void look_in_list(unsigned n, unsigned align, unsigned which, struct fit *best,
			 unsigned *more)
{
	struct hk_room *room = lists[which], *next;

	for (unsigned tries = TRIES; room && tries && *more; tries--, room = next) {
		struct hk_superslab *superslab = superslab_of(room);
		unsigned slot = (unsigned)(room - superslab->room), longest, grain, cost;

		next = room->next;
		hk_grains_call_for(superslab, slot);
		if (superslab->longest[slot] < n)
			continue;
		grain = find_in_slot(superslab, slot, n, align, &longest);
		if (grain == HK_ALL_GRAINS) {
			seen(superslab, slot, longest);
			continue;
		}
		cost = absent(superslab, grain, n);
		if (best->superslab)
			--*more;
		if (least_on(which) + cost < best->cost)
			*best = (struct fit){ superslab, slot, grain,
					      least_on(which) + cost };
		if (!cost)
			break;
	}
}

struct hk_superslab *hk_grains_best(unsigned n, unsigned align, unsigned *grain)
{
	for (unsigned tries = TRIES; tries; tries--) {
		struct fit best = { .cost = UINT_MAX };
		unsigned more = TRIES;

		for (unsigned i = next_list(list_for(n));
		     i <= LIST_FOR_ALL && more && least_on(i) < best.cost;
		     i = next_list(i + 1))
			look_in_list(n, align, i, &best, &more);
		if (!best.superslab)
			return NULL;
		*grain = best.grain;
		if (hk_grains_claim(best.superslab, best.grain, n))
			return best.superslab;
		hk_room_look(best.superslab, best.slot);
	}
	return NULL;
}

/* ---- invariants ---- */

void hk_room_check(void)
{
	size_t with_room = 0, on_lists = 0;

	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next) {
		for (unsigned slot = 0; slot < HK_SLOTS; slot++)
			with_room += s->longest[slot] != 0;
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
