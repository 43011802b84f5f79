/* SPDX-License-Identifier: MIT
 *
 * Bytes written behind the end of a block, or before its start.
 */
#include "libabuse.h"

enum { MEDIUM = 100 << 10, LARGE = 3 << 20 };

STEP void *make_zeroed(size_t count, size_t size)
{
	void *block = calloc(opaque_size(count), opaque_size(size));

	return opaque(block);
}

STEP void *make_aligned(size_t alignment, size_t size)
{
	void *block = NULL;

	if (posix_memalign(&block, opaque_size(alignment), opaque_size(size)))
		puts("not ok - posix_memalign");
	return opaque(block);
}

STEP void *make_longer(void *block, size_t size)
{
	void *longer = realloc(opaque(block), opaque_size(size));

	return opaque(longer);
}

STEP void check(void)
{
	ctl(HAKMEM_CHECK, NULL, 0);
	STAY();
}

static void expect_behind(const char *function, const void *block, size_t size,
			  size_t offset)
{
	expect_fatal("%s(): write past the end of %p (%zu-byte block, changed to 0x78 at "
		     "offset %zu)",
		     function, block, size, offset);
}

static void expect_before(const char *function, const void *block, size_t size,
			  size_t offset)
{
	expect_fatal("%s(): write before the start of %p (%zu-byte block, changed to "
		     "0x78 at offset -%zu)",
		     function, block, size, offset);
}

/* ---- behind, told when it is freed ---- */

STEP void behind(void *block, size_t size, size_t offset, const char *made)
{
	scribble(block, (long)offset);
	expect_behind("free", block, size, offset);
	expect_party("found", "drop; behind");
	expect_party("allocated", made);
	drop(block);
	STAY();
}

STEP void one_of_13(void)
{
	behind(make(13), 13, 13, "make; one_of_13; commit; main");
	STAY();
}

STEP void one_of_1(void)
{
	behind(make(1), 1, 1, "make; one_of_1; commit; main");
	STAY();
}

STEP void one_of_0(void)
{
	behind(make(0), 0, 0, "make; one_of_0; commit; main");
	STAY();
}

STEP void one_of_16(void)
{
	behind(make(16), 16, 16, "make; one_of_16; commit; main");
	STAY();
}

STEP void one_of_1024(void)
{
	behind(make(1024), 1024, 1024, "make; one_of_1024; commit; main");
	STAY();
}

STEP void further_on(void)
{
	behind(make(13), 13, 20, "make; further_on; commit; main");
	STAY();
}

STEP void of_zeroed(void)
{
	behind(make_zeroed(3, 7), 21, 21, "make_zeroed; of_zeroed; commit; main");
	STAY();
}

STEP void of_aligned_64(void)
{
	behind(make_aligned(64, 100), 100, 100, "make_aligned; of_aligned_64; commit");
	STAY();
}

STEP void of_aligned_4096(void)
{
	behind(make_aligned(4096, 5000), 5000, 5003, "make_aligned; of_aligned_4096");
	STAY();
}

STEP void of_medium(void)
{
	behind(make(MEDIUM), MEDIUM, MEDIUM, "make; of_medium; commit; main");
	STAY();
}

STEP void of_large(void)
{
	behind(make(LARGE), LARGE, LARGE, "make; of_large; commit; main");
	STAY();
}

/* Many bytes: the one told is the nearest. */
STEP void many(void)
{
	char *block = (char *)make(100);

	memset(opaque(block), 'x', opaque_size(107));
	expect_behind("free", block, 100, 100);
	expect_party("found", "drop; many; commit; main");
	expect_party("allocated", "make; many; commit; main");
	drop(block);
	STAY();
}

/* The classic: no room for the NUL, which is found although it is 0. */
STEP void copied_string(void)
{
	static const char text[] = "thirteen char";
	char *block = (char *)make(13);

	strcpy((char *)opaque(block), (const char *)opaque(text));
	expect_fatal("free(): write past the end of %p (13-byte block, changed to 0x0 at "
		     "offset 13)",
		     (void *)block);
	expect_party("found", "drop; copied_string; commit; main");
	expect_party("allocated", "make; copied_string; commit; main");
	drop(block);
	STAY();
}

/* ---- before ---- */

STEP void before(void *block, size_t size, size_t offset, const char *made)
{
	scribble(block, -(long)offset);
	expect_before("free", block, size, offset);
	expect_party("found", "drop; before");
	expect_party("allocated", made);
	drop(block);
	STAY();
}

STEP void before_small(void)
{
	before(make(40), 40, 1, "make; before_small; commit; main");
	STAY();
}

STEP void well_before_small(void)
{
	before(make(40), 40, 16, "make; well_before_small; commit; main");
	STAY();
}

STEP void before_aligned(void)
{
	before(make_aligned(4096, 40), 40, 8, "make_aligned; before_aligned; commit");
	STAY();
}

STEP void before_medium(void)
{
	before(make(MEDIUM), MEDIUM, 1, "make; before_medium; commit; main");
	STAY();
}

STEP void before_large(void)
{
	before(make(LARGE), LARGE, 1, "make; before_large; commit; main");
	STAY();
}

/* ---- told by others than free() ---- */

STEP void at_realloc(void)
{
	char *block = (char *)make(50);

	scribble(block, 50);
	expect_behind("realloc", block, 50, 50);
	expect_party("found", "make_longer; at_realloc; commit; main");
	expect_party("allocated", "make; at_realloc; commit; main");
	make_longer(block, 100);
	STAY();
}

/* realloc()'s block has its canaries where its own end is. */
STEP void of_grown(void)
{
	char *block = (char *)make_longer(make(10), 33);

	scribble(block, 33);
	expect_behind("free", block, 33, 33);
	expect_party("found", "drop; of_grown; commit; main");
	expect_party("allocated", "make_longer; of_grown; commit; main");
	drop(block);
	STAY();
}

STEP void of_shrunk(void)
{
	char *block = (char *)make_longer(make(100), 33);

	scribble(block, 40);
	expect_behind("free", block, 33, 40);
	expect_party("found", "drop; of_shrunk; commit; main");
	expect_party("allocated", "make_longer; of_shrunk; commit; main");
	drop(block);
	STAY();
}

STEP void at_check(void)
{
	char *block = (char *)make(50);

	scribble(block, 51);
	expect_behind("hakmem_ctl", block, 50, 51);
	expect_party("found", "check; at_check; commit; main");
	expect_party("allocated", "make; at_check; commit; main");
	check();
	drop(block);
}

STEP void at_exit(void)
{
	static char *kept;

	kept = (char *)make(50);
	scribble(kept, -3);
	expect_before("exit", kept, 50, 3);
	expect_party("found", "");
	expect_party("allocated", "make; at_exit; commit; main");
	exit(0);
}

STEP void *make_anew(size_t size)
{
	void *block = malloc(opaque_size(size));

	return opaque(block);
}

/* Whoever had the room before may have written there, too late: the report tells of him. */
STEP void of_reused(void)
{
	char *former = (char *)make(24), *block;

	drop(former);
	block = (char *)make_anew(24);
	if (block != former) {
		puts("not ok - without quarantine it is reused at once");
		return;
	}
	scribble(former, 24);
	expect_behind("free", block, 24, 24);
	expect_party("found", "drop; of_reused; commit; main");
	expect_party("allocated", "make_anew; of_reused; commit; main");
	expect_party_of(0, "its room was freed before", "drop; of_reused; commit; main");
	expect_party_of(0, "and allocated before that", "make; of_reused; commit; main");
	drop(block);
	STAY();
}

/* ---- by threads ---- */

static int maker;

STEP void *make_there(void *unused)
{
	void *block;

	(void)unused;
	maker = this_thread();
	block = make(24);
	return opaque(block);
}

STEP void *overflow_there(void *block)
{
	scribble(block, 24);
	return NULL;
}

STEP void *drop_there(void *block)
{
	expect_behind("free", block, 24, 24);
	expect_party("found", "drop; drop_there");
	expect_party_of(maker, "allocated", "make; make_there");
	drop(block);
	return NULL;
}

STEP void by_three_threads(void)
{
	void *block = run_here(make_there, NULL);

	run_here(overflow_there, block);
	run_here(drop_there, block);
	STAY();
}

static const struct crime crimes[] = {
	{ "one-of-13", NULL, one_of_13 },
	{ "one-of-1", NULL, one_of_1 },
	{ "one-of-0", NULL, one_of_0 },
	{ "one-of-16", NULL, one_of_16 },
	{ "one-of-1024", NULL, one_of_1024 },
	{ "further-on", NULL, further_on },
	{ "calloc", NULL, of_zeroed },
	{ "aligned-64", NULL, of_aligned_64 },
	{ "aligned-4096", NULL, of_aligned_4096 },
	{ "medium", NULL, of_medium },
	{ "large", NULL, of_large },
	{ "many-bytes", NULL, many },
	{ "copied-string", NULL, copied_string },
	{ "before-small", NULL, before_small },
	{ "well-before-small", NULL, well_before_small },
	{ "before-aligned", NULL, before_aligned },
	{ "before-medium", NULL, before_medium },
	{ "before-large", NULL, before_large },
	{ "at-realloc", NULL, at_realloc },
	{ "of-grown", NULL, of_grown },
	{ "of-shrunk", NULL, of_shrunk },
	{ "at-check", NULL, at_check },
	{ "at-exit", NULL, at_exit },
	{ "reused", "quarantine:0", of_reused },
	{ "by-three-threads", NULL, by_three_threads },
	{ "no-quarantine", "quarantine:0", one_of_13 },
};

FAMILY(crimes)
