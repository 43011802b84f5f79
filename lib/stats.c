/* SPDX-License-Identifier: MIT
 *
 * stats.c - one consistent snapshot: every number is derived from the structures themselves
 * while all locks are held and all sets are stopped, so there is no counter to keep on a
 * fast path, and none that can drift.
 */
#include "stats.h"

#include <string.h>

#include "fork.h"
#include "front.h"
#include "heap.h"
#include "large.h"
#include "medium.h"
#include "os.h"
#include "pool.h"
#include "sets.h"
#include "slab.h"
#include "spans.h"
#include "spare.h"

static _Atomic uint64_t flushes;

void hk_stats_flushed(void)
{
	atomic_fetch_add_explicit(&flushes, 1, memory_order_relaxed);
}

static void count_classes(struct hk_snapshot *snapshot)
{
	struct hakmem_stats *total = &snapshot->total;
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		const struct hk_class *class = &hk_classes[i];
		struct hk_class_stats *stats = &snapshot->classes[i];
		uint64_t used = class->used;

		/* The count of a set that was not reached may be ahead of the slabs'. */
		stats->blocks_cached = hk_sets_count_locked(i);
		if (stats->blocks_cached > used)
			stats->blocks_cached = used;
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

/* What the slabs of a SuperSlab have handed out, to the program or to magazines. */
struct handed_out {
	uint64_t blocks, bytes;
	uint8_t slots[HK_KINDS]; /* of slabs with any such block */
};

/* Those of a slot's blocks that end in it. */
static unsigned blocks_that_end(const struct hk_superslab *superslab, unsigned slot)
{
	unsigned blocks = 0;

	for (unsigned i = 0; i < HK_GRAINS / 64; i++)
		blocks += (unsigned)__builtin_popcountl(superslab->last[slot][i] &
							~superslab->slab[slot].grains[i]);
	return blocks;
}

static void count_slabs(struct handed_out *out, const struct hk_superslab *superslab)
{
	*out = (struct handed_out){ 0 };
	for (uint32_t left = superslab->active; left; left &= left - 1) {
		const struct hk_slab *slab = &superslab->slab[__builtin_ctz(left)];

		if (slab->first != hk_slab_slot(slab))
			continue;
		if (slab->kind == HK_KIND_MEDIUM && slab->blocks) {
			out->blocks += blocks_that_end(superslab, hk_slab_slot(slab));
			out->bytes += (uint64_t)slab->used << HK_GRAIN_SHIFT;
			out->slots[slab->kind]++;
		} else if (slab->used) {
			out->blocks += slab->used;
			out->bytes += (uint64_t)slab->used * hk_class_size(slab->kind);
			out->slots[slab->kind] += slab->slots;
		}
	}
}

static unsigned most_slots(const struct handed_out *out)
{
	unsigned most = 0;

	for (unsigned i = 1; i < HK_KINDS; i++) {
		if (out->slots[i] > out->slots[most])
			most = i;
	}
	return most;
}

/* Among the worst, if it is: they are kept in order. */
static void rank_pinned(struct hk_snapshot *snapshot,
			const struct hk_superslab *superslab,
			const struct handed_out *out)
{
	struct hk_pinned one = {
		.base = superslab->base,
		.draining = hk_superslab_tier(superslab) == HK_TIER_DRAINING,
		.kind = most_slots(out),
		.live_blocks = out->blocks - superslab->cached_blocks,
		.live_bytes = out->bytes - superslab->cached_bytes,
	};

	one.held_bytes = HK_SUPERSLAB_BYTES - one.live_bytes;
	if (!one.live_blocks)
		return;
	for (unsigned i = 0; i < snapshot->pinned_count; i++) {
		struct hk_pinned other = snapshot->pinned[i];

		if (one.held_bytes <= other.held_bytes)
			continue;
		snapshot->pinned[i] = one;
		one = other;
	}
	if (snapshot->pinned_count < HK_PINNED)
		snapshot->pinned[snapshot->pinned_count++] = one;
}

static void clear_cached(void)
{
	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next)
		s->cached_blocks = s->cached_bytes = 0;
}

static void add_cached(unsigned size_class, void *block, void *context)
{
	struct hk_superslab *superslab = hk_registry_owner(block);

	(void)context;
	superslab->cached_blocks++;
	superslab->cached_bytes += hk_class_size(size_class);
}

static void count_superslabs(struct hk_snapshot *snapshot)
{
	struct hakmem_stats *total = &snapshot->total;

	clear_cached();
	for (unsigned i = 1; i <= HK_CLASSES; i++)
		hk_sets_visit_locked(i, add_cached, NULL);

	for (const struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next) {
		struct handed_out out;

		count_slabs(&out, s);
		total->slabs_active += (unsigned)__builtin_popcount(s->active);
		total->slabs_empty += (unsigned)__builtin_popcount(s->empty);
		total->bytes_committed += (unsigned)__builtin_popcount(~s->unused) *
						  HK_SLOT_BYTES -
					  hk_superslab_purged(s, ~s->unused) *
						  hk_os_page_size;
		total->bytes_purged += hk_superslab_purged(s, s->active) *
				       hk_os_page_size;
		total->bytes_thp += s->huge ? HK_SUPERSLAB_BYTES : 0;
		if (s->free_slots == HK_SLOTS) {
			total->superslabs_cached++;
			continue;
		}
		total->superslabs_live++;
		total->superslabs_phantom += out.bytes && out.bytes == s->cached_bytes;
		rank_pinned(snapshot, s, &out);
		if (hk_superslab_tier(s) == HK_TIER_DRAINING)
			total->superslabs_draining++;
		else
			total->superslabs_hot++;
	}
	snapshot->medium_live = hk_medium_count;
	snapshot->medium_bytes = hk_medium_bytes;
	total->slabs_active -= hk_spare_slots();
	total->slabs_empty += hk_spare_slots();
	total->blocks_live += snapshot->medium_live;
	total->bytes_live += snapshot->medium_bytes;
	snapshot->pinned_blocks = total->blocks_live;
	snapshot->pinned_bytes = total->superslabs_live * HK_SUPERSLAB_BYTES -
				 total->bytes_live;
	total->superslabs_mapped_total = hk_pool_counters.superslabs_mapped;
	total->superslabs_unmapped_total = hk_pool_counters.superslabs_unmapped;
	total->purged_bytes_total = hk_pool_counters.purged_bytes;
	total->thp_splits_total = hk_pool_counters.thp_splits;
	total->bytes_mapped = hk_os_mapped();
}

/* What the program has freed is not live, nor the heap's to give. */
static void count_quarantine(struct hakmem_stats *total)
{
	uint64_t blocks, bytes;

	hk_front_count_locked(&blocks, &bytes);
	total->blocks_live -= blocks;
	total->bytes_live -= bytes;
	total->blocks_cached += blocks;
	total->bytes_cached += bytes;
}

void hk_stats_take(struct hk_snapshot *snapshot)
{
	struct hakmem_stats *total = &snapshot->total;
	size_t touched, huge;

	memset(snapshot, 0, sizeof(*snapshot));
	hk_lock_all();
	hk_sets_stop();
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
	hk_spans_count_locked(&touched, &huge);
	total->bytes_committed += touched + total->bytes_metadata;
	total->bytes_thp += huge;
	total->lock_contended_total = hk_lock_contended();
	count_quarantine(total);
	hk_sets_resume();
	hk_unlock_all();
	total->flushes_total = atomic_load_explicit(&flushes, memory_order_relaxed);
	total->releases_total = hk_heap_releases();
	total->failed_total = hk_heap_failed();
}
