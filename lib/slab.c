/* SPDX-License-Identifier: MIT
 *
 * slab.c - bitmaps of free blocks, taken from and given back to.
 *
 * Every function runs under its class's lock; takes the pool's below it to give an empty
 * slab back.  Makes no system call.
 */
#include "slab.h"

#include "debug/block.h"
#include "fatal.h"
#include "medium.h"
#include "os.h"
#include "partial.h"
#include "pool.h"

/*
 * A batch comes from so many slabs at most.  Of nearly full ones each has only a block or
 * two to give for some cache misses, and a whole batch of such would be a long wait.
 */
#define TAKE_SLABS 4

struct hk_class hk_classes[HK_CLASSES + 1];

bool hk_slab_ready_locked(unsigned size_class)
{
	return hk_class_is_medium(size_class) ||
	       hk_partial_ready(&hk_classes[size_class]);
}

/* How many set bits there are without a gap, from the lowest on; not 0 of them. */
static unsigned lowest_run(uint64_t bits)
{
	uint64_t after = ~(bits >> __builtin_ctzl(bits));

	return after ? (unsigned)__builtin_ctzl(after) : 64;
}

static uint64_t run_of_bits(unsigned first, unsigned n)
{
	return UINT64_MAX >> (64 - n) << first;
}

/*
 * The pages on which these blocks lie will be written.  The next pass finds them again, if
 * they are given back as they are.
 */
HK_COLD static void forget_purged(struct hk_slab *slab, const struct hk_size_class *info,
				  unsigned first, unsigned last)
{
	unsigned shift = (unsigned)__builtin_ctzl(hk_os_page_size);
	unsigned slot_shift = HK_SLOT_SHIFT - shift;
	size_t page = (slab->colour + (size_t)first * info->size) >> shift;
	size_t end = (slab->colour + (size_t)(last + 1) * info->size - 1) >> shift;
	_Atomic uint16_t *purged = &hk_slab_superslab(slab)->purged[hk_slab_slot(slab)];
	bool left = false;

	/* The slab's gaps count as parts of its first and its last block. */
	if (!first)
		page = 0;
	if (last + 1 == info->blocks)
		end = (slab->slots * HK_SLOT_BYTES - 1) >> shift;
	for (; page <= end; page++) {
		_Atomic uint16_t *word = &purged[page >> slot_shift];
		unsigned bit = 1u << (page & ((1u << slot_shift) - 1));

		atomic_store_explicit(
			word,
			(uint16_t)(atomic_load_explicit(word, memory_order_relaxed) &
				   ~bit),
			memory_order_relaxed);
	}
	for (unsigned i = 0; i < slab->slots; i++)
		left |= atomic_load_explicit(&purged[i], memory_order_relaxed) != 0;
	slab->purged = left;
}

/*
 * Take up to n neighbours, from the slab's first free block on; there is one.  *first: its
 * index.  The bitmap's words below the hint are and stay empty.
 */
static unsigned take_neighbours(struct hk_slab *slab, const struct hk_size_class *info,
				unsigned n, unsigned *first)
{
	uint64_t *bitmap = hk_slab_bitmap(slab, info);
	unsigned word = slab->hint, taken = 0, bit, run;

	while (!bitmap[word])
		word++;
	hk_assert(word < info->bitmap_words);
	bit = (unsigned)__builtin_ctzl(bitmap[word]);
	*first = word * 64 + bit;
	for (;;) {
		run = lowest_run(bitmap[word]);
		if (run > n - taken)
			run = n - taken;
		bitmap[word] &= ~run_of_bits(bit, run);
		taken += run;
		/* On into the next word, where they reach the end of this and its start. */
		if (taken == n || bit + run < 64 || word + 1 == info->bitmap_words ||
		    !(bitmap[word + 1] & 1))
			break;
		word++;
		bit = 0;
	}
	slab->hint = (uint16_t)word;
	slab->used = (uint16_t)(slab->used + taken);
	if (*first + taken > slab->fresh)
		slab->fresh = (uint16_t)(*first + taken);
	if (HK_UNLIKELY(slab->purged))
		forget_purged(slab, info, *first, *first + taken - 1);
	return taken;
}

/* The same, for a class: the slab is listed anew.  *zero: the lowest reads as zero. */
static unsigned take_run(struct hk_class *class, const struct hk_size_class *info,
			 struct hk_slab *slab, unsigned n, char **lowest, bool *zero)
{
	unsigned fresh = slab->fresh, first;

	n = take_neighbours(slab, info, n, &first);
	*lowest = hk_slab_first_block(slab) + (size_t)first * info->size;
	*zero = slab->zero && first >= fresh;
	hk_partial_sort_in(class, info, slab);
	class->used += n;
	return n;
}

unsigned hk_slab_take_run_locked(unsigned size_class, unsigned n, char **lowest,
				 bool *zero)
{
	struct hk_class *class = &hk_classes[size_class];
	struct hk_slab *slab = hk_partial_fullest(class);

	hk_assert_slow(hk_lock_is_held(&class->lock));
	if (!slab)
		slab = hk_partial_fullest_draining(class);
	if (!slab)
		return 0; /* as always for a medium class */
	return take_run(class, hk_class_info(size_class), slab, n, lowest, zero);
}

/* Take up to n blocks of one slab, in address order, into blocks[-1], blocks[-2] ... */
static unsigned take_from(struct hk_slab *slab, const struct hk_size_class *info,
			  void **blocks, unsigned n, bool *zero)
{
	char *start = hk_slab_first_block(slab), *block;
	size_t size = info->size;
	unsigned taken = 0, fresh = slab->fresh, index, after;

	if (n > (unsigned)(slab->blocks - slab->used))
		n = (unsigned)(slab->blocks - slab->used);
	while (taken < n) {
		unsigned run = take_neighbours(slab, info, n - taken, &index);

		if (!taken)
			*zero = slab->zero && index >= fresh;
		taken += run;
		after = index + run;
		for (block = start + index * size; index < after; index++, block += size)
			*--blocks = block;
	}
	return n;
}

unsigned hk_slab_take_locked(unsigned size_class, void **blocks, unsigned n, bool *zero)
{
	struct hk_class *class = &hk_classes[size_class];
	const struct hk_size_class *info = hk_class_info(size_class);
	unsigned taken = 0;
	bool ignored, draining = false;

	if (hk_class_is_medium(size_class))
		return hk_medium_take_locked(size_class, blocks, n, zero);
	hk_assert_slow(hk_lock_is_held(&class->lock));
	for (unsigned visits = 0; taken < n && visits < TAKE_SLABS; visits++) {
		struct hk_slab *slab = hk_partial_fullest(class);

		if (!slab && (!taken || draining)) {
			slab = hk_partial_fullest_draining(class);
			draining = true;
		}
		if (!slab)
			break;
		taken += take_from(slab, info, blocks + n - taken, n - taken,
				   taken ? &ignored : zero);
		hk_partial_sort_in(class, info, slab);
	}
	/* The batch was filled from the end; close the gap at the front. */
	if (taken < n) {
		for (unsigned i = 0; i < taken; i++)
			blocks[i] = blocks[n - taken + i];
	}
	class->used += taken;
	return taken;
}

void hk_slab_attach_locked(unsigned size_class, struct hk_slab *slab, bool zero)
{
	struct hk_class *class = &hk_classes[size_class];
	const struct hk_size_class *info = hk_class_info(size_class);
	uint64_t *bitmap = hk_slab_bitmap(slab, info);
	unsigned tail = info->blocks % 64;

	hk_assert_slow(hk_lock_is_held(&class->lock));
	hk_assert(slab->kind == size_class && slab->slots == info->slots);
	slab->blocks = info->blocks;
	slab->used = 0;
	slab->hint = 0;
	slab->fresh = 0;
	slab->zero = zero;
	/*
	 * Colouring: were the first block always at offset 0, the hot blocks of all classes
	 * would meet in the same few sets of the cache (Bonwick, USENIX 1994).
	 */
	slab->colour = (uint16_t)(class->colour++ % info->colours * info->colour_step);
	for (unsigned i = 0; i < info->bitmap_words; i++)
		bitmap[i] = UINT64_MAX;
	if (tail)
		bitmap[info->bitmap_words - 1] = ((uint64_t)1 << tail) - 1;
	hk_block_reset(slab);
	class->slabs++;
	hk_partial_add(class, slab);
	hk_medium_look(hk_slab_superslab(slab), hk_slab_slot(slab) + slab->slots);
}

unsigned hk_slab_start_locked(unsigned size_class, struct hk_slab *slab, bool slab_zero,
			      void **blocks, unsigned n, bool *zero)
{
	const struct hk_size_class *info = hk_class_info(size_class);

	if (hk_class_is_medium(size_class))
		return hk_medium_start_locked(size_class, slab, slab_zero, blocks, n,
					      zero);
	hk_slab_attach_locked(size_class, slab, slab_zero);
	if (n > info->blocks)
		n = info->blocks;
	take_from(slab, info, blocks + n, n, zero);
	hk_partial_sort_in(&hk_classes[size_class], info, slab);
	hk_classes[size_class].used += n;
	return n;
}

unsigned hk_slab_start_run_locked(unsigned size_class, struct hk_slab *slab,
				  bool slab_zero, unsigned n, char **lowest, bool *zero)
{
	hk_slab_attach_locked(size_class, slab, slab_zero);
	return take_run(&hk_classes[size_class], hk_class_info(size_class), slab, n,
			lowest, zero);
}

HK_COLD static void report_interior(const struct hk_slab *slab,
				    const struct hk_size_class *info, const void *pointer,
				    const char *function)
{
	const char *block = hk_slab_block_of(slab, pointer);

	if (!block)
		hk_fatal(
			HK_INVALID_POINTER, function, pointer,
			"in a slab of %u-byte blocks but in none of them, found at spill",
			info->size);
	hk_fatal(HK_INTERIOR_POINTER, function, pointer,
		 "%lu bytes into the %u-byte block %p, found at spill",
		 (unsigned long)((const char *)pointer - block), info->size,
		 (const void *)block);
}

/* The slab of a block that is given back; a block freed twice may have lost its own. */
static struct hk_slab *slab_of(unsigned size_class, void *block, const char *function)
{
	if (HK_UNLIKELY(hk_registry_kind(block) != size_class))
		hk_fatal(HK_DOUBLE_FREE, function, block, "%u-byte block, found at spill",
			 hk_class_info(size_class)->size);
	return hk_slab_of(block);
}

/* Blocks have left or joined the slab: list it anew, or give it to the pool. */
static bool settle(struct hk_class *class, const struct hk_size_class *info,
		   struct hk_slab *slab)
{
	struct hk_superslab *superslab;
	unsigned slot;
	bool tidy;

	if (slab->used) {
		hk_partial_sort_in(class, info, slab);
		return false;
	}
	superslab = hk_slab_superslab(slab);
	slot = hk_slab_slot(slab);
	hk_partial_remove(class, slab);
	class->slabs--;
	tidy = hk_pool_give(slab);
	hk_medium_look(superslab, slot);
	return tidy;
}

/*
 * Blocks are often freed in the order of their addresses, or in the opposite one: of n, how
 * many from the first on are neighbours in one slab?  index: the first one's; then the
 * lowest one's.
 */
static unsigned neighbours(const struct hk_size_class *info, void **blocks, unsigned n,
			   unsigned *index)
{
	ptrdiff_t size = info->size,
		  step = n > 1 ? (char *)blocks[1] - (char *)blocks[0] : 0;
	unsigned run = 1, most = 1;

	if (step == size)
		most = info->blocks - *index;
	else if (step == -size)
		most = *index + 1;
	if (most > n)
		most = n;
	while (run < most && (char *)blocks[run] - (char *)blocks[run - 1] == step)
		run++;
	if (step < 0)
		*index -= run - 1;
	return run;
}

HK_COLD static void report_double_free(const struct hk_slab *slab,
				       const struct hk_size_class *info, uint64_t bits,
				       unsigned word, const char *function)
{
	size_t index = word * 64 + (unsigned)__builtin_ctzl(bits);

	hk_fatal(HK_DOUBLE_FREE, function, hk_slab_first_block(slab) + index * info->size,
		 "%u-byte block, found at spill", info->size);
}

/* Put back n neighbours, the lowest of which has this index. */
static void give_neighbours(struct hk_slab *slab, const struct hk_size_class *info,
			    unsigned index, unsigned n, const char *function)
{
	uint64_t *bitmap = hk_slab_bitmap(slab, info);
	unsigned word = index / 64, bit = index % 64, run;

	if (word < slab->hint)
		slab->hint = (uint16_t)word;
	slab->used = (uint16_t)(slab->used - n);
	for (; n; n -= run, word++, bit = 0) {
		uint64_t bits;

		run = n < 64 - bit ? n : 64 - bit;
		bits = run_of_bits(bit, run);
		if (HK_UNLIKELY(bitmap[word] & bits))
			report_double_free(slab, info, bitmap[word] & bits, word,
					   function);
		bitmap[word] |= bits;
	}
}

/* The index of a block in the slab that is said to be its own. */
static unsigned index_of(const struct hk_slab *slab, const struct hk_size_class *info,
			 void *block, const char *function)
{
	size_t offset = (size_t)((char *)block - hk_slab_first_block(slab));
	unsigned index = hk_block_index(info, offset);

	if (HK_UNLIKELY(offset >= HK_SUPERSLAB_BYTES || index >= info->blocks ||
			(size_t)index * info->size != offset))
		report_interior(slab, info, block, function);
	return index;
}

bool hk_slab_give_locked(unsigned size_class, void **blocks, unsigned n,
			 const char *function)
{
	struct hk_class *class = &hk_classes[size_class];
	const struct hk_size_class *info = hk_class_info(size_class);
	size_t bytes = (size_t)info->blocks * info->size;
	struct hk_slab *slab = NULL;
	char *first = NULL;
	unsigned index, run;
	bool tidy = false;

	if (hk_class_is_medium(size_class))
		return hk_medium_give_locked(size_class, blocks, n, function);
	hk_assert_slow(hk_lock_is_held(&class->lock));
	for (unsigned i = 0; i < n; i += run) {
		/* Look up a slab once for all its blocks that follow each other. */
		if (!slab || (size_t)((char *)blocks[i] - first) >= bytes) {
			if (slab)
				tidy |= settle(class, info, slab);
			slab = slab_of(size_class, blocks[i], function);
			first = hk_slab_first_block(slab);
		}
		index = index_of(slab, info, blocks[i], function);
		run = neighbours(info, blocks + i, n - i, &index);
		give_neighbours(slab, info, index, run, function);
	}
	if (slab)
		tidy |= settle(class, info, slab);
	class->used -= n;
	return tidy;
}

bool hk_slab_give_run_locked(unsigned size_class, char *lowest, unsigned n,
			     const char *function)
{
	struct hk_class *class = &hk_classes[size_class];
	const struct hk_size_class *info = hk_class_info(size_class);
	bool tidy = false;
	unsigned run;

	hk_assert_slow(hk_lock_is_held(&class->lock));
	class->used -= n;
	/* They may be of several slabs, where a size divides a slot's. */
	for (; n; n -= run, lowest += (size_t)run * info->size) {
		struct hk_slab *slab = slab_of(size_class, lowest, function);
		unsigned index = index_of(slab, info, lowest, function);

		run = info->blocks - index < n ? info->blocks - index : n;
		give_neighbours(slab, info, index, run, function);
		tidy |= settle(class, info, slab);
	}
	return tidy;
}

void hk_slab_hold_locked(struct hk_slab *slab, const uint64_t *held)
{
	struct hk_class *class = &hk_classes[slab->kind];
	const struct hk_size_class *info = hk_class_info(slab->kind);
	uint64_t *bitmap = hk_slab_bitmap(slab, info);
	unsigned n = 0;

	hk_assert_slow(hk_lock_is_held(&class->lock));
	for (unsigned i = 0; i < info->bitmap_words; i++) {
		hk_assert((bitmap[i] & held[i]) == held[i]);
		bitmap[i] &= ~held[i];
		n += (unsigned)__builtin_popcountl(held[i]);
	}
	slab->used = (uint16_t)(slab->used + n);
	class->used += n;
	hk_partial_sort_in(class, info, slab);
}

bool hk_slab_unhold_locked(struct hk_slab *slab, const uint64_t *held,
			   const char *function)
{
	struct hk_class *class = &hk_classes[slab->kind];
	const struct hk_size_class *info = hk_class_info(slab->kind);
	uint64_t *bitmap = hk_slab_bitmap(slab, info);
	unsigned n = 0;

	hk_assert_slow(hk_lock_is_held(&class->lock));
	for (unsigned i = info->bitmap_words; i--;) {
		if (!held[i])
			continue;
		/* They had no owner: nobody but a double free can have set one of them. */
		if (HK_UNLIKELY(bitmap[i] & held[i]))
			report_double_free(slab, info, bitmap[i] & held[i], i, function);
		bitmap[i] |= held[i];
		n += (unsigned)__builtin_popcountl(held[i]);
		if (i < slab->hint)
			slab->hint = (uint16_t)i;
	}
	slab->used = (uint16_t)(slab->used - n);
	class->used -= n;
	return settle(class, info, slab);
}

void *hk_slab_block_of(const struct hk_slab *slab, const void *pointer)
{
	const struct hk_size_class *info = hk_class_info(slab->kind);
	char *first = hk_slab_first_block(slab);
	size_t offset = (size_t)((const char *)pointer - first);
	unsigned index;

	if ((const char *)pointer < first)
		return NULL;
	index = hk_block_index(info, offset);
	return index < info->blocks ? first + (size_t)index * info->size : NULL;
}

/* The word of the bitmap and the bit in it that stand for a block. */
static uint64_t *bit_of(struct hk_slab *slab, const void *block, uint64_t *bit)
{
	const struct hk_size_class *info = hk_class_info(slab->kind);
	size_t offset = (size_t)((const char *)block - hk_slab_first_block(slab));
	unsigned index = hk_block_index(info, offset);

	*bit = (uint64_t)1 << (index % 64);
	return &hk_slab_bitmap(slab, info)[index / 64];
}

bool hk_slab_is_free_locked(struct hk_slab *slab, const void *block)
{
	uint64_t bit;

	return *bit_of(slab, block, &bit) & bit;
}

bool hk_slab_mark_locked(struct hk_slab *slab, const void *block, bool is_free)
{
	uint64_t bit, *word = bit_of(slab, block, &bit);
	bool was_free = *word & bit;

	*word = is_free ? *word | bit : *word & ~bit;
	return was_free;
}

/* ---- invariants ---- */

static unsigned free_blocks(struct hk_slab *slab, const struct hk_size_class *info)
{
	const uint64_t *bitmap = hk_slab_bitmap(slab, info);
	unsigned blocks = 0;

	for (unsigned i = 0; i < info->bitmap_words; i++) {
		hk_assert(i >= slab->hint || !bitmap[i]);
		blocks += (unsigned)__builtin_popcountl(bitmap[i]);
	}
	if (info->blocks % 64)
		hk_assert(!(bitmap[info->bitmap_words - 1] >> (info->blocks % 64)));
	return blocks;
}

static void check_slab(struct hk_slab *slab)
{
	const struct hk_size_class *info = hk_class_info(slab->kind);

	hk_assert(slab->blocks == info->blocks && slab->slots == info->slots);
	hk_assert(slab->used && slab->used + free_blocks(slab, info) == slab->blocks);
	hk_assert((slab->bucket == HK_BUCKETS) == (slab->used == slab->blocks));
	hk_assert(slab->colour + (size_t)info->blocks * info->size <=
		  info->slots * HK_SLOT_BYTES);
}

void hk_slab_check(void)
{
	uint64_t slabs[HK_SLAB_CLASSES + 1] = { 0 }, used[HK_SLAB_CLASSES + 1] = { 0 };
	uint64_t full[HK_SLAB_CLASSES + 1] = { 0 };

	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next) {
		for (uint32_t left = s->active; left; left &= left - 1) {
			struct hk_slab *slab = &s->slab[__builtin_ctz(left)];

			if (!slab->kind || slab->kind > HK_SLAB_CLASSES ||
			    slab->first != hk_slab_slot(slab) || !slab->blocks)
				continue;
			check_slab(slab);
			slabs[slab->kind]++;
			used[slab->kind] += slab->used;
			full[slab->kind] += slab->used == slab->blocks;
		}
	}
	for (unsigned i = 1; i <= HK_SLAB_CLASSES; i++) {
		hk_assert(hk_classes[i].slabs == slabs[i] &&
			  hk_classes[i].used == used[i]);
		hk_assert(hk_partial_check(i) + full[i] == slabs[i]);
	}
}
