/* SPDX-License-Identifier: MIT
 *
 * sparse.c - the pages of slots in use that have only free blocks: found, and purged.
 *
 * Takes hk_sparse_lock and, one after the other under it, those of classes, of medium blocks and
 * the pool's.  No system call is made under those.
 */
#include "sparse.h"

#include <limits.h>
#include <string.h>

#include "config.h"
#include "grains.h"
#include "growth.h"
#include "medium.h"
#include "os.h"
#include "pool.h"
#include "slab.h"

/*
 * A release purges in slabs of which a sixth or less is in use.  In fuller ones the pages are few
 * between blocks that live, cost a call each, and are the first to be wanted back.
 */
#define SPARSE_DIVISOR 6

/*
 * Among medium blocks any free run may be wanted by any size next; so where more than a quarter
 * is in use only long ones go back, such as a slot of its own would be (lib/README has figures).
 */
#define MEDIUM_DIVISOR 4
#define LONG_RUN HK_SLOT_BYTES
/* And where it is given back because others grow, such as cost little for each page. */
#define TRIMMED_RUN (HK_SLOT_BYTES / 2)

struct hk_lock hk_sparse_lock;

const struct hk_sparse_effort hk_sparse_slow_path = { 4, 64 };
const struct hk_sparse_effort hk_sparse_thread = { 256, 2048 };

struct pass {
	const char *function;
	bool all;  /* whatever is free */
	bool tick; /* only pages that were idle before, and where there are no huge ones */
	unsigned calls;   /* of madvise(2) that are left */
	size_t bytes;     /* purged */
	bool tidy, later; /* hk_pool_tidy() is due; there are pages for another tick */
};

/* ---- pages and blocks ---- */

struct blocks {
	unsigned first, last;
};

/* The blocks that touch these bytes of the slab; never none. */
static struct blocks blocks_of(const struct hk_slab *slab,
			       const struct hk_size_class *info, size_t start, size_t end)
{
	size_t colour = slab->colour;
	struct blocks blocks = { 0, 0 };

	if (start > colour)
		blocks.first = hk_block_index(info, start - colour);
	if (end > colour)
		blocks.last = hk_block_index(info, end - 1 - colour);
	if (blocks.first >= info->blocks)
		blocks.first = info->blocks - 1u;
	if (blocks.last >= info->blocks)
		blocks.last = info->blocks - 1u;
	return blocks;
}

/* The bits of one word that stand for blocks of the range. */
static uint64_t bits_in_word(struct blocks blocks, unsigned word)
{
	uint64_t bits = UINT64_MAX;

	if (word == blocks.first / 64)
		bits &= UINT64_MAX << (blocks.first % 64);
	if (word == blocks.last / 64)
		bits &= UINT64_MAX >> (63 - blocks.last % 64);
	return bits;
}

static bool are_free(const uint64_t *bitmap, struct blocks blocks)
{
	for (unsigned i = blocks.first / 64; i <= blocks.last / 64; i++) {
		uint64_t bits = bits_in_word(blocks, i);

		if ((bitmap[i] & bits) != bits)
			return false;
	}
	return true;
}

bool hk_sparse_find_locked(struct hk_slab *slab, size_t page_size, bool huge,
			   uint16_t *pages)
{
	const struct hk_size_class *info = hk_class_info(slab->kind);
	const uint64_t *bitmap = hk_slab_bitmap(slab, info);
	const _Atomic uint16_t *purged = &hk_slab_superslab(slab)
						  ->purged[hk_slab_slot(slab)];
	size_t begin = 0, end = slab->slots * HK_SLOT_BYTES, at = 0;
	bool found = false;

	/* Bytes outside of these were never touched. */
	if (slab->zero && !huge) {
		begin = slab->colour;
		end = begin + (size_t)slab->fresh * info->size;
	}
	/* A full slab begins and ends here. */
	if (slab->used == slab->blocks)
		end = 0;
	for (unsigned i = 0; i < slab->slots; i++) {
		unsigned gone = atomic_load_explicit(&purged[i], memory_order_relaxed);
		unsigned mask = 0;

		for (unsigned bit = 1; bit < 1u << HK_SLOT_BYTES / page_size; bit <<= 1) {
			size_t next = at + page_size;

			if (next > begin && at < end && !(gone & bit) &&
			    are_free(bitmap, blocks_of(slab, info, at, next)))
				mask |= bit;
			at = next;
		}
		pages[i] = (uint16_t)mask;
		found |= mask != 0;
	}
	return found;
}

/* ---- one slab ---- */

static bool has(const uint16_t *pages, size_t page, size_t per_slot)
{
	return pages[page / per_slot] >> (page % per_slot) & 1;
}

static void hold(struct hk_slab *slab, const uint16_t *pages, uint64_t *held)
{
	const struct hk_size_class *info = hk_class_info(slab->kind);
	size_t size = hk_os_page_size, per_slot = HK_SLOT_BYTES / size;

	memset(held, 0, info->bitmap_words * sizeof(*held));
	for (size_t page = 0; page < slab->slots * per_slot; page++) {
		struct blocks blocks;

		if (!has(pages, page, per_slot))
			continue;
		blocks = blocks_of(slab, info, page * size, (page + 1) * size);
		for (unsigned i = blocks.first / 64; i <= blocks.last / 64; i++)
			held[i] |= bits_in_word(blocks, i);
	}
	hk_slab_hold_locked(slab, held);
}

/* Neighbours in one call.  pages: those that it was not done for are taken out. */
static void purge(struct pass *pass, char *base, size_t slots, uint16_t *pages)
{
	size_t size = hk_os_page_size, per_slot = HK_SLOT_BYTES / size;

	for (size_t first = 0, next; first < slots * per_slot; first = next) {
		next = first + 1;
		if (!has(pages, first, per_slot))
			continue;
		while (next < slots * per_slot && has(pages, next, per_slot))
			next++;
		if (pass->calls) {
			pass->calls--;
			if (hk_os_purge(base + first * size, (next - first) * size)) {
				pass->bytes += (next - first) * size;
				continue;
			}
		} else {
			pass->later = true;
		}
		for (size_t page = first; page < next; page++)
			pages[page / per_slot] &= (uint16_t) ~(1u << page % per_slot);
	}
}

static void record(struct hk_slab *slab, const uint16_t *pages)
{
	_Atomic uint16_t *purged = &hk_slab_superslab(slab)->purged[hk_slab_slot(slab)];

	for (unsigned i = 0; i < slab->slots; i++) {
		unsigned gone = atomic_load_explicit(&purged[i], memory_order_relaxed);

		gone |= pages[i];
		atomic_store_explicit(&purged[i], (uint16_t)gone, memory_order_relaxed);
		slab->purged |= pages[i] != 0;
	}
}

/* Of the pages that are free now, those that were so at the last look.  false: none. */
static bool choose_idle(struct pass *pass, uint16_t *idle, unsigned slots,
			uint16_t *pages)
{
	bool found = false;

	for (unsigned i = 0; i < slots; i++) {
		uint16_t now = pages[i];

		pages[i] = pass->calls ? now & idle[i] : 0;
		idle[i] = now;
		found |= pages[i] != 0;
		pass->later |= now != pages[i];
	}
	return found;
}

/* Which pages to purge now, and which to look at again.  false: none now. */
static bool choose(struct pass *pass, struct hk_slab *slab, bool huge, uint16_t *pages)
{
	bool found;

	if (!pass->tick && slab->used > slab->blocks / SPARSE_DIVISOR)
		return false;
	found = hk_sparse_find_locked(slab, hk_os_page_size, huge, pages);
	if (!pass->tick)
		return found;
	return choose_idle(pass, &hk_slab_superslab(slab)->idle[hk_slab_slot(slab)],
			   slab->slots, pages);
}

static size_t pages_in(size_t bytes)
{
	return hk_align_up(bytes, hk_os_page_size) / hk_os_page_size;
}

/* Leave out what is fewer than so many neighbours.  false: nothing is left. */
static bool keep_long(uint16_t *pages, size_t least)
{
	size_t per_slot = HK_SLOT_BYTES / hk_os_page_size;
	bool found = false;

	for (size_t first = 0, next; first < HK_SLOTS * per_slot; first = next) {
		next = first + 1;
		if (!has(pages, first, per_slot))
			continue;
		while (next < HK_SLOTS * per_slot && has(pages, next, per_slot))
			next++;
		found |= next - first >= least;
		for (size_t page = first; next - first < least && page < next; page++)
			pages[page / per_slot] &= (uint16_t) ~(1u << page % per_slot);
	}
	return found;
}

/* The same in the medium blocks' slots of a SuperSlab. */
static bool choose_medium(struct pass *pass, struct hk_superslab *superslab, bool huge,
			  uint16_t *pages)
{
	uint32_t left = superslab->medium;
	unsigned used, grains;
	bool found = hk_grains_find_pages(superslab, huge, pages, &used, &grains);

	if (pass->all)
		return keep_long(pages, pages_in(TRIMMED_RUN));
	if (!pass->tick) {
		if (used > grains / MEDIUM_DIVISOR)
			found = keep_long(pages, pages_in(LONG_RUN));
		return found;
	}
	/* What was seen of the other slots is their classes'. */
	for (found = false; left; left &= left - 1) {
		unsigned slot = (unsigned)__builtin_ctz(left);

		found |= choose_idle(pass, &superslab->idle[slot], 1, &pages[slot]);
	}
	return found;
}

/*
 * Is it, under its class's lock, a slab of the class?  Others may have unmapped the SuperSlab
 * since, or given the slot away: what stands here under both locks stays as long as that of
 * the class is held, as only its holder gives a slab of the class to the pool.  The registry
 * is asked first: a slab of another class changes under that one's lock.
 */
static bool stands(const struct hk_superslab *superslab, const struct hk_slab *slab,
		   unsigned kind, bool *huge)
{
	bool stands;

	hk_lock(&hk_pool_lock);
	stands = hk_pool_cursor == superslab &&
		 hk_registry_kind(hk_slab_base(slab)) == kind &&
		 slab->first == hk_slab_slot(slab) &&
		 (superslab->active >> slab->first & 1);
	*huge = superslab->huge;
	hk_unlock(&hk_pool_lock);
	/* Between the pool and its class, it has no blocks. */
	return stands && slab->blocks;
}

static void refuse_huge_pages(struct hk_superslab *superslab)
{
	bool split;

	hk_lock(&hk_pool_lock);
	split = hk_pool_split_locked(superslab);
	hk_unlock(&hk_pool_lock);
	if (split)
		hk_os_huge_pages(superslab->base, HK_SUPERSLAB_BYTES, false);
}

static void visit_slab(struct pass *pass, struct hk_superslab *superslab,
		       struct hk_slab *slab, unsigned kind)
{
	struct hk_class *class = &hk_classes[kind];
	uint64_t held[HK_BITMAP_WIDE_WORDS];
	uint16_t pages[HK_SLOTS];
	bool huge, found = false;
	unsigned slots = 0;

	hk_lock(&class->lock);
	if (stands(superslab, slab, kind, &huge) && choose(pass, slab, huge, pages)) {
		slots = slab->slots;
		hold(slab, pages, held);
		found = true;
	}
	hk_unlock(&class->lock);
	if (!found)
		return;
	if (huge)
		refuse_huge_pages(superslab);
	purge(pass, hk_slab_base(slab), slots, pages);
	hk_lock(&class->lock);
	record(slab, pages);
	pass->tidy |= hk_slab_unhold_locked(slab, held, pass->function);
	hk_unlock(&class->lock);
}

static void visit_medium(struct pass *pass, struct hk_superslab *superslab)
{
	uint16_t held[HK_SLOTS], purged[HK_SLOTS];
	bool stands, huge, found = false;

	hk_lock(&hk_medium_lock);
	/* With medium blocks it stays, as only who holds this lock gives their slots back. */
	hk_lock(&hk_pool_lock);
	stands = hk_pool_cursor == superslab && superslab->medium;
	huge = superslab->huge;
	hk_unlock(&hk_pool_lock);
	/* What is left there is of little use, so it is not the oldest any more. */
	if (stands && pass->all)
		atomic_store_explicit(&superslab->given, hk_growth.gifts,
				      memory_order_relaxed);
	if (stands && choose_medium(pass, superslab, huge, held)) {
		hk_grains_hold(superslab, held);
		found = true;
	}
	hk_unlock(&hk_medium_lock);
	if (!found)
		return;
	if (huge)
		refuse_huge_pages(superslab);
	memcpy(purged, held, sizeof(held));
	purge(pass, superslab->base, HK_SLOTS, purged);
	hk_lock(&hk_medium_lock);
	pass->tidy |= hk_grains_unhold(superslab, held, purged);
	hk_unlock(&hk_medium_lock);
}

/* ---- the walk ---- */

/*
 * The caller holds the pool's lock.  A tick leaves huge pages whole, and pages that were seen
 * idle less than the delay ago.
 */
static bool is_due(struct pass *pass, const struct hk_superslab *superslab)
{
	uint64_t delay = hk_config_number(HK_OPTION_PURGE_DELAY_MS);

	if (!pass->tick)
		return true;
	if (superslab->huge)
		return false;
	if (superslab->idle_since && hk_os_now_ms() - superslab->idle_since < delay) {
		pass->later = true;
		return false;
	}
	return true;
}

static void visit(struct pass *pass, struct hk_superslab *superslab, const uint8_t *kinds)
{
	bool medium = false;

	for (unsigned slot = 0; slot < HK_SLOTS; slot++) {
		if (kinds[slot] && kinds[slot] <= HK_SLAB_CLASSES)
			visit_slab(pass, superslab, &superslab->slab[slot], kinds[slot]);
		medium |= hk_kind_is_medium(kinds[slot]);
	}
	if (medium)
		visit_medium(pass, superslab);
}

/* The pool's lock is held, dropped for each SuperSlab's slabs, and held. */
static void walk(struct pass *pass, unsigned superslabs)
{
	for (; hk_pool_cursor && superslabs; superslabs--) {
		struct hk_superslab *superslab = hk_pool_cursor;
		uint8_t kinds[HK_SLOTS];
		size_t before = pass->bytes;
		bool later = pass->later;

		pass->later = false;
		if (is_due(pass, superslab)) {
			/* Of each slot of a run; those behind its first do not stand. */
			for (unsigned slot = 0; slot < HK_SLOTS; slot++)
				kinds[slot] = (uint8_t)hk_registry_kind(
					superslab->base + slot * HK_SLOT_BYTES);
			hk_unlock(&hk_pool_lock);
			visit(pass, superslab, kinds);
			hk_lock(&hk_pool_lock);
			hk_pool_counters.purged_bytes += pass->bytes - before;
			if (hk_pool_cursor == superslab)
				superslab->idle_since = pass->later ? hk_os_now_ms() : 0;
		}
		pass->later |= later;
		/* Unless it was unmapped: then the pool has moved the cursor. */
		if (hk_pool_cursor == superslab)
			hk_pool_cursor = superslab->all_next;
	}
}

size_t hk_sparse_release_locked(const char *function)
{
	struct pass pass = { .function = function, .calls = UINT_MAX };

	hk_assert_slow(hk_lock_is_held(&hk_sparse_lock));
	/* In debug builds the pages hold the pattern that tells of writes after free. */
	if (HK_DEBUG)
		return 0;
	hk_lock(&hk_pool_lock);
	hk_pool_cursor = hk_pool_superslabs;
	walk(&pass, UINT_MAX);
	hk_unlock(&hk_pool_lock);
	return pass.bytes;
}

bool hk_sparse_tick(const struct hk_sparse_effort *effort)
{
	struct pass pass = { .function = "free", .tick = true, .calls = effort->calls };

	if (HK_DEBUG)
		return false;
	if (!hk_trylock(&hk_sparse_lock))
		return true;
	hk_lock(&hk_pool_lock);
	if (!hk_pool_cursor)
		hk_pool_cursor = hk_pool_superslabs;
	walk(&pass, effort->superslabs);
	pass.later |= hk_pool_cursor != NULL;
	hk_unlock(&hk_pool_lock);
	hk_unlock(&hk_sparse_lock);
	if (pass.tidy)
		hk_pool_tidy();
	return pass.later;
}

/* ---- growth ---- */

/*
 * Of so many SuperSlabs the one to which nothing was given back for longest, of those that have so
 * much to give; and so many times, as a request may want more.
 */
#define WINDOW 64
#define LEAST_GRAINS ((64 << 10) >> HK_GRAIN_SHIFT)
#define WINDOWS 8

static bool is_worth_it(const struct hk_superslab *superslab)
{
	return !superslab->huge &&
	       atomic_load_explicit(&superslab->slack, memory_order_relaxed) +
			       superslab->empty_slots * HK_GRAINS >=
		       LEAST_GRAINS;
}

static uint32_t given(const struct hk_superslab *superslab)
{
	return atomic_load_explicit(&superslab->given, memory_order_relaxed);
}

/* The pool's lock is held; the cursor moves on to it.  NULL: there is none in the window. */
static struct hk_superslab *choose_superslab(void)
{
	struct hk_superslab *oldest = NULL;

	if (!hk_pool_cursor)
		hk_pool_cursor = hk_pool_superslabs;
	for (unsigned i = 0; i < WINDOW && hk_pool_cursor; i++) {
		struct hk_superslab *next = hk_pool_cursor;

		if (is_worth_it(next) &&
		    (!oldest || (int32_t)(given(next) - given(oldest)) < 0))
			oldest = next;
		hk_pool_cursor = next->all_next;
	}
	if (oldest)
		hk_pool_cursor = oldest;
	return oldest;
}

/* So many bytes were given back; is it enough? */
static bool is_enough(size_t bytes)
{
	bool enough;

	hk_lock(&hk_medium_lock);
	hk_growth_spend_locked(bytes >> HK_GRAIN_SHIFT);
	enough = !hk_growth_excess_locked();
	hk_unlock(&hk_medium_lock);
	return enough;
}

/* What is free in the SuperSlab; the pool's lock is held, dropped and held. */
static void trim(struct pass *pass, struct hk_superslab *superslab)
{
	size_t bytes = hk_pool_purge_locked(superslab);

	hk_unlock(&hk_pool_lock);
	pass->bytes = 0;
	visit_medium(pass, superslab);
	hk_lock(&hk_pool_lock);
	hk_pool_counters.purged_bytes += pass->bytes;
	pass->bytes += bytes;
	if (hk_pool_cursor == superslab)
		hk_pool_cursor = superslab->all_next;
}

void hk_sparse_trim(void)
{
	struct pass pass = { .function = "malloc", .all = true, .calls = UINT_MAX };
	bool enough = false;

	if (HK_DEBUG || !hk_trylock(&hk_sparse_lock))
		return;
	for (unsigned windows = WINDOWS; windows && !enough; windows--) {
		struct hk_superslab *superslab;

		hk_lock(&hk_pool_lock);
		superslab = choose_superslab();
		if (superslab)
			trim(&pass, superslab);
		hk_unlock(&hk_pool_lock);
		enough = is_enough(superslab ? pass.bytes : 0);
	}
	hk_unlock(&hk_sparse_lock);
	if (pass.tidy)
		hk_pool_tidy();
}

/* ---- invariants ---- */

static void check_slab(struct hk_slab *slab, const _Atomic uint16_t *purged)
{
	const struct hk_size_class *info = hk_class_info(slab->kind);
	const uint64_t *bitmap = hk_slab_bitmap(slab, info);
	size_t size = hk_os_page_size, per_slot = HK_SLOT_BYTES / size;
	bool any = false;

	for (size_t page = 0; page < slab->slots * per_slot; page++) {
		unsigned gone = atomic_load_explicit(&purged[page / per_slot],
						     memory_order_relaxed);

		if (!(gone >> (page % per_slot) & 1))
			continue;
		any = true;
		hk_assert(are_free(bitmap, blocks_of(slab, info, page * size,
						     (page + 1) * size)));
	}
	hk_assert(any == slab->purged);
}

void hk_sparse_check(void)
{
	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next) {
		hk_assert(!hk_superslab_purged(s, s->unused));
		for (uint32_t left = s->active; left; left &= left - 1) {
			unsigned slot = (unsigned)__builtin_ctz(left);
			struct hk_slab *slab = &s->slab[slot];

			if (slab->kind && slab->kind <= HK_SLAB_CLASSES && slab->blocks)
				check_slab(slab, &s->purged[slot]);
		}
	}
}
