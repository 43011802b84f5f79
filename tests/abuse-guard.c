/* SPDX-License-Identifier: MIT
 *
 * Accesses that only the guard mode finds while they happen: by SIGSEGV, behind the message.
 */
#include "libabuse.h"

STEP void peek(void *block, long offset)
{
	(void)((volatile char *)opaque(block))[offset];
	STAY();
}

static void expect_fault(const char *what, const void *block, const char *where)
{
	expect_fatal("SIGSEGV(): %s %p (48-byte block, %s)", what, block, where);
	expect_status(139);
}

STEP void read_behind(void)
{
	char *block = (char *)make(48);

	expect_fault("read past the end of", block, "0 bytes beyond its end");
	expect_party("read", "peek; read_behind; commit; main");
	expect_party("allocated", "make; read_behind; commit; main");
	peek(block, 48);
	STAY();
}

STEP void write_behind(void)
{
	char *block = (char *)make(48);

	expect_fault("write past the end of", block, "1 byte beyond its end");
	expect_party("written", "scribble; write_behind; commit; main");
	expect_party("allocated", "make; write_behind; commit; main");
	scribble(block, 49);
	STAY();
}

STEP void read_freed(void)
{
	char *block = (char *)make(48);

	drop(block);
	expect_fault("read after free of", block, "0 bytes into it");
	expect_party("read", "peek; read_freed; commit; main");
	expect_party("allocated", "make; read_freed; commit; main");
	expect_party("freed", "drop; read_freed; commit; main");
	peek(block, 0);
	STAY();
}

STEP void write_freed(void)
{
	char *block = (char *)make(48);

	drop(block);
	expect_fault("write after free in", block, "47 bytes into it");
	expect_party("written", "scribble; write_freed; commit; main");
	expect_party("allocated", "make; write_freed; commit; main");
	expect_party("freed", "drop; write_freed; commit; main");
	scribble(block, 47);
	STAY();
}

/* Of eight blocks one has its start where the page begins. */
STEP char *make_at_start(void)
{
	char *block = NULL;

	for (size_t i = 0; i < 8; i++) {
		block = (char *)make(48);
		if ((uintptr_t)block % 4096 == 0)
			return (char *)opaque(block);
	}
	puts("not ok - one of eight blocks begins at a page's start");
	return (char *)opaque(block);
}

STEP void read_before(void)
{
	char *block = make_at_start();

	expect_fault("read before the start of", block, "1 byte before its start");
	expect_party("read", "peek; read_before; commit; main");
	expect_party("allocated", "make; make_at_start; read_before; commit; main");
	peek(block, -1);
	STAY();
}

STEP void write_before(void)
{
	char *block = make_at_start();

	expect_fault("write before the start of", block, "8 bytes before its start");
	expect_party("written", "scribble; write_before; commit; main");
	expect_party("allocated", "make; make_at_start; write_before; commit; main");
	scribble(block, -8);
	STAY();
}

/* The canary before a block of the other kind: told when it is freed. */
STEP void write_into_front(void)
{
	char *block = (char *)make(48);

	scribble(block, -8);
	expect_fatal(
		"free(): write before the start of %p (48-byte block, changed to 0x78 "
		"at offset -8)",
		(void *)block);
	expect_party("found", "drop; write_into_front; commit; main");
	expect_party("allocated", "make; write_into_front; commit; main");
	drop(block);
	STAY();
}

STEP void interior(void)
{
	char *block = (char *)make(48);

	expect_fatal("free(): interior pointer %p (8 bytes into the 48-byte block %p)",
		     (void *)(block + 8), (void *)block);
	expect_party("passed", "drop; interior; commit; main");
	expect_party("allocated", "make; interior; commit; main");
	drop(block + 8);
	STAY();
}

STEP void *peek_there(void *block)
{
	expect_fault("read after free of", block, "16 bytes into it");
	expect_party("read", "peek; peek_there");
	expect_party_of((int)getpid(), "allocated", "make; by_thread; commit; main");
	expect_party_of((int)getpid(), "freed", "drop; by_thread; commit; main");
	peek(block, 16);
	return NULL;
}

STEP void by_thread(void)
{
	char *block = (char *)make(48);

	drop(block);
	run_here(peek_there, block);
	STAY();
}

/* Inside libc: the stack begins there. */
STEP void read_by_libc(void)
{
	char *block = (char *)make(48);

	memset(block, 'x', 48);
	expect_fault("read past the end of", block, "0 bytes beyond its end");
	expect_party("read", "*; read_by_libc; commit; main");
	expect_party("allocated", "make; read_by_libc; commit; main");
	if (strlen((const char *)opaque(block)) == 47)
		puts("# its length is 47");
	STAY();
}

static const struct crime crimes[] = {
	{ "read-behind", "guard:1", read_behind },
	{ "write-behind", "guard:1", write_behind },
	{ "read-freed", "guard:1", read_freed },
	{ "write-freed", "guard:1", write_freed },
	{ "read-before", "guard:1", read_before },
	{ "write-before", "guard:1", write_before },
	{ "write-into-front", "guard:1", write_into_front },
	{ "interior", "guard:1", interior },
	{ "by-thread", "guard:1", by_thread },
	{ "read-by-libc", "guard:1", read_by_libc },
};

FAMILY(crimes)
