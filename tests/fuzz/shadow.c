/* SPDX-License-Identifier: MIT
 *
 * shadow.c - the index of blocks that live, a skip list (Pugh, CACM 1990), and patterns.
 */
#define _GNU_SOURCE
#include "shadow.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* So many bytes are written whole; of more, both ends, and in between some in pages. */
enum { WHOLE = 2048, END = 256, MIDDLE = 64, STRIDE = 4096, STRIDES = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block head;
static size_t blocks;

void *shadow_map(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		_exit(3);
	return memory;
}

/* ---- the index ---- */

/* One of no usable bytes has an address of its own, too. */
static unsigned char *end_of(const struct block *block)
{
	return block->base + (block->usable ? block->usable : 1);
}

/* On each level the last one before the address. */
static void find(const unsigned char *base, struct block *before[SHADOW_LEVELS])
{
	struct block *at = &head;

	for (int level = SHADOW_LEVELS - 1; level >= 0; level--) {
		while (at->next[level] && at->next[level]->base < base)
			at = at->next[level];
		before[level] = at;
	}
}

/* One in four is on each level above; which, its address decides. */
static unsigned levels_of(const unsigned char *base)
{
	uint64_t hash = ((uintptr_t)base >> 3) * 0x9e3779b97f4a7c15u;
	unsigned levels = 1;

	for (hash >>= 32; levels < SHADOW_LEVELS && (hash & 3) == 0; hash >>= 2)
		levels++;
	return levels;
}

struct block *shadow_enter(struct block *block)
{
	struct block *before[SHADOW_LEVELS], *other = NULL;

	pthread_mutex_lock(&lock);
	find(block->base, before);
	if (before[0] != &head && end_of(before[0]) > block->base)
		other = before[0];
	else if (before[0]->next[0] && end_of(block) > before[0]->next[0]->base)
		other = before[0]->next[0];
	if (!other) {
		block->levels = levels_of(block->base);
		for (unsigned level = 0; level < block->levels; level++) {
			block->next[level] = before[level]->next[level];
			before[level]->next[level] = block;
		}
		blocks++;
	}
	pthread_mutex_unlock(&lock);
	return other;
}

void shadow_leave(struct block *block)
{
	struct block *before[SHADOW_LEVELS];

	pthread_mutex_lock(&lock);
	find(block->base, before);
	for (unsigned level = 0; level < block->levels; level++)
		before[level]->next[level] = block->next[level];
	blocks--;
	pthread_mutex_unlock(&lock);
}

size_t shadow_blocks(void)
{
	size_t number;

	pthread_mutex_lock(&lock);
	number = blocks;
	pthread_mutex_unlock(&lock);
	return number;
}

/* ---- patterns ---- */

/* Each word is the pattern and its own offset, so that a word in a wrong place is seen. */
static void write_span(unsigned char *base, size_t from, size_t to, uint64_t pattern)
{
	uint64_t word;

	for (; to - from >= sizeof(word); from += sizeof(word)) {
		word = pattern + from;
		memcpy(base + from, &word, sizeof(word));
	}
	word = pattern + from;
	memcpy(base + from, &word, to - from);
}

static size_t changed_span(const unsigned char *base, size_t from, size_t to, size_t kept,
			   uint64_t pattern)
{
	uint64_t word, there;

	if (to > kept)
		to = kept;
	if (from >= to)
		return SIZE_MAX;
	for (; to - from >= sizeof(word); from += sizeof(word)) {
		memcpy(&there, base + from, sizeof(there));
		if (there != pattern + from)
			return from;
	}
	word = pattern + from;
	return memcmp(base + from, &word, to - from) ? from : SIZE_MAX;
}

static size_t stride_of(size_t bytes)
{
	size_t stride = bytes / STRIDES / STRIDE * STRIDE;

	return stride ? stride : STRIDE;
}

static size_t tail_of(size_t bytes)
{
	return (bytes - END) & ~(sizeof(uint64_t) - 1);
}

void shadow_write(unsigned char *base, size_t bytes, uint64_t pattern)
{
	if (bytes <= WHOLE) {
		write_span(base, 0, bytes, pattern);
		return;
	}
	write_span(base, 0, END, pattern);
	for (size_t at = stride_of(bytes); at + MIDDLE <= bytes; at += stride_of(bytes))
		write_span(base, at, at + MIDDLE, pattern);
	write_span(base, tail_of(bytes), bytes, pattern);
}

size_t shadow_changed(const unsigned char *base, size_t bytes, size_t kept,
		      uint64_t pattern)
{
	size_t at, changed;

	if (bytes <= WHOLE)
		return changed_span(base, 0, bytes, kept, pattern);
	changed = changed_span(base, 0, END, kept, pattern);
	for (at = stride_of(bytes); changed == SIZE_MAX && at + MIDDLE <= bytes;
	     at += stride_of(bytes))
		changed = changed_span(base, at, at + MIDDLE, kept, pattern);
	if (changed == SIZE_MAX)
		changed = changed_span(base, tail_of(bytes), bytes, kept, pattern);
	return changed;
}

bool shadow_is_filled(const unsigned char *base, size_t bytes, unsigned char byte)
{
	return !bytes || (base[0] == byte && !memcmp(base, base + 1, bytes - 1));
}
