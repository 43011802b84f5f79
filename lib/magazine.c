/* SPDX-License-Identifier: MIT
 *
 * magazine.c - the slow paths: batches between the magazines, the depot and the slabs.
 *
 * A batch moves under its class's lock, the sequence on the magazine included, so that it
 * lies nowhere else when fork() takes the locks.  Takes hk_sets_lock to flush.
 */
#include "magazine.h"

#include "background.h"
#include "config.h"
#include "depot.h"
#include "fatal.h"
#include "medium.h"
#include "os.h"
#include "pool.h"
#include "sets.h"
#include "slab.h"
#include "spans.h"
#include "spare.h"
#include "sparse.h"
#include "timing.h"

/* A sequence may be aborted; after so many, something is single-stepping us. */
#define TRIES 3

/* So many neighbours are worth a sequence of their own. */
#define RUN_LEAST 16

static bool pop(unsigned size_class, void **block)
{
	if (HK_RSEQ && hk_rseq_area)
		return hk_rseq_pop(size_class, block);
	return hk_thread_pop(size_class, block);
}

void hk_magazine_report_twice(unsigned size_class, const void *block,
			      const char *function)
{
	hk_fatal(HK_DOUBLE_FREE, function, block, "%lu-byte block",
		 (unsigned long)hk_class_size(size_class));
}

static enum hk_pushed push(unsigned size_class, void *block)
{
	if (HK_RSEQ && hk_rseq_area)
		return hk_rseq_push(size_class, block);
	return hk_thread_push(size_class, block);
}

static bool push_or_report(unsigned size_class, void *block, const char *function)
{
	enum hk_pushed pushed = push(size_class, block);

	if (HK_UNLIKELY(pushed == HK_LIES_ON_TOP))
		hk_magazine_report_twice(size_class, block, function);
	return pushed == HK_PUSHED;
}

/* As none may be moved for other reasons than an empty or full magazine, try again then. */
static uint32_t pop_batch(unsigned size_class, void **out, uint32_t n)
{
	uint32_t popped = 0;

	if (!(HK_RSEQ && hk_rseq_area))
		return hk_thread_pop_batch(size_class, out, n);
	for (unsigned i = 0; i < TRIES && !popped; i++)
		popped = hk_rseq_pop_batch(size_class, out, n);
	return popped;
}

static uint32_t push_batch(unsigned size_class, void *const *in, uint32_t n)
{
	uint32_t pushed = 0;

	if (!(HK_RSEQ && hk_rseq_area))
		return hk_thread_push_batch(size_class, in, n);
	for (unsigned i = 0; i < TRIES && !pushed; i++)
		pushed = hk_rseq_push_batch(size_class, in, n);
	return pushed;
}

static uint32_t push_run(unsigned size_class, const char *first, ptrdiff_t step,
			 uint32_t n)
{
	uint32_t pushed = 0;

	for (unsigned i = 0; i < TRIES && !pushed; i++)
		pushed = hk_rseq_push_run(size_class, first, step, n);
	return pushed;
}

/*
 * Call for the lines of the depot that an exchange will touch, above its top or below, while
 * the rest is seen to: where CPUs take turns, the other one has them.  So many make up most
 * exchanges.  p99.99 of malloc and free beside a busy thread: 3 and 5 % less by this.
 */
#define CALLED_FOR 48

static void call_for_depot(unsigned size_class, bool above)
{
	struct hk_class *class = &hk_classes[size_class];
	uintptr_t at;

	if (!(HK_RSEQ && hk_rseq_area))
		return;
	__builtin_prefetch(&class->lock, 1);
	/* Under no lock: if the count changes, other lines come than are needed. */
	at = (uintptr_t)hk_classes[size_class].depot.blocks;
	at += *(volatile uint32_t *)&class->depot.count * sizeof(void *);
	if (!above)
		at -= CALLED_FOR * sizeof(void *);
	for (unsigned i = 0; i < CALLED_FOR * sizeof(void *); i += 64)
		__builtin_prefetch((void *)(at + i), 1);
}

/* What the calling thread, or its CPU, has of one class: to the slabs. */
static bool flush_class(unsigned size_class, struct hk_flushed *flushed,
			const char *function)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;
	struct hk_class *class = &hk_classes[size_class];
	bool tidy = false;
	uint32_t n;

	do {
		hk_lock(&class->lock);
		/* None of them may have come from here: hk_medium_allocate(), below. */
		hk_depot_place_locked(size_class);
		/* Beyond the depot's top they are in nobody's way. */
		n = pop_batch(size_class, &depot->blocks[depot->count], HK_BATCH);
		if (n) {
			tidy |= hk_slab_give_locked(
				size_class, &depot->blocks[depot->count], n, function);
			class->spills++;
		}
		hk_unlock(&class->lock);
		flushed->blocks += n;
		flushed->bytes += n * hk_class_size(size_class);
	} while (n);
	return tidy;
}

/* ---- ageing ---- */

static _Atomic uint64_t next_tick;

/*
 * Once in an interval, on a slow path: what this CPU's, or thread's, magazines and all depots
 * held in vain since the last goes home.  By sequences and locks alone: after its start the
 * library makes no system calls of itself that a sandbox made for glibc would not expect.
 */
static void age(void)
{
	struct hk_set *set = hk_sets_current();
	struct hk_flushed flushed = { 0 };

	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		if (set && hk_set_is_idle(set, i)) {
			flush_class(i, &flushed, "free");
			hk_set_shrink_locked(set, i);
		}
		hk_lock(&hk_classes[i].lock);
		hk_depot_age_locked(i, "free");
		hk_unlock(&hk_classes[i].lock);
	}
}

void hk_magazine_tick(bool may_start)
{
	uint64_t now, due;

	if (hk_background_serves(may_start))
		return;
	now = hk_os_now_ms();
	due = atomic_load_explicit(&next_tick, memory_order_relaxed);
	if (HK_LIKELY(now < due) || !atomic_compare_exchange_strong_explicit(
					    &next_tick, &due, now + HK_INTERVAL_MS,
					    memory_order_relaxed, memory_order_relaxed))
		return;
	if (!due || !hk_trylock(&hk_sets_lock))
		return;
	age();
	hk_unlock(&hk_sets_lock);
	hk_pool_tidy();
	hk_spans_tidy();
	hk_sparse_tick(&hk_sparse_slow_path);
}

bool hk_magazine_age(void)
{
	bool tidy = false, left;

	hk_lock(&hk_sets_lock);
	left = hk_sets_age_locked(&tidy, "free");
	hk_unlock(&hk_sets_lock);
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		hk_lock(&hk_classes[i].lock);
		tidy |= hk_depot_age_locked(i, "free");
		left |= hk_classes[i].depot.count != 0;
		hk_unlock(&hk_classes[i].lock);
	}
	if (tidy)
		hk_pool_tidy();
	return left;
}

/* From here on, a magazine's blocks are much, and their place one that others may want. */
#define YIELD_LEAST 16384

void hk_magazine_yield(const char *function)
{
	bool have_sets = hk_trylock(&hk_sets_lock), tidy = false;
	struct hk_set *set = have_sets ? hk_sets_current() : NULL;
	struct hk_flushed ignored = { 0 };

	for (unsigned i = HK_CLASSES; hk_class_size(i) >= YIELD_LEAST; i--) {
		struct hk_depot *depot = &hk_classes[i].depot;

		tidy |= flush_class(i, &ignored, function);
		if (set)
			hk_set_shrink_locked(set, i);
		hk_lock(&hk_classes[i].lock);
		tidy |= hk_depot_drain_locked(i, depot->count, function);
		hk_unlock(&hk_classes[i].lock);
	}
	if (have_sets)
		hk_unlock(&hk_sets_lock);
	if (tidy)
		hk_pool_tidy();
}

/* ---- refill ---- */

/* What a refill has found, under the class's lock. */
struct batch {
	char *lowest; /* neighbours, fresh from a slab ... */
	uint32_t neighbours;
	uint32_t blocks; /* ... and on top of the depot */
};

static void find_in_depot(const struct hk_depot *depot, uint32_t n, struct batch *batch)
{
	batch->neighbours = 0;
	batch->blocks = n < depot->count ? n : depot->count;
}

/* Make a run of the pool's, or the spare, a slab of the class, and take of it. */
static void start_slab(unsigned size_class, struct hk_slab *slab, bool slab_zero,
		       uint32_t n, struct batch *batch, bool *zero)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;

	if (hk_class_is_medium(size_class) || !(HK_RSEQ && hk_rseq_area)) {
		depot->count = hk_slab_start_locked(size_class, slab, slab_zero,
						    depot->blocks, n, zero);
		find_in_depot(depot, n, batch);
		return;
	}
	batch->neighbours = hk_slab_start_run_locked(size_class, slab, slab_zero, n,
						     &batch->lowest, zero);
	batch->blocks = 0;
}

static void find_in_slabs(unsigned size_class, uint32_t n, struct batch *batch,
			  bool *zero)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;
	uint32_t run = 0;
	bool ignored;

	if (HK_RSEQ && hk_rseq_area)
		run = hk_slab_take_run_locked(size_class, n, &batch->lowest, zero);
	if (run < n)
		depot->count = hk_slab_take_locked(size_class, depot->blocks, n - run,
						   run ? &ignored : zero);
	find_in_depot(depot, n, batch);
	batch->neighbours = run;
}

/*
 * Up to n blocks from the depot; if it has none, from partial slabs, or from the class's
 * spare slot if there are none in SuperSlabs that are not to leave.  false: nowhere.
 */
static bool find_batch(unsigned size_class, uint32_t n, struct batch *batch, bool *zero)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;
	struct hk_slab *spare = NULL;

	if (!depot->count && !hk_slab_ready_locked(size_class))
		spare = hk_spare_take(size_class);
	if (depot->count)
		find_in_depot(depot, n, batch);
	else if (spare)
		start_slab(size_class, spare, false, n, batch, zero);
	else
		find_in_slabs(size_class, n, batch, zero);
	/* A sum: asked for both at once, a CPU would wait for all stores before theirs. */
	return batch->neighbours + batch->blocks != 0;
}

/*
 * A run from the pool that nobody has used.  It is room again, or what is behind it begins anew,
 * as the run has become a spare: no slab has told so.
 */
static void give_back(struct hk_slab *slab)
{
	struct hk_superslab *superslab = hk_slab_superslab(slab);
	unsigned slot = hk_slab_slot(slab), end = slot + slab->slots;

	hk_pool_give(slab);
	hk_medium_look(superslab, slot);
	hk_medium_look(superslab, end);
}

/* The same, with a new slab if need be; returns with the lock held, or false without. */
static bool get_batch(unsigned size_class, uint32_t n, struct batch *batch, bool *zero)
{
	struct hk_class *class = &hk_classes[size_class];
	unsigned slots = hk_class_info(size_class)->slots,
		 kind = hk_class_kind(size_class);
	struct hk_flushed flushed;
	struct hk_pool_released released;
	struct hk_slab *slab;
	bool slab_zero, found, last_try = false;

	hk_lock(&class->lock);
	hk_depot_place_locked(size_class);
	if (find_batch(size_class, n, batch, zero))
		return true;
	hk_unlock(&class->lock);

	slab = hk_pool_take(kind, slots, 1, false, &slab_zero);
	if (!slab) {
		/* Give up only after giving back what can be. */
		hk_magazine_flush(true, &flushed, "malloc");
		/* From here on no pass holds free blocks, of this class or any. */
		hk_lock(&hk_sparse_lock);
		last_try = true;
		hk_pool_release(&released);
		slab = hk_pool_take(kind, slots, 1, true, &slab_zero);
	}
	hk_lock(&class->lock);
	found = find_batch(size_class, n, batch, zero);
	/* Others may have given blocks back meanwhile: no slab is kept that is not used. */
	if (slab && found)
		give_back(slab);
	else if (slab)
		start_slab(size_class, slab, slab_zero, n, batch, zero);
	found |= slab != NULL;
	if (last_try)
		hk_unlock(&hk_sparse_lock);
	if (!found)
		hk_unlock(&class->lock);
	return found;
}

/* To the magazine, in order, what there is room for; the rest stays in the depot. */
static void load_blocks(unsigned size_class, uint32_t n)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;
	void **blocks = &depot->blocks[depot->count - n];
	uint32_t pushed = n ? push_batch(size_class, blocks, n) : 0;

	for (uint32_t i = pushed; i < n; i++)
		blocks[i - pushed] = blocks[i];
	hk_depot_taken_locked(depot, pushed);
}

/* The same for neighbours, the highest first. */
static void load_neighbours(unsigned size_class, char *lowest, uint32_t n)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;
	ptrdiff_t size = (ptrdiff_t)hk_class_size(size_class);

	if (n)
		n -= push_run(size_class, lowest + (n - 1) * size, -size, n);
	while (n--)
		depot->blocks[depot->count++] = lowest + n * size;
}

void *hk_magazine_refill(unsigned size_class, bool *zero)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;
	struct batch batch;
	uint64_t start;
	uint32_t n = 1;
	void *block;

	*zero = false;
	/* Not only an empty magazine comes here: also every call of the per-thread form. */
	if (HK_LIKELY(pop(size_class, &block)))
		return block;
	call_for_depot(size_class, false);
	if (hk_sets_ready()) {
		/* And an aborted sequence, and the first on a CPU. */
		for (unsigned i = 1; i < TRIES; i++) {
			if (pop(size_class, &block))
				return block;
		}
		hk_magazine_tick(true);
		n = hk_set_grow(size_class, HK_RAN_EMPTY) / 2;
		n = n < 1 ? 1 : n > HK_BATCH ? HK_BATCH : n;
	}
	start = hk_timing_start();
	if (!get_batch(size_class, n, &batch, zero)) {
		hk_timing_end(HK_TIMED_REFILL, start);
		return NULL;
	}
	/* The caller's is the one that would be popped first. */
	if (batch.neighbours) {
		block = batch.lowest;
		load_blocks(size_class, batch.blocks);
		load_neighbours(size_class, batch.lowest + hk_class_size(size_class),
				batch.neighbours - 1);
	} else {
		block = depot->blocks[depot->count - 1];
		hk_depot_taken_locked(depot, 1);
		load_blocks(size_class, batch.blocks - 1);
	}
	hk_classes[size_class].refills++;
	hk_unlock(&hk_classes[size_class].lock);
	if (hk_class_is_medium(size_class))
		hk_pool_ask_for_huge_pages(hk_registry_owner(block));
	hk_timing_end(HK_TIMED_REFILL, start);
	return block;
}

void *hk_magazine_take_larger(unsigned size_class, size_t alignment, bool *zero)
{
	void *block = NULL;

	if (hk_route_of(size_class) != HK_TINY_FIRST)
		return NULL;
	hk_lock(&hk_sparse_lock);
	for (unsigned i = size_class + 1; i <= HK_CLASSES && !block; i++) {
		if (!hk_class_is_aligned(i, alignment))
			continue;
		hk_lock(&hk_classes[i].lock);
		if (!hk_slab_take_locked(i, &block, 1, zero))
			block = NULL;
		hk_unlock(&hk_classes[i].lock);
	}
	hk_unlock(&hk_sparse_lock);
	return block;
}

/* ---- spill ---- */

/* Neighbours: to the depot as far as it has room, then to the slabs. */
static bool put_neighbours(unsigned size_class, char *block, ptrdiff_t step, uint32_t n,
			   const char *function)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;
	uint32_t most = hk_class_info(size_class)->depot_max;

	for (; n && depot->count < most; n--, block += step)
		depot->blocks[depot->count++] = block;
	if (!n)
		return false;
	hk_classes[size_class].spills++;
	if (step < 0)
		block += (n - 1) * step;
	return hk_slab_give_run_locked(size_class, block, n, function);
}

/* Send n blocks of the magazine home, by neighbours while there are many of them. */
static bool unload(unsigned size_class, uint32_t n, const char *function)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;
	ptrdiff_t size = (ptrdiff_t)hk_class_size(size_class), step;
	uint32_t run, left = n;
	bool tidy = false;
	char *last;

	/* Where the depot has room for them, they are copied fastest as they are. */
	if (HK_RSEQ && hk_rseq_area && !hk_class_is_medium(size_class) &&
	    depot->count + n > hk_class_info(size_class)->depot_max) {
		while (left >= RUN_LEAST &&
		       (run = hk_rseq_pop_run(size_class, left, RUN_LEAST, size, &last,
					      &step))) {
			tidy |= put_neighbours(size_class, last, -step, run, function);
			left -= run;
		}
	}
	if (left > n / 2)
		depot->count += pop_batch(size_class, &depot->blocks[depot->count], left);
	return tidy;
}

void hk_magazine_spill(unsigned size_class, void *block, const char *function)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;
	bool tidy = false;
	uint32_t n = 0;
	uint64_t start;
	enum hk_pushed pushed = push(size_class, block);

	/* Every call of the per-thread form comes here. */
	if (HK_LIKELY(pushed == HK_PUSHED))
		return;
	if (HK_UNLIKELY(pushed == HK_LIES_ON_TOP))
		hk_magazine_report_twice(size_class, block, function);
	call_for_depot(size_class, true);
	if (hk_sets_ready()) {
		hk_magazine_tick(false);
		n = hk_set_grow(size_class, HK_RAN_FULL) / 2;
		n = n > HK_BATCH ? HK_BATCH : n;
		for (unsigned i = 1; i < TRIES; i++) {
			if (push_or_report(size_class, block, function))
				return;
		}
	}
	start = hk_timing_start();
	hk_lock(&hk_classes[size_class].lock);
	hk_depot_place_locked(size_class);
	if (n)
		tidy = unload(size_class, n, function);
	if (!n || !push_or_report(size_class, block, function))
		depot->blocks[depot->count++] = block;
	tidy |= hk_depot_settle_locked(size_class, function);
	hk_unlock(&hk_classes[size_class].lock);
	hk_timing_end(HK_TIMED_SPILL, start);
	if (tidy)
		hk_pool_tidy();
}

/* ---- flush ---- */

static bool flush_own(struct hk_flushed *flushed, const char *function)
{
	bool tidy = false;

	for (unsigned i = 1; i <= HK_CLASSES; i++)
		tidy |= flush_class(i, flushed, function);
	return tidy;
}

static bool flush_depots(struct hk_flushed *flushed, bool release, const char *function)
{
	bool tidy = false;

	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		hk_lock(&hk_classes[i].lock);
		flushed->blocks += hk_classes[i].depot.count;
		flushed->bytes += hk_classes[i].depot.count * hk_class_size(i);
		tidy |= hk_depot_drain_locked(i, hk_classes[i].depot.count, function);
		if (release)
			hk_depot_purge_locked(i);
		hk_unlock(&hk_classes[i].lock);
	}
	return tidy;
}

static bool flush_sets(struct hk_flushed *flushed, bool release, const char *function)
{
	bool tidy = false;

	hk_lock(&hk_sets_lock);
	hk_sets_stop();
	for (struct hk_set *set = hk_sets; set; set = set->next) {
		if (set->reached) {
			tidy |= hk_set_drain(set, flushed, function);
			if (release)
				hk_set_purge(set);
			continue;
		}
		for (unsigned i = 1; i <= HK_CLASSES; i++) {
			if (!hk_set_count(set, i))
				continue;
			atomic_store_explicit(&set->wanted, true, memory_order_relaxed);
			flushed->unreached++;
			break;
		}
	}
	hk_sets_resume();
	hk_unlock(&hk_sets_lock);
	return tidy;
}

void hk_magazine_flush(bool all, struct hk_flushed *flushed, const char *function)
{
	bool tidy;

	*flushed = (struct hk_flushed){ 0 };
	if (all) {
		tidy = flush_sets(flushed, false, function);
		tidy |= flush_depots(flushed, false, function);
	} else {
		tidy = flush_own(flushed, function);
	}
	if (tidy)
		hk_pool_tidy();
}

void hk_magazine_release(struct hk_flushed *flushed, const char *function)
{
	bool tidy;

	*flushed = (struct hk_flushed){ 0 };
	tidy = flush_sets(flushed, true, function);
	tidy |= flush_depots(flushed, true, function);
	if (tidy)
		hk_pool_tidy();
}

/* Empty them, and lay them out anew. */
void hk_magazine_resize(void)
{
	struct hk_flushed flushed = { 0 };
	bool tidy = false;

	hk_lock(&hk_sets_lock);
	hk_sets_stop();
	for (struct hk_set *set = hk_sets; set; set = set->next) {
		if (set->reached) {
			tidy |= hk_set_drain(set, &flushed, "hakmem_ctl");
			hk_set_lay_out(set, hk_sets_limit());
		} else {
			atomic_store_explicit(&set->wanted, true, memory_order_relaxed);
		}
	}
	hk_sets_resume();
	hk_unlock(&hk_sets_lock);
	if (tidy)
		hk_pool_tidy();
}

void hk_magazine_disable(bool disable)
{
	hk_sets_disable(disable);
	hk_magazine_resize();
}
