/* SPDX-License-Identifier: MIT
 *
 * grains.h - the MEDIUM slots of a SuperSlab: which grains are free, which end a block, and where
 * a run of room is.
 *
 * What the bits mean, and the invariants, are in medium.h, whose lock guards all of this; the
 * caller holds it, but to read bits.  Of the lists that say which slot has room this is the owner.
 * Takes the pool's lock where a slot's weight changes, comes, or goes back.
 */
#ifndef HK_GRAINS_H
#define HK_GRAINS_H

#include "os.h"
#include "superslab.h"

#define HK_GRAIN_WORDS (HK_GRAINS / 64)      /* of a slot */
#define HK_ALL_GRAINS (HK_SLOTS * HK_GRAINS) /* of a SuperSlab; also: none */

/* ---- bits ---- */

typedef uint64_t hk_bits_of(const struct hk_superslab *superslab, unsigned word);

HK_INLINE bool hk_grains_in(const struct hk_superslab *superslab, unsigned slot)
{
	/* Pairs with the release in hk_grains_attach(), which has made the grains free. */
	return atomic_load_explicit(&superslab->medium, memory_order_acquire) >> slot & 1;
}

static inline uint64_t hk_free_bits(const struct hk_superslab *superslab, unsigned word)
{
	unsigned slot = word / HK_GRAIN_WORDS;

	if (!hk_grains_in(superslab, slot))
		return 0;
	return atomic_load_explicit(&superslab->slab[slot].grains[word % HK_GRAIN_WORDS],
				    memory_order_acquire);
}

/* All slots' words, one after the other. */
static inline _Atomic uint64_t *hk_last_words(const struct hk_superslab *superslab)
{
	return (_Atomic uint64_t *)superslab->last;
}

static inline uint64_t hk_last_bits(const struct hk_superslab *superslab, unsigned word)
{
	return atomic_load_explicit(&hk_last_words(superslab)[word],
				    memory_order_relaxed);
}

/* Free, or the pool's, as far as is seen without its lock. */
static inline uint64_t hk_room_bits(const struct hk_superslab *superslab, unsigned word)
{
	unsigned slot = word / HK_GRAIN_WORDS;

	if (hk_grains_in(superslab, slot))
		return hk_free_bits(superslab, word);
	return atomic_load_explicit(&superslab->active, memory_order_relaxed) >> slot & 1
		       ? 0
		       : UINT64_MAX;
}

/* Where a run of them ends. */
static inline uint64_t hk_wall_bits(const struct hk_superslab *superslab, unsigned word)
{
	return ~hk_room_bits(superslab, word);
}

/* Where a run of free grains ends. */
static inline uint64_t hk_taken_bits(const struct hk_superslab *superslab, unsigned word)
{
	return ~hk_free_bits(superslab, word);
}

static inline uint64_t hk_used_bits(const struct hk_superslab *superslab, unsigned word)
{
	return hk_grains_in(superslab, word / HK_GRAIN_WORDS)
		       ? ~hk_free_bits(superslab, word)
		       : 0;
}

/* What lies before a block's first grain. */
static inline uint64_t hk_end_bits(const struct hk_superslab *superslab, unsigned word)
{
	uint64_t is_free;

	if (!hk_grains_in(superslab, word / HK_GRAIN_WORDS))
		return UINT64_MAX;
	/* In this order: see grains.c. */
	is_free = hk_free_bits(superslab, word);
	return is_free | hk_last_bits(superslab, word);
}

/* The first grain from this one on that has its bit set, or end, a multiple of 64. */
HK_INLINE unsigned hk_grain_between(const struct hk_superslab *superslab,
				    hk_bits_of *bits, unsigned grain, unsigned end)
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

HK_INLINE unsigned hk_grain_from(const struct hk_superslab *superslab, hk_bits_of *bits,
				 unsigned grain)
{
	return hk_grain_between(superslab, bits, grain, HK_ALL_GRAINS);
}

/* One more than the last grain below this one that has its bit set, or 0. */
HK_INLINE unsigned hk_grain_below(const struct hk_superslab *superslab, hk_bits_of *bits,
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

static inline bool hk_grain_has(const struct hk_superslab *superslab, hk_bits_of *bits,
				unsigned grain)
{
	return bits(superslab, grain / 64) >> grain % 64 & 1;
}

/* A part of a run, that which lies in one slot: its grains from first to end - 1. */
struct hk_part {
	unsigned slot, first, end;
};

/* The next part of the run from *grain on, which moves on to the one after. */
HK_INLINE bool hk_next_part(unsigned *grain, unsigned end, struct hk_part *part)
{
	unsigned slot = *grain / HK_GRAINS, start = slot * HK_GRAINS;

	if (*grain >= end)
		return false;
	part->slot = slot;
	part->first = *grain - start;
	part->end = (end < start + HK_GRAINS ? end : start + HK_GRAINS) - start;
	*grain = start + part->end;
	return true;
}

/* A page has so many, as a power of two. */
static inline unsigned hk_grains_page_shift(void)
{
	return (unsigned)__builtin_ctzl(hk_os_page_size) - HK_GRAIN_SHIFT;
}

static inline unsigned hk_grain_of(const void *address)
{
	return (unsigned)(((uintptr_t)address & (HK_SUPERSLAB_BYTES - 1)) >>
			  HK_GRAIN_SHIFT);
}

static inline char *hk_grain_address(const struct hk_superslab *superslab, unsigned grain)
{
	return superslab->base + ((size_t)grain << HK_GRAIN_SHIFT);
}

/*
 * Call for the lines of the record that blocks here are in, while something else is seen to: of a
 * heap in which blocks of many pages live they are in no cache near.
 */
void hk_grains_call_for(const struct hk_superslab *superslab, unsigned slot);

/* ---- runs ---- */

/* The lowest n free grains from this one on that are neighbours; HK_ALL_GRAINS: there are none. */
unsigned hk_grains_find(struct hk_superslab *superslab, unsigned from, unsigned n);

/*
 * The least room that will do for so many grains at a multiple of align, now free grains all of
 * them; the SuperSlab, and where in it; NULL: there is none.  The caller takes them at once.
 */
struct hk_superslab *hk_grains_best(unsigned n, unsigned align, unsigned *grain);

/* Make these free grains, which are room.  false: others have taken some of them. */
bool hk_grains_claim(struct hk_superslab *superslab, unsigned first, unsigned n);

/*
 * What is known of grains that were taken: they read as zero; so many of them lie on pages that
 * have to be faulted in, all of which are between these grains.
 */
struct hk_taken {
	bool zero;
	unsigned fresh, first, end;
};

/* They are free; they become one block, or more of the block that ends before them. */
char *hk_grains_take(struct hk_superslab *superslab, unsigned first, unsigned n,
		     struct hk_taken *taken);

/* The pages of a MEDIUM slot that are purged, or were never touched: a bit for each. */
unsigned hk_grains_absent(const struct hk_superslab *superslab, unsigned slot);

/*
 * They are a block's, or its end: they become free, and those of their slots that are all free go
 * to the pool; after that the SuperSlab may be gone.  true: hk_pool_tidy() is due.
 */
bool hk_grains_give(struct hk_superslab *superslab, unsigned first, unsigned n);

/* Of these, only the last ends a block. */
void hk_grains_end(struct hk_superslab *superslab, unsigned first, unsigned end);

/* For walks, which must undo it: the bits alone. */
void hk_grains_mark(struct hk_superslab *superslab, unsigned first, unsigned end,
		    bool is_free);

/*
 * A run from the pool becomes MEDIUM slots, each by itself.  They are free; the caller takes of
 * each of them at once.
 */
void hk_grains_attach(struct hk_slab *run, bool zero);

/* The slot has become the pool's, or a class's: the run of room there, or behind it, is another. */
void hk_grains_look(struct hk_superslab *superslab, unsigned slot);

/* ---- for a pass of sparse.c ---- */

/*
 * By slots, a bit for each page: those with only free grains, touched and not purged.  How many
 * of the SuperSlab's grains are in use, of how many: *used, *grains.
 */
bool hk_grains_find_pages(struct hk_superslab *superslab, bool huge, uint16_t *pages,
			  unsigned *used, unsigned *grains);

/* Take the grains of these pages, and give them back: those of purged ones are. */
void hk_grains_hold(struct hk_superslab *superslab, const uint16_t *held);
bool hk_grains_unhold(struct hk_superslab *superslab, const uint16_t *held,
		      const uint16_t *purged);

/* Is the grain one of those? */
bool hk_grains_held(const struct hk_superslab *superslab, unsigned grain);

/* The invariants of slots, pages and lists; the caller holds all locks. */
void hk_grains_check(void);

#endif /* HK_GRAINS_H */
