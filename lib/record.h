/* SPDX-License-Identifier: MIT
 *
 * record.h - the allocator's own bookkeeping, in mappings apart from user data.
 *
 * Records of one size, in chunks: a power of two bytes, aligned to it, whose first record is
 * the chunk's header.  A chunk is never unmapped, so a stale pointer to a record can be read
 * safely (and then found stale under the owner's lock); the pages of a record given back go
 * to the kernel where it spans any.
 *
 * Takes its own lock, a leaf of the order in fork.h.
 */
#ifndef HK_RECORD_H
#define HK_RECORD_H

#include "lock.h"

struct hk_record_chunk;

struct hk_records {
	struct hk_lock lock;
	uint32_t shift;       /* a record is 1 << shift bytes, and aligned to that */
	uint32_t chunk_shift; /* a chunk 1 << chunk_shift, at most 1,024 records */
	bool uncounted;       /* hk_os_uncount() */
	size_t touched; /* bytes of a record that use makes resident, for the counters */
	struct hk_record_chunk *chunks;
	size_t in_use;
};

#define HK_RECORDS(shift_, chunk_shift_, touched_)                                      \
	{                                                                               \
		.shift = (shift_), .chunk_shift = (chunk_shift_), .touched = (touched_) \
	}

/* A zeroed record, or NULL. */
void *hk_record_take(struct hk_records *records);
void hk_record_give(struct hk_records *records, void *record);

/* Bytes that the records in use hold; the caller holds the lock. */
size_t hk_record_bytes_locked(const struct hk_records *records);

#endif /* HK_RECORD_H */
