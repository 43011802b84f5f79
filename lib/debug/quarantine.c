/* SPDX-License-Identifier: MIT
 *
 * quarantine.c - a ring of rooms, mapped at the first use.
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
