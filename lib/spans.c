/* SPDX-License-Identifier: MIT
 *
 * spans.c - see spans.h.  Owns the cache; takes hk_large_lock, and makes its system calls
 * without it.
 */
#include "spans.h"

#include "config.h"
#include "os.h"
#include "registry.h"

#define CACHED_MOST 128                 /* spans: a request looks at each of them */
#define CACHED_LEAST ((size_t)32 << 20) /* bytes that are not too many */
#define WINDOW 4                        /* times the delay */

static struct hk_large *cached;
static size_t cached_count, cached_bytes; /* bytes: touched ones */
static size_t unneeded;                   /* of those, in this window */
static uint64_t window_began;

static _Atomic size_t all_splits;

void hk_span_set_splits(struct hk_large *large, size_t splits)
{
	atomic_fetch_add_explicit(&all_splits, splits - large->splits,
				  memory_order_relaxed);
	large->splits = splits;
}

void hk_span_shorten(struct hk_large *span, size_t bytes)
{
	span->mapped = bytes;
	span->touched = hk_least(span->touched, bytes);
	span->huge = hk_least(span->huge, bytes);
	/* A chunk is of one mapping. */
	hk_span_set_splits(span, hk_least(span->splits, bytes / HK_CHUNK_BYTES));
}

bool hk_spans_may_split(void)
{
	size_t splits = atomic_load_explicit(&all_splits, memory_order_relaxed);
	size_t held = hk_os_mappings() + splits;

	/* What it is need not be asked for before it matters. */
	return held < 1024 || held < hk_os_mappings_allowed() / 2;
}

static void give_record(struct hk_large *large)
{
	hk_span_set_splits(large, 0);
	hk_record_give(&hk_large_records, large);
}

/* ---- the cache, under the lock ---- */

static void push_locked(struct hk_large *span)
{
	hk_large_link(&cached, span);
	cached_count++;
	cached_bytes += span->touched;
}

/* NULL: there is none. */
static struct hk_large *unlink_locked(struct hk_large *span)
{
	if (!span)
		return NULL;
	hk_large_unlink(&cached, span);
	cached_count--;
	cached_bytes -= span->touched;
	return span;
}

static size_t full_chunks(const struct hk_large *span)
{
	return span->touched / HK_CHUNK_BYTES * HK_CHUNK_BYTES;
}

/* Will this span do, as it is or without its last chunks? */
static bool fits(const struct hk_large *span, size_t bytes, size_t alignment, bool zero)
{
	size_t resident = hk_least(span->touched, hk_chunks_of(bytes));

	if (!hk_span_is_whole(span) || span->mapped < bytes ||
	    (uintptr_t)span->base & (alignment - 1))
		return false;
	if (!span->touched)
		return (zero || !cached_bytes) && span->mapped / 2 <= hk_chunks_of(bytes);
	if (zero)
		return false;
	if (span->touched < bytes) /* there must not be more to be had elsewhere */
		return span->touched == cached_bytes;
	return resident - bytes <= HK_BEHIND(bytes);
}

static struct hk_large *fitting_locked(size_t bytes, size_t alignment, bool zero)
{
	struct hk_large *best = NULL;

	for (struct hk_large *span = cached; span; span = span->next) {
		if (fits(span, bytes, alignment, zero) &&
		    (!best || span->mapped < best->mapped))
			best = span;
	}
	return best;
}

/*
 * For a block's last chunk: the end of a span, where the least that is enough was touched; or, if
 * any will do, a chunk of which all was, or the most.  *touched: how much.
 */
static struct hk_large *tail_locked(size_t bytes, bool any, size_t *touched)
{
	struct hk_large *best = NULL;

	*touched = 0;
	for (struct hk_large *span = cached; span; span = span->next) {
		size_t full = full_chunks(span), end = span->touched - full;

		if (!hk_span_is_whole(span))
			continue;
		/* Only the last one is taken from behind. */
		if (full && span->mapped != full + HK_CHUNK_BYTES)
			end = 0;
		if (any && end < bytes && full)
			end = HK_CHUNK_BYTES;
		if (!any && end < bytes)
			continue;
		if (end && (*touched < bytes ? end > *touched
					     : end >= bytes && end < *touched)) {
			*touched = end;
			best = span;
		}
	}
	return best;
}

/* The smallest with a chunk that was touched wholly; if there is none, with the most of one. */
static struct hk_large *filling_locked(void)
{
	struct hk_large *best = NULL;

	for (struct hk_large *span = cached; span; span = span->next) {
		size_t full = full_chunks(span);

		if (!span->touched || !hk_span_is_whole(span))
			continue;
		if (!best || (full_chunks(best) ? full && full < full_chunks(best)
						: span->touched > best->touched))
			best = span;
	}
	return best;
}

static struct hk_large *smallest_locked(void)
{
	struct hk_large *best = cached;

	for (struct hk_large *span = cached; span; span = span->next) {
		if (span->touched < best->touched)
			best = span;
	}
	return best;
}

void hk_spans_note(void)
{
	hk_lock(&hk_large_lock);
	unneeded = hk_least(unneeded, cached_bytes);
	hk_unlock(&hk_large_lock);
}

/* ---- to the kernel, and back to the cache ---- */

void hk_spans_put(struct hk_large *span)
{
	if (!span->mapped) {
		hk_os_count(0, -1);
		give_record(span);
		return;
	}
	hk_lock(&hk_large_lock);
	push_locked(span);
	hk_unlock(&hk_large_lock);
}

/* false: the kernel refuses, and it is purged and in the cache, or on the list *refused. */
static bool unmap(struct hk_large *span, struct hk_large **refused)
{
	if (hk_os_unmap(span->base, span->mapped)) {
		give_record(span);
		return true;
	}
	if (hk_os_purge(span->base, span->mapped))
		span->touched = 0;
	if (refused) {
		span->next = *refused;
		*refused = span;
	} else {
		hk_spans_put(span);
	}
	return false;
}

/* The first so many bytes are another's, or unmapped. */
static void lose_front(struct hk_large *span, size_t bytes)
{
	span->base += bytes;
	span->bytes = 0;
	span->touched -= hk_least(bytes, span->touched);
	span->huge -= hk_least(bytes, span->huge);
	hk_span_shorten(span, span->mapped - bytes);
}

/* What lies behind so many bytes, whole chunks, becomes a span of the cache's. */
static void split(struct hk_large *span, size_t bytes)
{
	struct hk_large *rest;

	if (bytes >= span->mapped)
		return;
	rest = hk_record_take(&hk_large_records);
	if (!rest)
		return;
	rest->base = span->base;
	rest->mapped = span->mapped;
	rest->touched = span->touched;
	rest->huge = span->huge;
	hk_span_set_splits(rest, span->splits);
	lose_front(rest, bytes);
	hk_span_shorten(span, bytes);
	hk_os_count(0, 1);
	hk_spans_put(rest);
}

struct hk_large *hk_spans_take(size_t bytes, size_t alignment, bool zero)
{
	struct hk_large *span;

	hk_lock(&hk_large_lock);
	span = unlink_locked(fitting_locked(bytes, alignment, zero));
	hk_unlock(&hk_large_lock);
	if (span)
		split(span, hk_chunks_of(bytes));
	return span;
}

/* ---- from any of them ---- */

/* How many bytes of the span's first ones are at the target now. */
static size_t move_front(struct hk_large *span, char *target, size_t bytes)
{
	size_t moved = 0;

	while (moved < bytes && hk_os_move(span->base + moved, HK_CHUNK_BYTES,
					   HK_CHUNK_BYTES, target + moved))
		moved += HK_CHUNK_BYTES;
	lose_front(span, moved);
	return moved;
}

size_t hk_spans_move_tail(char *target, size_t bytes, bool any)
{
	struct hk_large *span;
	size_t touched, at;
	bool moved;

	hk_lock(&hk_large_lock);
	span = unlink_locked(tail_locked(bytes, any, &touched));
	hk_unlock(&hk_large_lock);
	if (!span)
		return 0;
	at = touched == HK_CHUNK_BYTES ? 0 : full_chunks(span);
	if (at) {
		moved = hk_os_move(span->base + at, HK_CHUNK_BYTES, HK_CHUNK_BYTES,
				   target);
		if (moved)
			hk_span_shorten(span, at);
	} else {
		moved = move_front(span, target, HK_CHUNK_BYTES);
	}
	hk_spans_put(span);
	return moved ? touched : 0;
}

size_t hk_spans_move_chunks(char *target, size_t bytes)
{
	size_t moved = 0, now, done;
	struct hk_large *span;

	do {
		hk_lock(&hk_large_lock);
		span = unlink_locked(filling_locked());
		hk_unlock(&hk_large_lock);
		if (!span)
			break;
		now = full_chunks(span);
		now = hk_least(now ? now : HK_CHUNK_BYTES, bytes - moved);
		done = move_front(span, target + moved, now);
		moved += done;
		hk_spans_put(span);
	} while (moved < bytes && done == now);
	return moved;
}

/* ---- keeping ---- */

bool hk_spans_keep(void)
{
	return !HK_DEBUG && hk_config_number(HK_OPTION_PURGE_DELAY_MS);
}

/* So much of it as there is room for. */
static size_t room_locked(const struct hk_large *span)
{
	size_t most = hk_large_bytes > CACHED_LEAST ? hk_large_bytes : CACHED_LEAST;
	size_t room = most > cached_bytes ? most - cached_bytes : 0;

	if (!hk_spans_keep() || !hk_span_is_whole(span))
		return 0;
	return span->touched <= room ? span->mapped
				     : room / HK_CHUNK_BYTES * HK_CHUNK_BYTES;
}

void hk_spans_give(struct hk_large *span)
{
	struct hk_large *other = NULL;
	size_t room;

	hk_lock(&hk_large_lock);
	room = room_locked(span);
	if (room && !cached)
		window_began = hk_os_now_ms();
	if (room && cached_count >= CACHED_MOST)
		other = unlink_locked(smallest_locked());
	hk_unlock(&hk_large_lock);
	if (room && room < span->mapped &&
	    hk_os_cut(span->base + room, span->mapped - room))
		hk_span_shorten(span, room);
	if (room)
		hk_spans_put(span);
	else
		unmap(span, NULL);
	if (other)
		unmap(other, NULL);
	hk_spans_tidy();
}

/* Smaller ones first: the larger serve more requests as they are. */
static bool unmap_unneeded(size_t *excess)
{
	struct hk_large *span;

	hk_lock(&hk_large_lock);
	span = smallest_locked();
	if (span && span->touched > *excess &&
	    (*excess < HK_CHUNK_BYTES || !hk_span_is_whole(span)))
		span = NULL;
	unlink_locked(span);
	hk_unlock(&hk_large_lock);
	if (!span)
		return false;
	if (span->touched > *excess) {
		size_t front = *excess / HK_CHUNK_BYTES * HK_CHUNK_BYTES;

		if (hk_os_cut(span->base, front))
			lose_front(span, front);
		hk_spans_put(span);
		return false;
	}
	*excess -= span->touched;
	return unmap(span, NULL);
}

uint64_t hk_spans_tidy(void)
{
	uint64_t delay = hk_config_number(HK_OPTION_PURGE_DELAY_MS);
	uint64_t window = WINDOW * (delay ? delay : 1);
	uint64_t now = hk_os_now_ms(), due = UINT64_MAX;
	size_t excess = 0;
	bool ended;

	hk_lock(&hk_large_lock);
	ended = cached && now - window_began >= window;
	if (ended) {
		excess = unneeded;
		window_began = now;
	}
	hk_unlock(&hk_large_lock);
	while (ended && unmap_unneeded(&excess))
		;
	hk_lock(&hk_large_lock);
	if (ended)
		unneeded = cached_bytes;
	if (cached_bytes)
		due = now - window_began < window ? window_began + window - now : 0;
	hk_unlock(&hk_large_lock);
	return due;
}

size_t hk_spans_release(void)
{
	struct hk_large *span, *refused = NULL;
	size_t bytes = 0, mapped;

	do {
		hk_lock(&hk_large_lock);
		span = unlink_locked(cached);
		hk_unlock(&hk_large_lock);
		/* The record is not ours any more when it is unmapped. */
		mapped = span ? span->mapped : 0;
		if (span && unmap(span, &refused))
			bytes += mapped;
	} while (span);
	while ((span = refused) != NULL) {
		refused = span->next;
		hk_spans_put(span);
	}
	return bytes;
}

/* ---- what is told ---- */

size_t hk_spans_freed_locked(const void *address)
{
	const struct hk_large *span = cached;

	while (span && span->base != address)
		span = span->next;
	return span ? span->bytes : 0;
}

void hk_spans_count_locked(size_t *touched, size_t *huge)
{
	*touched = *huge = 0;
	for (int list = 0; list < 2; list++) {
		struct hk_large *large = list ? cached : hk_large_blocks;

		for (; large; large = large->next) {
			*touched += large->touched;
			*huge += large->huge;
		}
	}
}

static void check_run(const struct hk_large *span)
{
	hk_assert(!((uintptr_t)span->base & (HK_CHUNK_BYTES - 1)));
	hk_assert(span->touched <= span->mapped && span->huge <= span->mapped);
	hk_assert(hk_span_is_whole(span) || !span->splits);
	hk_assert(span->splits <= span->mapped / HK_CHUNK_BYTES);
	hk_assert(!span->next || span->next->previous == span);
}

void hk_spans_check_locked(void)
{
	size_t count = 0, bytes = 0;

	for (struct hk_large *large = hk_large_blocks; large; large = large->next) {
		hk_assert(large->bytes && large->bytes <= large->touched);
		check_run(large);
	}
	for (struct hk_large *span = cached; span; span = span->next) {
		hk_assert(span->mapped && hk_registry_kind(span->base) == HK_KIND_NONE);
		check_run(span);
		count++;
		bytes += span->touched;
	}
	hk_assert(count == cached_count && bytes == cached_bytes);
}
