/* SPDX-License-Identifier: MIT
 *
 * stats.c - one consistent snapshot: every number is derived from the structures themselves
 * while all locks are held, so there is no counter to keep on a fast path, and none that can
 * drift.  What runs on meanwhile are pops and pushes; a block they move between live and
 * cached is counted once, as the one or the other.
 */
#include "stats.h"

#include <string.h>

#include "fork.h"
#include "heap.h"
#include "large.h"
#include "os.h"
#include "pool.h"
#include "slab.h"

static _Atomic uint64_t flushes;

void hk_stats_flushed(void)
{
	atomic_fetch_add_explicit(&flushes, 1, memory_order_relaxed);
}

static void count_classes(struct hk_snapshot *snapshot)
{
	struct hakmem_stats *total = &snapshot->total;
	struct hk_cached cached;

	hk_magazine_count(&cached);
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		const struct hk_class *class = &hk_classes[i];
		struct hk_class_stats *stats = &snapshot->classes[i];
		uint64_t used = class->used;

		/* A count read while its thread pops and pushes may be ahead of the slabs'. */
		stats->blocks_cached = cached.blocks[i] < used ? cached.blocks[i] : used;
		stats->blocks_live = used - stats->blocks_cached;
		stats->slabs = class->slabs;
		stats->refills = class->refills;
		stats->spills = class->spills;
		total->blocks_live += stats->blocks_live;
		total->bytes_live += stats->blocks_live * hk_class_size(i);
		total->blocks_cached += stats->blocks_cached;
		total->bytes_cached += stats->blocks_cached * hk_class_size(i);
		total->refills_total += stats->refills;
		total->spills_total += stats->spills;
	}
}

/* Bytes of the SuperSlab that its slabs have handed out, to the program or to magazines. */
static uint64_t used_bytes(struct hk_snapshot *snapshot,
			   const struct hk_superslab *superslab)
{
	uint64_t bytes = 0;

	for (uint32_t left = superslab->active; left; left &= left - 1) {
		const struct hk_slab *slab = &superslab->slab[__builtin_ctz(left)];

		if (slab->first != hk_slab_slot(slab))
			continue;
		if (slab->kind == HK_KIND_MEDIUM) {
			snapshot->medium_live++;
			snapshot->medium_bytes += slab->bytes;
			bytes += slab->bytes;
		} else if (slab->kind <= HK_CLASSES) {
			bytes += (uint64_t)slab->used * hk_class_size(slab->kind);
		}
	}
	return bytes;
}

static void count_superslabs(struct hk_snapshot *snapshot)
{
	struct hakmem_stats *total = &snapshot->total;

	for (const struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next) {
		uint64_t used = used_bytes(snapshot, s);

		total->slabs_active += (unsigned)__builtin_popcount(s->active);
		total->slabs_empty += (unsigned)__builtin_popcount(s->empty);
		total->bytes_committed += (unsigned)__builtin_popcount(~s->unused) *
					  HK_SLOT_BYTES;
		if (s->free_slots == HK_SLOTS) {
			total->superslabs_cached++;
			continue;
		}
		total->superslabs_live++;
		if (used > HK_SUPERSLAB_BYTES / 4)
			total->superslabs_hot++;
		else
			total->superslabs_draining++;
	}
	total->blocks_live += snapshot->medium_live;
	total->bytes_live += snapshot->medium_bytes;
	snapshot->pinned_blocks = total->blocks_live;
	snapshot->pinned_bytes = total->superslabs_live * HK_SUPERSLAB_BYTES -
				 total->bytes_live;
	total->superslabs_mapped_total = hk_pool_counters.superslabs_mapped;
	total->superslabs_unmapped_total = hk_pool_counters.superslabs_unmapped;
	total->purged_bytes_total = hk_pool_counters.purged_bytes;
	total->bytes_mapped = hk_os_mapped();
}

void hk_stats_take(struct hk_snapshot *snapshot)
{
	struct hakmem_stats *total = &snapshot->total;

	memset(snapshot, 0, sizeof(*snapshot));
	hk_lock_all();
	count_classes(snapshot);
	count_superslabs(snapshot);
	total->large_live = hk_large_count;
	total->large_bytes = hk_large_bytes;
	total->blocks_live += hk_large_count;
	total->bytes_live += hk_large_bytes;
	total->bytes_metadata = hk_record_bytes_locked(&hk_superslab_records) +
				hk_record_bytes_locked(&hk_set_records) +
				hk_record_bytes_locked(&hk_large_records) +
				hk_registry_bytes();
	total->bytes_committed += total->large_bytes + total->bytes_metadata;
	total->lock_contended_total = hk_lock_contended();
	hk_unlock_all();
	total->flushes_total = atomic_load_explicit(&flushes, memory_order_relaxed);
	total->releases_total = hk_heap_releases();
	total->failed_total = hk_heap_failed();
}
