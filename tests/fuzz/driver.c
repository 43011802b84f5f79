/* SPDX-License-Identifier: MIT
 *
 * driver.c - the steps of a run: blocks are made, looked at, resized, handed over and ended.
 */
#define _GNU_SOURCE
#include "driver.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "calls.h"
#include "refuse.h"
#include "request.h"

/* An errno that no function under test sets. */
enum { UNTOUCHED = EXDEV };

struct driver driver;
_Thread_local struct worker *driver_worker;

static _Atomic size_t live_bytes;

static pthread_mutex_t boxes_lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *boxes[DRIVER_BOXES];

/* ---- what is told ---- */

static void tell(const struct worker *worker, const char *format, va_list list,
		 char *text, size_t size)
{
	int length = snprintf(text, size, "worker %u, step %llu: ", worker->number,
			      (unsigned long long)worker->step);

	vsnprintf(text + length, size - (size_t)length, format, list);
}

void driver_say(int fd, const char *format, ...)
{
	char text[2048];
	va_list list;
	int length;

	va_start(list, format);
	length = vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	if (write(fd, text,
		  (size_t)length < sizeof(text) ? (size_t)length : sizeof(text)) < 0)
		_exit(3);
}

void driver_note(const struct worker *worker, const char *format, ...)
{
	char text[512];
	va_list list;

	va_start(list, format);
	tell(worker, format, list, text, sizeof(text));
	va_end(list);
	driver_say(STDERR_FILENO, "# %s\n", text);
}

void driver_fail(const struct worker *worker, const char *format, ...)
{
	char text[512];
	va_list list;

	va_start(list, format);
	tell(worker, format, list, text, sizeof(text));
	va_end(list);
	driver.broken(worker, text);
	abort();
}

/* ---- blocks and the shadow heap ---- */

static void look_at(const struct worker *worker, const struct block *block, size_t kept,
		    const char *when)
{
	size_t at = shadow_changed(block->base, block->usable, kept, block->pattern);

	EXPECT(worker, at == SIZE_MAX,
	       "%s: block %p of %zu bytes (%zu usable, by %s) was changed at byte %zu",
	       when, (void *)block->base, block->size, block->usable,
	       way_names[block->way], at);
}

static void look_at_usable(const struct worker *worker, const struct block *block)
{
	size_t usable = calls.usable_size(block->base);

	EXPECT(worker, usable == block->usable,
	       "usable size of %p (%zu bytes asked for) was %zu and is %zu",
	       (void *)block->base, block->size, block->usable, usable);
}

/* The block's record is filled in but for what the allocator says. */
static void enter(struct worker *worker, struct block *block, uint64_t pattern)
{
	size_t least = block->way == BY_PVALLOC && !calls.debug
			       ? (block->size + calls.page - 1) / calls.page * calls.page
			       : block->size;
	size_t alignment = block->alignment;
	struct block *other;

	if (alignment < 16 && (alignment < 8 || block->size >= 16))
		alignment = block->size >= 16 ? 16 : 8;
	EXPECT(worker, (uintptr_t)block->base % alignment == 0,
	       "%s of %zu bytes, alignment %zu: %p", way_names[block->way], block->size,
	       block->alignment, (void *)block->base);
	block->usable = calls.usable_size(block->base);
	EXPECT(worker, block->usable >= least, "%s of %zu bytes at %p: %zu usable",
	       way_names[block->way], block->size, (void *)block->base, block->usable);
	other = shadow_enter(block);
	EXPECT(worker, !other,
	       "%s of %zu bytes: %p, %zu usable, overlaps %p of %zu bytes, %zu usable",
	       way_names[block->way], block->size, (void *)block->base, block->usable,
	       (void *)other->base, other->size, other->usable);
	block->pattern = pattern;
	shadow_write(block->base, block->usable, pattern);
	atomic_fetch_add_explicit(&live_bytes, block->usable, memory_order_relaxed);
	worker->held_blocks++;
	worker->held_bytes += block->usable;
}

static void leave(struct worker *worker, struct block *block)
{
	shadow_leave(block);
	atomic_fetch_sub_explicit(&live_bytes, block->usable, memory_order_relaxed);
	worker->held_blocks--;
	worker->held_bytes -= block->usable;
}

/* Bytes that a request may still ask for. */
static size_t room(void)
{
	size_t live = atomic_load_explicit(&live_bytes, memory_order_relaxed);

	return live < driver.most ? (driver.most - live) / 2 : 0;
}

/* ---- what a request must come to ---- */

/* It was answered with NULL: was that right, and the errno? */
static void expect_failure(struct worker *worker, const struct request *request,
			   int error, int errno_after)
{
	bool posix = request->way == BY_POSIX_MEMALIGN;
	bool ran_out = request->outcome == MUST_SUCCEED;

	EXPECT(worker, !ran_out || refuse_any(),
	       "%s of %zu x %zu bytes, alignment %zu: NULL, error %d",
	       way_names[request->way], request->count, request->size, request->alignment,
	       error);
	/* C++ says nothing of errno. */
	EXPECT(worker, error == request->error || request->way >= BY_NEW,
	       "%s of %zu x %zu bytes, alignment %zu: NULL, error %d and not %d",
	       way_names[request->way], request->count, request->size, request->alignment,
	       error, request->error);
	EXPECT(worker, !posix || !calls.hakmem || errno_after == UNTOUCHED,
	       "posix_memalign set errno to %d", errno_after);
	worker->deeds[ran_out ? DID_RUN_OUT : DID_REFUSE_REQUEST]++;
}

static void expect_success(struct worker *worker, const struct request *request,
			   const void *base, int errno_after)
{
	EXPECT(worker, request->outcome != MUST_FAIL,
	       "%s of %zu x %zu bytes, alignment %zu: %p, and not NULL",
	       way_names[request->way], request->count, request->size, request->alignment,
	       base);
	EXPECT(worker, errno_after == UNTOUCHED || !calls.hakmem,
	       "%s of %zu bytes succeeded and set errno to %d", way_names[request->way],
	       request->bytes, errno_after);
}

/* ---- steps ---- */

static void make(struct worker *worker, struct block *block, struct request request,
		 uint64_t pattern)
{
	int error = 0, errno_after;
	void *base;

	/* Without a C++ run time nobody catches what it throws. */
	if (refuse_any())
		request.nothrow = true;
	NOTE(worker, "%s, %zu x %zu bytes, alignment %zu ...", way_names[request.way],
	     request.count, request.size, request.alignment);
	errno = UNTOUCHED;
	refuse_enter();
	base = request_make(&request, &error);
	refuse_leave();
	errno_after = errno;
	NOTE(worker, "... is %p", base);
	if (!base) {
		expect_failure(worker, &request, error, errno_after);
		return;
	}
	expect_success(worker, &request, base, errno_after);
	block->base = base;
	block->size = request.bytes;
	block->alignment = request.alignment;
	block->way = request.way;
	if (request.way == BY_CALLOC) {
		EXPECT(worker, shadow_is_filled(base, request.bytes, 0),
		       "calloc of %zu x %zu bytes at %p: not zero", request.count,
		       request.size, base);
		worker->deeds[DID_ZERO]++;
	} else if (worker->perturb) {
		EXPECT(worker,
		       shadow_is_filled(base, request.bytes, worker->perturb ^ 0xff),
		       "%s of %zu bytes at %p: M_PERTURB was not obeyed",
		       way_names[request.way], request.bytes, base);
	}
	enter(worker, block, pattern);
	worker->deeds[DID_ALLOCATE]++;
	worker->deeds[DID_ALIGN] += request.alignment > 16;
	/* What may fail is address space in plenty: not kept. */
	if (request.outcome == MAY_FAIL)
		driver_release(worker, block);
}

static void allocate(struct worker *worker, struct block *block)
{
	uint64_t pattern = choose(&worker->choice, 1 << 16) * 0x9e3779b97f4a7c15u;
	struct request request;

	request_draw(&request, &worker->choice, room());
	make(worker, block, request, pattern);
}

void driver_fill(struct worker *worker)
{
	uint64_t pattern = choose(&worker->choice, 1 << 16);
	size_t number = 1 + choose(&worker->choice, 1024);
	struct request request;

	request_draw(&request, &worker->choice, room() / number);
	for (size_t i = 0; i < driver.slots && number; i++) {
		if (worker->slots[i]->base)
			continue;
		make(worker, worker->slots[i], request, pattern * (2 * i + 1));
		number--;
	}
	worker->deeds[DID_FILL]++;
}

void driver_release(struct worker *worker, struct block *block)
{
	NOTE(worker, "end %p of %zu bytes, by %s", (void *)block->base, block->size,
	     way_names[block->way]);
	look_at(worker, block, block->usable, "before it is freed");
	look_at_usable(worker, block);
	leave(worker, block);
	errno = UNTOUCHED;
	refuse_enter();
	request_end(block, &worker->choice);
	refuse_leave();
	EXPECT(worker, errno == UNTOUCHED, "to free %p of %zu bytes set errno to %d",
	       (void *)block->base, block->size, errno);
	block->base = NULL;
	worker->deeds[DID_END]++;
}

static void *call_resize(const struct request *request, void *base)
{
	void *moved;

	refuse_enter();
	moved = request->way == BY_REALLOC
			? calls.resize(base, request->bytes)
			: calls.resize_array(base, request->count, request->size);
	refuse_leave();
	return moved;
}

static void resize_failed(struct worker *worker, struct block *block,
			  const struct request *request, int error)
{
	/* The debug library moves always, for which there must be room. */
	EXPECT(worker,
	       request->bytes > block->usable || request->outcome == MUST_FAIL ||
		       calls.debug,
	       "%s from %zu bytes to %zu: NULL", way_names[request->way], block->size,
	       request->bytes);
	expect_failure(worker, request, error, UNTOUCHED);
	look_at(worker, block, block->usable, "realloc failed");
	look_at_usable(worker, block);
	enter(worker, block, block->pattern);
}

static void resize(struct worker *worker, struct block *block)
{
	uint64_t pattern = choose(&worker->choice, 1 << 16) * 0x9e3779b97f4a7c15u;
	struct request request;
	struct block old = *block;
	int errno_after;
	void *moved;

	request_draw_resize(&request, &worker->choice, room(), block);
	NOTE(worker, "%s %p from %zu to %zu x %zu bytes ...", way_names[request.way],
	     (void *)block->base, block->size, request.count, request.size);
	look_at(worker, block, block->usable, "before realloc");
	leave(worker, block);
	errno = UNTOUCHED;
	moved = call_resize(&request, block->base);
	errno_after = errno;
	NOTE(worker, "... is %p", moved);
	if (!request.bytes) {
		EXPECT(worker, !moved && errno_after == UNTOUCHED,
		       "realloc(%p, 0) is %p, errno %d", (void *)block->base, moved,
		       errno_after);
		block->base = NULL;
		worker->deeds[DID_END]++;
		return;
	}
	if (!moved) {
		resize_failed(worker, block, &request, errno_after);
		return;
	}
	expect_success(worker, &request, moved, errno_after);
	worker->deeds[moved == old.base ? DID_RESIZE_IN_PLACE : DID_RESIZE_AWAY]++;
	block->base = moved;
	block->size = request.bytes;
	block->alignment = 1;
	block->way = request.way;
	look_at(worker, block, old.usable < request.bytes ? old.usable : request.bytes,
		"after realloc");
	enter(worker, block, pattern);
}

/* An address of the block is told as the block's. */
static void query(struct worker *worker, const struct block *block)
{
	struct hakmem_query query = { 0 };
	int result;

	query.address = block->base;
	if (block->usable)
		query.address = block->base + choose(&worker->choice, block->usable);
	refuse_enter();
	result = calls.ctl(HAKMEM_QUERY, &query, sizeof(query));
	refuse_leave();
	EXPECT(worker,
	       result == 0 && query.state == HAKMEM_LIVE && query.kind != HAKMEM_NONE &&
		       query.block == (uintptr_t)block->base &&
		       query.usable_size == block->usable,
	       "HAKMEM_QUERY of %p in %p of %zu bytes, %zu usable: %d, state %u, kind %u, "
	       "%#llx of %llu bytes",
	       query.address, (void *)block->base, block->size, block->usable, result,
	       query.state, query.kind, (unsigned long long)query.block,
	       (unsigned long long)query.usable_size);
	worker->deeds[DID_QUERY]++;
}

static void look(struct worker *worker, struct block *block)
{
	NOTE(worker, "look at %p of %zu bytes", (void *)block->base, block->size);
	look_at(worker, block, block->usable, "a look");
	look_at_usable(worker, block);
	if (calls.ctl && seldom(&worker->choice, 64))
		query(worker, block);
	worker->deeds[DID_LOOK]++;
}

/* What lies in the box is this worker's, and its own block, if it has one, lies there. */
static void hand_over(struct worker *worker, struct block **slot)
{
	struct block **box = &boxes[choose(&worker->choice, DRIVER_BOXES)], *block;

	if ((*slot)->base) {
		worker->held_blocks--;
		worker->held_bytes -= (*slot)->usable;
	}
	pthread_mutex_lock(&boxes_lock);
	block = *box;
	*box = *slot;
	*slot = block;
	pthread_mutex_unlock(&boxes_lock);
	if (block->base) {
		worker->held_blocks++;
		worker->held_bytes += block->usable;
		look_at(worker, block, block->usable, "handed over");
	}
	NOTE(worker, "hand over, for %p", (void *)block->base);
	worker->deeds[DID_HAND_OVER]++;
}

static void stop_perturbing(struct worker *worker)
{
	if (worker->perturb)
		calls.set_parameter(M_PERTURB, 0);
	worker->perturb = 0;
	worker->perturb_left = 0;
}

void driver_step(struct worker *worker)
{
	struct choice *choice = &worker->choice;
	struct block **slot = &worker->slots[choose(choice, driver.slots)];
	unsigned dice = (unsigned)choose(choice, 256);

	if (worker->refusals_left && !--worker->refusals_left)
		refuse_none();
	if (worker->perturb_left && !--worker->perturb_left)
		stop_perturbing(worker);
	if (dice >= 250)
		driver_event(worker);
	else if (dice >= 235)
		hand_over(worker, slot);
	else if (!(*slot)->base)
		allocate(worker, *slot);
	else if (dice < 120)
		driver_release(worker, *slot);
	else if (dice < 200 && (*slot)->way < BY_NEW)
		resize(worker, *slot);
	else
		look(worker, *slot);
}

/* ---- a run ---- */

void driver_init(void)
{
	struct block *records = shadow_map(DRIVER_BOXES * sizeof(records[0]));

	calls_find();
	for (size_t i = 0; i < DRIVER_BOXES; i++)
		boxes[i] = &records[i];
	driver.nowhere = fopen("/dev/null", "w");
	if (!driver.nowhere || calls.write_info(0, driver.nowhere))
		_exit(3);
}

void driver_make(struct worker *worker, unsigned number, uint64_t seed, uint64_t steps)
{
	struct block *records = shadow_map(driver.slots * sizeof(records[0]));

	*worker = (struct worker){ .number = number, .seed = seed, .steps = steps };
	worker->slots = shadow_map(driver.slots * sizeof(worker->slots[0]));
	for (size_t i = 0; i < driver.slots; i++)
		worker->slots[i] = &records[i];
}

void driver_work(struct worker *worker)
{
	struct worker *before = driver_worker;

	driver_worker = worker;
	while (worker->step < worker->steps && !worker->leaves &&
	       !choice_ended(&worker->choice)) {
		if (!worker->choice.next)
			choice_at(&worker->choice, worker->seed, worker->step);
		driver_step(worker);
		worker->step++;
	}
	/* Refusals are the thread's. */
	refuse_none();
	worker->refusals_left = 0;
	driver_worker = before;
}

void driver_end(struct worker *worker, bool last)
{
	driver_worker = worker;
	stop_perturbing(worker);
	for (size_t i = 0; i < driver.slots; i++)
		if (worker->slots[i]->base)
			driver_release(worker, worker->slots[i]);
	for (size_t i = 0; last && i < DRIVER_BOXES; i++) {
		if (!boxes[i]->base)
			continue;
		worker->held_blocks++;
		worker->held_bytes += boxes[i]->usable;
		driver_release(worker, boxes[i]);
	}
	EXPECT(worker, !worker->held_blocks && !worker->held_bytes,
	       "the driver itself counts %zu blocks of %zu bytes", worker->held_blocks,
	       worker->held_bytes);
	EXPECT(worker, !last || !shadow_blocks(), "the driver itself has lost %zu blocks",
	       shadow_blocks());
	driver_worker = NULL;
}
