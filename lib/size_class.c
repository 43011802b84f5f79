/* SPDX-License-Identifier: MIT
 *
 * size_class.c - the table of size classes and the routes of the tiny ones.
 */
#include "size_class.h"

#include "slab.h"

struct hk_size_class hk_size_classes[HK_CLASSES + 1];
_Atomic uint8_t hk_tiny_class[HK_TINY_MAX + 1];

_Atomic size_t hk_fast_max;

/* What each profile makes of a class, in 8 bytes: how it is routed, and whose blocks serve it. */
static struct route {
	uint8_t how, served_by;
} routes[HK_CLASSES + 1][HK_PROFILES];

_Static_assert(sizeof(routes[0]) == 8, "a class's routes are read at once");

static _Atomic uint8_t current_profile;

#define TAIL_DIVISOR 33 /* a run's tail may waste 1/33, just over 3 % */
#define MAGAZINE_BLOCKS_MAX 2048
#define DEPOT_CLASS_BYTES ((size_t)262144)
#define MAGAZINE_BLOCKS_MIN 4
#define CACHE_LINE 64

static size_t size_of(unsigned size_class)
{
	unsigned beyond, log;

	if (size_class == 1)
		return 8;
	if (size_class <= 9)
		return 16 * (size_t)(size_class - 1);
	beyond = size_class - 10;
	log = 7 + beyond / 8;
	return ((size_t)1 << log) + ((size_t)(beyond % 8 + 1) << (log - 3));
}

/*
 * Of what is larger, writing to the block costs more than many slow paths, and what lies in
 * magazines, of 16 classes, is a part of a peak: they may hold half.
 */
#define OF_PAGES 16384

/*
 * How many bytes of free blocks a magazine may hold: 256 blocks, but 64 to 512 KiB.  Under a
 * random mix the calls between two slow paths go with the square of the blocks, and what
 * n live blocks of a class come and go by is some times the root of n.
 */
static size_t magazine_bytes(size_t size)
{
	size_t bytes = 256 * size;

	if (size > OF_PAGES)
		return 262144;
	return bytes < 65536 ? 65536 : bytes > 524288 ? 524288 : bytes;
}

static size_t depot_blocks(size_t size)
{
	size_t blocks = DEPOT_CLASS_BYTES / (size > OF_PAGES ? 2 * size : size);

	return blocks < HK_DEPOT_MAX ? blocks : HK_DEPOT_MAX;
}

/* Who only fills, or only drains, has as many slow paths, whatever a magazine holds. */
static size_t one_way_bytes(size_t size)
{
	return size <= 512 ? 65536 : 131072;
}

static uint16_t capacity(size_t size, size_t bytes)
{
	size_t blocks = bytes / size;

	if (blocks > MAGAZINE_BLOCKS_MAX)
		blocks = MAGAZINE_BLOCKS_MAX;
	return (uint16_t)(blocks < MAGAZINE_BLOCKS_MIN ? MAGAZINE_BLOCKS_MIN : blocks);
}

/* The largest power of two that divides the size: every block of the class has it. */
static size_t natural_alignment(size_t size)
{
	return size & -size;
}

/*
 * What a run with so many quarters in use adds to its SuperSlab's use, in eighths of a slot:
 * the middle of what that quarter stands for.
 */
static size_t weight(const struct hk_size_class *info, unsigned bucket)
{
	size_t whole = 8 * (size_t)info->slots, middle;

	if (bucket == HK_BUCKETS)
		return whole;
	middle = (((2 * (size_t)bucket + 1) << info->bucket_shift) * whole) /
		 (2 * (size_t)info->blocks);
	return middle > whole ? whole : middle ? middle : 1;
}

static void lay_out_slab(struct hk_size_class *info, size_t size)
{
	size_t slots = 1, run, slack, step;

	while (slots * HK_SLOT_BYTES % size > slots * HK_SLOT_BYTES / TAIL_DIVISOR)
		slots++;
	hk_assert(slots <= HK_SLOTS);
	run = slots * HK_SLOT_BYTES;
	slack = run % size;
	step = natural_alignment(size) > CACHE_LINE ? natural_alignment(size)
						    : CACHE_LINE;

	info->slots = (uint8_t)slots;
	info->blocks = (uint16_t)(run / size);
	info->colour_step = (uint16_t)step;
	info->colours = (uint16_t)(slack / step + 1);
	info->reciprocal = (((uint64_t)1 << 40) + size - 1) / size;
	info->bitmap_words = (uint16_t)((info->blocks + 63) / 64);
	hk_bitmap_place(info);

	while ((info->blocks >> info->bucket_shift) > 4)
		info->bucket_shift++;
	for (unsigned i = 0; i <= HK_BUCKETS; i++)
		info->weight[i] = (uint8_t)weight(info, i);
}

static void lay_out(unsigned size_class)
{
	struct hk_size_class *info = &hk_size_classes[size_class];
	size_t size = size_of(size_class);

	info->size = (uint32_t)size;
	if (hk_class_is_medium(size_class))
		info->slots = 1;
	else
		lay_out_slab(info, size);
	info->capacity = capacity(size, magazine_bytes(size));
	info->capacity_one_way = capacity(size, one_way_bytes(size));
	info->depot_max = (uint16_t)depot_blocks(size);
}

static enum hk_route route(enum hk_profile profile, size_t size)
{
	if (size > HK_TINY_MAX)
		return HK_TINY_FIRST;
	switch (profile) {
	case HK_CONSERVATIVE:
		return HK_TINY_FIRST;
	case HK_HOT:
		return size <= 64    ? HK_TINY_ONLY
		       : size <= 512 ? HK_TINY_FIRST
				     : HK_POOL_ONLY;
	case HK_FULL:
		return HK_TINY_ONLY;
	default:
		return HK_POOL_ONLY;
	}
}

static unsigned pool_class(size_t size)
{
	size_t wide = 16;

	while (wide < size)
		wide *= 2;
	return hk_size_class_exact(wide);
}

static void lay_out_routes(unsigned size_class)
{
	size_t size = hk_class_size(size_class);

	for (unsigned i = 0; i < HK_PROFILES; i++) {
		enum hk_route how = route((enum hk_profile)i, size);

		routes[size_class][i].how = (uint8_t)how;
		routes[size_class][i].served_by = (uint8_t)(how == HK_POOL_ONLY
								    ? pool_class(size)
								    : size_class);
	}
}

static struct route current_route(unsigned size_class)
{
	return routes[size_class]
		     [atomic_load_explicit(&current_profile, memory_order_relaxed)];
}

enum hk_route hk_route_of(unsigned size_class)
{
	return (enum hk_route)current_route(size_class).how;
}

HK_STARTUP unsigned hk_size_class_routed(size_t size)
{
	return current_route(hk_size_class_exact(size)).served_by;
}

/* Any mixture of old and new entries is valid: a block knows its own class. */
HK_STARTUP void hk_fast_path_set(bool on)
{
	atomic_store_explicit(&hk_fast_max, on ? HK_CLASS_MAX : 0, memory_order_relaxed);
	for (size_t i = 0; i <= HK_TINY_MAX; i++)
		atomic_store_explicit(&hk_tiny_class[i],
				      (uint8_t)(on ? hk_size_class_routed(i) : 0),
				      memory_order_relaxed);
}

HK_STARTUP void hk_route_set(enum hk_profile profile)
{
	atomic_store_explicit(&current_profile, (uint8_t)profile, memory_order_relaxed);
	hk_fast_path_set(atomic_load_explicit(&hk_fast_max, memory_order_relaxed) != 0);
}

HK_STARTUP void hk_size_class_init(void)
{
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		lay_out(i);
		lay_out_routes(i);
	}
	hk_fast_path_set(true);
}
