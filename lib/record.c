/* SPDX-License-Identifier: MIT
 *
 * record.c - chunks of equal records, with a bitmap of the free ones in the chunk's header.
 */
#include "record.h"

#include <string.h>

#include "os.h"

#define BITMAP_WORDS 16

struct hk_record_chunk {
	struct hk_record_chunk *next;
	uint64_t free[BITMAP_WORDS];
	uint32_t free_records;
};

static struct hk_record_chunk *map_chunk(struct hk_records *records)
{
	size_t bytes = (size_t)1 << records->chunk_shift;
	size_t count = bytes >> records->shift;
	size_t header = (sizeof(struct hk_record_chunk) >> records->shift) + 1;
	struct hk_record_chunk *chunk;

	hk_assert(count <= BITMAP_WORDS * 64);
	chunk = hk_os_map(bytes, bytes, NULL);
	if (!chunk)
		return NULL;
	if (records->uncounted)
		hk_os_uncount(bytes);
	/* Of most records little is touched, and of many of them parts are purged. */
	hk_os_huge_pages(chunk, bytes, false);
	for (size_t i = header; i < count; i++)
		chunk->free[i / 64] |= (uint64_t)1 << (i % 64);
	chunk->free_records = (uint32_t)(count - header);
	return chunk;
}

void *hk_record_take(struct hk_records *records)
{
	struct hk_record_chunk *chunk;
	unsigned word = 0, bit;

	hk_lock(&records->lock);
	for (chunk = records->chunks; chunk && !chunk->free_records; chunk = chunk->next)
		;
	if (!chunk) {
		chunk = map_chunk(records);
		if (!chunk) {
			hk_unlock(&records->lock);
			return NULL;
		}
		chunk->next = records->chunks;
		records->chunks = chunk;
	}
	while (!chunk->free[word])
		word++;
	bit = (unsigned)__builtin_ctzl(chunk->free[word]);
	chunk->free[word] &= chunk->free[word] - 1;
	chunk->free_records--;
	records->in_use++;
	hk_unlock(&records->lock);
	return (char *)chunk + ((size_t)(word * 64 + bit) << records->shift);
}

void hk_record_give(struct hk_records *records, void *record)
{
	uintptr_t mask = ((uintptr_t)1 << records->chunk_shift) - 1;
	struct hk_record_chunk *chunk = (void *)((uintptr_t)record & ~mask);
	size_t index = ((uintptr_t)record & mask) >> records->shift;
	size_t bytes = (size_t)1 << records->shift;

	/* Zeroed for the next taker; by the kernel, where that gives pages back. */
	if (bytes < hk_os_page_size || !hk_os_purge(record, bytes))
		memset(record, 0, bytes);
	hk_lock(&records->lock);
	hk_assert(!(chunk->free[index / 64] >> (index % 64) & 1));
	chunk->free[index / 64] |= (uint64_t)1 << (index % 64);
	chunk->free_records++;
	records->in_use--;
	hk_unlock(&records->lock);
}

size_t hk_record_bytes_locked(const struct hk_records *records)
{
	return records->in_use * records->touched;
}
