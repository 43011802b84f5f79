/* SPDX-License-Identifier: MIT
 *
 * Blocks that are freed a second time, or used by other functions as if they lived.
 */
#include "libabuse.h"

enum { MEDIUM = 100 << 10, LARGE = 3 << 20, HUGE = 20 << 20 };

STEP void *grow(void *block, size_t size)
{
	void *longer = realloc(opaque(block), opaque_size(size));

	return opaque(longer);
}

STEP void drop_old_style(void *block)
{
	static void (*cfree_)(void *);

	*(void **)&cfree_ = dlsym(RTLD_DEFAULT, "cfree");
	cfree_(opaque(block));
	STAY();
}

STEP void drop_sized(void *block, size_t size)
{
	static void (*free_sized_)(void *, size_t);

	*(void **)&free_sized_ = dlsym(RTLD_DEFAULT, "free_sized");
	free_sized_(opaque(block), size);
	STAY();
}

static void expect_double(const char *function, const void *block, size_t size)
{
	expect_fatal("%s(): double free of %p (%zu-byte block)", function, block, size);
}

/* ---- one thread, free() and free() ---- */

STEP void twice(void *block, size_t size, const char *made)
{
	drop(block);
	expect_double("free", block, size);
	expect_party("freed again", "drop_again; twice");
	expect_party("freed first", "drop; twice");
	expect_party("allocated", made);
	drop_again(block);
	STAY();
}

STEP void small(void)
{
	twice(make(24), 24, "make; small; commit; main");
	STAY();
}

STEP void empty(void)
{
	twice(make(0), 0, "make; empty; commit; main");
	STAY();
}

STEP void page(void)
{
	twice(make(4096), 4096, "make; page; commit; main");
	STAY();
}

STEP void medium(void)
{
	twice(make(MEDIUM), MEDIUM, "make; medium; commit; main");
	STAY();
}

STEP void large(void)
{
	twice(make(LARGE), LARGE, "make; large; commit; main");
	STAY();
}

STEP void aligned(void)
{
	void *block = memalign(opaque_size(256), opaque_size(1000));

	twice(block, 1000, "aligned; commit; main");
	STAY();
}

/* Who allocated is not the program. */
STEP void by_libc(void)
{
	char *text = strdup((const char *)opaque("thirteen char"));

	STAY();
	twice(text, 14, "*; by_libc; commit; main");
	STAY();
}

/* ---- with something in between ---- */

STEP void after_flush(void)
{
	char *block = (char *)make(48);

	drop(block);
	flush();
	expect_double("free", block, 48);
	expect_party("freed again", "drop_again; after_flush; commit; main");
	expect_party("freed first", "drop; after_flush; commit; main");
	expect_party("allocated", "make; after_flush; commit; main");
	drop_again(block);
	STAY();
}

/* Another block of the slab lives, or there would be nothing any more where it was. */
STEP void after_release(void)
{
	char *block = (char *)make(48), *neighbour = (char *)make(48);

	drop(block);
	ctl(HAKMEM_RELEASE, NULL, 0);
	expect_double("free", block, 48);
	expect_party("freed again", "drop_again; after_release; commit; main");
	expect_party("freed first", "drop; after_release; commit; main");
	expect_party("allocated", "make; after_release; commit; main");
	drop_again(block);
	drop(neighbour);
	STAY();
}

/* All that there was has gone back to the kernel. */
STEP void unmapped(size_t size)
{
	char *block = (char *)make(size);

	drop(block);
	ctl(HAKMEM_RELEASE, NULL, 0);
	expect_double("free", block, size);
	expect_party("freed again", "drop_again; unmapped");
	expect_party("freed first", "drop; unmapped");
	expect_party("allocated", "make; unmapped");
	drop_again(block);
	STAY();
}

STEP void after_unmapping_small(void)
{
	unmapped(48);
	STAY();
}

STEP void after_unmapping_medium(void)
{
	unmapped(MEDIUM);
	STAY();
}

STEP void after_others(void)
{
	char *block = (char *)make(48);

	drop(block);
	for (size_t i = 0; i < 1000; i++)
		free(opaque(malloc(opaque_size(48))));
	expect_double("free", block, 48);
	expect_party("freed again", "drop_again; after_others; commit; main");
	expect_party("freed first", "drop; after_others; commit; main");
	expect_party("allocated", "make; after_others; commit; main");
	drop_again(block);
	STAY();
}

STEP void *make_anew(size_t size)
{
	void *block = malloc(opaque_size(size));

	return opaque(block);
}

STEP void drop_by_mistake(void *block)
{
	free(opaque(block));
	STAY();
}

/*
 * Without quarantine somebody else has the block next.  The one who frees it by mistake is not
 * noticed; but when its owner frees it, he is told by whom it was freed first.
 */
STEP void reused(void)
{
	char *block = (char *)make(48), *next;

	drop(block);
	next = (char *)make_anew(48);
	if (next != block) {
		puts("not ok - it is reused at once");
		return;
	}
	drop_by_mistake(block);
	expect_double("free", block, 48);
	expect_party("freed again", "drop_again; reused; commit; main");
	expect_party("freed first", "drop_by_mistake; reused; commit; main");
	expect_party("allocated", "make_anew; reused; commit; main");
	drop_again(next);
	STAY();
}

/* ---- with other functions ---- */

STEP void through_realloc(void)
{
	char *block = (char *)make(48);

	grow(block, 4000);
	expect_double("free", block, 48);
	expect_party("freed again", "drop_again; through_realloc; commit; main");
	expect_party("freed first", "grow; through_realloc; commit; main");
	expect_party("allocated", "make; through_realloc; commit; main");
	drop_again(block);
	STAY();
}

/* realloc() to nothing frees. */
STEP void by_realloc(void)
{
	char *block = (char *)make(48);

	grow(block, 0);
	expect_double("free", block, 48);
	expect_party("freed again", "drop_again; by_realloc; commit; main");
	expect_party("freed first", "grow; by_realloc; commit; main");
	expect_party("allocated", "make; by_realloc; commit; main");
	drop_again(block);
	STAY();
}

STEP void by_cfree(void)
{
	char *block = (char *)make(48);

	drop(block);
	expect_double("cfree", block, 48);
	expect_party("freed again", "drop_old_style; by_cfree; commit; main");
	expect_party("freed first", "drop; by_cfree; commit; main");
	expect_party("allocated", "make; by_cfree; commit; main");
	drop_old_style(block);
	STAY();
}

STEP void by_free_sized(void)
{
	char *block = (char *)make(48);

	drop_sized(block, 48);
	expect_double("free_sized", block, 48);
	expect_party("freed again", "drop_sized; by_free_sized; commit; main");
	expect_party("freed first", "drop_sized; by_free_sized; commit; main");
	expect_party("allocated", "make; by_free_sized; commit; main");
	drop_sized(block, 48);
	STAY();
}

STEP void grow_freed(size_t size)
{
	char *block = (char *)make(size);

	drop(block);
	expect_double("realloc", block, size);
	expect_party("freed again", "grow; grow_freed");
	expect_party("freed first", "drop; grow_freed");
	expect_party("allocated", "make; grow_freed");
	grow(block, size * 2);
	STAY();
}

STEP void grow_freed_small(void)
{
	grow_freed(48);
	STAY();
}

STEP void grow_freed_medium(void)
{
	grow_freed(MEDIUM);
	STAY();
}

STEP void grow_freed_large(void)
{
	grow_freed(LARGE);
	STAY();
}

STEP void grow_freed_huge(void)
{
	grow_freed(HUGE);
	STAY();
}

STEP void measure(void *block)
{
	if (!malloc_usable_size(opaque(block)))
		puts("# it answered 0");
}

STEP void measure_freed(size_t size)
{
	char *block = (char *)make(size);

	drop(block);
	expect_double("malloc_usable_size", block, size);
	expect_party("freed again", "measure; measure_freed");
	expect_party("freed first", "drop; measure_freed");
	expect_party("allocated", "make; measure_freed");
	measure(block);
	STAY();
}

STEP void measure_freed_small(void)
{
	measure_freed(48);
	STAY();
}

STEP void measure_freed_huge(void)
{
	measure_freed(HUGE);
	STAY();
}

/* ---- by threads ---- */

static int maker, dropper;

STEP void *make_there(void *size)
{
	void *block;

	maker = this_thread();
	block = make(*(size_t *)size);
	return opaque(block);
}

STEP void *drop_there(void *block)
{
	dropper = this_thread();
	drop(block);
	return NULL;
}

STEP void by_three_threads(size_t size)
{
	void *block = run_here(make_there, &size);

	run_here(drop_there, block);
	expect_double("free", block, size);
	expect_party("freed again", "drop_again; by_three_threads");
	expect_party_of(dropper, "freed first", "drop; drop_there");
	expect_party_of(maker, "allocated", "make; make_there");
	drop_again(block);
	STAY();
}

STEP void small_by_three_threads(void)
{
	by_three_threads(64);
	STAY();
}

STEP void huge_by_three_threads(void)
{
	by_three_threads(HUGE);
	STAY();
}

/* ---- too large for the quarantine: its mapping has gone, and its record ---- */

enum { REMEMBERED = 256 };

STEP void huge(void)
{
	twice(make(HUGE), HUGE, "make; huge; commit; main");
	STAY();
}

STEP void drop_many(size_t size, size_t count)
{
	static void *blocks[REMEMBERED];

	for (size_t i = 0; i < count; i++)
		blocks[i] = malloc(opaque_size(size));
	for (size_t i = 0; i < count; i++)
		free(opaque(blocks[i]));
}

/* No matter how many small ones have been freed since. */
STEP void last_remembered(void)
{
	char *block = (char *)make(HUGE);

	drop(block);
	drop_many(LARGE, REMEMBERED - 1);
	for (size_t i = 0; i < 100; i++)
		drop_many(100, REMEMBERED);
	expect_double("free", block, HUGE);
	expect_party("freed again", "drop_again; last_remembered; commit; main");
	expect_party("freed first", "drop; last_remembered; commit; main");
	expect_party("allocated", "make; last_remembered; commit; main");
	drop_again(block);
	STAY();
}

static void expect_nothing_there(const void *address)
{
	expect_fatal("free(): invalid pointer %p (not a block of this allocator, and "
		     "nothing is mapped there)",
		     address);
}

STEP void first_forgotten(void)
{
	char *block = (char *)make(HUGE);

	drop(block);
	drop_many(LARGE, REMEMBERED);
	expect_nothing_there(block);
	expect_party("passed", "drop_again; first_forgotten; commit; main");
	drop_again(block);
	STAY();
}

STEP void inside_huge(void)
{
	char *block = (char *)make(HUGE);

	drop(block);
	expect_nothing_there(block + 16);
	expect_party("passed", "drop_again; inside_huge; commit; main");
	drop_again(block + 16);
	STAY();
}

STEP void drop_second(void *block)
{
	free(opaque(block));
	STAY();
}

/* The one that had the address last. */
STEP void address_reused(void)
{
	char *block, *next;
	unsigned tries = 8;

	/* Unless something else is mapped there, as what the library needs at the first time. */
	do {
		block = (char *)make(HUGE);
		drop(block);
		next = (char *)make_anew(HUGE - 8);
	} while (next != block && --tries);
	if (next != block) {
		puts("not ok - the address is used again at once");
		return;
	}
	drop_second(next);
	expect_double("free", block, HUGE - 8);
	expect_party("freed again", "drop_again; address_reused; commit; main");
	expect_party("freed first", "drop_second; address_reused; commit; main");
	expect_party("allocated", "make_anew; address_reused; commit; main");
	drop_again(block);
	STAY();
}

static const struct crime crimes[] = {
	{ "small", NULL, small },
	{ "empty", NULL, empty },
	{ "page", NULL, page },
	{ "medium", NULL, medium },
	{ "large", "quarantine:16M", large },
	{ "aligned", NULL, aligned },
	{ "by-libc", NULL, by_libc },
	{ "small-no-quarantine", "quarantine:0", small },
	{ "medium-no-quarantine", "quarantine:0", medium },
	{ "guarded", "guard:1", small },
	{ "after-flush", NULL, after_flush },
	{ "after-release", NULL, after_release },
	{ "after-unmapping-small", NULL, after_unmapping_small },
	{ "after-unmapping-medium", NULL, after_unmapping_medium },
	{ "after-others", NULL, after_others },
	{ "reused", "quarantine:0", reused },
	{ "through-realloc", NULL, through_realloc },
	{ "by-realloc", NULL, by_realloc },
	{ "by-cfree", NULL, by_cfree },
	{ "by-free_sized", NULL, by_free_sized },
	{ "grow-freed-small", NULL, grow_freed_small },
	{ "grow-freed-medium", NULL, grow_freed_medium },
	{ "grow-freed-large", "quarantine:16M", grow_freed_large },
	{ "grow-freed-huge", NULL, grow_freed_huge },
	{ "measure-freed-small", NULL, measure_freed_small },
	{ "measure-freed-huge", NULL, measure_freed_huge },
	{ "by-three-threads", NULL, small_by_three_threads },
	{ "huge-by-three-threads", NULL, huge_by_three_threads },
	{ "huge", NULL, huge },
	{ "huge-in-large-quarantine", "quarantine:16M", huge },
	{ "last-remembered", NULL, last_remembered },
	{ "first-forgotten", NULL, first_forgotten },
	{ "inside-huge", NULL, inside_huge },
	{ "address-reused", NULL, address_reused },
};

FAMILY(crimes)
