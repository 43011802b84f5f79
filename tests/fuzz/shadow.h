/* SPDX-License-Identifier: MIT
 *
 * shadow.h - the shadow heap: what each block that lives must be, and which others there are.
 *
 * It lies in mappings of its own.  All threads' blocks are in one index by address, under a
 * lock of its own; the pattern in a block is its holder's concern.
 *
 * A block leaves the index before it is given to free() or realloc(), and enters it after the
 * call that it came from: what another thread is given meanwhile can be the same addresses.
 */
#ifndef FUZZ_SHADOW_H
#define FUZZ_SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHADOW_LEVELS = 8 };

/* How it was made: by what it may be ended depends on that. */
enum way {
	BY_MALLOC,
	BY_CALLOC,
	BY_REALLOC,
	BY_REALLOCARRAY,
	BY_ALIGNED_ALLOC,
	BY_POSIX_MEMALIGN,
	BY_MEMALIGN,
	BY_VALLOC,
	BY_PVALLOC,
	BY_NEW,
	BY_NEW_ARRAY,
	BY_NEW_ALIGNED,
	BY_NEW_ARRAY_ALIGNED,
	WAYS
};

struct block {
	unsigned char *base; /* NULL: the record is free */
	size_t size;         /* as asked for */
	size_t usable;       /* as malloc_usable_size() said; all of it is written */
	size_t alignment;    /* as asked for, else 1 */
	uint64_t pattern;
	enum way way;
	unsigned levels;
	struct block *next[SHADOW_LEVELS];
};

/* Memory that is no block of malloc; ends the process where there is none. */
void *shadow_map(size_t bytes);

/* NULL, or a block that has bytes of this one; then it has not been entered. */
struct block *shadow_enter(struct block *block);
void shadow_leave(struct block *block);
size_t shadow_blocks(void);

/*
 * The pattern of a block of so many bytes: all of a small one; both ends of a large one, and
 * some bytes in its pages.
 */
void shadow_write(unsigned char *base, size_t bytes, uint64_t pattern);

/*
 * Of a pattern that was written into so many bytes, are the first `kept' as they were?  The
 * offset of the first word that is not, or SIZE_MAX.
 */
size_t shadow_changed(const unsigned char *base, size_t bytes, size_t kept,
		      uint64_t pattern);

bool shadow_is_filled(const unsigned char *base, size_t bytes, unsigned char byte);

#endif /* FUZZ_SHADOW_H */
