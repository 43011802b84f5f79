/* SPDX-License-Identifier: MIT
 *
 * free() of addresses that are no block's start.
 */
#include "libabuse.h"

enum { MEDIUM = 100 << 10, LARGE = 3 << 20 };

STEP void pass(void *address)
{
	free(opaque(address));
	STAY();
}

/* ---- in and near a block ---- */

static void expect_interior(const char *block, size_t size, const char *where,
			    size_t bytes, const void *address)
{
	expect_fatal("free(): interior pointer %p (%zu bytes %s the %zu-byte block %p)",
		     address, bytes, where, size, (const void *)block);
}

STEP void inside(size_t size, size_t offset, const char *found)
{
	char *block = (char *)make(size);

	expect_interior(block, size, "into", offset, block + offset);
	expect_party("passed", found);
	expect_party("allocated", "make; inside");
	pass(block + offset);
	STAY();
}

STEP void inside_small(void)
{
	inside(100, 16, "pass; inside; inside_small; commit; main");
	STAY();
}

STEP void misaligned(void)
{
	inside(100, 1, "pass; inside; misaligned; commit; main");
	STAY();
}

STEP void last_byte(void)
{
	inside(100, 99, "pass; inside; last_byte; commit; main");
	STAY();
}

STEP void inside_medium(void)
{
	inside(MEDIUM, 70000, "pass; inside; inside_medium; commit; main");
	STAY();
}

STEP void inside_large(void)
{
	inside(LARGE, 2 << 20, "pass; inside; inside_large; commit; main");
	STAY();
}

STEP void before(void)
{
	char *block = (char *)make(100);

	expect_interior(block, 100, "before", 8, block - 8);
	expect_party("passed", "pass; before; commit; main");
	expect_party("allocated", "make; before; commit; main");
	pass(block - 8);
	STAY();
}

STEP void at_end(void)
{
	char *block = (char *)make(100);

	expect_interior(block, 100, "behind", 0, block + 100);
	expect_party("passed", "pass; at_end; commit; main");
	expect_party("allocated", "make; at_end; commit; main");
	pass(block + 100);
	STAY();
}

STEP void in_canary(void)
{
	char *block = (char *)make(100);

	expect_interior(block, 100, "behind", 5, block + 105);
	expect_party("passed", "pass; in_canary; commit; main");
	expect_party("allocated", "make; in_canary; commit; main");
	pass(block + 105);
	STAY();
}

STEP void inside_freed(void)
{
	char *block = (char *)make(100);

	drop(block);
	expect_fatal(
		"free(): interior pointer %p (40 bytes into the freed 100-byte block %p)",
		(void *)(block + 40), (void *)block);
	expect_party("passed", "pass; inside_freed; commit; main");
	expect_party("freed", "drop; inside_freed; commit; main");
	expect_party("allocated", "make; inside_freed; commit; main");
	pass(block + 40);
	STAY();
}

/* ---- elsewhere ---- */

static void expect_invalid(const void *address, const char *but, const char *where)
{
	expect_fatal("free(): invalid pointer %p (not a block of this allocator, %s%s)",
		     address, but, where);
}

STEP void on_stack(void)
{
	char variable[64];

	expect_invalid(opaque(variable), "but on this thread's stack", "");
	expect_party("passed", "pass; on_stack; commit; main");
	pass(variable);
	STAY();
}

STEP void *on_stack_there(void *unused)
{
	char variable[64];

	(void)unused;
	expect_invalid(opaque(variable), "but on this thread's stack", "");
	expect_party("passed", "pass; on_stack_there");
	pass(variable);
	return NULL;
}

STEP void on_thread_stack(void)
{
	run_here(on_stack_there, NULL);
	STAY();
}

STEP void *pass_there(void *address)
{
	expect_invalid(address, "but on the main thread's stack", "");
	expect_party("passed", "pass; pass_there");
	pass(address);
	return NULL;
}

STEP void on_main_stack(void)
{
	char variable[64];

	run_here(pass_there, variable);
	STAY();
}

static long variable[8] = { 1 };

STEP void global(void)
{
	expect_invalid(variable, "but in ", program_path());
	expect_party("passed", "pass; global; commit; main");
	pass(variable);
	STAY();
}

STEP void literal(void)
{
	static const char text[] = "not to be freed";

	expect_invalid(opaque(text), "but in ", program_path());
	expect_party("passed", "pass; literal; commit; main");
	pass(opaque(text));
	STAY();
}

STEP void function(void)
{
	void *address = (void *)(uintptr_t)function;

	expect_invalid(address, "but in ", program_path());
	expect_party("passed", "pass; function; commit; main");
	pass(address);
	STAY();
}

STEP void file_mapping(void)
{
	int fd = open(program_path(), O_RDONLY | O_CLOEXEC);
	void *mapping = mmap(NULL, 100, PROT_READ, MAP_PRIVATE, fd, 0);

	expect_invalid(mapping, "but in ", program_path());
	expect_party("passed", "pass; file_mapping; commit; main");
	pass(mapping);
	STAY();
}

STEP void anonymous_mapping(void)
{
	char *mapping = (char *)tap_map(65536);

	expect_invalid(mapping + 4096, "but in an anonymous mapping", "");
	expect_party("passed", "pass; anonymous_mapping; commit; main");
	pass(mapping + 4096);
	STAY();
}

STEP void by_sbrk(void)
{
	char *block = (char *)sbrk(4096);

	expect_invalid(block, "but in ", "[heap]");
	expect_party("passed", "pass; by_sbrk; commit; main");
	pass(block);
	STAY();
}

STEP void wild(void)
{
	void *address = (void *)(uintptr_t)0xdeadbeefdeadbee0u;

	expect_fatal("free(): invalid pointer %p (not a block of this allocator, and "
		     "nothing is mapped there)",
		     address);
	expect_party("passed", "pass; wild; commit; main");
	pass(address);
	STAY();
}

/* What a program finds that takes a pointer from a block that it never wrote to. */
STEP void never_written(void)
{
	void **block = (void **)make(64);
	void *address = block[3];

	expect_fatal("free(): invalid pointer 0xdfdfdfdfdfdfdfdf (not a block of this "
		     "allocator, and nothing is mapped there)");
	expect_party("passed", "pass; never_written; commit; main");
	pass(address);
	STAY();
}

/* In a slab that has other blocks, but never handed out. */
STEP void never_allocated(void)
{
	char *block = (char *)make(20000);
	struct hakmem_query query = { 0 };

	query.address = block;
	ctl(HAKMEM_QUERY, &query, sizeof(query));
	block += 2 * query.class_size;
	expect_invalid(block, "but in an anonymous mapping", "");
	expect_party("passed", "pass; never_allocated; commit; main");
	pass(block);
	STAY();
}

static const struct crime crimes[] = {
	{ "inside-small", NULL, inside_small },
	{ "misaligned", NULL, misaligned },
	{ "last-byte", NULL, last_byte },
	{ "inside-medium", NULL, inside_medium },
	{ "inside-large", NULL, inside_large },
	{ "before", NULL, before },
	{ "at-end", NULL, at_end },
	{ "in-canary", NULL, in_canary },
	{ "inside-freed", NULL, inside_freed },
	{ "on-stack", NULL, on_stack },
	{ "on-thread-stack", NULL, on_thread_stack },
	{ "on-main-stack", NULL, on_main_stack },
	{ "global", NULL, global },
	{ "literal", NULL, literal },
	{ "function", NULL, function },
	{ "file-mapping", NULL, file_mapping },
	{ "anonymous-mapping", NULL, anonymous_mapping },
	{ "sbrk", NULL, by_sbrk },
	{ "wild", NULL, wild },
	{ "never-written", NULL, never_written },
	{ "never-allocated", NULL, never_allocated },
};

FAMILY(crimes)
