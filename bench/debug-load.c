/* SPDX-License-Identifier: MIT
 *
 * debug-load SLOTS STEPS - what bench/debug runs under checkers, each of which wants it
 * built in its own way; so it is one file, and the runner compiles it.
 *
 * A step goes ten calls deep, by a path that its slot chooses from 256: what it costs to
 * note a stack is most of what a checker's malloc costs, and programs allocate from
 * hundreds of places.  There it frees the slot's block, read as a whole before, or else
 * fills the slot with a block of 16 to 1,024 bytes and writes it.  At the end all are
 * freed, and the program reports its peak, and its maps for the runner's proof.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 8

struct slot {
	unsigned char *block;
	size_t size;
};

static struct slot *slots;
static uint64_t state = UINT64_C(0x9e3779b97f4a7c15), sum;

/*
 * xorshift64*, Vigna, "An experimental exploration of Marsaglia's xorshift generators".
 */
static uint64_t draw(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * UINT64_C(0x2545f4914f6cdd1d);
}

static __attribute__((noinline)) void fill(struct slot *slot)
{
	slot->size = 16 + draw() % 1009;
	slot->block = malloc(slot->size);
	if (!slot->block) {
		perror("malloc");
		exit(1);
	}
	for (size_t i = 0; i < slot->size; i++)
		slot->block[i] = (unsigned char)(slot->size + i);
}

static __attribute__((noinline)) void drop(struct slot *slot)
{
	for (size_t i = 0; i < slot->size; i++)
		sum += slot->block[i];
	free(slot->block);
	slot->block = NULL;
}

static void left(struct slot *slot, unsigned path, unsigned depth);
static void right(struct slot *slot, unsigned path, unsigned depth);

static void go_on(struct slot *slot, unsigned path, unsigned depth)
{
	if (depth == DEPTH && slot->block)
		drop(slot);
	else if (depth == DEPTH)
		fill(slot);
	else if (path >> depth & 1)
		left(slot, path, depth + 1);
	else
		right(slot, path, depth + 1);
}

/* What each adds behind the call keeps it from being a jump, which leaves no frame. */
static __attribute__((noinline)) void left(struct slot *slot, unsigned path,
					   unsigned depth)
{
	go_on(slot, path, depth);
	sum += 1;
}

static __attribute__((noinline)) void right(struct slot *slot, unsigned path,
					    unsigned depth)
{
	go_on(slot, path, depth);
	sum += 2;
}

static void copy_lines(const char *path, const char *containing)
{
	char line[4096];
	FILE *file = fopen(path, "r");

	if (!file) {
		perror(path);
		exit(1);
	}
	while (fgets(line, sizeof(line), file))
		if (strstr(line, containing))
			fputs(line, stdout);
	fclose(file);
}

int main(int argc, char **argv)
{
	size_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
	size_t steps = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;

	if (!count || !steps) {
		fprintf(stderr, "usage: %s SLOTS STEPS\n", argv[0]);
		return 2;
	}
	slots = calloc(count, sizeof(*slots));
	if (!slots) {
		perror("calloc");
		return 1;
	}
	for (size_t step = 0; step < steps; step++) {
		size_t i = draw() % count;

		go_on(&slots[i], (unsigned)(i & 0xff), 0);
	}
	for (size_t i = 0; i < count; i++)
		if (slots[i].block)
			drop(&slots[i]);
	free(slots);
	printf("sum %llu\n", (unsigned long long)sum);
	copy_lines("/proc/self/status", "VmHWM:");
	copy_lines("/proc/self/maps", "/");
	return 0;
}
