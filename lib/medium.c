/* SPDX-License-Identifier: MIT
 *
 * medium.c - see medium.h.  Takes hk_medium_lock, the pool's under it, and in
 * hk_medium_allocate() a class's before it; makes no system call under any.
 */
#include "medium.h"

#include "fatal.h"
#include "grains.h"
#include "os.h"
#include "pool.h"
#include "slab.h"

/* A batch comes from so many SuperSlabs at most. */
#define TAKE_SUPERSLABS 4

struct hk_lock hk_medium_lock;
uint64_t hk_medium_count, hk_medium_bytes;

/* ---- blocks ---- */

/* The grains of the block that begins here; also, of one that was freed and not overwritten. */
static unsigned length(const struct hk_superslab *superslab, unsigned grain)
{
	return hk_grain_from(superslab, hk_last_bits, grain) + 1 - grain;
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
	unsigned grain = hk_grain_of(pointer);

	if ((uintptr_t)pointer & ((1u << HK_GRAIN_SHIFT) - 1) ||
	    !hk_grain_has(superslab, hk_used_bits, grain))
		return false;
	return !grain || hk_grain_has(superslab, hk_end_bits, grain - 1);
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
	bool right = LOOKS_BACK(hk_grain_of(block)) && is_start(superslab, block);

	if (HK_UNLIKELY(!right)) {
		hk_lock(&hk_medium_lock);
		right = is_start(superslab, block);
		hk_unlock(&hk_medium_lock);
	}
	return right ? length(superslab, hk_grain_of(block)) : 0;
}

char *hk_medium_block_of(const void *address, size_t *bytes)
{
	const struct hk_superslab *superslab = hk_registry_owner(address);
	unsigned grain = hk_grain_of(address);

	if (!hk_grain_has(superslab, hk_used_bits, grain))
		return NULL;
	grain = hk_grain_below(superslab, hk_end_bits, grain);
	*bytes = (size_t)length(superslab, grain) << HK_GRAIN_SHIFT;
	return hk_grain_address(superslab, grain);
}

char *hk_medium_next_locked(struct hk_superslab *superslab, unsigned *grain,
			    size_t *bytes)
{
	unsigned first = hk_grain_from(superslab, hk_used_bits, *grain), grains;

	if (first == HK_ALL_GRAINS)
		return NULL;
	grains = length(superslab, first);
	*grain = first + grains;
	*bytes = (size_t)grains << HK_GRAIN_SHIFT;
	return hk_grain_address(superslab, first);
}

/* ---- what is told ---- */

/* Did a block begin here that was freed?  What ended before it, and where it ended, still stands. */
static bool was_start(const struct hk_superslab *superslab, const void *pointer)
{
	unsigned grain = hk_grain_of(pointer);

	if ((uintptr_t)pointer & ((1u << HK_GRAIN_SHIFT) - 1) ||
	    grain + length(superslab, grain) > HK_ALL_GRAINS)
		return false;
	return grain % HK_GRAINS == 0 || hk_grain_has(superslab, hk_last_bits, grain - 1);
}

/* The caller holds the lock, and the address is in a MEDIUM slot.  when: "", or ", found ..." */
HK_COLD static void report_locked(const void *pointer, const char *function,
				  const char *when)
{
	const struct hk_superslab *superslab = hk_registry_owner(pointer);
	unsigned grain = hk_grain_of(pointer);
	const char *block = NULL;
	size_t bytes;

	if (!hk_grains_held(superslab, grain))
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
	unsigned slot = hk_grain_of(pointer) / HK_GRAINS;
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
			 (unsigned long)length(superslab, hk_grain_of(pointer))
				 << HK_GRAIN_SHIFT);
	hk_unlock(&hk_pool_lock);
	hk_unlock(&hk_medium_lock);
}

/* ---- taking ---- */

/* Blocks from this free run on, the first *zero or not; how many. */
static unsigned take_blocks(struct hk_superslab *superslab, unsigned grain,
			    unsigned size_class, void **blocks, unsigned n, bool *zero)
{
	unsigned taken = 0, size = grains_of(size_class);
	struct hk_taken this;

	do {
		blocks[taken] = hk_grains_take(superslab, grain, size, &this);
		if (!taken)
			*zero = this.zero;
		hk_registry_set_window(blocks[taken], size_class);
		taken++;
		if (taken == n)
			break;
		grain = hk_grains_find(superslab, grain + size, size);
	} while (grain != HK_ALL_GRAINS);
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
		struct hk_superslab *superslab = hk_grains_best(size, 1, &grain);

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
	hk_grains_attach(slab, slab_zero);
	taken = take_blocks(superslab, hk_slab_slot(slab) * HK_GRAINS, size_class, blocks,
			    n, zero);
	hk_unlock(&hk_medium_lock);
	reverse(blocks, taken);
	hk_classes[size_class].used += taken;
	return taken;
}

static char *place_anywhere(unsigned size, unsigned align, struct hk_taken *taken)
{
	unsigned grain;
	struct hk_superslab *superslab = hk_grains_best(size, align, &grain);

	return superslab ? hk_grains_take(superslab, grain, size, taken) : NULL;
}

static char *place_in(struct hk_slab *run, bool run_zero, unsigned size,
		      struct hk_taken *taken)
{
	hk_grains_attach(run, run_zero);
	return hk_grains_take(hk_slab_superslab(run), hk_slab_slot(run) * HK_GRAINS, size,
			      taken);
}

/* run: from the pool, as long as the block and aligned; or NULL, then where there is room. */
static char *place(unsigned size_class, struct hk_slab *run, bool run_zero, unsigned size,
		   unsigned align, struct hk_taken *taken)
{
	char *block;

	if (size_class)
		hk_lock(&hk_classes[size_class].lock);
	hk_lock(&hk_medium_lock);
	block = run ? place_in(run, run_zero, size, taken)
		    : place_anywhere(size, align, taken);
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

void *hk_medium_allocate(size_t size, size_t alignment, bool last_try, bool *zero,
			 struct hk_fill *fill)
{
	unsigned size_class = 0, grains, align;
	struct hk_taken taken;
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
	block = place(size_class, NULL, false, grains, align, &taken);
	if (block) {
		hk_pool_ask_for_huge_pages(hk_registry_owner(block));
	} else {
		run = hk_pool_take(HK_KIND_MEDIUM, (grains + HK_GRAINS - 1) / HK_GRAINS,
				   align > HK_GRAINS ? align / HK_GRAINS : 1, last_try,
				   &run_zero);
		if (!run)
			return NULL;
		block = place(size_class, run, run_zero, grains, align, &taken);
	}
	if (fill && !size_class && taken.fresh)
		*fill = (struct hk_fill){
			.pages = hk_grain_address(hk_registry_owner(block), taken.first),
			.bytes = (size_t)(taken.end - taken.first) << HK_GRAIN_SHIFT
		};
	*zero = taken.zero;
	return block;
}

void hk_medium_look(struct hk_superslab *superslab, unsigned slot)
{
	if (!atomic_load_explicit(&superslab->medium, memory_order_relaxed))
		return;
	hk_lock(&hk_medium_lock);
	hk_grains_look(superslab, slot);
	hk_unlock(&hk_medium_lock);
}

/* ---- giving back ---- */

bool hk_medium_give_locked(unsigned size_class, void **blocks, unsigned n,
			   const char *function)
{
	unsigned grains = grains_of(size_class);
	bool tidy = false;

	hk_assert_slow(hk_lock_is_held(&hk_classes[size_class].lock));
	hk_lock(&hk_medium_lock);
	for (unsigned i = 0; i < n; i++) {
		struct hk_superslab *superslab = hk_registry_owner(blocks[i]);
		unsigned grain = hk_grain_of(blocks[i]);

		/* A block freed twice may have lost its slot. */
		if (HK_UNLIKELY(!hk_kind_is_medium(hk_registry_kind(blocks[i]))))
			hk_fatal(HK_DOUBLE_FREE, function, blocks[i],
				 "%lu-byte block, found at spill",
				 hk_class_size(size_class));
		if (HK_UNLIKELY(!is_start(superslab, blocks[i]) ||
				length(superslab, grain) != grains ||
				hk_grains_held(superslab, grain)))
			report_locked(blocks[i], function, ", found at spill");
		tidy |= hk_grains_give(superslab, grain, grains);
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

	hk_grains_call_for(superslab, hk_grain_of(block) / HK_GRAINS);
	hk_lock(&hk_medium_lock);
	grains = is_start(superslab, block) ? length(superslab, hk_grain_of(block)) : 0;
	if (HK_UNLIKELY(!grains || class_of(grains) ||
			hk_grains_held(superslab, hk_grain_of(block))))
		report_locked(block, function, "");
	hk_medium_count--;
	hk_medium_bytes -= (size_t)grains << HK_GRAIN_SHIFT;
	tidy = hk_grains_give(superslab, hk_grain_of(block), grains);
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
	unsigned first = hk_grain_of(block), before = (unsigned)(bytes >> HK_GRAIN_SHIFT);
	struct hk_taken taken;
	unsigned after;
	bool fits = true, tidy = false;

	size = hk_align_up(size, hk_os_page_size);
	after = (unsigned)(size >> HK_GRAIN_SHIFT);
	hk_lock(&hk_medium_lock);
	if (HK_UNLIKELY(hk_grains_held(superslab, first)))
		report_locked(block, function, "");
	if (after > before) {
		fits = hk_grain_from(superslab, hk_wall_bits, first + before) >=
			       first + after &&
		       hk_grains_claim(superslab, first + before, after - before);
		if (fits) {
			hk_grains_take(superslab, first + before, after - before, &taken);
			hk_grains_end(superslab, first, first + after);
		}
	} else if (after < before) {
		hk_grains_end(superslab, first, first + after);
		tidy = hk_grains_give(superslab, first + after, before - after);
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
	unsigned grain = hk_grain_of(block);
	bool was_free = hk_grain_has(superslab, hk_free_bits, grain);

	if (was_free != is_free)
		hk_grains_mark(superslab, grain, grain + 1, is_free);
	return was_free;
}

/* ---- invariants ---- */

static void check_blocks(struct hk_superslab *superslab, uint64_t *used, uint64_t *count,
			 uint64_t *bytes)
{
	unsigned grain = 0;
	size_t size;

	while (hk_medium_next_locked(superslab, &grain, &size)) {
		unsigned first = grain - (unsigned)(size >> HK_GRAIN_SHIFT);

		hk_assert(grain <= HK_ALL_GRAINS && size <= HK_MEDIUM_MAX &&
			  hk_grain_from(superslab, hk_end_bits, first) == grain - 1);
		if (size > HK_CLASS_MAX) {
			++*count;
			*bytes += size;
		} else {
			unsigned size_class = class_of(grain - first);

			hk_assert(size_class);
			used[size_class]++;
		}
	}
}

void hk_medium_check(void)
{
	uint64_t used[HK_CLASSES + 1] = { 0 }, count = 0, bytes = 0;

	hk_grains_check();
	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next)
		check_blocks(s, used, &count, &bytes);
	hk_assert(count == hk_medium_count && bytes == hk_medium_bytes);
	for (unsigned i = HK_SLAB_CLASSES + 1; i <= HK_CLASSES; i++)
		hk_assert(hk_classes[i].used == used[i]);
}
