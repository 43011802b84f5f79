/* SPDX-License-Identifier: MIT
 *
 * stats.h - the counters of hakmem_stats, and what each size class and SuperSlab holds.
 */
#ifndef HK_STATS_H
#define HK_STATS_H

#include "base.h"

struct hk_class_stats {
	uint64_t slabs;
	uint64_t blocks_live;
	uint64_t blocks_cached;
	uint64_t refills, spills;
};

/* A SuperSlab that live blocks hold, and what they hold back with it. */
struct hk_pinned {
	const char *base;
	bool draining;
	unsigned kind; /* of the slabs that have most of its slots */
	uint64_t live_blocks, live_bytes;
	uint64_t held_bytes; /* the rest */
};

#define HK_PINNED 10

/* All of one moment: taken while every lock is held. */
struct hk_snapshot {
	struct hakmem_stats total;
	struct hk_class_stats classes[HK_CLASSES + 1];
	uint64_t medium_live, medium_bytes;
	uint64_t pinned_blocks; /* live blocks that lie in SuperSlabs */
	uint64_t pinned_bytes;  /* bytes of those SuperSlabs that no live block uses */
	/* The worst of them, those with the fewest live bytes, in this order. */
	struct hk_pinned pinned[HK_PINNED];
	unsigned pinned_count;
};

/* Takes all locks; must be called without any. */
void hk_stats_take(struct hk_snapshot *snapshot);

/* Count a HAKMEM_FLUSH. */
void hk_stats_flushed(void);

#endif /* HK_STATS_H */
