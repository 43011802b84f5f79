/* SPDX-License-Identifier: MIT
 *
 * chunks.c - see chunks.h.  Takes hk_large_lock to commit what has become of a live block, and
 * makes its system calls without it.
 */
#include "chunks.h"

#include <string.h>

#include "config.h"
#include "os.h"
#include "pool.h"
#include "registry.h"
#include "spans.h"

/* What it shall have mapped as a block of so many bytes.  One that is split is whole. */
static size_t wanted(const struct hk_large *large, size_t bytes)
{
	return hk_spans_keep() || large->splits ? hk_chunks_of(bytes) : bytes;
}

/*
 * What is fresh, from a chunk on up to the block's end, gets what is cached.  Of the last chunk's
 * pages not all are wanted, so it gets the end of a span, or what the others leave.
 */
static void fill(struct hk_large *large, size_t from, size_t bytes)
{
	size_t full = bytes / HK_CHUNK_BYTES * HK_CHUNK_BYTES, end = 0, moved = 0;
	bool has_end = bytes > full && full >= from;

	if (!hk_span_is_whole(large) || !hk_spans_may_split())
		return;
	if (has_end)
		end = hk_spans_move_tail(large->base + full, bytes - full, false);
	if (full > from)
		moved = hk_spans_move_chunks(large->base + from, full - from);
	if (has_end && !end)
		end = hk_spans_move_tail(large->base + full, bytes - full, true);
	if (end)
		large->touched = full + end;
	else if (moved)
		large->touched = from + moved;
	if (end)
		moved += HK_CHUNK_BYTES;
	if (!moved)
		return;
	hk_span_set_splits(large, hk_least(large->splits + 1 + moved / HK_CHUNK_BYTES,
					   large->mapped / HK_CHUNK_BYTES));
	hk_os_count(-(ptrdiff_t)moved, 0);
}

/* ---- huge pages ---- */

/* HAKMEM_THP: of a dense block the chunks that it fills are wanted, and always the last one. */
static void advise(struct hk_large *large, bool fresh)
{
	enum hk_thp thp = hk_config_thp();
	size_t huge = 0;

	if (thp == HK_THP_DENSE && hk_span_is_whole(large))
		huge = large->bytes / HK_CHUNK_BYTES * HK_CHUNK_BYTES;
	else if (thp != HK_THP_NEVER)
		huge = large->mapped;
	if (!fresh && huge == large->huge)
		return;
	if (huge)
		hk_os_huge_pages(large->base, huge, true);
	else if (thp == HK_THP_NEVER)
		hk_os_huge_pages(large->base, large->mapped, false);
	if (huge && huge < large->mapped && !large->splits)
		hk_span_set_splits(large, 1);
	large->huge = huge;
}

/* It is a block of so many bytes now. */
static void settle(struct hk_large *large, size_t bytes, bool fresh)
{
	large->bytes = bytes;
	advise(large, fresh);
	if (large->touched < bytes)
		large->touched = bytes;
	/* All of a huge page is touched at once. */
	if (large->touched < large->huge)
		large->touched = large->huge;
}

/* ---- taking ---- */

static bool reserve(struct hk_large *large, size_t bytes, size_t alignment)
{
	large->base = hk_os_reserve(bytes, alignment);
	if (!large->base)
		return false;
	if (!hk_registry_reserve(large->base, bytes)) {
		hk_os_unreserve(large->base, bytes);
		return false;
	}
	large->mapped = bytes;
	hk_os_count((ptrdiff_t)bytes, 1);
	return true;
}

static struct hk_large *map(size_t bytes, size_t alignment, bool last_try)
{
	struct hk_large *large = hk_record_take(&hk_large_records);
	bool mapped;

	if (!large)
		return NULL;
	mapped = hk_pool_limits_allow(wanted(large, bytes), last_try) &&
		 reserve(large, wanted(large, bytes), alignment);
	if (!mapped && last_try && wanted(large, bytes) != bytes)
		mapped = hk_pool_limits_allow(bytes, true) &&
			 reserve(large, bytes, alignment);
	if (mapped)
		return large;
	hk_record_give(&hk_large_records, large);
	return NULL;
}

/* What was touched behind the block's end, and is more than may stay. */
static void trim(struct hk_large *large, size_t bytes)
{
	size_t most = bytes + hk_align_up(HK_BEHIND(bytes), hk_os_page_size);

	if (large->touched > most &&
	    hk_os_purge(large->base + most, large->touched - most))
		large->touched = most;
}

struct hk_large *hk_chunks_take(size_t bytes, size_t alignment, bool last_try, bool *zero)
{
	struct hk_large *large = hk_spans_take(bytes, alignment, *zero);
	bool fresh = !large;

	if (fresh) {
		large = map(bytes, alignment, last_try);
		if (!large)
			return NULL;
		if (!*zero)
			fill(large, 0, bytes);
	}
	hk_spans_note();
	*zero = !large->touched;
	trim(large, bytes);
	settle(large, bytes, fresh);
	return large;
}

/* ---- changing size ---- */

/* Bytes to be mapped then, 0: a limit is reached. */
static size_t allowed(const struct hk_large *large, size_t bytes, bool last_try)
{
	size_t after = wanted(large, bytes);

	if (hk_pool_limits_allow(after - large->mapped, last_try))
		return after;
	return last_try && !large->splits &&
			       hk_pool_limits_allow(bytes - large->mapped, true)
		       ? bytes
		       : 0;
}

/*
 * A block that grows has been filled, and what follows will be written next.  So much of it is
 * faulted in at once as may lie behind a block's end, too; but what was touched.
 */
static void populate(char *base, size_t before, size_t touched, size_t bytes)
{
	size_t end = before + hk_align_up(HK_BEHIND(bytes), hk_os_page_size);
	size_t from = before > touched ? before : touched;

	end = hk_least(end, bytes);
	if (from < end)
		hk_os_populate(base + from, end - from);
}

/* But for its neighbours on the list, which are others' to change. */
static struct hk_large copy_of(const struct hk_large *large)
{
	return (struct hk_large){
		.base = large->base,
		.bytes = large->bytes,
		.mapped = large->mapped,
		.touched = large->touched,
		.huge = large->huge,
		.splits = large->splits,
	};
}

/* The live block is this from now on, what copy_of() it has become. */
static void commit(struct hk_large *large, struct hk_large *after, size_t bytes)
{
	settle(after, bytes, after->mapped > large->mapped);
	hk_lock(&hk_large_lock);
	hk_large_bytes += bytes - large->bytes;
	large->bytes = after->bytes;
	large->mapped = after->mapped;
	large->touched = after->touched;
	large->huge = after->huge;
	large->splits = after->splits;
	hk_unlock(&hk_large_lock);
}

static bool grow(struct hk_large *large, size_t bytes, bool last_try)
{
	struct hk_large after = copy_of(large);
	size_t before = large->bytes, touched;

	after.mapped = allowed(large, bytes, last_try);
	if (!after.mapped || !hk_registry_reserve(large->base, after.mapped))
		return false;
	if (!large->splits) {
		if (!hk_os_resize(large->base, large->mapped, after.mapped))
			return false;
	} else {
		if (!hk_os_extend(large->base + large->mapped,
				  after.mapped - large->mapped))
			return false;
		hk_os_count((ptrdiff_t)(after.mapped - large->mapped), 0);
		hk_span_set_splits(&after, large->splits + 1);
	}
	fill(&after, hk_chunks_of(large->mapped), bytes);
	trim(&after, bytes);
	touched = after.touched;
	commit(large, &after, bytes);
	populate(large->base, before, touched, bytes);
	return true;
}

static void shrink(struct hk_large *large, size_t bytes)
{
	struct hk_large after = copy_of(large);
	size_t mapped = hk_least(wanted(large, bytes), large->mapped);

	if (mapped < large->mapped && hk_os_resize(large->base, large->mapped, mapped))
		hk_span_shorten(&after, mapped);
	if (after.touched > bytes &&
	    hk_os_purge(large->base + bytes, after.touched - bytes))
		after.touched = bytes;
	commit(large, &after, bytes);
}

bool hk_chunks_resize(struct hk_large *large, size_t bytes, bool last_try)
{
	struct hk_large after = copy_of(large);

	if (bytes > large->mapped)
		return grow(large, bytes, last_try);
	if (bytes < large->bytes)
		shrink(large, bytes);
	else
		commit(large, &after, bytes);
	return true;
}

/* The kernel has moved some, and refuses to go on: the rest by its bytes. */
static void copy_rest(struct hk_large *large, char *target, size_t moved)
{
	size_t left = large->mapped - moved;

	memcpy(target + moved, large->base + moved, left);
	if (!hk_os_cut(large->base + moved, left))
		hk_os_purge(large->base + moved, left);
}

static bool move_to(struct hk_large *large, char *target, size_t after)
{
	size_t moved = 0;

	if (!large->splits) {
		if (!hk_os_move(large->base, large->mapped, after, target))
			return false;
		hk_os_count((ptrdiff_t)(after - large->mapped), 0);
		return true;
	}
	while (moved < large->mapped && hk_os_move(large->base + moved, HK_CHUNK_BYTES,
						   HK_CHUNK_BYTES, target + moved))
		moved += HK_CHUNK_BYTES;
	if (!moved)
		return false;
	hk_os_count((ptrdiff_t)(after - moved), 0);
	if (moved < large->mapped)
		copy_rest(large, target, moved);
	hk_span_set_splits(large, after / HK_CHUNK_BYTES);
	return true;
}

bool hk_chunks_move(struct hk_large *large, size_t bytes, bool last_try)
{
	size_t after = allowed(large, bytes, last_try);
	size_t before = large->bytes, from = hk_chunks_of(large->mapped), touched;
	char *target;

	if (!after)
		return false;
	target = hk_os_reserve(after, HK_CHUNK_BYTES);
	if (!target)
		return false;
	if (!hk_registry_reserve(target, after) || !move_to(large, target, after)) {
		hk_os_unreserve(target, after);
		return false;
	}
	large->base = target;
	large->mapped = after;
	fill(large, from, bytes);
	trim(large, bytes);
	touched = large->touched;
	settle(large, bytes, true);
	populate(target, before, touched, bytes);
	return true;
}
