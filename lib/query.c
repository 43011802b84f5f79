/* SPDX-License-Identifier: MIT
 *
 * query.c - HAKMEM_QUERY.  Takes the lock that guards what the registry says the address
 * is, and then asks the registry again: only then does the answer stand still.
 */
#include "query.h"

#include "large.h"
#include "medium.h"
#include "pool.h"
#include "sets.h"
#include "slab.h"
#include "sparse.h"

static uint64_t number(const void *pointer)
{
	return (uint64_t)(uintptr_t)pointer;
}

static void describe_slab(struct hakmem_query *query, const struct hk_slab *slab)
{
	query->slab = number(hk_slab_base(slab));
	query->slab_size = slab->slots * HK_SLOT_BYTES;
	query->superslab = number(hk_slab_superslab(slab)->base);
}

struct search {
	const void *block;
	bool found;
};

static void compare(unsigned size_class, void *block, void *context)
{
	struct search *search = context;

	(void)size_class;
	search->found |= block == search->block;
}

/* Does it lie in a magazine or the depot?  The sets are stopped. */
static bool is_cached(unsigned size_class, const void *block)
{
	struct search search = { block, false };

	hk_sets_visit_locked(size_class, compare, &search);
	return search.found;
}

/* false: it changed while we went for the lock. */
static bool query_small(struct hakmem_query *query, unsigned size_class)
{
	struct hk_class *class = &hk_classes[size_class];
	bool stands;

	/* While a pass holds free blocks, they do not look free. */
	hk_lock(&hk_sparse_lock);
	hk_lock(&hk_sets_lock);
	hk_sets_stop();
	hk_lock(&class->lock);
	/* An ACTIVE slab of the class stays so while its lock is held. */
	stands = hk_registry_kind(query->address) == size_class;
	if (stands) {
		struct hk_slab *slab = hk_slab_of(query->address);
		char *block = hk_slab_block_of(slab, query->address);

		query->kind = HAKMEM_SMALL;
		query->class_size = hk_class_size(size_class);
		describe_slab(query, slab);
		/* Fresh from the pool, a slab has no blocks for a moment. */
		if (block && slab->blocks) {
			query->block = number(block);
			query->usable_size = query->class_size;
			query->state = HAKMEM_LIVE;
			if (hk_slab_is_free_locked(slab, block))
				query->state = HAKMEM_FREE;
			else if (is_cached(size_class, block))
				query->state = HAKMEM_CACHED;
		}
	}
	hk_unlock(&class->lock);
	hk_sets_resume();
	hk_unlock(&hk_sets_lock);
	hk_unlock(&hk_sparse_lock);
	return stands;
}

/* The class of the medium block there, 0: of none. */
static unsigned class_there_locked(const void *address)
{
	size_t bytes;

	if (!hk_kind_is_medium(hk_registry_kind(address)) ||
	    !hk_medium_block_of(address, &bytes) || bytes > HK_CLASS_MAX)
		return 0;
	return hk_size_class_exact(bytes);
}

static void describe_medium(struct hakmem_query *query, unsigned size_class)
{
	size_t bytes;
	char *block = hk_medium_block_of(query->address, &bytes);

	query->kind = HAKMEM_MEDIUM;
	describe_slab(query, hk_slab_of(query->address));
	if (!block)
		return;
	query->block = number(block);
	query->usable_size = bytes;
	query->state = HAKMEM_LIVE;
	if (size_class) {
		query->class_size = bytes;
		if (is_cached(size_class, block))
			query->state = HAKMEM_CACHED;
	}
}

static bool query_medium(struct hakmem_query *query)
{
	unsigned size_class;
	struct hk_lock *class;
	bool stands;

	hk_lock(&hk_sparse_lock);
	hk_lock(&hk_sets_lock);
	hk_sets_stop();
	/* Its class's lock comes first; then it must be of that class still. */
	hk_lock(&hk_medium_lock);
	size_class = class_there_locked(query->address);
	hk_unlock(&hk_medium_lock);
	class = &hk_classes[size_class ? size_class : HK_CLASSES].lock;
	hk_lock(class);
	hk_lock(&hk_medium_lock);
	stands = class_there_locked(query->address) == size_class &&
		 hk_kind_is_medium(hk_registry_kind(query->address));
	if (stands)
		describe_medium(query, size_class);
	hk_unlock(&hk_medium_lock);
	hk_unlock(class);
	hk_sets_resume();
	hk_unlock(&hk_sets_lock);
	hk_unlock(&hk_sparse_lock);
	return stands;
}

/* A large block's inner granules are not in the registry; an empty slot neither. */
static void query_large(struct hakmem_query *query)
{
	struct hk_large *large;

	hk_lock(&hk_large_lock);
	large = hk_large_find_locked(query->address);
	if (large) {
		query->kind = HAKMEM_LARGE;
		query->state = HAKMEM_LIVE;
		query->block = number(large->base);
		query->usable_size = large->bytes;
	}
	hk_unlock(&hk_large_lock);
}

void hk_query(struct hakmem_query *query)
{
	const void *address = query->address;
	bool stands;

	do {
		unsigned kind = hk_registry_kind(address);

		*query = (struct hakmem_query){ .address = address };
		stands = true;
		if (hk_kind_is_medium(kind))
			stands = query_medium(query);
		else if (kind >= 1 && kind <= HK_SLAB_CLASSES)
			stands = query_small(query, kind);
		else
			query_large(query);
	} while (!stands);
}
