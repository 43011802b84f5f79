/* SPDX-License-Identifier: MIT
 *
 * fork.c - the order of locks.  Whoever holds one may take only those further down:
 *
 *   1  sparse        a pass over the pages of slabs in use
 *   2  initialisation
 *   3  configuration
 *   4  sets          the list of sets of magazines, and stopping them
 *   5  class 1 .. class HK_CLASSES, ascending; otherwise one at a time
 *   6  medium        blocks of more than 2 KiB, in slots that they share
 *   7  pool
 *   8  large
 *   9  records       of sets, of SuperSlabs, of large blocks; leaves, one at a time
 *
 * The debug library has before them all that of reports, and as leaves those of the records of
 * blocks, of guarded blocks and of the quarantine.
 */
#include "fork.h"

#include "background.h"
#include "config.h"
#if HK_DEBUG
#include "debug/block.h"
#include "debug/guard.h"
#include "debug/quarantine.h"
#include "debug/report.h"
#endif
#include "front.h"
#include "init.h"
#include "large.h"
#include "medium.h"
#include "sets.h"
#include "pool.h"
#include "slab.h"
#include "sparse.h"

struct named_lock {
	const char *name;
	struct hk_lock *lock;
};

static const struct named_lock before_classes[] = {
#if HK_DEBUG
	{ "report", &hk_report_lock },
#endif
	{ "sparse", &hk_sparse_lock }, { "init", &hk_init_lock },
	{ "config", &hk_config_lock }, { "sets", &hk_sets_lock },
};
static const struct named_lock after_classes[] = {
	{ "medium", &hk_medium_lock },
	{ "pool", &hk_pool_lock },
	{ "large", &hk_large_lock },
	{ "set_records", &hk_set_records.lock },
	{ "superslab_records", &hk_superslab_records.lock },
	{ "large_records", &hk_large_records.lock },
#if HK_DEBUG
	{ "block_records", &hk_block_records.lock },
	{ "guard", &hk_guard_lock },
	{ "quarantine", &hk_quarantine_lock },
#endif
};

#define BEFORE (sizeof(before_classes) / sizeof(before_classes[0]))
#define AFTER (sizeof(after_classes) / sizeof(after_classes[0]))
#define LOCKS (BEFORE + HK_CLASSES + AFTER)

_Static_assert(BEFORE + AFTER + 1 == HK_NAMED_LOCKS,
	       "a report has each lock, and the classes' as one");

/* The lock at this place of the order. */
static struct hk_lock *lock_at(size_t place)
{
	if (place < BEFORE)
		return before_classes[place].lock;
	place -= BEFORE;
	if (place < HK_CLASSES)
		return &hk_classes[place + 1].lock;
	return after_classes[place - HK_CLASSES].lock;
}

void hk_lock_all(void)
{
	for (size_t i = 0; i < LOCKS; i++)
		hk_lock(lock_at(i));
}

void hk_unlock_all(void)
{
	for (size_t i = LOCKS; i--;)
		hk_unlock(lock_at(i));
}

unsigned long hk_lock_contended(void)
{
	unsigned long contended = 0;

	for (size_t i = 0; i < LOCKS; i++)
		contended += lock_at(i)->contended;
	return contended;
}

/* ---- what they cost ---- */

static void add_lock(struct hk_lock_report *report, const struct hk_lock *lock)
{
	report->acquired += lock->acquired;
	report->contended += lock->contended;
	report->waited_ns += lock->waited_ns;
}

static void add_named(struct hk_locks_report *report, const struct named_lock *lock)
{
	struct hk_lock_report *named = &report->named[report->names++];

	named->name = lock->name;
	add_lock(named, lock->lock);
}

/* Among the most contended, if it is: they are kept in order. */
static void rank_class(struct hk_locks_report *report, unsigned size_class)
{
	struct hk_lock_report one = { .size_class = size_class };

	add_lock(&one, &hk_classes[size_class].lock);
	for (unsigned i = 0; i < HK_CONTENDED_CLASSES; i++) {
		struct hk_lock_report other = report->classes[i];

		if (one.contended <= other.contended)
			continue;
		report->classes[i] = one;
		one = other;
	}
}

void hk_locks_report(struct hk_locks_report *report)
{
	struct hk_lock_report *classes;

	*report = (struct hk_locks_report){ 0 };
	hk_lock_all();
	for (size_t i = 0; i < BEFORE; i++)
		add_named(report, &before_classes[i]);
	classes = &report->named[report->names++];
	classes->name = HK_LOCKS_OF_CLASSES;
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		add_lock(classes, &hk_classes[i].lock);
		rank_class(report, i);
	}
	for (size_t i = 0; i < AFTER; i++)
		add_named(report, &after_classes[i]);
	hk_unlock_all();
}

/* ---- fork() ---- */

void hk_fork_prepare(void)
{
	hk_front_fork_prepare();
	hk_lock_all();
}

void hk_fork_parent(void)
{
	hk_unlock_all();
	hk_front_fork_parent();
}

/*
 * The thread that forked held all locks, so every structure is as between two operations.
 * The other threads are gone; what lay in their magazines goes home.
 */
void hk_fork_child(void)
{
	for (size_t i = 0; i < LOCKS; i++)
		hk_lock_reset(lock_at(i));
	hk_pool_adopt();
	hk_sets_adopt();
	hk_background_adopt();
	hk_front_fork_child();
}
