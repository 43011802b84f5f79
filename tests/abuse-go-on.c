/* SPDX-License-Identifier: MIT
 *
 * Several crimes in one run, with HAKMEM_DEBUG=continue: each is told of, and the program comes
 * to its end.
 */
#include "libabuse.h"

STEP void *grow(void *block, size_t size)
{
	void *longer = realloc(opaque(block), opaque_size(size));

	return opaque(longer);
}

STEP void check(void)
{
	ctl(HAKMEM_CHECK, NULL, 0);
	STAY();
}

STEP void twice(void)
{
	char *block = (char *)make(24);

	drop(block);
	expect_fatal("free(): double free of %p (24-byte block)", (void *)block);
	expect_party("freed again", "drop_again; twice; three");
	expect_party("freed first", "drop; twice; three");
	expect_party("allocated", "make; twice; three");
	drop_again(block);
	STAY();
}

/* The block is freed all the same. */
STEP void behind(void)
{
	char *block = (char *)make(24);

	scribble(block, 24);
	expect_fatal(
		"free(): write past the end of %p (24-byte block, changed to 0x78 at "
		"offset 24)",
		(void *)block);
	expect_party("found", "drop; behind; three");
	expect_party("allocated", "make; behind; three");
	drop(block);
	STAY();
}

STEP void on_stack(void)
{
	char variable[64];

	expect_fatal("free(): invalid pointer %p (not a block of this allocator, but on "
		     "this thread's stack)",
		     opaque(variable));
	expect_party("passed", "drop; on_stack; three");
	drop(variable);
	STAY();
}

STEP void three(void)
{
	twice();
	behind();
	on_stack();
	for (size_t i = 0; i < 1000; i++)
		free(opaque(malloc(opaque_size(i))));
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing else");
}

STEP void three_and_end(void)
{
	three();
	expect_status(0);
}

STEP void three_and_status(void)
{
	three();
	expect_status(7);
}

/* A freed block cannot grow: NULL, and nothing else happens. */
STEP void grow_freed(void)
{
	char *block = (char *)make(24);

	drop(block);
	expect_fatal("realloc(): double free of %p (24-byte block)", (void *)block);
	expect_party("freed again", "grow; grow_freed; commit; main");
	expect_party("freed first", "drop; grow_freed; commit; main");
	expect_party("allocated", "make; grow_freed; commit; main");
	errno = 0;
	ok(!grow(block, 100) && errno == ENOMEM, "realloc() answers NULL, ENOMEM");
	expect_status(0);
}

/* What was found once is mended, so that it is not told again. */
STEP void found_once(void)
{
	char *block = (char *)make(24);

	scribble(block, -1);
	expect_fatal("hakmem_ctl(): write before the start of %p (24-byte block, changed "
		     "to 0x78 at offset -1)",
		     (void *)block);
	expect_party("found", "check; found_once; commit; main");
	expect_party("allocated", "make; found_once; commit; main");
	check();
	check();
	drop(block);
	expect_status(0);
}

/* Two threads free the same blocks; one of them is told, each time. */
enum { RACES = 50 };

static void *blocks[RACES];
static pthread_barrier_t barrier;

STEP void *race(void *unused)
{
	(void)unused;
	for (size_t i = 0; i < RACES; i++) {
		pthread_barrier_wait(&barrier);
		free(opaque(blocks[i]));
	}
	return NULL;
}

STEP void races(void)
{
	pthread_t threads[2];

	pthread_barrier_init(&barrier, NULL, 2);
	for (size_t i = 0; i < RACES; i++) {
		blocks[i] = make(32);
		expect_fatal("free(): double free of %p (32-byte block)", blocks[i]);
	}
	for (size_t i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, race, NULL);
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	expect_any_stacks();
	expect_status(0);
}

static const struct crime crimes[] = {
	{ "three", "continue", three_and_end },
	{ "three-guarded", "continue,guard:1", three_and_end },
	{ "exit-status", "continue,exitcode:7", three_and_status },
	{ "grow-freed", "continue", grow_freed },
	{ "found-once", "continue", found_once },
	{ "races", "continue", races },
};

FAMILY(crimes)
