/* SPDX-License-Identifier: MIT
 *
 * stacks.c - the table of call stacks.
 *
 * Owns its memory: chunks of 4 MiB, mapped when the one before is full, filled from the
 * front and never given back.  A stack's number is where its entry begins, in words of 8
 * bytes over all chunks, plus 1.  Called by unwind.c, and by whoever prints a stack.  Takes no
 * lock, waits for nobody, keeps errno.
 */
#include "debug/stacks.h"

#include <stdatomic.h>
#include <string.h>

#include "os.h"

#define BUCKETS ((size_t)1 << 16)
#define CHUNK_SHIFT 22
#define CHUNK_BYTES ((uint64_t)1 << CHUNK_SHIFT)
#define CHUNKS ((size_t)8192)
#define WORD sizeof(uint64_t)

struct entry {
	hk_stack next; /* in the bucket; 0 ends it */
	uint32_t hash;
	uint32_t count;
	uint32_t generation;
	uintptr_t frames[];
};

_Static_assert(
	CHUNKS *CHUNK_BYTES / WORD <= (uint64_t)1 << 32,
	"each word's number fits, and the last, at which no entry can begin, is not used");
_Static_assert(sizeof(struct entry) % WORD == 0 && sizeof(uintptr_t) == WORD,
	       "entries are whole words");

/*
 * How an entry becomes visible.  It is written by plain stores; then the compare-and-swap on
 * the head of its bucket, a release, publishes it.  Whoever searches loads the head by an
 * acquire that reads this swap's value or that of a later one: each of those swaps is a
 * read-modify-write, so they all belong to the release sequence of every earlier one, and the
 * whole chain behind the head is there.  Nothing of an entry changes after that, next
 * included, as entries are only put in front.
 *
 * The chunk's address was stored (or loaded) by the publishing thread before the swap, so
 * whoever knows a number of the chunk finds the address.  Who has the number from elsewhere,
 * from a block's record say, got it by an acquire of theirs, which comes later still.
 */
static _Atomic hk_stack heads[BUCKETS];
static char *_Atomic chunks[CHUNKS];
static _Atomic uint64_t used; /* bytes of all chunks, up to the first that is free */
static _Atomic size_t entries;

static struct entry *entry_of(hk_stack stack)
{
	uint64_t offset = (uint64_t)(stack - 1) * WORD;
	char *chunk = atomic_load_explicit(&chunks[offset >> CHUNK_SHIFT],
					   memory_order_acquire);

	return (struct entry *)(void *)(chunk + (offset & (CHUNK_BYTES - 1)));
}

/* From wyhash's mixing step (Wang Yi, 2019): both halves of a product, folded. */
static uint64_t mix(uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t hash_of(const uintptr_t *frames, unsigned count, uint32_t generation)
{
	uint64_t hash = 0x9e3779b97f4a7c15 ^ ((uint64_t)generation << 8 | count);

	for (unsigned i = 0; i < count; i++)
		hash = mix(hash ^ frames[i], 0xd6e8feb86659fd93);
	return (uint32_t)(hash ^ hash >> 32);
}

/* The same stack among those from first on, up to, not including, end. */
static hk_stack search(hk_stack first, hk_stack end, const struct entry *wanted,
		       const uintptr_t *frames)
{
	for (hk_stack stack = first; stack != end;) {
		const struct entry *entry = entry_of(stack);

		if (entry->hash == wanted->hash && entry->count == wanted->count &&
		    entry->generation == wanted->generation &&
		    memcmp(entry->frames, frames, wanted->count * WORD) == 0)
			return stack;
		stack = entry->next;
	}
	return 0;
}

/* Of two who map the same chunk at a time, one gives its mapping back. */
static bool have_chunk(size_t index)
{
	char *mapped, *found = NULL;

	if (index >= CHUNKS)
		return false;
	if (atomic_load_explicit(&chunks[index], memory_order_acquire))
		return true;
	mapped = hk_os_map(CHUNK_BYTES, hk_os_page_size, NULL);
	if (!mapped)
		return false;
	if (!atomic_compare_exchange_strong_explicit(&chunks[index], &found, mapped,
						     memory_order_acq_rel,
						     memory_order_acquire))
		hk_os_unmap(mapped, CHUNK_BYTES);
	return true;
}

/* Room for an entry, which never lies across two chunks; its number, or 0. */
static hk_stack reserve(uint64_t bytes)
{
	uint64_t end = atomic_load_explicit(&used, memory_order_relaxed), start;

	do {
		start = end;
		if ((start & (CHUNK_BYTES - 1)) + bytes > CHUNK_BYTES)
			start = hk_align_up(start, CHUNK_BYTES);
		/* Before it is taken, so that failing takes nothing. */
		if (!have_chunk(start >> CHUNK_SHIFT))
			return 0;
		/* Acquire: it may have been another's who has given it back, written to. */
	} while (!atomic_compare_exchange_weak_explicit(
		&used, &end, start + bytes, memory_order_acquire, memory_order_relaxed));
	return (hk_stack)(start / WORD + 1);
}

/* Back again, if nobody has taken room behind it; else it stays unused. */
static void give_back(hk_stack stack, uint64_t bytes)
{
	uint64_t start = (uint64_t)(stack - 1) * WORD, end = start + bytes;

	atomic_compare_exchange_strong_explicit(&used, &end, start, memory_order_release,
						memory_order_relaxed);
}

hk_stack hk_stacks_add(const uintptr_t *frames, unsigned count, uint32_t generation)
{
	struct entry wanted = { .count = count, .generation = generation }, *entry;
	hk_stack head, searched = 0, found, stack;
	_Atomic hk_stack *bucket;
	uint64_t bytes;

	if (!count)
		return 0;
	if (count > HK_FRAMES)
		wanted.count = count = HK_FRAMES;
	wanted.hash = hash_of(frames, count, generation);
	bucket = &heads[wanted.hash & (BUCKETS - 1)];
	head = atomic_load_explicit(bucket, memory_order_acquire);
	found = search(head, searched, &wanted, frames);
	if (found)
		return found;

	bytes = sizeof(wanted) + count * WORD;
	stack = reserve(bytes);
	if (!stack)
		return 0;
	entry = entry_of(stack);
	*entry = wanted;
	memcpy(entry->frames, frames, count * WORD);
	for (;;) {
		searched = head;
		entry->next = head;
		if (atomic_compare_exchange_strong_explicit(bucket, &head, stack,
							    memory_order_release,
							    memory_order_acquire))
			break;
		found = search(head, searched, &wanted, frames);
		if (found) {
			give_back(stack, bytes);
			return found;
		}
	}
	atomic_fetch_add_explicit(&entries, 1, memory_order_relaxed);
	return stack;
}

unsigned hk_stacks_frames(hk_stack stack, const uintptr_t **frames, uint32_t *generation)
{
	const struct entry *entry;

	if (!stack)
		return 0;
	entry = entry_of(stack);
	*frames = entry->frames;
	*generation = entry->generation;
	return entry->count;
}

void hk_stacks_count(size_t *stacks, size_t *bytes)
{
	*stacks = atomic_load_explicit(&entries, memory_order_relaxed);
	*bytes = (size_t)atomic_load_explicit(&used, memory_order_relaxed);
}
