/* SPDX-License-Identifier: MIT
 *
 * medium.c - see medium.h.  Takes hk_medium_lock, the pool's under it, and in
 * hk_medium_allocate() a class's before it; makes no system call under any.
 */
#include "medium.h"

#include <string.h>

#include "debug/block.h"
#include "fatal.h"
#include "os.h"
#include "pool.h"
#include "slab.h"

#define WORDS_PER_SLOT (HK_GRAINS / 64)
#define WORDS (HK_SLOTS * WORDS_PER_SLOT)
#define ALL_GRAINS (HK_SLOTS * HK_GRAINS) /* also: none */

/* Of each list so many SuperSlabs are tried, and for a batch so many served from. */
#define TRIES 16
#define TAKE_SUPERSLABS 4

_Static_assert(HK_BITMAP_INLINE_WORDS == WORDS_PER_SLOT,
	       "the free grains of a slot take the place of a slab's free blocks");

struct hk_lock hk_medium_lock;
uint64_t hk_medium_count, hk_medium_bytes;

/* Four lists to a doubling of longest; and a bit for each that is not empty. */
#define LISTS 64
static struct hk_superslab *lists[LISTS];
static uint64_t listed;

/* ---- bits of a SuperSlab ---- */

typedef uint64_t bits_of(const struct hk_superslab *superslab, unsigned word);

HK_INLINE bool is_medium(const struct hk_superslab *superslab, unsigned slot)
{
	/* Pairs with the release in attach(): the slot's grains are seen as free, or later. */
	return atomic_load_explicit(&superslab->medium, memory_order_acquire) >> slot & 1;
}

static inline uint64_t free_bits(const struct hk_superslab *superslab, unsigned word)
{
	unsigned slot = word / WORDS_PER_SLOT;

	if (!is_medium(superslab, slot))
		return 0;
	return atomic_load_explicit(&superslab->slab[slot].grains[word % WORDS_PER_SLOT],
				    memory_order_acquire);
}

static inline uint64_t last_bits(const struct hk_superslab *superslab, unsigned word)
{
	return atomic_load_explicit(
		&superslab->last[word / WORDS_PER_SLOT][word % WORDS_PER_SLOT],
		memory_order_relaxed);
}

/* Where a run of free grains ends. */
static inline uint64_t taken_bits(const struct hk_superslab *superslab, unsigned word)
{
	return ~free_bits(superslab, word);
}

static inline uint64_t used_bits(const struct hk_superslab *superslab, unsigned word)
{
	return is_medium(superslab, word / WORDS_PER_SLOT) ? ~free_bits(superslab, word)
							   : 0;
}

/* What lies before a block's first grain. */
static inline uint64_t end_bits(const struct hk_superslab *superslab, unsigned word)
{
	uint64_t is_free;

	if (!is_medium(superslab, word / WORDS_PER_SLOT))
		return UINT64_MAX;
	/* In this order: see take_run(). */
	is_free = free_bits(superslab, word);
	return is_free | last_bits(superslab, word);
}

/* The first grain from this one on that has its bit set, or end, a multiple of 64. */
HK_INLINE unsigned first_between(const struct hk_superslab *superslab, bits_of *bits,
				 unsigned grain, unsigned end)
{
	unsigned word = grain / 64;
	uint64_t rest;

	if (grain >= end)
		return end;
	rest = bits(superslab, word) & UINT64_MAX << grain % 64;
	while (!rest && ++word < end / 64)
		rest = bits(superslab, word);
	return rest ? word * 64 + (unsigned)__builtin_ctzl(rest) : end;
}

HK_INLINE unsigned first_from(const struct hk_superslab *superslab, bits_of *bits,
			      unsigned grain)
{
	return first_between(superslab, bits, grain, ALL_GRAINS);
}

/* One more than the last grain below this one that has its bit set, or 0. */
HK_INLINE unsigned after_last_below(const struct hk_superslab *superslab, bits_of *bits,
				    unsigned grain)
{
	unsigned word = grain / 64;
	uint64_t rest = 0;

	if (grain % 64)
		rest = bits(superslab, word) & ~(UINT64_MAX << grain % 64);
	while (!rest && word--)
		rest = bits(superslab, word);
	return rest ? word * 64 + 64 - (unsigned)__builtin_clzl(rest) : 0;
}

static bool has(const struct hk_superslab *superslab, bits_of *bits, unsigned grain)
{
	return bits(superslab, grain / 64) >> grain % 64 & 1;
}

static unsigned grain_of(const void *address)
{
	return (unsigned)(((uintptr_t)address & (HK_SUPERSLAB_BYTES - 1)) >>
			  HK_GRAIN_SHIFT);
}

static char *address_of(const struct hk_superslab *superslab, unsigned grain)
{
	return superslab->base + ((size_t)grain << HK_GRAIN_SHIFT);
}

/* ---- blocks ---- */

/* The grains of the block that begins here; also, of one that was freed and not overwritten. */
static unsigned length(const struct hk_superslab *superslab, unsigned grain)
{
	return first_from(superslab, last_bits, grain) + 1 - grain;
}

/* The class of blocks of so many grains, 0: none. */
static unsigned class_of(unsigned grains)
{
	size_t size = (size_t)grains << HK_GRAIN_SHIFT;
	unsigned size_class;

	if (size > HK_CLASS_MAX)
		return 0;
	size_class = hk_size_class_exact(size);
	return hk_class_size(size_class) == size && hk_class_is_medium(size_class)
		       ? size_class
		       : 0;
}

static bool is_start(const struct hk_superslab *superslab, const void *pointer)
{
	unsigned grain = grain_of(pointer);

	if ((uintptr_t)pointer & ((1u << HK_GRAIN_SHIFT) - 1) ||
	    !has(superslab, used_bits, grain))
		return false;
	return !grain || has(superslab, end_bits, grain - 1);
}

static unsigned grains_of(unsigned size_class)
{
	return (unsigned)(hk_class_size(size_class) >> HK_GRAIN_SHIFT);
}

#if HK_TSAN
/* Where another class's bitmap may be read for free grains, which the lock puts right. */
#define LOOKS_BACK(grain) ((grain) % HK_GRAINS != 0)
#else
#define LOOKS_BACK(grain) true
#endif

/*
 * The block's grains, 0 if it is none's start.  Only where the slot before it has just become
 * another class's may that look wrong without the lock.
 */
static unsigned checked_length(const struct hk_superslab *superslab, const void *block)
{
	bool right = LOOKS_BACK(grain_of(block)) && is_start(superslab, block);

	if (HK_UNLIKELY(!right)) {
		hk_lock(&hk_medium_lock);
		right = is_start(superslab, block);
		hk_unlock(&hk_medium_lock);
	}
	return right ? length(superslab, grain_of(block)) : 0;
}

char *hk_medium_block_of(const void *address, size_t *bytes)
{
	const struct hk_superslab *superslab = hk_registry_owner(address);
	unsigned grain = grain_of(address);

	if (!has(superslab, used_bits, grain))
		return NULL;
	grain = after_last_below(superslab, end_bits, grain);
	*bytes = (size_t)length(superslab, grain) << HK_GRAIN_SHIFT;
	return address_of(superslab, grain);
}

char *hk_medium_next_locked(struct hk_superslab *superslab, unsigned *grain,
			    size_t *bytes)
{
	unsigned first = first_from(superslab, used_bits, *grain), grains;

	if (first == ALL_GRAINS)
		return NULL;
	grains = length(superslab, first);
	*grain = first + grains;
	*bytes = (size_t)grains << HK_GRAIN_SHIFT;
	return address_of(superslab, first);
}

/*
 * The pages that a pass of sparse.c holds, under the lock; there is one at a time.  They are
 * not free, but whoever frees one of their blocks meanwhile does it again.
 */
static const struct hk_superslab *holding;
static uint16_t held_pages[HK_SLOTS];

static unsigned grains_per_page(void)
{
	return (unsigned)(hk_os_page_size >> HK_GRAIN_SHIFT);
}

static bool is_held(const struct hk_superslab *superslab, unsigned grain)
{
	return superslab == holding &&
	       (held_pages[grain / HK_GRAINS] >> grain % HK_GRAINS / grains_per_page() &
		1);
}

/* ---- what is told ---- */

/* Did a block begin here that was freed?  What ended before it, and where it ended, still stands. */
static bool was_start(const struct hk_superslab *superslab, const void *pointer)
{
	unsigned grain = grain_of(pointer);

	if ((uintptr_t)pointer & ((1u << HK_GRAIN_SHIFT) - 1) ||
	    grain + length(superslab, grain) > ALL_GRAINS)
		return false;
	return grain % HK_GRAINS == 0 || has(superslab, last_bits, grain - 1);
}

/* The caller holds the lock, and the address is in a MEDIUM slot.  when: "", or ", found ..." */
HK_COLD static void report_locked(const void *pointer, const char *function,
				  const char *when)
{
	const struct hk_superslab *superslab = hk_registry_owner(pointer);
	unsigned grain = grain_of(pointer);
	const char *block = NULL;
	size_t bytes;

	if (!is_held(superslab, grain))
		block = hk_medium_block_of(pointer, &bytes);
	if (block)
		hk_fatal(HK_INTERIOR_POINTER, function, pointer,
			 "%lu bytes into the %lu-byte block %p%s",
			 (unsigned long)((const char *)pointer - block),
			 (unsigned long)bytes, (const void *)block, when);
	if (was_start(superslab, pointer))
		hk_fatal(HK_DOUBLE_FREE, function, pointer, "%lu-byte block%s",
			 (unsigned long)length(superslab, grain) << HK_GRAIN_SHIFT, when);
	hk_fatal(HK_INVALID_POINTER, function, pointer,
		 "in memory of medium blocks but in none of them%s", when);
}

void hk_medium_report_freed(const void *pointer, const char *function)
{
	unsigned slot = grain_of(pointer) / HK_GRAINS;
	const char *start = (const char *)pointer -
			    ((uintptr_t)pointer & (HK_SUPERSLAB_BYTES - 1));
	struct hk_superslab *superslab = NULL;

	hk_lock(&hk_medium_lock);
	hk_lock(&hk_pool_lock);
	/* Where a large block starts, the owner is that block's record. */
	if (hk_registry_kind(start) != HK_KIND_LARGE)
		superslab = hk_registry_owner(start);
	/* ACTIVE, it is a spare, which is not the pool's to look at. */
	if (superslab && !(superslab->active >> slot & 1) &&
	    superslab->slab[slot].former == HK_KIND_MEDIUM &&
	    was_start(superslab, pointer))
		hk_fatal(HK_DOUBLE_FREE, function, pointer, "%lu-byte block",
			 (unsigned long)length(superslab, grain_of(pointer))
				 << HK_GRAIN_SHIFT);
	hk_unlock(&hk_pool_lock);
	hk_unlock(&hk_medium_lock);
}

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

	if (grain == ALL_GRAINS || !has(superslab, free_bits, grain))
		return;
	first = after_last_below(superslab, taken_bits, grain);
	run = first_from(superslab, taken_bits, grain) - first;
	slab = &superslab->slab[first / HK_GRAINS];
	if (run > slab->hint)
		slab->hint = (uint16_t)run;
	if (run > superslab->longest)
		relist(superslab, run);
}

/* ---- taking ---- */

/*
 * The lowest run of n grains at a multiple of align in the free runs that begin in the slot, or
 * of them from this grain on; ALL_GRAINS: there is none, and of the whole slot that is noted.
 */
static unsigned find_in_slot(struct hk_superslab *superslab, unsigned slot, unsigned from,
			     unsigned n, unsigned align)
{
	unsigned start = slot * HK_GRAINS, end = start + HK_GRAINS, longest = 0;
	unsigned first = from > start ? from : start;

	/* The rest of one that began before. */
	if (first == start && start && has(superslab, free_bits, start - 1))
		first = first_from(superslab, taken_bits, start);
	for (; (first = first_between(superslab, free_bits, first, end)) < end;) {
		unsigned aligned = (first + align - 1) & ~(align - 1);
		unsigned after = first_from(superslab, taken_bits, first);

		if (aligned + n <= after)
			return aligned;
		if (after - first > longest)
			longest = after - first;
		first = after;
	}
	if (from <= start)
		superslab->slab[slot].hint = (uint16_t)longest;
	return ALL_GRAINS;
}

/*
 * The lowest free run of n grains at a multiple of align, from this grain on; ALL_GRAINS: none,
 * and *longest is one that no free run exceeds.
 */
static unsigned find_run(struct hk_superslab *superslab, unsigned from, unsigned n,
			 unsigned align, unsigned *longest)
{
	*longest = 0;
	for (unsigned slot = from / HK_GRAINS; slot < HK_SLOTS; slot++) {
		const struct hk_slab *slab = &superslab->slab[slot];
		unsigned found;

		if (!is_medium(superslab, slot))
			continue;
		if (slab->hint >= n) {
			found = find_in_slot(superslab, slot, from, n, align);
			if (found != ALL_GRAINS)
				return found;
		}
		if (slab->hint > *longest)
			*longest = slab->hint;
	}
	return ALL_GRAINS;
}

/* The SuperSlab whose longest free run is the least that will do. */
static struct hk_superslab *find_superslab(unsigned n, unsigned align, unsigned *grain)
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
			if (*grain != ALL_GRAINS)
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
 * end_bits() reads free before last: so the grain before a block is at any time one that is free
 * or one that ends something, whatever becomes of it.
 */
static void set_last(struct hk_superslab *superslab, unsigned first, unsigned end)
{
	for (unsigned word = first / 64; word <= (end - 1) / 64; word++) {
		uint64_t bits = part_of_word(word, first, end), ends = 0;

		if (word == (end - 1) / 64)
			ends = (uint64_t)1 << (end - 1) % 64;
		atomic_store_explicit(
			&superslab->last[word / WORDS_PER_SLOT][word % WORDS_PER_SLOT],
			(last_bits(superslab, word) & ~bits) | ends,
			memory_order_relaxed);
	}
}

static void set_free(struct hk_superslab *superslab, unsigned first, unsigned end,
		     bool is_free)
{
	for (unsigned word = first / 64; word <= (end - 1) / 64; word++) {
		struct hk_slab *slab = &superslab->slab[word / WORDS_PER_SLOT];
		uint64_t bits = part_of_word(word, first, end),
			 before = free_bits(superslab, word);

		hk_assert((before & bits) == (is_free ? 0 : bits));
		atomic_store_explicit(&slab->grains[word % WORDS_PER_SLOT], before ^ bits,
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

/* They are free; they become one block, or more of the block that ends before them. */
static char *take_run(struct hk_superslab *superslab, unsigned first, unsigned n,
		      bool *zero)
{
	unsigned grain = first;
	struct part part;

	*zero = true;
	set_last(superslab, first, first + n);
	set_free(superslab, first, first + n, false);
	while (next_part(superslab, &grain, first + n, &part)) {
		*zero &= touch(&part);
		count_used(part.slab, (int)(part.end - part.first));
	}
	/* What is left of the run may begin in another slot than it did. */
	note_run(superslab, first + n);
	return address_of(superslab, first);
}

/*
 * A run from the pool becomes MEDIUM slots, each by itself.  They are free; the caller takes of
 * each of them at once, and then says so by filled().
 */
static void attach(struct hk_slab *run, bool zero)
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
		for (unsigned i = 0; i < WORDS_PER_SLOT; i++) {
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
static void filled(struct hk_slab *run, unsigned slots)
{
	hk_pool_use(hk_slab_superslab(run), -(int)(slots * HK_SLOT_WEIGHT));
}

/* Blocks from this free run on, the first *zero or not; how many. */
static unsigned take_blocks(struct hk_superslab *superslab, unsigned grain,
			    unsigned size_class, void **blocks, unsigned n, bool *zero)
{
	unsigned taken = 0, size = grains_of(size_class), longest;
	bool ignored;

	do {
		blocks[taken] = take_run(superslab, grain, size, taken ? &ignored : zero);
		hk_registry_set_window(blocks[taken], size_class);
		taken++;
		if (taken == n)
			break;
		grain = find_run(superslab, grain + size, size, 1, &longest);
	} while (grain != ALL_GRAINS);
	return taken;
}

/* The lowest is popped first, so it comes last. */
static void reverse(void **blocks, unsigned n)
{
	for (unsigned i = 0; i < n / 2; i++) {
		void *block = blocks[i];

		blocks[i] = blocks[n - 1 - i];
		blocks[n - 1 - i] = block;
	}
}

unsigned hk_medium_take_locked(unsigned size_class, void **blocks, unsigned n, bool *zero)
{
	unsigned size = grains_of(size_class), taken = 0, grain = 0;
	bool ignored;

	hk_assert_slow(hk_lock_is_held(&hk_classes[size_class].lock));
	hk_lock(&hk_medium_lock);
	for (unsigned visits = 0; taken < n && visits < TAKE_SUPERSLABS; visits++) {
		struct hk_superslab *superslab = find_superslab(size, 1, &grain);

		if (!superslab)
			break;
		taken += take_blocks(superslab, grain, size_class, blocks + taken,
				     n - taken, taken ? &ignored : zero);
	}
	hk_unlock(&hk_medium_lock);
	reverse(blocks, taken);
	hk_classes[size_class].used += taken;
	return taken;
}

unsigned hk_medium_start_locked(unsigned size_class, struct hk_slab *slab, bool slab_zero,
				void **blocks, unsigned n, bool *zero)
{
	struct hk_superslab *superslab = hk_slab_superslab(slab);
	unsigned taken;

	hk_assert_slow(hk_lock_is_held(&hk_classes[size_class].lock));
	hk_lock(&hk_medium_lock);
	attach(slab, slab_zero);
	taken = take_blocks(superslab, hk_slab_slot(slab) * HK_GRAINS, size_class, blocks,
			    n, zero);
	filled(slab, 1);
	hk_unlock(&hk_medium_lock);
	reverse(blocks, taken);
	hk_classes[size_class].used += taken;
	return taken;
}

static char *place_anywhere(unsigned size, unsigned align, bool *zero)
{
	unsigned grain;
	struct hk_superslab *superslab = find_superslab(size, align, &grain);

	return superslab ? take_run(superslab, grain, size, zero) : NULL;
}

static char *place_in(struct hk_slab *run, bool run_zero, unsigned size, bool *zero)
{
	unsigned slots = run->slots;
	char *block;

	attach(run, run_zero);
	block = take_run(hk_slab_superslab(run), hk_slab_slot(run) * HK_GRAINS, size,
			 zero);
	filled(run, slots);
	return block;
}

/* run: from the pool, as long as the block and aligned; or NULL, then where there is room. */
static char *place(unsigned size_class, struct hk_slab *run, bool run_zero, unsigned size,
		   unsigned align, bool *zero)
{
	char *block;

	if (size_class)
		hk_lock(&hk_classes[size_class].lock);
	hk_lock(&hk_medium_lock);
	block = run ? place_in(run, run_zero, size, zero)
		    : place_anywhere(size, align, zero);
	if (block && size_class) {
		hk_registry_set_window(block, size_class);
		hk_classes[size_class].used++;
	} else if (block) {
		hk_medium_count++;
		hk_medium_bytes += (size_t)size << HK_GRAIN_SHIFT;
	}
	hk_unlock(&hk_medium_lock);
	if (size_class)
		hk_unlock(&hk_classes[size_class].lock);
	return block;
}

void *hk_medium_allocate(size_t size, size_t alignment, bool last_try, bool *zero)
{
	unsigned size_class = 0, grains, align;
	struct hk_slab *run;
	bool run_zero;
	char *block;

	if (size <= hk_class_size(HK_SLAB_CLASSES))
		size = hk_class_size(HK_SLAB_CLASSES) + 1;
	if (size <= HK_CLASS_MAX) {
		size_class = hk_size_class_exact(size);
		size = hk_class_size(size_class);
	} else {
		size = hk_align_up(size, hk_os_page_size);
		if (alignment < hk_os_page_size)
			alignment = hk_os_page_size;
	}
	grains = (unsigned)(size >> HK_GRAIN_SHIFT);
	align = (unsigned)(alignment >> HK_GRAIN_SHIFT);
	if (!align)
		align = 1;
	block = place(size_class, NULL, false, grains, align, zero);
	if (block)
		return block;
	run = hk_pool_take(HK_KIND_MEDIUM, (grains + HK_GRAINS - 1) / HK_GRAINS,
			   align > HK_GRAINS ? align / HK_GRAINS : 1, last_try,
			   &run_zero);
	return run ? place(size_class, run, run_zero, grains, align, zero) : NULL;
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
		if (is_medium(superslab, slot) && !superslab->slab[slot].used)
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

static bool give_run(struct hk_superslab *superslab, unsigned first, unsigned n)
{
	unsigned grain = first;
	struct part part;

	hk_block_gone(address_of(superslab, first));
	hk_registry_set_window(address_of(superslab, first), HK_KIND_MEDIUM);
	set_free(superslab, first, first + n, true);
	while (next_part(superslab, &grain, first + n, &part))
		count_used(part.slab, (int)part.first - (int)part.end);
	return settle(superslab, first, first + n);
}

bool hk_medium_give_locked(unsigned size_class, void **blocks, unsigned n,
			   const char *function)
{
	unsigned grains = grains_of(size_class);
	bool tidy = false;

	hk_assert_slow(hk_lock_is_held(&hk_classes[size_class].lock));
	hk_lock(&hk_medium_lock);
	for (unsigned i = 0; i < n; i++) {
		struct hk_superslab *superslab = hk_registry_owner(blocks[i]);
		unsigned grain = grain_of(blocks[i]);

		/* A block freed twice may have lost its slot. */
		if (HK_UNLIKELY(!hk_kind_is_medium(hk_registry_kind(blocks[i]))))
			hk_fatal(HK_DOUBLE_FREE, function, blocks[i],
				 "%lu-byte block, found at spill",
				 hk_class_size(size_class));
		if (HK_UNLIKELY(!is_start(superslab, blocks[i]) ||
				length(superslab, grain) != grains ||
				is_held(superslab, grain)))
			report_locked(blocks[i], function, ", found at spill");
		tidy |= give_run(superslab, grain, grains);
	}
	hk_unlock(&hk_medium_lock);
	hk_classes[size_class].used -= n;
	return tidy;
}

void hk_medium_free(void *block, const char *function)
{
	struct hk_superslab *superslab = hk_registry_owner(block);
	unsigned grains;
	bool tidy;

	hk_lock(&hk_medium_lock);
	grains = is_start(superslab, block) ? length(superslab, grain_of(block)) : 0;
	if (HK_UNLIKELY(!grains || class_of(grains) ||
			is_held(superslab, grain_of(block))))
		report_locked(block, function, "");
	hk_medium_count--;
	hk_medium_bytes -= (size_t)grains << HK_GRAIN_SHIFT;
	tidy = give_run(superslab, grain_of(block), grains);
	hk_unlock(&hk_medium_lock);
	if (tidy)
		hk_pool_tidy();
}

size_t hk_medium_usable_size(const void *block, const char *function)
{
	unsigned grains = checked_length(hk_registry_owner(block), block);

	if (HK_UNLIKELY(!grains)) {
		hk_lock(&hk_medium_lock);
		report_locked(block, function, "");
	}
	return (size_t)grains << HK_GRAIN_SHIFT;
}

bool hk_medium_resize(void *block, size_t size, const char *function)
{
	struct hk_superslab *superslab = hk_registry_owner(block);
	size_t bytes = hk_medium_usable_size(block, function);
	unsigned first = grain_of(block), before = (unsigned)(bytes >> HK_GRAIN_SHIFT);
	unsigned after;
	bool ignored, fits = true, tidy = false;

	size = hk_align_up(size, hk_os_page_size);
	after = (unsigned)(size >> HK_GRAIN_SHIFT);
	hk_lock(&hk_medium_lock);
	if (HK_UNLIKELY(is_held(superslab, first)))
		report_locked(block, function, "");
	if (after > before) {
		fits = first + after <= ALL_GRAINS &&
		       first_from(superslab, taken_bits, first + before) >= first + after;
		if (fits) {
			take_run(superslab, first + before, after - before, &ignored);
			set_last(superslab, first, first + after);
		}
	} else if (after < before) {
		set_last(superslab, first, first + after);
		tidy = give_run(superslab, first + after, before - after);
	}
	if (fits)
		hk_medium_bytes += size - bytes;
	hk_unlock(&hk_medium_lock);
	if (tidy)
		hk_pool_tidy();
	return fits;
}

/* ---- walks ---- */

bool hk_medium_mark_locked(const void *block, bool is_free)
{
	struct hk_superslab *superslab = hk_registry_owner(block);
	unsigned grain = grain_of(block);
	bool was_free = has(superslab, free_bits, grain);

	if (was_free != is_free)
		set_free(superslab, grain, grain + 1, is_free);
	return was_free;
}

bool hk_medium_find_locked(struct hk_superslab *superslab, bool huge, uint16_t *pages,
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
		if (!is_medium(superslab, slot))
			continue;
		*used += slab->used;
		*grains += HK_GRAINS;
		if (slab->zero && !huge)
			touched = slab->fresh;
		for (unsigned at = 0; at < touched; at += per_page) {
			unsigned bit = 1u << at / per_page;

			if (!(gone & bit) &&
			    first_from(superslab, taken_bits, start + at) >=
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

	for (; *grain < ALL_GRAINS; *grain += per_page) {
		if (pages[*grain / HK_GRAINS] >> (*grain % HK_GRAINS / per_page) & 1) {
			*end = *grain + per_page;
			return true;
		}
	}
	return false;
}

void hk_medium_hold_locked(struct hk_superslab *superslab, const uint16_t *held)
{
	unsigned grain = 0, end;

	holding = superslab;
	memcpy(held_pages, held, sizeof(held_pages));
	for (; next_pages(held, &grain, &end); grain = end) {
		unsigned next = end, ignored;

		/* A block may begin behind them, but none between: what is known of these stays. */
		if (!next_pages(held, &next, &ignored) || next > end)
			set_last(superslab, end - 1, end);
		set_free(superslab, grain, end, false);
		count_used(&superslab->slab[grain / HK_GRAINS], (int)(end - grain));
	}
}

bool hk_medium_unhold_locked(struct hk_superslab *superslab, const uint16_t *held,
			     const uint16_t *purged)
{
	unsigned grain = 0, end, longest;

	holding = NULL;
	for (; next_pages(held, &grain, &end); grain = end) {
		set_free(superslab, grain, end, true);
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
		if (is_medium(superslab, slot))
			superslab->slab[slot].hint = UINT16_MAX;
	}
	find_run(superslab, 0, ALL_GRAINS + 1, 1, &longest);
	relist(superslab, longest);
	return settle(superslab, 0, ALL_GRAINS);
}

/* ---- invariants ---- */

static void check_superslab(struct hk_superslab *superslab, uint64_t *used,
			    uint64_t *count, uint64_t *bytes)
{
	unsigned grain = 0, longest = 0;
	size_t size;

	for (unsigned slot = 0; slot < HK_SLOTS; slot++) {
		const struct hk_slab *slab = &superslab->slab[slot];
		unsigned start = slot * HK_GRAINS, taken = 0;

		if (!is_medium(superslab, slot))
			continue;
		hk_assert(superslab->active >> slot & 1 && slab->kind == HK_KIND_MEDIUM);
		for (unsigned i = 0; i < WORDS_PER_SLOT; i++)
			taken += (unsigned)__builtin_popcountl(
				used_bits(superslab, start / 64 + i));
		hk_assert(slab->used && slab->used == taken);
	}
	while (hk_medium_next_locked(superslab, &grain, &size)) {
		unsigned first = grain - (unsigned)(size >> HK_GRAIN_SHIFT);

		hk_assert(grain <= ALL_GRAINS && size <= HK_MEDIUM_MAX &&
			  first_from(superslab, end_bits, first) == grain - 1);
		if (size > HK_CLASS_MAX) {
			++*count;
			*bytes += size;
		} else {
			unsigned size_class = class_of(grain - first);

			hk_assert(size_class);
			used[size_class]++;
		}
	}
	for (unsigned slot = 0; slot < HK_SLOTS; slot++) {
		unsigned hint = superslab->slab[slot].hint;

		if (!is_medium(superslab, slot))
			continue;
		hk_assert(find_in_slot(superslab, slot, 0, ALL_GRAINS + 1, 1) ==
			  ALL_GRAINS);
		hk_assert(superslab->slab[slot].hint <= hint);
		superslab->slab[slot].hint = (uint16_t)hint;
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
		if (is_medium(superslab, slot))
			purged[slot] = atomic_load_explicit(&superslab->purged[slot],
							    memory_order_relaxed);
	}
	for (; next_pages(purged, &grain, &end); grain = end)
		hk_assert(first_from(superslab, taken_bits, grain) >= end);
}

void hk_medium_check(void)
{
	uint64_t used[HK_CLASSES + 1] = { 0 }, count = 0, bytes = 0;
	size_t with_slots = 0, on_lists = 0;

	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next) {
		if (!s->medium)
			continue;
		with_slots++;
		check_superslab(s, used, &count, &bytes);
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
	hk_assert(count == hk_medium_count && bytes == hk_medium_bytes);
	for (unsigned i = HK_SLAB_CLASSES + 1; i <= HK_CLASSES; i++)
		hk_assert(hk_classes[i].used == used[i]);
}
