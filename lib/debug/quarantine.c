/* SPDX-License-Identifier: MIT
 *
 * quarantine.c - a ring of rooms, and two of what has left it, mapped at the first use.  Not
 * variables: in a program that is linked with the library, those are searched for pointers to
 * blocks.
 *
 * What leaves was freed long ago, as caches go.  So the ring has all that finding a room's
 * record would have to look up, and the first lines of a room and of its record are asked for
 * when it is AHEAD-th in line.
 */
#include "debug/quarantine.h"

#include <string.h>

#include "debug/block.h"
#include "debug/options.h"
#include "os.h"

#define ENTRIES_FIRST ((size_t)1 << 12)
#define ENTRIES_MOST ((size_t)1 << 17) /* 3 MiB of addresses */
#define SIZE_SHIFT 4                   /* rooms are multiples of 16 bytes */
#define AHEAD 8
#define LINE ((size_t)64)
#define LINES_AHEAD 4

struct entry {
	char *room;
	struct hk_block_record *record;
	uint32_t size; /* of the room, >> SIZE_SHIFT */
	uint32_t freed_at;
};

struct hk_lock hk_quarantine_lock;

static struct entry *ring;
static size_t entries = ENTRIES_FIRST; /* in use of the ring: a power of two */
static size_t oldest, count, bytes;

static struct entry *entry_locked(size_t behind_oldest)
{
	return &ring[(oldest + behind_oldest) & (entries - 1)];
}

static size_t room_size(const struct entry *entry)
{
	return (size_t)entry->size << SIZE_SHIFT;
}

HK_INLINE void read_entry(const struct entry *entry, struct hk_block *block)
{
	block->record = entry->record;
	block->room = entry->room;
	block->room_size = room_size(entry);
	hk_block_read(block);
}

/* Inline: GCC takes a function that only prefetches for one without effects, and drops the call. */
HK_INLINE void ask_for(const struct entry *entry)
{
	__builtin_prefetch(entry->record);
	__builtin_prefetch(entry->room + room_size(entry) - 1);
	for (size_t i = 0; i < LINES_AHEAD && i * LINE < room_size(entry); i++)
		__builtin_prefetch(entry->room + i * LINE);
}

/* ---- what has left ---- */

#define LEFT_ENTRIES 256

struct left {
	char *room;
	size_t room_size;
	struct hk_block_record record;
};

static struct left_ring {
	size_t next; /* entries written so far */
	struct left entries[LEFT_ENTRIES];
} * left_rings; /* of small ones, of larger ones */

static void *map_uncounted(size_t size)
{
	void *mapped;

	size = hk_align_up(size, hk_os_page_size);
	mapped = hk_os_map(size, hk_os_page_size, NULL);
	if (mapped)
		hk_os_uncount(size);
	return mapped;
}

HK_INLINE void note_locked(const struct hk_block *block)
{
	struct left_ring *of_size;

	if (HK_UNLIKELY(!left_rings)) {
		left_rings = map_uncounted(2 * sizeof(*left_rings));
		if (!left_rings)
			return;
	}
	of_size = &left_rings[block->room_size > HK_CLASS_MAX];
	of_size->entries[of_size->next++ % LEFT_ENTRIES] = (struct left){
		block->room, block->room_size, *block->record
	};
}

/* The last of these that began there, by the copy of its record; false: none did. */
static bool find_left_locked(struct left_ring *of_size, const void *start,
			     struct hk_block *block)
{
	for (size_t back = 1; back <= LEFT_ENTRIES && back <= of_size->next; back++) {
		struct left
			*left = &of_size->entries[(of_size->next - back) % LEFT_ENTRIES];

		*block = (struct hk_block){ .record = &left->record,
					    .room = left->room,
					    .room_size = left->room_size };
		hk_block_read(block);
		if (block->start == start)
			return true;
	}
	return false;
}

bool hk_quarantine_find_left(const void *start, struct hk_block *block,
			     struct hk_block_record *record)
{
	struct hk_block left;
	bool found = false;

	hk_lock(&hk_quarantine_lock);
	for (size_t i = 0; left_rings && i < 2 && !found; i++)
		found = find_left_locked(&left_rings[i], start, &left);
	if (found) {
		*record = *left.record;
		*block = left;
		block->record = record;
		block->state = HK_BLOCK_FREED;
	}
	hk_unlock(&hk_quarantine_lock);
	return found;
}

/* ---- the queue ---- */

HK_INLINE void leave_locked(struct hk_block *block)
{
	read_entry(entry_locked(0), block);
	if (HK_LIKELY(count > AHEAD))
		ask_for(entry_locked(AHEAD));
	oldest++;
	count--;
	bytes -= block->room_size;
	note_locked(block);
}

static bool is_old_locked(uint32_t now)
{
	return hk_debug_options.quarantine_ms &&
	       (uint64_t)(now - entry_locked(0)->freed_at) * 10 >
		       hk_debug_options.quarantine_ms;
}

static bool has_too_much_locked(uint32_t now)
{
	return count && (bytes > hk_debug_options.quarantine || count == ENTRIES_MOST ||
			 is_old_locked(now));
}

/* Room for one more.  It is not full: whoever fills it makes one leave. */
static bool reserve_locked(void)
{
	if (HK_UNLIKELY(!ring)) {
		ring = map_uncounted(ENTRIES_MOST * sizeof(*ring));
		if (!ring)
			return false;
	}
	if (HK_UNLIKELY(count == entries)) {
		/* Those that have wrapped around follow the others. */
		oldest &= entries - 1;
		memcpy(ring + entries, ring, oldest * sizeof(*ring));
		entries *= 2;
	}
	return true;
}

HK_INLINE unsigned leavers_locked(uint32_t now,
				  struct hk_block leavers[HK_QUARANTINE_LEAVERS])
{
	unsigned left = 0;

	while (left < HK_QUARANTINE_LEAVERS && has_too_much_locked(now))
		leave_locked(&leavers[left++]);
	return left;
}

unsigned hk_quarantine_add(const struct hk_block *block,
			   struct hk_block leavers[HK_QUARANTINE_LEAVERS])
{
	uint32_t now = block->record->freed_at;
	unsigned left;

	hk_lock(&hk_quarantine_lock);
	if (block->room_size <= hk_debug_options.quarantine / 2 &&
	    block->room_size >> SIZE_SHIFT <= UINT32_MAX && reserve_locked()) {
		*entry_locked(count++) = (struct entry){
			block->room, block->record,
			(uint32_t)(block->room_size >> SIZE_SHIFT), now
		};
		bytes += block->room_size;
		left = leavers_locked(now, leavers);
	} else {
		leavers[0] = *block;
		left = 1;
		note_locked(block);
	}
	hk_unlock(&hk_quarantine_lock);
	return left;
}

unsigned hk_quarantine_leavers(uint32_t now,
			       struct hk_block leavers[HK_QUARANTINE_LEAVERS])
{
	unsigned left;

	hk_lock(&hk_quarantine_lock);
	left = leavers_locked(now, leavers);
	hk_unlock(&hk_quarantine_lock);
	return left;
}

bool hk_quarantine_take(struct hk_block *block)
{
	bool any;

	hk_lock(&hk_quarantine_lock);
	any = count;
	if (any)
		leave_locked(block);
	hk_unlock(&hk_quarantine_lock);
	return any;
}

void hk_quarantine_visit_locked(void (*visit)(const struct hk_block *block,
					      void *context),
				void *context)
{
	for (size_t i = 0; i < count; i++) {
		struct hk_block block;

		read_entry(entry_locked(i), &block);
		visit(&block, context);
	}
}

void hk_quarantine_count_locked(uint64_t *blocks, uint64_t *bytes_kept)
{
	*blocks = count;
	*bytes_kept = bytes;
}
