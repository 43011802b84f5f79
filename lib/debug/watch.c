/* SPDX-License-Identifier: MIT
 *
 * watch.c - see watch.h.  Takes no lock but the quarantine's and the heap's, one at a time; the
 * stack is taken before any.
 */
#define _GNU_SOURCE
#include "debug/watch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "debug/block.h"
#include "debug/guard.h"
#include "debug/inner.h"
#include "debug/leaks.h"
#include "debug/modules.h"
#include "debug/options.h"
#include "debug/origin.h"
#include "debug/poison.h"
#include "debug/quarantine.h"
#include "debug/report.h"
#include "debug/suppressions.h"
#include "debug/unwind.h"
#include "debug/world.h"
#include "fork.h"
#include "heap.h"
#include "init.h"
#include "os.h"

static const char *const family_names[HK_FAMILIES] = { "malloc()", "operator new",
						       "operator new[]" };

/* The kernel's id of this thread, asked for once; again in the child of fork(). */
static _Thread_local uint32_t thread_id;

static uint32_t this_thread(void)
{
	if (HK_UNLIKELY(!thread_id))
		thread_id = (uint32_t)hk_os_thread_id();
	return thread_id;
}

/* ---- reports ---- */

/* This call, and what the block's record tells of earlier ones; how many. */
static size_t parties_of(const struct hk_block *block, const char *did, hk_stack here,
			 struct hk_party parties[HK_PARTIES])
{
	const struct hk_block_record *record = block ? block->record : NULL;
	size_t count = 0;

	parties[count++] = (struct hk_party){ did, here, this_thread(), hk_debug_now() };
	if (!record)
		return count;
	if (block->state != HK_BLOCK_LIVE && !strcmp(did, "freed again"))
		parties[count++] = (struct hk_party){ "freed first", record->freed,
						      record->freer, record->freed_at };
	else if (block->state != HK_BLOCK_LIVE)
		parties[count++] = (struct hk_party){ "freed", record->freed,
						      record->freer, record->freed_at };
	parties[count++] = (struct hk_party){ "allocated", record->allocated,
					      record->allocator, record->allocated_at };
	if (block->state == HK_BLOCK_LIVE && record->before_freed) {
		parties[count++] = (struct hk_party){ "its room was freed before",
						      record->before_freed, 0, 0 };
		parties[count++] = (struct hk_party){ "and allocated before that",
						      record->before_allocated, 0, 0 };
	}
	return count;
}

#define TELL(message, function, address, block, did, here, ...)                      \
	do {                                                                         \
		struct hk_party parties[HK_PARTIES];                                 \
		size_t count_ = parties_of(block, did, here, parties);               \
                                                                                     \
		hk_report(message, function, address, parties, count_, HK_MAY_GO_ON, \
			  __VA_ARGS__);                                              \
	} while (0)

/* The pointer is no block's start; says what it is instead. */
HK_COLD static void tell_invalid(const void *pointer, const char *function)
{
	hk_stack here = hk_unwind_here();
	struct hk_block block;
	bool found = hk_block_find(pointer, &block);
	const char *address = pointer;
	struct hk_block_record left;
	struct hk_origin origin;

	if (!found || block.state == HK_BLOCK_NEVER)
		found = hk_block_find_former(pointer, &block);
	/* If its memory has gone, or has become blocks of another size that are free, too. */
	if (!found || (block.state != HK_BLOCK_LIVE && address != block.start))
		found |= hk_quarantine_find_left(pointer, &block, &left);
	if (found && address == block.start) {
		TELL(HK_DOUBLE_FREE, function, pointer, &block, "freed again", here,
		     "%lu-byte block", (unsigned long)block.size);
		return;
	}
	if (found) {
		bool before = address < block.start;
		bool behind = address >= block.start + block.size;
		size_t distance = before   ? (size_t)(block.start - address)
				  : behind ? (size_t)(address - block.start) - block.size
					   : (size_t)(address - block.start);

		TELL(HK_INTERIOR_POINTER, function, pointer, &block, "passed", here,
		     "%lu bytes %s the %s%lu-byte block %p", (unsigned long)distance,
		     before   ? "before"
		     : behind ? "behind"
			      : "into",
		     block.state == HK_BLOCK_LIVE ? "" : "freed ",
		     (unsigned long)block.size, (void *)block.start);
		return;
	}
	hk_origin_find(pointer, &origin);
	TELL(HK_INVALID_POINTER, function, pointer, NULL, "passed", here, "%s%s%s",
	     "not a block of this allocator", origin.what, origin.where);
}

/* A byte that nobody may have written: before the block, in it once it was freed, or behind it. */
static void tell_changed(enum hk_message message, const struct hk_block *block,
			 const unsigned char *byte, const char *function)
{
	const char *address = (const char *)byte, *outside = "";
	bool before = address < block->start;
	size_t distance = before ? (size_t)(block->start - address)
				 : (size_t)(address - block->start);

	/* Of a block in use, the message says where. */
	if (message == HK_WRITE_AFTER_FREE && before)
		outside = ", before its start";
	else if (message == HK_WRITE_AFTER_FREE && distance >= block->size)
		outside = ", beyond its end";
	TELL(message, function, block->start, block, "found", hk_unwind_here(),
	     "%lu-byte block, changed to 0x%x at offset %s%lu%s",
	     (unsigned long)block->size, *byte, before ? "-" : "",
	     (unsigned long)distance, outside);
}

/* The block has ended since it was found: what lies around it is no canary any more. */
static bool has_ended(const struct hk_block *block)
{
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&block->record->word, memory_order_relaxed) !=
	       block->word;
}

/* Of a block in use, or of a freed one that is not poisoned. */
HK_COLD static void tell_canaries(const struct hk_block *block, const char *function)
{
	const unsigned char *behind = hk_changed_behind(block, true, HK_CANARY_BYTE);
	const unsigned char *before = hk_changed_before(block, true, HK_CANARY_BYTE);
	bool live = block->state == HK_BLOCK_LIVE;

	if (has_ended(block))
		return;
	if (behind)
		tell_changed(live ? HK_WRITE_BEHIND : HK_WRITE_AFTER_FREE, block, behind,
			     function);
	if (before)
		tell_changed(live ? HK_WRITE_BEFORE : HK_WRITE_AFTER_FREE, block, before,
			     function);
	/* Once is enough. */
	hk_canary_put(block);
}

static void check_canaries(const struct hk_block *block, const char *function)
{
	if (HK_UNLIKELY(!hk_canary_intact(block)))
		tell_canaries(block, function);
}

/* ---- allocation ---- */

static void record_allocation(struct hk_block *block, enum hk_family family,
			      hk_stack here)
{
	struct hk_block_record *record = block->record;
	bool again = block->state == HK_BLOCK_FREED;
	hk_stack allocated = again ? record->allocated : 0;
	hk_stack freed = again ? record->freed : 0;

	record->before_allocated = allocated;
	record->before_freed = freed;
	record->allocated = here;
	record->allocator = this_thread();
	record->allocated_at = hk_debug_now();
	block->family = family;
	hk_block_begin(block);
}

/* What the program finds in it: zeros, M_PERTURB's byte, or poison. */
static void fill(const struct hk_block *block, bool zero, bool is_zero, bool is_poison)
{
	uint8_t perturb = hk_heap_perturb();

	if (zero) {
		if (!is_zero)
			memset(block->start, 0, block->size);
	} else if (HK_UNLIKELY(perturb)) {
		memset(block->start, perturb ^ 0xff, block->size);
	} else if (!is_poison && block->room_size <= HK_CLASS_MAX) {
		hk_poison_fill(block->start, block->size);
	}
}

static void *allocate(size_t size, size_t alignment, bool zero, enum hk_family family,
		      const char *function)
{
	size_t front = alignment > 16 ? alignment : 16, need;
	bool is_zero, is_poison = false;
	struct hk_block block;
	hk_stack here;
	char *room;

	hk_init();
	if (HK_UNLIKELY(hk_unwind_loading()))
		return hk_inner_allocate(alignment, size);
	if (HK_UNLIKELY(!hk_debug_options.poison))
		return zero ? hk_heap_allocate_zeroed(size)
			    : hk_heap_allocate_aligned(alignment, size, function);
	if (hk_guard_is_on() && hk_guard_allocate(size,
						  alignment > 1 ? alignment
						  : size > 8    ? 16
								: 8,
						  family, &block)) {
		is_zero = false;
	} else {
		/* Too large is too large still: the heap fails it, and counts that. */
		if (__builtin_add_overflow(size, front + HK_CANARY_BACK_MIN, &need))
			need = SIZE_MAX;
		room = hk_heap_allocate_room(alignment > 16 ? alignment : 16, need,
					     &is_zero);
		if (!room)
			return NULL;
		hk_block_of_room(room, &block);
		if (block.state == HK_BLOCK_FREED && block.room_size <= HK_CLASS_MAX) {
			const unsigned char *byte = hk_poison_changed(room,
								      block.room_size);

			if (HK_UNLIKELY(byte != NULL))
				tell_changed(HK_WRITE_AFTER_FREE, &block, byte, function);
			is_poison = !byte;
		}
		block.start = room + front;
		block.size = size;
	}
	/* Meanwhile what the room's lines bring comes from memory. */
	here = hk_unwind_here();
	hk_canary_put(&block);
	fill(&block, zero, is_zero, is_poison);
	record_allocation(&block, family, here);
	return block.start;
}

void *hk_front_allocate(size_t size, enum hk_family family, const char *function)
{
	return allocate(size, 1, false, family, function);
}

void *hk_front_allocate_zeroed(size_t size, const char *function)
{
	return allocate(size, 1, true, HK_BY_MALLOC, function);
}

void *hk_front_allocate_aligned(size_t alignment, size_t size, enum hk_family family,
				const char *function)
{
	return allocate(size, alignment, false, family, function);
}

/* ---- free ---- */

/* A freed one: larger ones would take too long. */
static bool is_poisoned(const struct hk_block *block)
{
	return block->room_size <= HK_MEDIUM_MAX && !hk_guard_has(block);
}

/* A freed block, and what was its canaries. */
HK_COLD static void tell_freed(const struct hk_block *block, const char *function)
{
	const unsigned char *bytes[] = {
		hk_poison_changed(block->start, block->size),
		hk_changed_behind(block, false, HK_POISON_BYTE),
		hk_changed_before(block, false, HK_POISON_BYTE),
	};

	for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++)
		if (bytes[i])
			tell_changed(HK_WRITE_AFTER_FREE, block, bytes[i], function);
	/* Once is enough. */
	hk_poison_fill(block->room, block->room_size);
}

/* What was changed while it lay in the quarantine. */
static void check_freed(const struct hk_block *block, const char *function)
{
	if (!is_poisoned(block))
		check_canaries(block, function);
	else if (HK_UNLIKELY(
			 !hk_pattern_is(block->room, block->room_size, HK_POISON_BYTE)))
		tell_freed(block, function);
}

/* Out of the quarantine, and back to the heap. */
static void leave(struct hk_block *block, const char *function)
{
	check_freed(block, function);
	hk_block_leave(block);
	hk_heap_free(block->room, function);
}

/* The program's block has ended; its record says so. */
static void bury(struct hk_block *block, const char *function)
{
	struct hk_block leavers[HK_QUARANTINE_LEAVERS];
	uint32_t now = block->record->freed_at;
	unsigned count;

	if (hk_guard_has(block)) {
		hk_guard_free(block);
		return;
	}
	/* The canaries, too: until it is handed out again, all of it is looked at. */
	if (is_poisoned(block))
		hk_poison_fill(block->room, block->room_size);
	count = hk_quarantine_add(block, leavers);
	for (;;) {
		for (unsigned i = 0; i < count; i++)
			leave(&leavers[i], function);
		if (HK_LIKELY(count < HK_QUARANTINE_LEAVERS))
			return;
		count = hk_quarantine_leavers(now, leavers);
	}
}

/* A live block that begins here; else it is told what is wrong.  plain: it is the heap's own. */
static bool find_live(const void *pointer, struct hk_block *block, const char *function,
		      bool *plain)
{
	bool found = hk_block_find(pointer, block);

	*plain = !hk_debug_options.poison && (!found || block->state == HK_BLOCK_NEVER);
	if (*plain)
		return false;
	if (HK_LIKELY(found && block->state == HK_BLOCK_LIVE &&
		      block->start == (const char *)pointer))
		return true;
	/*
	 * The loader frees what a thread had of an object that has gone, when the thread next
	 * asks for its own storage of any; and where that is the unwinder, called for this very
	 * free, once more: it has not yet noted that it did.
	 */
	if (!hk_unwind_inside())
		tell_invalid(pointer, function);
	return false;
}

static void check_family(const struct hk_block *block, enum hk_family family,
			 const char *function)
{
	if (HK_LIKELY(block->family == family))
		return;
	TELL(HK_FAMILY_MISMATCH, function, block->start, block, "freed", hk_unwind_here(),
	     "%lu-byte block of %s", (unsigned long)block->size,
	     family_names[block->family]);
}

static void end(struct hk_block *block, const char *function)
{
	/* What the loader freed within the unwinder, as find_live() has it: before us, then. */
	static _Thread_local const char *inside
		__attribute__((tls_model("initial-exec")));
	/* While the record comes from memory. */
	hk_stack here = hk_unwind_here();

	if (HK_UNLIKELY(!hk_block_end(block))) {
		if (inside != block->start)
			tell_invalid(block->start, function);
		inside = NULL;
		return;
	}
	if (HK_UNLIKELY(hk_unwind_inside()))
		inside = block->start;
	block->record->freed = here;
	block->record->freer = this_thread();
	block->record->freed_at = hk_debug_now();
	bury(block, function);
}

void hk_front_free(void *pointer, enum hk_family family, const char *function)
{
	int kept = errno;
	struct hk_block block;
	bool plain;

	if (!pointer || HK_UNLIKELY(hk_inner_owns(pointer)))
		return;
	hk_init();
	if (find_live(pointer, &block, function, &plain)) {
		check_family(&block, family, function);
		check_canaries(&block, function);
		end(&block, function);
	} else if (plain) {
		hk_heap_free(pointer, function);
	}
	errno = kept;
}

void hk_front_free_sized(void *pointer, size_t alignment, size_t size,
			 enum hk_family family, const char *function)
{
	struct hk_block block;
	size_t given;

	if (pointer && hk_block_find(pointer, &block) && block.state == HK_BLOCK_LIVE &&
	    block.start == (char *)pointer) {
		given = (size_t)(block.start - block.room);
		if (HK_UNLIKELY(size != block.size))
			TELL(HK_SIZE_MISMATCH, function, pointer, &block, "freed",
			     hk_unwind_here(), "size %lu, but the block has %lu bytes",
			     (unsigned long)size, (unsigned long)block.size);
		/* Not more than was asked for, and not less where that was much. */
		if (HK_UNLIKELY((uintptr_t)pointer & (alignment - 1)) ||
		    HK_UNLIKELY(alignment > 16 && alignment != given &&
				!hk_guard_has(&block)))
			TELL(HK_ALIGNMENT_MISMATCH, function, pointer, &block, "freed",
			     hk_unwind_here(), "alignment %lu", (unsigned long)alignment);
	}
	hk_front_free(pointer, family, function);
}

static void *resize_inner(void *pointer, size_t size)
{
	size_t old = hk_inner_size(pointer);
	void *moved = allocate(size, 1, false, HK_BY_MALLOC, "realloc");

	if (moved)
		memcpy(moved, pointer, old < size ? old : size);
	return moved;
}

void *hk_front_resize(void *pointer, size_t size, const char *function)
{
	struct hk_block block;
	size_t kept;
	void *moved;
	bool plain;

	if (HK_UNLIKELY(hk_inner_owns(pointer)))
		return resize_inner(pointer, size);
	if (!find_live(pointer, &block, function, &plain)) {
		if (plain)
			return hk_heap_resize(pointer, size, function);
		errno = ENOMEM;
		return NULL;
	}
	check_family(&block, HK_BY_MALLOC, function);
	check_canaries(&block, function);
	/* Always elsewhere: who keeps the old address is found out. */
	moved = allocate(size, 1, size > HK_MEDIUM_MAX, HK_BY_MALLOC, function);
	if (!moved)
		return NULL;
	kept = block.size < size ? block.size : size;
	if (size > HK_MEDIUM_MAX)
		hk_copy_but_zeros(moved, block.start, kept);
	else
		memcpy(moved, block.start, kept);
	end(&block, function);
	return moved;
}

HK_COLD static size_t usable_size_of_other(const void *pointer, const char *function)
{
	struct hk_block block;
	bool plain;

	if (!pointer)
		return 0;
	if (hk_inner_owns(pointer))
		return hk_inner_size(pointer);
	if (find_live(pointer, &block, function, &plain))
		return block.size;
	return plain ? hk_heap_usable_size(pointer, function) : 0;
}

size_t hk_front_usable_size(const void *pointer, const char *function)
{
	size_t kind = hk_registry_kind(pointer);
	struct hk_block block;

	/* Some programs ask of each block; one that no call is given the address of is cheap. */
	if (HK_LIKELY(
		    hk_kind_is_slab(kind) && hk_block_find_small(pointer, kind, &block) &&
		    block.state == HK_BLOCK_LIVE && block.start == (const char *)pointer))
		return block.size;
	return usable_size_of_other(pointer, function);
}

/* ---- flush, check, query, start and end ---- */

bool hk_front_flush(struct hk_flushed *flushed, const char *function)
{
	uint64_t before = flushed->blocks;
	struct hk_block block;

	while (hk_quarantine_take(&block)) {
		flushed->blocks++;
		flushed->bytes += block.room_size;
		leave(&block, function);
	}
	return flushed->blocks != before;
}

/* What a walk finds is told when it has let go of the locks. */
struct bad_blocks {
	struct hk_block first[16];
	size_t count;
};

static void add_bad(struct bad_blocks *bad, const struct hk_block *block)
{
	if (bad->count < sizeof(bad->first) / sizeof(bad->first[0]))
		bad->first[bad->count++] = *block;
}

static void find_broken(const struct hk_block *block, void *context)
{
	if (block->state == HK_BLOCK_LIVE && !hk_canary_intact(block) &&
	    !has_ended(block))
		add_bad(context, block);
}

/* In the queue they are poisoned; before, and when they have left it, they may not be. */
static void find_written(const struct hk_block *block, void *context)
{
	if (is_poisoned(block)
		    ? !hk_pattern_is(block->room, block->room_size, HK_POISON_BYTE)
		    : !hk_canary_intact(block))
		add_bad(context, block);
}

void hk_front_check(const char *function)
{
	struct bad_blocks bad = { .count = 0 };

	hk_lock_all();
	hk_block_visit(find_broken, &bad);
	hk_quarantine_visit_locked(find_written, &bad);
	hk_unlock_all();
	for (size_t i = 0; i < bad.count; i++) {
		struct hk_block *block = &bad.first[i];

		if (block->state == HK_BLOCK_LIVE)
			check_canaries(block, function);
		else
			check_freed(block, function);
	}
}

void hk_front_query(struct hakmem_query *query)
{
	struct hk_block block;
	uintptr_t frames[HK_FRAMES];
	uint32_t generation;
	unsigned count;

	if (!hk_block_find(query->address, &block) || block.state == HK_BLOCK_NEVER)
		return;
	query->state = block.state == HK_BLOCK_LIVE          ? HAKMEM_LIVE
		       : block.state == HK_BLOCK_QUARANTINED ? HAKMEM_CACHED
							     : query->state;
	query->block = (uint64_t)(uintptr_t)block.start;
	query->usable_size = block.size;
	query->thread = block.record->allocator;
	/* Guarded blocks are in a mapping of their own, which the heap does not know. */
	if (query->kind == HAKMEM_NONE)
		query->kind = HAKMEM_LARGE;
	count = hk_stacks_frames(block.record->allocated, frames, &generation);
	query->frames = count;
	for (unsigned i = 0; i < count; i++)
		query->stack[i] = frames[i];
}

int hk_front_leaks(struct hakmem_leaks *leaks)
{
	int error;

	if (!hk_debug_options.poison)
		return ENOTSUP;
	HK_WORLD_ENTER();
	error = hk_leaks(leaks);
	HK_WORLD_LEAVE();
	return error;
}

void hk_front_count_locked(uint64_t *blocks, uint64_t *bytes)
{
	hk_quarantine_count_locked(blocks, bytes);
}

void hk_front_init(void)
{
	if (!hk_debug_options.poison)
		return;
	hk_unwind_init();
	hk_guard_init();
	if (hk_debug_options.suppressions[0])
		hk_suppressions_read(hk_debug_options.suppressions);
}

void hk_front_exit(void)
{
	if (!hk_debug_options.poison)
		return;
	hk_front_check("exit");
	if (hk_debug_options.leaks != HK_LEAKS_NONE) {
		HK_WORLD_ENTER();
		hk_leaks_at_exit();
		HK_WORLD_LEAVE();
	}
	if (hk_debug_options.exit_code && hk_report_count()) {
		/* What exit() would still have done: nothing may allocate after this. */
		fflush(NULL);
		_exit((int)hk_debug_options.exit_code);
	}
}

void hk_front_fork_prepare(void)
{
	hk_unwind_fork_prepare();
}

void hk_front_fork_parent(void)
{
	hk_unwind_fork_parent();
}

void hk_front_fork_child(void)
{
	thread_id = 0;
	hk_unwind_fork_child();
	hk_modules_adopt();
}
