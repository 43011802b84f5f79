/* SPDX-License-Identifier: MIT
 *
 * magazine.c - sets of magazines: made at a thread's first slow path, refilled from and
 * spilled to the slabs, emptied by the thread-exit hook.
 *
 * Owns the list of sets and its lock, which is taken before any class's (fork.h).  The
 * owner of a set changes it without a lock, batches under the class's.
 */
#define _GNU_SOURCE
#include "magazine.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "config.h"
#include "debug/poison.h"
#include "fatal.h"
#include "init.h"
#include "pool.h"
#include "record.h"
#include "slab.h"

/* A set's record: the set, then the arrays of all classes at their full capacity. */
#define RECORD_SHIFT 17
#define START_BYTES 4096 /* a magazine's first capacity, in bytes of blocks ... */
#define START_BLOCKS 32  /* ... but not more blocks than this */

static struct hk_set no_set; /* no magazine of it has blocks or room */

_Thread_local struct hk_set *hk_set __attribute__((tls_model("initial-exec"))) = &no_set;

/* Set by the exit hook: this thread is past it, and gets no second set. */
static _Thread_local bool exited __attribute__((tls_model("initial-exec")));

struct hk_records hk_set_records = HK_RECORDS(RECORD_SHIFT, 22, 16384);
struct hk_lock hk_sets_lock;
static struct hk_set *sets;
static pthread_key_t exit_key;
static bool have_exit_key;
static _Atomic bool disabled;

static uint32_t count_of(struct hk_magazine *magazine)
{
	return atomic_load_explicit(&magazine->count, memory_order_relaxed);
}

static void set_count(struct hk_magazine *magazine, uint32_t count)
{
	atomic_store_explicit(&magazine->count, count, memory_order_release);
}

/* ---- moving batches ---- */

/*
 * Into an empty array of room for n; the count is set by the caller, under the lock that
 * this returns with when it returns more than 0.
 */
static unsigned take_batch(unsigned size_class, void **blocks, unsigned n, bool *zero)
{
	struct hk_class *class = &hk_classes[size_class];
	struct hk_slab *slab;
	unsigned taken;
	bool slab_zero;

	hk_lock(&class->lock);
	taken = hk_slab_take_locked(size_class, blocks, n, zero);
	if (taken)
		return taken;
	hk_unlock(&class->lock);

	slab = hk_pool_take(size_class, hk_class_info(size_class)->slots, 1, false,
			    &slab_zero);
	if (!slab) {
		struct hk_flushed flushed;
		struct hk_pool_released released;

		/* Give up only after giving back what this thread and the pool keep. */
		hk_magazine_flush(false, &flushed, "malloc");
		hk_pool_release(&released);
		slab = hk_pool_take(size_class, hk_class_info(size_class)->slots, 1, true,
				    &slab_zero);
	}
	hk_lock(&class->lock);
	taken = hk_slab_take_locked(size_class, blocks, n, zero);
	/* Others may have given blocks back meanwhile: no slab is kept that is not used. */
	if (slab && taken) {
		hk_pool_give(slab);
	} else if (slab) {
		hk_slab_attach_locked(size_class, slab, slab_zero);
		taken = hk_slab_take_locked(size_class, blocks, n, zero);
	}
	if (!taken)
		hk_unlock(&class->lock);
	return taken;
}

/* Spill the n oldest blocks of a magazine: those at its bottom, as the top is warm. */
static void give_batch(struct hk_magazine *magazine, unsigned size_class, unsigned n,
		       const char *function)
{
	struct hk_class *class = &hk_classes[size_class];
	uint32_t count = count_of(magazine);
	bool tidy;

	if (!n)
		return;
	hk_lock(&class->lock);
	tidy = hk_slab_give_locked(size_class, magazine->blocks, n, function);
	memmove(magazine->blocks, magazine->blocks + n, (count - n) * sizeof(void *));
	set_count(magazine, count - n);
	class->spills++;
	hk_unlock(&class->lock);
	if (tidy)
		hk_pool_tidy();
}

static void flush_set(struct hk_set *set, struct hk_flushed *flushed,
		      const char *function)
{
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		uint32_t count = count_of(&set->magazine[i]);

		give_batch(&set->magazine[i], i, count, function);
		flushed->blocks += count;
		flushed->bytes += count * hk_class_size(i);
	}
}

/* A magazine that ran empty or full deserves more room, while the budget lasts. */
static void grow(struct hk_set *set, unsigned size_class)
{
	struct hk_magazine *magazine = &set->magazine[size_class];
	const struct hk_size_class *info = hk_class_info(size_class);
	uint32_t more = magazine->capacity ? magazine->capacity : 1;

	if (more > info->capacity - magazine->capacity)
		more = info->capacity - magazine->capacity;
	if (!more || more * (size_t)info->size > set->budget)
		return;
	set->budget -= more * (size_t)info->size;
	magazine->capacity += more;
}

/* ---- the sets ---- */

static unsigned start_capacity(const struct hk_size_class *info)
{
	size_t blocks = START_BYTES / info->size;

	return blocks < START_BLOCKS ? (unsigned)blocks : START_BLOCKS;
}

static size_t set_limit(void)
{
	if (atomic_load_explicit(&disabled, memory_order_relaxed))
		return 0;
	return hk_config_number(HK_OPTION_MAGAZINE_BYTES);
}

void hk_magazine_disable(bool disable)
{
	atomic_store_explicit(&disabled, disable, memory_order_relaxed);
}

/* Capacities to start with, of empty magazines; they grow where the program is busy. */
static void lay_out(struct hk_set *set, size_t limit)
{
	set->limit = limit;
	set->budget = limit;
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		const struct hk_size_class *info = hk_class_info(i);
		uint32_t capacity = start_capacity(info);

		if (capacity * (size_t)info->size > set->budget)
			capacity = (uint32_t)(set->budget / info->size);
		set->magazine[i].capacity = capacity;
		set->budget -= capacity * (size_t)info->size;
	}
}

/* What others left for this thread to do at its next slow path. */
static void catch_up(struct hk_set *set, const char *function)
{
	struct hk_flushed flushed = { 0 };
	size_t limit = set_limit();

	if (HK_LIKELY(!atomic_load_explicit(&set->flush_wanted, memory_order_relaxed) &&
		      set->limit == limit))
		return;
	flush_set(set, &flushed, function);
	if (set->limit != limit)
		lay_out(set, limit);
	atomic_store_explicit(&set->flush_wanted, false, memory_order_release);
}

static struct hk_set *make_set(void)
{
	struct hk_set *set = hk_record_take(&hk_set_records);
	void **blocks;

	if (!set)
		return NULL;
	blocks = (void **)(set + 1);
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		set->magazine[i].blocks = blocks;
		blocks += hk_class_info(i)->capacity;
	}
	hk_assert((uintptr_t)blocks <= (uintptr_t)set + ((size_t)1 << RECORD_SHIFT));
	lay_out(set, set_limit());

	hk_lock(&hk_sets_lock);
	set->next = sets;
	if (sets)
		sets->previous = set;
	sets = set;
	hk_unlock(&hk_sets_lock);
	return set;
}

static void drop_set(struct hk_set *set)
{
	struct hk_flushed flushed = { 0 };

	flush_set(set, &flushed, "free");
	hk_lock(&hk_sets_lock);
	if (set->next)
		set->next->previous = set->previous;
	if (set->previous)
		set->previous->next = set->next;
	else
		sets = set->next;
	hk_unlock(&hk_sets_lock);
	hk_record_give(&hk_set_records, set);
}

/*
 * Other destructors of the thread, and libc after the last of them, still call malloc and
 * free: those go to the slabs directly, a block at a time.
 */
static void thread_exit(void *value)
{
	struct hk_set *set = value;

	exited = true;
	hk_set = &no_set;
	drop_set(set);
}

/* The calling thread's set; NULL: it has none and works without. */
static struct hk_set *own_set(void)
{
	struct hk_set *set;

	if (HK_LIKELY(hk_set != &no_set))
		return hk_set;
	if (exited || !have_exit_key)
		return NULL;
	set = make_set();
	if (!set)
		return NULL;
	/* First of all, as pthread_setspecific() may allocate. */
	hk_set = set;
	if (pthread_setspecific(exit_key, set) != 0) {
		hk_set = &no_set;
		exited = true;
		drop_set(set);
		return NULL;
	}
	return hk_set;
}

void hk_magazine_init(void)
{
	have_exit_key = pthread_key_create(&exit_key, thread_exit) == 0;
}

/* ---- the slow paths ---- */

static void *take_one(unsigned size_class, bool *zero)
{
	void *block;

	if (!take_batch(size_class, &block, 1, zero))
		return NULL;
	hk_unlock(&hk_classes[size_class].lock);
	return block;
}

/* No slab of its own to be had: TINY_FIRST classes take a block of a larger class. */
static void *take_larger(unsigned size_class, bool *zero)
{
	void *block = NULL;

	if (hk_route_of(size_class) != HK_TINY_FIRST)
		return NULL;
	for (unsigned i = size_class + 1; i <= HK_CLASSES && !block; i++) {
		hk_lock(&hk_classes[i].lock);
		if (!hk_slab_take_locked(i, &block, 1, zero))
			block = NULL;
		hk_unlock(&hk_classes[i].lock);
	}
	return block;
}

HK_COLD void *hk_magazine_refill(unsigned size_class, bool *zero)
{
	struct hk_set *set = own_set();
	struct hk_magazine *magazine;
	unsigned n;
	void *block;

	*zero = false;
	if (!set) {
		block = take_one(size_class, zero);
		return block ? block : take_larger(size_class, zero);
	}
	catch_up(set, "malloc");
	magazine = &set->magazine[size_class];
	/* Another entry may have come in between: own_set() runs code that allocates. */
	if (hk_magazine_pop(size_class, &block))
		return block;
	grow(set, size_class);
	n = magazine->capacity / 2;
	if (n <= 1) {
		block = take_one(size_class, zero);
		return block ? block : take_larger(size_class, zero);
	}
	n = take_batch(size_class, magazine->blocks, n, zero);
	if (!n)
		return take_larger(size_class, zero);
	block = magazine->blocks[n - 1];
	set_count(magazine, n - 1);
	hk_classes[size_class].refills++;
	hk_unlock(&hk_classes[size_class].lock);
	return block;
}

HK_COLD void hk_magazine_spill(unsigned size_class, void *block, const char *function)
{
	struct hk_set *set = own_set();
	struct hk_magazine one = { 1, 1, &block };

	if (set) {
		catch_up(set, function);
		grow(set, size_class);
		if (hk_magazine_push(size_class, block))
			return;
		give_batch(&set->magazine[size_class], size_class,
			   (count_of(&set->magazine[size_class]) + 1) / 2, function);
		if (hk_magazine_push(size_class, block))
			return;
	}
	give_batch(&one, size_class, 1, function);
}

/* ---- flush, counts, fork ---- */

static bool is_empty(struct hk_set *set)
{
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		if (count_of(&set->magazine[i]))
			return false;
	}
	return true;
}

void hk_magazine_flush(bool all, struct hk_flushed *flushed, const char *function)
{
	*flushed = (struct hk_flushed){ 0 };
	if (hk_set != &no_set) {
		flush_set(hk_set, flushed, function);
		atomic_store_explicit(&hk_set->flush_wanted, false, memory_order_relaxed);
	}
	if (!all)
		return;
	hk_lock(&hk_sets_lock);
	for (struct hk_set *set = sets; set; set = set->next) {
		if (set == hk_set || is_empty(set))
			continue;
		atomic_store_explicit(&set->flush_wanted, true, memory_order_release);
		flushed->unreached++;
	}
	hk_unlock(&hk_sets_lock);
}

void hk_magazine_count(struct hk_cached *cached)
{
	hk_assert_slow(hk_lock_is_held(&hk_sets_lock));
	memset(cached, 0, sizeof(*cached));
	for (struct hk_set *set = sets; set; set = set->next) {
		for (unsigned i = 1; i <= HK_CLASSES; i++)
			cached->blocks[i] += count_of(&set->magazine[i]);
	}
}

bool hk_magazine_holds(unsigned size_class, const void *block)
{
	struct hk_magazine *magazine = &hk_set->magazine[size_class];

	for (uint32_t i = 0; i < count_of(magazine); i++) {
		if (magazine->blocks[i] == block)
			return true;
	}
	return false;
}

/* One lies there twice when its bit, set at the first, is set already at the second. */
static void check_block(unsigned size_class, void *block)
{
	struct hk_slab *slab;

	hk_assert(hk_registry_kind(block) == size_class);
	slab = hk_slab_of(block);
	if (hk_slab_block_of(slab, block) != block)
		hk_fatal(HK_INTERIOR_POINTER, "hakmem_ctl", block,
			 "in a magazine of %lu-byte blocks", hk_class_size(size_class));
	if (hk_slab_mark_locked(slab, block, true))
		hk_fatal(HK_DOUBLE_FREE, "hakmem_ctl", block,
			 "%lu-byte block, in a magazine", hk_class_size(size_class));
}

static void check_magazine(struct hk_magazine *magazine, unsigned size_class)
{
	uint32_t count = count_of(magazine);

	hk_assert(count <= magazine->capacity);
	for (uint32_t i = 0; i < count; i++)
		check_block(size_class, magazine->blocks[i]);
	for (uint32_t i = 0; i < count; i++)
		hk_slab_mark_locked(hk_slab_of(magazine->blocks[i]), magazine->blocks[i],
				    false);
}

void hk_magazine_check(void)
{
	for (unsigned i = 0; i < HK_KINDS; i++) {
		check_magazine(&hk_set->magazine[i], i);
		hk_assert(!no_set.magazine[i].capacity && !count_of(&no_set.magazine[i]));
	}
}

void hk_magazine_adopt(void)
{
	struct hk_set *set = sets;

	while (set) {
		struct hk_set *next = set->next;

		if (set != hk_set)
			drop_set(set);
		set = next;
	}
}
