/* SPDX-License-Identifier: MIT
 *
 * record.c - chunks of equal records, with a bitmap of the free ones in the chunk's header.
 */
#include "record.h"

#include <string.h>

#include "os.h"

#define BITMAP_WORDS 16
#define MORE_BYTES ((size_t)4 << 20) /* at most, mapped at once */

struct hk_record_chunk {
	struct hk_record_chunk *next;
	uint64_t free[BITMAP_WORDS];
	uint32_t free_records;
};

/* Its records are free, and it is the first to be looked at. */
static void add_chunk(struct hk_records *records, struct hk_record_chunk *chunk)
{
	size_t count = (size_t)1 << (records->chunk_shift - records->shift);
	size_t header = (sizeof(struct hk_record_chunk) >> records->shift) + 1;

	hk_assert(count <= BITMAP_WORDS * 64);
	for (size_t i = header; i < count; i++)
		chunk->free[i / 64] |= (uint64_t)1 << (i % 64);
	chunk->free_records = (uint32_t)(count - header);
	chunk->next = records->chunks;
	records->chunks = chunk;
}

/*
 * The first chunk alone, as most processes are small, and each counts where memory is not
 * overcommitted; then some at once, as each mapping counts, too (vm.max_map_count).
 */
static bool map_chunks(struct hk_records *records)
{
	size_t bytes = (size_t)1 << records->chunk_shift;
	size_t chunks = records->chunks && bytes <= MORE_BYTES / 4 ? 4 : 1;
	char *mapped = hk_os_map(chunks * bytes, bytes, NULL);

	if (!mapped && chunks > 1) {
		chunks = 1;
		mapped = hk_os_map(bytes, bytes, NULL);
	}
	if (!mapped)
		return false;
	if (records->uncounted)
		hk_os_uncount(chunks * bytes);
	/* Of most records little is touched, and of many of them parts are purged. */
	hk_os_huge_pages(mapped, chunks * bytes, false);
	while (chunks--)
		add_chunk(records, (struct hk_record_chunk *)(mapped + chunks * bytes));
	return true;
}

void *hk_record_take(struct hk_records *records)
{
	struct hk_record_chunk *chunk;
	unsigned word = 0, bit;

	hk_lock(&records->lock);
	for (chunk = records->chunks; chunk && !chunk->free_records; chunk = chunk->next)
		;
	if (!chunk) {
		if (!map_chunks(records)) {
			hk_unlock(&records->lock);
			return NULL;
		}
		chunk = records->chunks;
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
