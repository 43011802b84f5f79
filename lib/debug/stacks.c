/* SPDX-License-Identifier: MIT
 *
 * stacks.c - the tree of call stacks.
 *
 * Owns its memory: chunks of 4 MiB, mapped when the one before is full, filled from the
 * front and never given back.  A stack's number is that of its entry over all chunks, plus 1.
 * Called by unwind.c, and by whoever prints a stack.  Takes no
 * lock, waits for nobody, keeps errno.
 */
#include "debug/stacks.h"

#include <stdatomic.h>

#include "os.h"

#define BUCKETS_SHIFT 18
#define CHUNK_SHIFT 18 /* entries */
#define CHUNK_ENTRIES ((uint32_t)1 << CHUNK_SHIFT)
#define CHUNK_BYTES (CHUNK_ENTRIES * sizeof(struct entry))
#define CHUNKS ((size_t)1 << 12)

struct entry {
	uintptr_t pc;    /* of a root: the generation */
	hk_stack caller; /* 0: it is a root */
	hk_stack next;   /* in the bucket; 0 ends it */
};

_Static_assert(CHUNKS << CHUNK_SHIFT <= UINT32_MAX, "each entry's number fits");

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
static _Atomic hk_stack heads[(size_t)1 << BUCKETS_SHIFT];
static struct entry *_Atomic chunks[CHUNKS];
static _Atomic uint32_t used; /* entries of all chunks, up to the first that is free */
static _Atomic uint32_t published;

static struct entry *entry_of(hk_stack stack)
{
	struct entry *chunk = atomic_load_explicit(&chunks[(stack - 1) >> CHUNK_SHIFT],
						   memory_order_acquire);

	return &chunk[(stack - 1) & (CHUNK_ENTRIES - 1)];
}

static _Atomic hk_stack *bucket_of(hk_stack caller, uintptr_t pc)
{
	uint64_t hash = (pc ^ (uint64_t)caller << 32) * 0xd6e8feb86659fd93;

	hash = (hash ^ hash >> 32) * 0x9e3779b97f4a7c15;
	return &heads[hash >> (64 - BUCKETS_SHIFT)];
}

/* The same among those from first on, up to, not including, end. */
static hk_stack search(hk_stack first, hk_stack end, hk_stack caller, uintptr_t pc)
{
	const struct entry *entry;

	for (hk_stack stack = first; stack != end; stack = entry->next) {
		entry = entry_of(stack);
		if (entry->pc == pc && entry->caller == caller)
			return stack;
	}
	return 0;
}

/* Of two who map the same chunk at a time, one gives its mapping back. */
static bool have_chunk(size_t index)
{
	struct entry *mapped, *found = NULL;

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

/* An entry's number, or 0. */
static hk_stack reserve(void)
{
	uint32_t next = atomic_load_explicit(&used, memory_order_relaxed);

	do {
		/* Before it is taken, so that failing takes nothing. */
		if (!have_chunk(next >> CHUNK_SHIFT))
			return 0;
		/* Acquire: it may have been another's who has given it back, written to. */
	} while (!atomic_compare_exchange_weak_explicit(
		&used, &next, next + 1, memory_order_acquire, memory_order_relaxed));
	return next + 1;
}

/* Back again, if nobody has taken one behind it; else it stays unused. */
static void give_back(hk_stack stack)
{
	uint32_t next = stack;

	atomic_compare_exchange_strong_explicit(
		&used, &next, stack - 1, memory_order_release, memory_order_relaxed);
}

static hk_stack add(hk_stack caller, uintptr_t pc)
{
	_Atomic hk_stack *bucket = bucket_of(caller, pc);
	hk_stack head = atomic_load_explicit(bucket, memory_order_acquire), searched = 0;
	hk_stack found = search(head, searched, caller, pc), stack;
	struct entry *entry;

	if (HK_LIKELY(found))
		return found;
	stack = reserve();
	if (!stack)
		return 0;
	entry = entry_of(stack);
	*entry = (struct entry){ .pc = pc, .caller = caller };
	for (;;) {
		searched = head;
		entry->next = head;
		if (atomic_compare_exchange_strong_explicit(bucket, &head, stack,
							    memory_order_release,
							    memory_order_acquire))
			break;
		found = search(head, searched, caller, pc);
		if (found) {
			give_back(stack);
			return found;
		}
	}
	atomic_fetch_add_explicit(&published, 1, memory_order_relaxed);
	return stack;
}

hk_stack hk_stacks_root(uint32_t generation)
{
	return add(0, generation);
}

hk_stack hk_stacks_push(hk_stack caller, uintptr_t pc)
{
	return caller ? add(caller, pc) : 0;
}

void hk_stacks_prefetch(hk_stack caller, uintptr_t pc)
{
	__builtin_prefetch(bucket_of(caller, pc));
}

hk_stack hk_stacks_add(const uintptr_t *frames, unsigned count, uint32_t generation)
{
	hk_stack stack;

	if (!count)
		return 0;
	if (count > HK_FRAMES)
		count = HK_FRAMES;
	stack = hk_stacks_root(generation);
	while (count--)
		stack = hk_stacks_push(stack, frames[count]);
	return stack;
}

unsigned hk_stacks_frames(hk_stack stack, uintptr_t frames[HK_FRAMES],
			  uint32_t *generation)
{
	const struct entry *entry;
	unsigned count = 0;

	if (!stack)
		return 0;
	for (entry = entry_of(stack); entry->caller; entry = entry_of(entry->caller))
		if (count < HK_FRAMES)
			frames[count++] = entry->pc;
	*generation = (uint32_t)entry->pc;
	return count;
}

hk_stack hk_stacks_told(hk_stack stack)
{
	uintptr_t frames[HK_FRAMES];
	uint32_t generation = 0;
	unsigned count = hk_stacks_frames(stack, frames, &generation);
	hk_stack told = hk_stacks_add(frames, count, generation);

	/* No memory: then it stands for itself. */
	return told ? told : stack;
}

void hk_stacks_count(size_t *stacks, size_t *bytes)
{
	*stacks = atomic_load_explicit(&published, memory_order_relaxed);
	*bytes = atomic_load_explicit(&used, memory_order_relaxed) * sizeof(struct entry);
}
