/* SPDX-License-Identifier: MIT
 *
 * Blocks that nobody can reach any more, told at exit or by HAKMEM_LEAKS; and some that are
 * not lost.
 */
#include "libabuse.h"

static const char *plural(unsigned long count)
{
	return count == 1 ? "" : "s";
}

static void expect_lost(unsigned long blocks, unsigned long bytes, unsigned long largest,
			int thread)
{
	expect_fatal("leaks(): lost %lu block%s, %lu byte%s (the largest %lu byte%s, the "
		     "oldest N s ago, thread %d)",
		     blocks, plural(blocks), bytes, plural(bytes), largest,
		     plural(largest), thread);
}

static void expect_in_all(unsigned long blocks, unsigned long bytes, unsigned long stacks,
			  unsigned long indirect_blocks, unsigned long indirect_bytes)
{
	expect_fatal(
		"leaks(): in all: lost %lu block%s, %lu byte%s, in %lu stack%s; "
		"indirectly lost %lu block%s, %lu byte%s; reachable N; in quarantine "
		"N; suppressed 0 blocks, 0 bytes, in 0 stacks",
		blocks, plural(blocks), bytes, plural(bytes), stacks, plural(stacks),
		indirect_blocks, plural(indirect_blocks), indirect_bytes,
		plural(indirect_bytes));
}

/* The only report of the process. */
static void expect_at_exit(unsigned long blocks, unsigned long bytes,
			   unsigned long largest, unsigned long indirect_blocks,
			   unsigned long indirect_bytes, const char *functions)
{
	expect_lost(blocks, bytes, largest, this_thread());
	expect_leak(functions);
	expect_in_all(blocks, bytes, 1, indirect_blocks, indirect_bytes);
	expect_status(23);
}

/* ---- lost ---- */

STEP void make_and_lose(void)
{
	make(100);
	STAY();
}

STEP void one(void)
{
	lose(make_and_lose);
	expect_at_exit(1, 100, 100, 0, 0, "make; make_and_lose; lose; one; commit; main");
}

STEP void make_and_lose_many(void)
{
	/* Not unrolled, or it would be several stacks. */
	for (size_t i = 1; i <= opaque_size(10); i++)
		make(i);
	STAY();
}

STEP void many(void)
{
	lose(make_and_lose_many);
	expect_at_exit(10, 55, 10, 0, 0, "make; make_and_lose_many; lose; many; commit");
}

STEP void make_and_lose_large(void)
{
	make(3 << 20);
	STAY();
}

STEP void large(void)
{
	lose(make_and_lose_large);
	expect_at_exit(1, 3 << 20, 3 << 20, 0, 0,
		       "make; make_and_lose_large; lose; large");
}

STEP void make_and_lose_medium(void)
{
	make(100000);
	STAY();
}

STEP void medium(void)
{
	lose(make_and_lose_medium);
	expect_at_exit(1, 100000, 100000, 0, 0,
		       "make; make_and_lose_medium; lose; medium");
}

struct link {
	struct link *next;
	char more[40];
};

STEP struct link *make_link(struct link *next)
{
	struct link *link = (struct link *)calloc(1, sizeof(*link));

	link->next = next;
	return (struct link *)opaque(link);
}

STEP void make_and_lose_list(void)
{
	struct link *first = NULL;

	for (size_t i = 0; i < opaque_size(5); i++)
		first = make_link(first);
	STAY();
}

STEP void list(void)
{
	lose(make_and_lose_list);
	expect_at_exit(1, 48, 48, 4, 192, "make_link; make_and_lose_list; lose; list");
}

STEP void make_and_lose_cycle(void)
{
	struct link *last = make_link(NULL), *first = last;

	for (size_t i = 0; i < opaque_size(3); i++)
		first = make_link(first);
	last->next = first;
	STAY();
}

STEP void cycle(void)
{
	lose(make_and_lose_cycle);
	expect_at_exit(1, 48, 48, 3, 144, "make_link; make_and_lose_cycle; lose; cycle");
}

/* Two stacks: the one with more bytes is first. */
STEP void make_and_lose_two(void)
{
	make(30);
	make_link(NULL);
	STAY();
}

STEP void two_stacks(void)
{
	lose(make_and_lose_two);
	expect_lost(1, 48, 48, this_thread());
	expect_leak("make_link; make_and_lose_two; lose; two_stacks; commit; main");
	expect_lost(1, 30, 30, this_thread());
	expect_leak("make; make_and_lose_two; lose; two_stacks; commit; main");
	expect_in_all(2, 78, 2, 0, 0);
	expect_status(23);
}

static int loser;

STEP void *lose_there(void *unused)
{
	(void)unused;
	loser = this_thread();
	make(70);
	STAY();
	return NULL;
}

STEP void in_ended_thread(void)
{
	run_here(lose_there, NULL);
	expect_lost(1, 70, 70, loser);
	expect_leak("make; lose_there");
	expect_in_all(1, 70, 1, 0, 0);
	expect_status(23);
}

/* p = realloc(p, ...) that failed. */
STEP void grow_and_lose(void)
{
	void *block = make(90);

	block = realloc(opaque(block), opaque_size(PTRDIFF_MAX));
	if (block)
		puts("not ok - realloc() of PTRDIFF_MAX bytes");
	STAY();
}

STEP void by_realloc(void)
{
	lose(grow_and_lose);
	expect_at_exit(1, 90, 90, 0, 0, "make; grow_and_lose; lose; by_realloc");
}

STEP void duplicate_and_lose(void)
{
	char *copy = strdup((const char *)opaque("lost and never found"));

	opaque(copy);
	STAY();
}

STEP void by_libc(void)
{
	lose(duplicate_and_lose);
	expect_at_exit(1, 21, 21, 0, 0, "*; duplicate_and_lose; lose; by_libc");
}

/* One that only a freed block would reach. */
STEP void make_and_free_first(void)
{
	struct link *second = make_link(NULL), *first = make_link(second);

	free(opaque(first));
	STAY();
}

STEP void behind_freed(void)
{
	lose(make_and_free_first);
	expect_at_exit(1, 48, 48, 0, 0, "make_link; make_and_free_first; lose");
}

/* ---- not lost ---- */

static struct link *volatile kept;

STEP void make_and_keep(void)
{
	for (size_t i = 0; i < 5; i++)
		kept = make_link(kept);
	STAY();
}

STEP void reachable(void)
{
	lose(make_and_keep);
}

STEP void known_to_be_lost(void)
{
	make(100);
	STAY();
}

STEP void suppressed(void)
{
	lose(known_to_be_lost);
}

/* ---- between two calls of HAKMEM_LEAKS ---- */

STEP void lose_before(void)
{
	make(10);
	STAY();
}

STEP void lose_after(void)
{
	make(20);
	STAY();
}

/* What the program asked for itself is no report that exitcode is about. */
STEP void between_marks(void)
{
	struct hakmem_leaks leaks = { 0 };

	lose(lose_before);
	leaks.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	ok(ctl(HAKMEM_LEAKS, &leaks, sizeof(leaks)) == 0 && leaks.blocks == 1 &&
		   leaks.bytes == 10 && leaks.mark > 0,
	   "from the start on: 1 block, 10 bytes (%llu, %llu)",
	   (unsigned long long)leaks.blocks, (unsigned long long)leaks.bytes);
	lose(lose_after);
	leaks.fd = STDERR_FILENO;
	leaks.since = leaks.mark;
	expect_lost(1, 20, 20, this_thread());
	expect_leak("make; lose_after; lose; between_marks; commit; main");
	expect_in_all(1, 20, 1, 0, 0);
	ok(ctl(HAKMEM_LEAKS, &leaks, sizeof(leaks)) == 0 && leaks.blocks == 1 &&
		   leaks.bytes == 20,
	   "since the mark: 1 block, 20 bytes (%llu, %llu)",
	   (unsigned long long)leaks.blocks, (unsigned long long)leaks.bytes);
	leaks.since = leaks.mark;
	leaks.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	ok(ctl(HAKMEM_LEAKS, &leaks, sizeof(leaks)) == 0 && leaks.blocks == 0,
	   "since then: none (%llu)", (unsigned long long)leaks.blocks);
	expect_status(0);
}

static const struct crime crimes[] = {
	{ "one", "leaks,exitcode:23", one },
	{ "many", "leaks,exitcode:23", many },
	{ "medium", "leaks,exitcode:23", medium },
	{ "large", "leaks,exitcode:23", large },
	{ "list", "leaks,exitcode:23", list },
	{ "cycle", "leaks,exitcode:23", cycle },
	{ "two-stacks", "leaks,exitcode:23", two_stacks },
	{ "in-ended-thread", "leaks,exitcode:23", in_ended_thread },
	{ "by-realloc", "leaks,exitcode:23", by_realloc },
	{ "by-libc", "leaks,exitcode:23", by_libc },
	{ "behind-freed", "leaks,exitcode:23", behind_freed },
	{ "guarded", "leaks,exitcode:23,guard:1", one },
	{ "reachable", "leaks,exitcode:23", reachable },
	{ "suppressed", "leaks,exitcode:23,suppressions:%suppressions", suppressed },
	{ "between-marks", "exitcode:23", between_marks },
};

FAMILY(crimes)
