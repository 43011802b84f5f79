/* SPDX-License-Identifier: MIT
 *
 * quarantine.c - a ring of rooms, and two of what has left it, mapped at the first use.  Not
 * variables: in a program that is linked with the library, those are searched for pointers to
 * blocks.
 */
#include "debug/quarantine.h"

#include "debug/block.h"
#include "debug/options.h"
#include "os.h"

#define ENTRIES ((size_t)1 << 17) /* 1 MiB of addresses */

struct hk_lock hk_quarantine_lock;

static char **ring;
static size_t oldest, count, bytes;

static char *leave_locked(void)
{
	struct hk_block block;

	hk_block_of_room(ring[oldest++ % ENTRIES], &block);
	count--;
	bytes -= block.room_size;
	return block.room;
}

static bool is_old_locked(uint32_t now)
{
	struct hk_block block;

	if (!hk_debug_options.quarantine_ms)
		return false;
	hk_block_of_room(ring[oldest % ENTRIES], &block);
	return (uint64_t)(now - block.record->freed_at) * 10 >
	       hk_debug_options.quarantine_ms;
}

static bool has_too_much_locked(uint32_t now)
{
	return count && (bytes > hk_debug_options.quarantine || count == ENTRIES ||
			 is_old_locked(now));
}

bool hk_quarantine_add(char *room, size_t size, uint32_t now,
		       char *leavers[HK_QUARANTINE_LEAVERS], unsigned *left)
{
	*left = 0;
	if (size > hk_debug_options.quarantine / 2)
		return false;
	hk_lock(&hk_quarantine_lock);
	if (!ring) {
		ring = hk_os_map(ENTRIES * sizeof(*ring), hk_os_page_size, NULL);
		if (ring)
			hk_os_uncount(ENTRIES * sizeof(*ring));
	}
	if (!ring) {
		hk_unlock(&hk_quarantine_lock);
		return false;
	}
	/* count < ENTRIES: whoever adds makes one leave. */
	ring[(oldest + count++) % ENTRIES] = room;
	bytes += size;
	while (*left < HK_QUARANTINE_LEAVERS && has_too_much_locked(now))
		leavers[(*left)++] = leave_locked();
	hk_unlock(&hk_quarantine_lock);
	return true;
}

char *hk_quarantine_take(void)
{
	char *room;

	hk_lock(&hk_quarantine_lock);
	room = count ? leave_locked() : NULL;
	hk_unlock(&hk_quarantine_lock);
	return room;
}

void hk_quarantine_visit_locked(void (*visit)(char *room, void *context), void *context)
{
	for (size_t i = 0; i < count; i++)
		visit(ring[(oldest + i) % ENTRIES], context);
}

void hk_quarantine_count_locked(uint64_t *blocks, uint64_t *bytes_kept)
{
	*blocks = count;
	*bytes_kept = bytes;
}

/* ---- what has left ---- */

#define LEFT_ENTRIES 256

struct left {
	char *start;
	size_t size;
	struct hk_block_record record;
};

static struct left_ring {
	size_t next; /* entries written so far */
	struct left entries[LEFT_ENTRIES];
} * left_rings; /* of small ones, of larger ones */

void hk_quarantine_note_locked(const struct hk_block *block)
{
	struct left_ring *of_size;

	if (!left_rings) {
		left_rings = hk_os_map(2 * sizeof(*left_rings), hk_os_page_size, NULL);
		if (!left_rings)
			return;
		hk_os_uncount(2 * sizeof(*left_rings));
	}
	of_size = &left_rings[block->room_size > HK_CLASS_MAX];
	of_size->entries[of_size->next++ % LEFT_ENTRIES] = (struct left){
		block->start, block->size, *block->record
	};
}

static const struct left *find_left_locked(const void *start)
{
	for (size_t i = 0; left_rings && i < 2; i++) {
		const struct left_ring *of_size = &left_rings[i];

		for (size_t back = 1; back <= LEFT_ENTRIES && back <= of_size->next;
		     back++) {
			const struct left *left =
				&of_size->entries[(of_size->next - back) % LEFT_ENTRIES];

			if (left->start == start)
				return left;
		}
	}
	return NULL;
}

bool hk_quarantine_find_left(const void *start, struct hk_block *block,
			     struct hk_block_record *record)
{
	const struct left *left;

	hk_lock(&hk_quarantine_lock);
	left = find_left_locked(start);
	if (left) {
		*record = left->record;
		*block = (struct hk_block){ .record = record,
					    .state = HK_BLOCK_FREED,
					    .start = left->start,
					    .size = left->size };
	}
	hk_unlock(&hk_quarantine_lock);
	return left != NULL;
}
