/* SPDX-License-Identifier: MIT
 *
 * C++ objects that are lost.
 */
#include "libabuse.h"

#include <memory>
#include <string>
#include <vector>

static void expect_lost(unsigned long indirect_blocks, unsigned long indirect_bytes,
			unsigned long bytes, const char *functions)
{
	expect_fatal(
		"leaks(): lost 1 block, %lu bytes (the largest %lu bytes, the oldest N "
		"s ago, thread %d)",
		bytes, bytes, this_thread());
	expect_leak(functions);
	expect_fatal(
		"leaks(): in all: lost 1 block, %lu bytes, in 1 stack; indirectly lost "
		"%lu block%s, %lu bytes; reachable N; in quarantine N; suppressed 0 "
		"blocks, 0 bytes, in 0 stacks",
		bytes, indirect_blocks, indirect_blocks == 1 ? "" : "s", indirect_bytes);
	expect_status(23);
}

struct Object {
	long numbers[4];
};

STEP void lose_object()
{
	opaque(new Object());
	STAY();
}

STEP void object()
{
	lose(lose_object);
	expect_lost(0, 0, sizeof(Object), "lose_object; lose; object; commit; main");
}

/* Two objects that hold each other. */
struct Node {
	std::shared_ptr<Node> other;
	std::vector<int> numbers;
};

STEP void lose_circle()
{
	auto *node = new Node();

	node->numbers.assign(100, 1);
	opaque(node);
	STAY();
}

STEP void container()
{
	lose(lose_circle);
	expect_lost(1, 400, sizeof(Node), "lose_circle; lose; container; commit; main");
}

/* An array whose elements have destructors is known by a pointer into the block. */
static std::string *volatile strings;

STEP void keep_array()
{
	strings = new std::string[10];
	for (int i = 0; i < 10; i++)
		strings[i] = std::string(100, 'x');
	STAY();
}

STEP void kept_array()
{
	lose(keep_array);
}

static const struct crime crimes[] = {
	{ "object", "leaks,exitcode:23", object },
	{ "container", "leaks,exitcode:23", container },
	{ "kept-array", "leaks,exitcode:23", kept_array },
};

FAMILY(crimes)
