/* SPDX-License-Identifier: MIT
 *
 * sets.c - making, stopping, draining, ageing and dropping sets of magazines.
 *
 * The protocol of stop: mark, fence, take; resume unmarks.
 *
 *   per CPU     mark   table[id] = 0
 *               fence  membarrier(PRIVATE_EXPEDITED_RSEQ): every sequence under way, in any
 *                      thread, on any CPU, is aborted before its commit, or has committed
 *               take   later sequences load table[id] after their start, and find no set
 *   per thread  mark   stopped = true
 *               fence  membarrier(PRIVATE_EXPEDITED)
 *               take   where inside is unset (thread_set.h); where it stays set for long,
 *                      the owner was preempted inside, and the set is not reached
 *
 * unmark is a release store that the next user's load acquires (per CPU by the dependency
 * of what it loads on the distance).  tests/model has the protocol in Promela.
 */
#define _GNU_SOURCE
#include "sets.h"

#include <pthread.h>
#include <string.h>

#include "config.h"
#include "slab.h"
#include "fatal.h"
#include "init.h"
#include "medium.h"
#include "os.h"
#include "pool.h"

/* A set's record: the set, then the arrays of all classes at their full capacity. */
#define RECORD_SHIFT 18
#define START_BYTES 4096 /* a magazine's first capacity, in bytes of blocks ... */
#define START_BLOCKS 32  /* ... but not more blocks than this */
#define INSIDE_SPINS 1000

struct hk_lock hk_sets_lock;
struct hk_records hk_set_records = HK_RECORDS(RECORD_SHIFT, 20, 16384);
struct hk_set *hk_sets;

/* Set by the exit hook: this thread is past it, and gets no second set. */
static _Thread_local bool exited __attribute__((tls_model("initial-exec")));

static pthread_key_t exit_key;
static bool have_exit_key;
static unsigned sets_count;
static _Atomic bool disabled;
static _Atomic unsigned cpus = 1;

static bool is_per_cpu(void)
{
	return HK_RSEQ && hk_rseq_area;
}

/* ---- capacity ---- */

size_t hk_sets_limit(void)
{
	size_t limit = hk_config_number(HK_OPTION_MAGAZINE_BYTES);
	unsigned usable = atomic_load_explicit(&cpus, memory_order_relaxed);

	if (atomic_load_explicit(&disabled, memory_order_relaxed))
		return 0;
	/* More CPUs have been run on than may run at a time: they share what those may have. */
	if (is_per_cpu() && sets_count > usable)
		limit = limit / sets_count * usable;
	return limit;
}

void hk_sets_disable(bool disable)
{
	atomic_store_explicit(&disabled, disable, memory_order_relaxed);
}

static uint32_t start_capacity(const struct hk_size_class *info)
{
	size_t blocks = START_BYTES / info->size;

	return blocks < START_BLOCKS ? (uint32_t)blocks : START_BLOCKS;
}

void hk_set_lay_out(struct hk_set *set, size_t limit)
{
	size_t budget = limit;

	set->limit = limit;
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		const struct hk_size_class *info = hk_class_info(i);
		uint32_t capacity = start_capacity(info);

		if (capacity * (size_t)info->size > budget)
			capacity = (uint32_t)(budget / info->size);
		hk_set_put_capacity(set, i, capacity);
		budget -= capacity * (size_t)info->size;
	}
	set->budget = budget;
}

static bool set_capacity(unsigned size_class, struct hk_set *set, uint32_t old,
			 uint32_t new)
{
	old += (uint32_t)set->bottom[size_class];
	new += (uint32_t)set->bottom[size_class];
	if (is_per_cpu())
		return hk_rseq_set_limit(size_class, set, old, new);
	return hk_thread_set_limit(size_class, set, old, new);
}

uint32_t hk_set_grow(unsigned size_class, enum hk_miss miss)
{
	struct hk_set *set = hk_sets_current();
	const struct hk_size_class *info = hk_class_info(size_class);
	uint32_t capacity, most, more;
	enum hk_miss last;

	if (!set)
		return 0;
	/* Not exchanged: who comes between loses a hint, and a locked instruction waits. */
	last = atomic_load_explicit(&set->use[size_class].miss, memory_order_relaxed);
	atomic_store_explicit(&set->use[size_class].miss, (uint8_t)miss,
			      memory_order_relaxed);
	most = last == HK_NO_MISS || last == miss ? info->capacity_one_way
						  : info->capacity;
	capacity = hk_set_capacity(set, size_class);
	if (capacity >= most)
		return capacity;
	more = capacity ? capacity : 1;
	if (more > most - capacity)
		more = most - capacity;
	/* Looked at first, so that a budget used up costs no lock that all CPUs share. */
	if (more * (size_t)info->size >
	    atomic_load_explicit(&set->budget, memory_order_relaxed))
		return capacity;
	/* Whoever holds the lock may be about to change capacities. */
	if (!hk_trylock(&hk_sets_lock))
		return capacity;
	if (more * (size_t)info->size <= set->budget &&
	    set_capacity(size_class, set, capacity, capacity + more)) {
		set->budget -= more * (size_t)info->size;
		capacity += more;
	}
	hk_unlock(&hk_sets_lock);
	return capacity;
}

/* ---- stopping ---- */

/* Where there is a set, or where there is none to be found. */
static void set_table(struct hk_set *set, bool found)
{
	uintptr_t distance = (uintptr_t)set - (uintptr_t)&hk_cpu_sets.none;

	atomic_store_explicit(&hk_cpu_sets.table[set->id], found ? distance : 0,
			      memory_order_release);
}

static bool stop_cpus(void)
{
	for (struct hk_set *set = hk_sets; set; set = set->next)
		set_table(set, false);
	return hk_rseq_fence();
}

static bool is_at_rest(struct hk_set *set)
{
	for (unsigned i = 0; i < INSIDE_SPINS; i++) {
		if (!atomic_load_explicit(&set->inside, HK_LOOK_ORDER))
			return true;
		hk_pause_cpu();
	}
	return false;
}

static bool stop_threads(void)
{
	for (struct hk_set *set = hk_sets; set; set = set->next)
		atomic_store_explicit(&set->stopped, true, HK_MARK_ORDER);
	return hk_thread_fence();
}

static void let_go(struct hk_set *set)
{
	if (is_per_cpu())
		set_table(set, true);
	else
		atomic_store_explicit(&set->stopped, false, memory_order_release);
}

unsigned hk_sets_stop(void)
{
	unsigned unreached = 0;
	bool fenced;

	hk_assert_slow(hk_lock_is_held(&hk_sets_lock));
	if (!hk_sets)
		return 0;
	fenced = is_per_cpu() ? stop_cpus() : stop_threads();
	for (struct hk_set *set = hk_sets; set; set = set->next) {
		if (is_per_cpu())
			set->reached = fenced;
		else
			/* Without a fence only the caller's own is certain to be at rest. */
			set->reached = set == hk_set || (fenced && is_at_rest(set));
		if (set->reached)
			continue;
		let_go(set);
		unreached++;
	}
	return unreached;
}

void hk_sets_resume(void)
{
	for (struct hk_set *set = hk_sets; set; set = set->next) {
		if (set->reached)
			let_go(set);
		set->reached = false;
	}
}

/* ---- draining ---- */

/* All blocks of one magazine, which is the caller's. */
static bool drain_magazine(struct hk_set *set, unsigned size_class,
			   struct hk_flushed *flushed, const char *function)
{
	uint32_t count = hk_set_count(set, size_class);
	bool tidy;

	if (!count)
		return false;
	hk_lock(&hk_classes[size_class].lock);
	tidy = hk_slab_give_locked(size_class, hk_set_blocks(set, size_class), count,
				   function);
	hk_set_put_count(set, size_class, 0);
	hk_classes[size_class].spills++;
	hk_unlock(&hk_classes[size_class].lock);
	flushed->blocks += count;
	flushed->bytes += count * hk_class_size(size_class);
	return tidy;
}

bool hk_set_drain(struct hk_set *set, struct hk_flushed *flushed, const char *function)
{
	bool tidy = false;

	for (unsigned i = 1; i <= HK_CLASSES; i++)
		tidy |= drain_magazine(set, i, flushed, function);
	return tidy;
}

void hk_set_purge(struct hk_set *set)
{
	uintptr_t first = hk_align_up((uintptr_t)(set + 1), hk_os_page_size);
	uintptr_t end = (uintptr_t)set + ((uintptr_t)1 << RECORD_SHIFT);

	hk_os_purge((void *)first, end - first);
}

/* ---- making and dropping ---- */

/* The caller holds the lock. */
static struct hk_set *make_set(unsigned id)
{
	struct hk_set *set = hk_record_take(&hk_set_records);
	uint32_t word = sizeof(*set) / sizeof(void *);

	if (!set)
		return NULL;
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		set->bottom[i] = word;
		hk_set_put_count(set, i, 0);
		word += 1u + hk_class_info(i)->capacity;
	}
	hk_assert(word * sizeof(void *) <= (size_t)1 << RECORD_SHIFT);
	set->id = id;
	sets_count++;
	/* More than were thought usable?  Affinity or quota may have changed: look again. */
	if (is_per_cpu() &&
	    sets_count > atomic_load_explicit(&cpus, memory_order_relaxed))
		atomic_store_explicit(&cpus, hk_os_cpus(), memory_order_relaxed);
	hk_set_lay_out(set, hk_sets_limit());
	set->next = hk_sets;
	if (hk_sets)
		hk_sets->previous = set;
	hk_sets = set;
	return set;
}

/* The caller holds the lock; the set is no longer anyone's. */
static bool drop_set(struct hk_set *set, const char *function)
{
	struct hk_flushed flushed = { 0 };
	bool tidy = hk_set_drain(set, &flushed, function);

	if (set->next)
		set->next->previous = set->previous;
	if (set->previous)
		set->previous->next = set->next;
	else
		hk_sets = set->next;
	sets_count--;
	hk_record_give(&hk_set_records, set);
	return tidy;
}

/*
 * Other destructors of the thread, and libc after the last of them, still call malloc and
 * free: those go to depot and slabs directly.
 */
static void thread_exit(void *value)
{
	bool tidy;

	exited = true;
	hk_set = &hk_cpu_sets.none;
	hk_lock(&hk_sets_lock);
	tidy = drop_set(value, "free");
	hk_unlock(&hk_sets_lock);
	if (tidy)
		hk_pool_tidy();
}

struct hk_set *hk_sets_current(void)
{
	uintptr_t distance;

	if (!is_per_cpu())
		return hk_set != &hk_cpu_sets.none ? hk_set : NULL;
	distance = atomic_load_explicit(&hk_cpu_sets.table[hk_rseq_current()],
					memory_order_acquire);
	return distance ? (struct hk_set *)((uintptr_t)&hk_cpu_sets.none + distance)
			: NULL;
}

static bool make_cpu_set(void)
{
	unsigned id = hk_rseq_current();
	struct hk_set *set;

	/* Someone has stopped the sets, or makes one: rather than wait, do without. */
	if (!hk_trylock(&hk_sets_lock))
		return false;
	for (set = hk_sets; set && set->id != id; set = set->next)
		;
	if (!set) {
		set = make_set(id);
		if (set)
			atomic_store_explicit(&hk_cpu_sets.table[id],
					      (uintptr_t)set -
						      (uintptr_t)&hk_cpu_sets.none,
					      memory_order_release);
	}
	hk_unlock(&hk_sets_lock);
	return set;
}

static bool make_thread_set(void)
{
	struct hk_set *set;
	bool tidy;

	if (exited || !have_exit_key)
		return false;
	hk_lock(&hk_sets_lock);
	set = make_set(0);
	hk_unlock(&hk_sets_lock);
	if (!set)
		return false;
	/* First of all, as pthread_setspecific() may allocate. */
	hk_set = set;
	if (pthread_setspecific(exit_key, set) == 0)
		return true;
	exited = true;
	hk_set = &hk_cpu_sets.none;
	hk_lock(&hk_sets_lock);
	tidy = drop_set(set, "malloc");
	hk_unlock(&hk_sets_lock);
	if (tidy)
		hk_pool_tidy();
	return false;
}

/* Per thread: what a stopper that did not reach this set left for its thread to do. */
static void catch_up(struct hk_set *set)
{
	struct hk_flushed flushed = { 0 };
	bool tidy;

	if (HK_LIKELY(!atomic_load_explicit(&set->wanted, memory_order_relaxed)))
		return;
	atomic_store_explicit(&set->wanted, false, memory_order_relaxed);
	hk_lock(&hk_sets_lock);
	tidy = hk_set_drain(set, &flushed, "malloc");
	hk_set_lay_out(set, hk_sets_limit());
	hk_unlock(&hk_sets_lock);
	if (tidy)
		hk_pool_tidy();
}

bool hk_sets_ready(void)
{
	struct hk_set *set = hk_sets_current();

	if (HK_UNLIKELY(!set)) {
		hk_init();
		return is_per_cpu() ? make_cpu_set() : make_thread_set();
	}
	if (!is_per_cpu())
		catch_up(set);
	return true;
}

HK_STARTUP void hk_sets_init(void)
{
	atomic_store_explicit(&cpus, hk_os_cpus(), memory_order_relaxed);
	hk_rseq_init(hk_config_number(HK_OPTION_RSEQ));
	if (hk_rseq_area)
		return;
	hk_thread_fence_init();
	have_exit_key = pthread_key_create(&exit_key, thread_exit) == 0;
}

/* ---- ageing ---- */

/* More room than to start with: who took no slow path for it lately may not need it. */
static bool has_grown(struct hk_set *set, unsigned size_class)
{
	return hk_set_capacity(set, size_class) >
	       start_capacity(hk_class_info(size_class));
}

bool hk_set_is_idle(struct hk_set *set, unsigned size_class)
{
	struct hk_magazine_use *use = &set->use[size_class];
	uint32_t count = hk_set_count(set, size_class);
	uint32_t seen = atomic_exchange_explicit(&use->seen, count, memory_order_relaxed);
	bool missed = atomic_exchange_explicit(&use->miss, HK_NO_MISS,
					       memory_order_relaxed);

	return !missed && (seen == count || has_grown(set, size_class));
}

void hk_set_shrink_locked(struct hk_set *set, unsigned size_class)
{
	const struct hk_size_class *info = hk_class_info(size_class);
	uint32_t capacity = hk_set_capacity(set, size_class);
	uint32_t start = start_capacity(info);

	if (capacity > start && set_capacity(size_class, set, capacity, start))
		set->budget += (capacity - start) * (size_t)info->size;
}

/* Not used since it was last asked about, and emptying it would gain something. */
static bool is_worth_stopping(struct hk_set *set, unsigned size_class)
{
	struct hk_magazine_use *use = &set->use[size_class];
	uint32_t count = hk_set_count(set, size_class);

	return !atomic_load_explicit(&use->miss, memory_order_relaxed) &&
	       (has_grown(set, size_class) ||
		(count &&
		 atomic_load_explicit(&use->seen, memory_order_relaxed) == count));
}

static bool any_worth_stopping(void)
{
	for (struct hk_set *set = hk_sets; set; set = set->next) {
		for (unsigned i = 1; i <= HK_CLASSES; i++) {
			if (is_worth_stopping(set, i))
				return true;
		}
	}
	return false;
}

/* Of a set that is stopped. */
static bool retire_magazine(struct hk_set *set, unsigned size_class, const char *function)
{
	const struct hk_size_class *info = hk_class_info(size_class);
	uint32_t capacity = hk_set_capacity(set, size_class);
	uint32_t start = start_capacity(info);
	struct hk_flushed flushed = { 0 };
	bool tidy = drain_magazine(set, size_class, &flushed, function);

	if (capacity > start) {
		hk_set_put_capacity(set, size_class, start);
		set->budget += (capacity - start) * (size_t)info->size;
	}
	return tidy;
}

bool hk_sets_age_locked(bool *tidy, const char *function)
{
	bool stopped = any_worth_stopping(), left = false;

	if (stopped)
		hk_sets_stop();
	for (struct hk_set *set = hk_sets; set; set = set->next) {
		for (unsigned i = 1; i <= HK_CLASSES; i++) {
			bool idle = hk_set_is_idle(set, i);

			if (idle && set->reached)
				*tidy |= retire_magazine(set, i, function);
			else if (idle && stopped && hk_set_count(set, i))
				/* Its thread will, at its next slow path. */
				atomic_store_explicit(&set->wanted, true,
						      memory_order_relaxed);
			else
				left |= hk_set_count(set, i) != 0;
		}
	}
	if (stopped)
		hk_sets_resume();
	return left;
}

/* ---- counts and invariants ---- */

uint64_t hk_sets_count_locked(unsigned size_class)
{
	uint64_t blocks = hk_classes[size_class].depot.count;

	for (struct hk_set *set = hk_sets; set; set = set->next)
		blocks += hk_set_count(set, size_class);
	return blocks;
}

void hk_sets_visit_locked(unsigned size_class, void (*visit)(unsigned, void *, void *),
			  void *context)
{
	struct hk_depot *depot = &hk_classes[size_class].depot;

	for (uint32_t i = 0; i < depot->count; i++)
		visit(size_class, depot->blocks[i], context);
	for (struct hk_set *set = hk_sets; set; set = set->next) {
		for (uint32_t i = 0; set->reached && i < hk_set_count(set, size_class);
		     i++)
			visit(size_class, hk_set_blocks(set, size_class)[i], context);
	}
}

static bool mark_block(unsigned size_class, void *block, bool is_free)
{
	return hk_class_is_medium(size_class)
		       ? hk_medium_mark_locked(block, is_free)
		       : hk_slab_mark_locked(hk_slab_of(block), block, is_free);
}

/* One lies there twice when its bit, set at the first, is set already at the second. */
static void check_block(unsigned size_class, void *block, void *context)
{
	char *start;
	size_t bytes;

	(void)context;
	hk_assert(hk_registry_kind(block) == size_class);
	start = hk_class_is_medium(size_class)
			? hk_medium_block_of(block, &bytes)
			: hk_slab_block_of(hk_slab_of(block), block);
	if (start ? start != block : !hk_class_is_medium(size_class))
		hk_fatal(HK_INTERIOR_POINTER, "hakmem_ctl", block,
			 "in a magazine of %lu-byte blocks", hk_class_size(size_class));
	if (!start || mark_block(size_class, block, true))
		hk_fatal(HK_DOUBLE_FREE, "hakmem_ctl", block,
			 "%lu-byte block, in a magazine", hk_class_size(size_class));
}

static void unmark_block(unsigned size_class, void *block, void *context)
{
	(void)context;
	mark_block(size_class, block, false);
}

static void check_capacities(struct hk_set *set)
{
	size_t bytes = set->budget;

	/*
	 * By itself first: were it overdrawn, the sum would come out right.  Not the option: that
	 * may have changed just now, or when the set could not be reached.
	 */
	hk_assert(bytes <= set->limit);

	for (unsigned i = 0; i < HK_KINDS; i++) {
		hk_assert(!((void **)set)[set->bottom[i]]);
		if (i < 1 || i > HK_CLASSES) {
			hk_assert(!set->bottom[i] && !hk_set_count(set, i) &&
				  !hk_set_capacity(set, i));
			continue;
		}
		hk_assert(hk_set_count(set, i) <= hk_class_info(i)->capacity);
		hk_assert(hk_set_capacity(set, i) <= hk_class_info(i)->capacity);
		bytes += hk_set_capacity(set, i) * hk_class_size(i);
	}
	hk_assert(bytes == set->limit);
}

void hk_sets_check(void)
{
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		hk_sets_visit_locked(i, check_block, NULL);
		hk_sets_visit_locked(i, unmark_block, NULL);
		hk_assert(hk_classes[i].depot.low <= hk_classes[i].depot.count &&
			  hk_classes[i].depot.count <=
				  hk_class_info(i)->depot_max + HK_BATCH);
	}
	for (struct hk_set *set = hk_sets; set; set = set->next) {
		if (set->reached)
			check_capacities(set);
	}
	for (unsigned i = 0; i < HK_KINDS; i++)
		hk_assert(!hk_cpu_sets.none.magazine[i].top &&
			  !hk_cpu_sets.none.magazine[i].limit &&
			  !hk_cpu_sets.none.bottom[i]);
}

void hk_sets_adopt(void)
{
	struct hk_set *set = hk_sets, *next;

	if (is_per_cpu()) {
		hk_rseq_adopt();
		return;
	}
	hk_thread_fence_init();
	for (; set; set = next) {
		next = set->next;
		if (set != hk_set)
			drop_set(set, "free");
	}
	hk_pool_tidy();
}
