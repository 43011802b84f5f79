/* SPDX-License-Identifier: MIT
 *
 * Writes to blocks after they were freed, and just beside them: told when they leave the
 * quarantine, or are handed out again.
 */
#include "libabuse.h"

enum { MEDIUM = 100 << 10, LARGE = 3 << 20 };

STEP void release(void)
{
	ctl(HAKMEM_RELEASE, NULL, 0);
	STAY();
}

STEP void check(void)
{
	ctl(HAKMEM_CHECK, NULL, 0);
	STAY();
}

static void expect_late(const char *function, const void *block, size_t size, long offset)
{
	const char *outside = offset < 0             ? ", before its start"
			      : offset >= (long)size ? ", beyond its end"
						     : "";

	expect_fatal("%s(): write after free in %p (%zu-byte block, changed to 0x78 at "
		     "offset %ld%s)",
		     function, block, size, offset, outside);
}

STEP void late(size_t size, long offset, const char *found)
{
	char *block = (char *)make(size);

	drop(block);
	scribble(block, offset);
	expect_late("hakmem_ctl", block, size, offset);
	expect_party("found", found);
	expect_party("freed", "drop; late");
	expect_party("allocated", "make; late");
	flush();
	STAY();
}

STEP void first_byte(void)
{
	late(40, 0, "flush; late; first_byte; commit; main");
	STAY();
}

STEP void middle(void)
{
	late(200, 77, "flush; late; middle; commit; main");
	STAY();
}

STEP void last_byte(void)
{
	late(13, 12, "flush; late; last_byte; commit; main");
	STAY();
}

STEP void of_page(void)
{
	late(4096, 4095, "flush; late; of_page; commit; main");
	STAY();
}

STEP void of_medium(void)
{
	late(MEDIUM, 5000, "flush; late; of_medium; commit; main");
	STAY();
}

/* ---- beside it, where the canaries still are ---- */

STEP void first_behind(void)
{
	late(40, 40, "flush; late; first_behind; commit; main");
	STAY();
}

STEP void last_behind(void)
{
	late(40, 47, "flush; late; last_behind; commit; main");
	STAY();
}

STEP void just_before(void)
{
	late(40, -1, "flush; late; just_before; commit; main");
	STAY();
}

STEP void first_before(void)
{
	late(200, -16, "flush; late; first_before; commit; main");
	STAY();
}

STEP void behind_medium(void)
{
	late(MEDIUM, MEDIUM + 5, "flush; late; behind_medium; commit; main");
	STAY();
}

/* One that is too large to be poisoned has canaries all the same. */
STEP void behind_large(void)
{
	late(LARGE, LARGE, "flush; late; behind_large; commit; main");
	STAY();
}

/* In it and on both sides: three reports, once. */
STEP void around(void)
{
	static const long offsets[] = { 20, 41, -3 };
	char *block = (char *)make(40);

	drop(block);
	for (size_t i = 0; i < 3; i++) {
		scribble(block, offsets[i]);
		expect_late("hakmem_ctl", block, 40, offsets[i]);
		expect_party("found", "check; around; commit; main");
		expect_party("freed", "drop; around; commit; main");
		expect_party("allocated", "make; around; commit; main");
	}
	expect_status(0);
	check();
	check();
	flush();
	STAY();
}

/* ---- when it is found ---- */

STEP void at_release(void)
{
	char *block = (char *)make(40);

	drop(block);
	scribble(block, 8);
	expect_late("hakmem_ctl", block, 40, 8);
	expect_party("found", "release; at_release; commit; main");
	expect_party("freed", "drop; at_release; commit; main");
	expect_party("allocated", "make; at_release; commit; main");
	release();
	STAY();
}

STEP void at_check(void)
{
	char *block = (char *)make(40);

	drop(block);
	scribble(block, 10);
	expect_late("hakmem_ctl", block, 40, 10);
	expect_party("found", "check; at_check; commit; main");
	expect_party("freed", "drop; at_check; commit; main");
	expect_party("allocated", "make; at_check; commit; main");
	check();
	STAY();
}

STEP void beside_at_check(void)
{
	char *block = (char *)make(40);

	drop(block);
	scribble(block, 44);
	expect_late("hakmem_ctl", block, 40, 44);
	expect_party("found", "check; beside_at_check; commit; main");
	expect_party("freed", "drop; beside_at_check; commit; main");
	expect_party("allocated", "make; beside_at_check; commit; main");
	check();
	STAY();
}

STEP void beside_at_exit(void)
{
	char *block = (char *)make(40);

	drop(block);
	scribble(block, -8);
	expect_late("exit", block, 40, -8);
	expect_party("found", "");
	expect_party("freed", "drop; beside_at_exit; commit; main");
	expect_party("allocated", "make; beside_at_exit; commit; main");
	exit(0);
}

STEP void at_exit(void)
{
	char *block = (char *)make(MEDIUM);

	drop(block);
	scribble(block, MEDIUM - 1);
	expect_late("exit", block, MEDIUM, MEDIUM - 1);
	expect_party("found", "");
	expect_party("freed", "drop; at_exit; commit; main");
	expect_party("allocated", "make; at_exit; commit; main");
	exit(0);
}

/* The quarantine holds 1 KiB: the block leaves it when others come. */
STEP void drop_others(void)
{
	for (size_t i = 0; i < 100; i++)
		free(opaque(malloc(opaque_size(100))));
}

STEP void at_free(void)
{
	char *block = (char *)make(40);

	drop(block);
	scribble(block, 39);
	expect_late("free", block, 40, 39);
	expect_party("found", "drop_others; at_free; commit; main");
	expect_party("freed", "drop; at_free; commit; main");
	expect_party("allocated", "make; at_free; commit; main");
	drop_others();
	STAY();
}

/* There is no quarantine: the block is back in the heap, until it is wanted again. */
STEP void at_malloc(void)
{
	char *block = (char *)make(40);

	drop(block);
	scribble(block, 16);
	expect_late("malloc", block, 40, 16);
	expect_party("found", "make; at_malloc; commit; main");
	expect_party("freed", "drop; at_malloc; commit; main");
	expect_party("allocated", "make; at_malloc; commit; main");
	make(40);
	STAY();
}

STEP void *make_zeroed(size_t size)
{
	void *block = calloc(1, opaque_size(size));

	return opaque(block);
}

STEP void at_calloc(void)
{
	char *block = (char *)make(40);

	drop(block);
	scribble(block, -1);
	expect_late("calloc", block, 40, -1);
	expect_party("found", "make_zeroed; at_calloc; commit; main");
	expect_party("freed", "drop; at_calloc; commit; main");
	expect_party("allocated", "make; at_calloc; commit; main");
	make_zeroed(40);
	STAY();
}

/* realloc() always moves: who keeps the old address is found out. */
STEP void *grow(void *block, size_t size)
{
	void *longer = realloc(opaque(block), opaque_size(size));

	return opaque(longer);
}

STEP void after_realloc(void)
{
	char *block = (char *)make(40);

	grow(block, 41);
	scribble(block, 5);
	expect_late("hakmem_ctl", block, 40, 5);
	expect_party("found", "flush; after_realloc; commit; main");
	expect_party("freed", "grow; after_realloc; commit; main");
	expect_party("allocated", "make; after_realloc; commit; main");
	flush();
	STAY();
}

/* ---- by threads ---- */

static int dropper;

STEP void *drop_there(void *block)
{
	dropper = this_thread();
	drop(block);
	return NULL;
}

STEP void *scribble_there(void *block)
{
	scribble(block, 30);
	return NULL;
}

STEP void by_three_threads(void)
{
	char *block = (char *)make(40);

	run_here(drop_there, block);
	run_here(scribble_there, block);
	expect_late("hakmem_ctl", block, 40, 30);
	expect_party("found", "flush; by_three_threads; commit; main");
	expect_party_of(dropper, "freed", "drop; drop_there");
	expect_party("allocated", "make; by_three_threads; commit; main");
	flush();
	STAY();
}

static const struct crime crimes[] = {
	{ "first-byte", NULL, first_byte },
	{ "middle", NULL, middle },
	{ "last-byte", NULL, last_byte },
	{ "page", NULL, of_page },
	{ "medium", "quarantine:16M", of_medium },
	{ "first-behind", NULL, first_behind },
	{ "last-behind", NULL, last_behind },
	{ "just-before", NULL, just_before },
	{ "first-before", NULL, first_before },
	{ "behind-medium", NULL, behind_medium },
	{ "behind-large", "quarantine:16M", behind_large },
	{ "around", "continue", around },
	{ "at-release", NULL, at_release },
	{ "at-check", NULL, at_check },
	{ "beside-at-check", NULL, beside_at_check },
	{ "at-exit", "quarantine:16M", at_exit },
	{ "beside-at-exit", NULL, beside_at_exit },
	{ "at-free", "quarantine:1K", at_free },
	{ "at-malloc", "quarantine:0", at_malloc },
	{ "at-calloc", "quarantine:0", at_calloc },
	{ "after-realloc", NULL, after_realloc },
	{ "by-three-threads", NULL, by_three_threads },
};

FAMILY(crimes)
