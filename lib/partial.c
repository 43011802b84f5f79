/* SPDX-License-Identifier: MIT
 *
 * partial.c - see partial.h.  Under the class's lock; takes the pool's below it where a tier
 * changes.
 */
#include "partial.h"

#include "pool.h"

/* So many slabs whose SuperSlab has become DRAINING are put aside in one search. */
#define STALE_MAX 8

static struct hk_slab **list_of(struct hk_class *class, unsigned bucket)
{
	if (bucket & HK_BUCKET_DRAINING)
		return &class->draining[bucket & ~HK_BUCKET_DRAINING];
	return &class->partial[bucket];
}

static void unlist(struct hk_class *class, struct hk_slab *slab)
{
	if (slab->next)
		slab->next->previous = slab->previous;
	if (slab->previous)
		slab->previous->next = slab->next;
	else
		*list_of(class, slab->bucket) = slab->next;
}

/* bucket: the quarter alone. */
static void list_as(struct hk_class *class, struct hk_slab *slab, unsigned bucket)
{
	struct hk_slab **list;

	if (hk_slab_is_draining(slab))
		bucket |= HK_BUCKET_DRAINING;
	list = list_of(class, bucket);
	slab->bucket = (uint8_t)bucket;
	slab->previous = NULL;
	slab->next = *list;
	if (slab->next)
		slab->next->previous = slab;
	*list = slab;
}

/* As which quarter it is listed, and which it is. */
static unsigned quarter_of(const struct hk_slab *slab)
{
	return slab->bucket & ~HK_BUCKET_DRAINING;
}

static unsigned quarter_in_use(const struct hk_size_class *info,
			       const struct hk_slab *slab)
{
	if (slab->used == slab->blocks)
		return HK_BUCKETS;
	return slab->used >> info->bucket_shift;
}

static void relist(struct hk_class *class, struct hk_slab *slab)
{
	unlist(class, slab);
	list_as(class, slab, quarter_of(slab));
}

void hk_partial_sort_in(struct hk_class *class, const struct hk_size_class *info,
			struct hk_slab *slab)
{
	unsigned bucket = quarter_in_use(info, slab), before = quarter_of(slab);

	if (bucket == before)
		return;
	if (before != HK_BUCKETS)
		unlist(class, slab);
	slab->bucket = (uint8_t)bucket;
	hk_pool_use(hk_slab_superslab(slab), info->weight[bucket] - info->weight[before]);
	if (bucket != HK_BUCKETS)
		list_as(class, slab, bucket);
}

struct hk_slab *hk_partial_fullest(struct hk_class *class)
{
	unsigned stale = 0;

	for (unsigned bucket = HK_BUCKETS; bucket--;) {
		struct hk_slab *slab;

		while ((slab = class->partial[bucket])) {
			if (!hk_slab_is_draining(slab) || stale++ == STALE_MAX)
				return slab;
			relist(class, slab);
		}
	}
	return NULL;
}

struct hk_slab *hk_partial_fullest_draining(struct hk_class *class)
{
	for (unsigned bucket = HK_BUCKETS; bucket--;) {
		if (class->draining[bucket])
			return class->draining[bucket];
	}
	return NULL;
}

bool hk_partial_ready(struct hk_class *class)
{
	struct hk_slab *slab;

	if (hk_partial_fullest(class))
		return true;
	/* Perhaps a SuperSlab has become HOT again. */
	slab = hk_partial_fullest_draining(class);
	if (slab && !hk_slab_is_draining(slab)) {
		relist(class, slab);
		return true;
	}
	return false;
}

void hk_partial_add(struct hk_class *class, struct hk_slab *slab)
{
	/* As which the pool has counted it. */
	list_as(class, slab, 0);
}

void hk_partial_remove(struct hk_class *class, struct hk_slab *slab)
{
	if (slab->bucket != HK_BUCKETS)
		unlist(class, slab);
	slab->bucket = (uint8_t)quarter_of(slab);
}

uint64_t hk_partial_check(unsigned size_class)
{
	const struct hk_size_class *info = hk_class_info(size_class);
	uint64_t listed = 0;

	for (unsigned list = 0; list < 2 * HK_BUCKETS; list++) {
		unsigned bucket = list % HK_BUCKETS;
		struct hk_slab *slab;

		if (list >= HK_BUCKETS)
			bucket |= HK_BUCKET_DRAINING;
		slab = *list_of(&hk_classes[size_class], bucket);
		for (; slab; slab = slab->next, listed++)
			hk_assert(slab->kind == size_class && slab->bucket == bucket &&
				  quarter_of(slab) == quarter_in_use(info, slab));
	}
	return listed;
}
