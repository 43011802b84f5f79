/* SPDX-License-Identifier: MIT
 *
 * fork.c - the order of locks.  Whoever holds one may take only those further down:
 *
 *   1  configuration
 *   2  sets          the list of sets of magazines, and stopping them
 *   3  class 1 .. class HK_CLASSES, ascending; otherwise one at a time
 *   4  pool
 *   5  large
 *   6  records       of sets, of SuperSlabs, of large blocks; leaves, one at a time
 */
#include "fork.h"

#include "config.h"
#include "large.h"
#include "sets.h"
#include "pool.h"
#include "slab.h"

static struct hk_lock *const before_classes[] = { &hk_config_lock, &hk_sets_lock };
static struct hk_lock *const after_classes[] = {
	&hk_pool_lock,          &hk_large_lock,
	&hk_set_records.lock,   &hk_superslab_records.lock,
	&hk_large_records.lock,
};

#define BEFORE (sizeof(before_classes) / sizeof(before_classes[0]))
#define AFTER (sizeof(after_classes) / sizeof(after_classes[0]))
#define LOCKS (BEFORE + HK_CLASSES + AFTER)

/* The lock at this place of the order. */
static struct hk_lock *lock_at(size_t place)
{
	if (place < BEFORE)
		return before_classes[place];
	place -= BEFORE;
	if (place < HK_CLASSES)
		return &hk_classes[place + 1].lock;
	return after_classes[place - HK_CLASSES];
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

void hk_fork_prepare(void)
{
	hk_lock_all();
}

void hk_fork_parent(void)
{
	hk_unlock_all();
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
}
