/* SPDX-License-Identifier: MIT
 *
 * request.c - sizes, alignments and the calls themselves.
 *
 * Sizes favour the places where the allocator changes its mind: the bounds of classes, of
 * slabs at 2 KiB, of classes at 64 KiB, of medium blocks at 1 MiB, of what a size_t holds.
 */
#include "request.h"

#include <errno.h>
#include <stdint.h>

#include "calls.h"
#include "refuse.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
/* No address space has so much: such requests fail. */
#define BEYOND ((size_t)1 << 48)

const char *const way_names[WAYS] = { "malloc",
				      "calloc",
				      "realloc",
				      "reallocarray",
				      "aligned_alloc",
				      "posix_memalign",
				      "memalign",
				      "valloc",
				      "pvalloc",
				      "operator new",
				      "operator new[]",
				      "operator new(align)",
				      "operator new[](align)" };

/* ---- sizes ---- */

static size_t near(struct choice *choice, size_t size, size_t by)
{
	return size + choose(choice, 2 * by + 1) - by;
}

/* Any number of bits as likely as any other. */
static size_t log_uniform(struct choice *choice, unsigned least, unsigned most)
{
	size_t power = (size_t)1 << (least + choose(choice, most - least));

	return power + choose(choice, power);
}

static size_t bound(struct choice *choice)
{
	static const size_t bounds[] = { 1 * KIB,        2 * KIB,   4 * KIB, 32 * KIB,
					 64 * KIB,       128 * KIB, MIB,     2 * MIB,
					 MIB - 64 * KIB, 4 * MIB };
	size_t number = seldom(choice, 4) ? sizeof(bounds) / sizeof(bounds[0]) : 5;

	return near(choice, bounds[choose(choice, number)], 17);
}

static size_t impossible(struct choice *choice)
{
	static const size_t bounds[] = { BEYOND, PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1,
					 SIZE_MAX - 4096, SIZE_MAX - 17 };
	size_t base = bounds[choose(choice, sizeof(bounds) / sizeof(bounds[0]))];

	return base + choose(choice, 18);
}

static size_t any_size(struct choice *choice)
{
	unsigned dice = (unsigned)choose(choice, 256);

	if (dice < 3)
		return 0;
	if (dice < 100)
		return choose(choice, 129);
	if (dice < 150)
		return choose(choice, 2 * KIB + 1);
	/* Where classes end: eight to a doubling. */
	if (dice < 190)
		return near(choice, (8 + choose(choice, 8)) << choose(choice, 14), 1);
	if (dice < 220 || (dice < 240 && !seldom(choice, 8)))
		return 2 * KIB + choose(choice, 62 * KIB);
	if (dice < 240)
		return log_uniform(choice, 16, 20);
	/* Each of the larger ones needs system calls: when those may fail, there are more. */
	if (dice < 250 || !seldom(choice, refuse_any() ? 2 : 16))
		return bound(choice);
	if (dice < 254)
		return log_uniform(choice, 20, 26);
	return impossible(choice);
}

/* What does not fit in what may be live becomes small, without another choice. */
static size_t fit(size_t size, size_t room)
{
	return size <= room || size >= BEYOND ? size : size % KIB;
}

static void draw_size(struct request *request, struct choice *choice, size_t room)
{
	request->count = 1;
	request->size = request->bytes = fit(any_size(choice), room);
}

/* As programs resize: a little more or less than there was, or so many times as much. */
static void draw_size_near(struct request *request, struct choice *choice, size_t room,
			   const struct block *block)
{
	size_t size = block->size, usable = block->usable;
	const size_t sizes[] = { size + 1,         size - (size > 1),
				 size * 2,         size / 2 + 1,
				 size + size / 8,  size - size / 8,
				 size + size / 2,  usable,
				 usable + 1,       usable / 2,
				 usable / 2 - 1,   size + calls.page,
				 size / 4 * 3 + 1, size };
	size_t drawn = sizes[choose(choice, sizeof(sizes) / sizeof(sizes[0]))];

	request->count = 1;
	request->size = request->bytes = drawn <= room ? drawn : size / 2 + 1;
}

/* A product; sometimes one that a size_t does not hold, or a ptrdiff_t. */
static void draw_product(struct request *request, struct choice *choice, size_t room)
{
	if (choose(choice, 64) == 0) {
		static const size_t factors[][2] = {
			{ (size_t)1 << 32, (size_t)1 << 32 },
			{ SIZE_MAX, 2 },
			{ 3, SIZE_MAX / 3 + 1 },
			{ (size_t)PTRDIFF_MAX / 2 + 1, 2 },
			{ 16, (size_t)1 << 60 },
			{ SIZE_MAX, SIZE_MAX },
			{ ((size_t)1 << 33) + 1, ((size_t)1 << 31) - 1 },
			{ ((size_t)1 << 32) + 1, (size_t)1 << 32 },
		};
		size_t which = choose(choice, sizeof(factors) / sizeof(factors[0]));
		bool swap = choose(choice, 2);

		request->count = factors[which][swap];
		request->size = factors[which][!swap];
	} else {
		size_t size = fit(any_size(choice), room);
		size_t count = 1 + choose(choice, 16);

		if (choose(choice, 2))
			count = size % 31 + 1;
		if (size >= BEYOND)
			count = 1;
		request->count = count;
		request->size = size / count;
	}
	if (__builtin_mul_overflow(request->count, request->size, &request->bytes))
		request->bytes = SIZE_MAX;
}

/* ---- alignments ---- */

static bool is_power_of_two(size_t value)
{
	return value && !(value & (value - 1));
}

static void draw_alignment(struct request *request, struct choice *choice)
{
	static const size_t wrong[] = { 0,        3,       24,       4097,
					12 * KIB, 1048584, SIZE_MAX, BEYOND + 8 };
	unsigned dice = (unsigned)choose(choice, 64);
	bool posix = request->way == BY_POSIX_MEMALIGN;

	if (dice == 0 && (calls.hakmem || posix)) {
		/* glibc's others round up what is no power of two, in some versions. */
		request->alignment =
			wrong[choose(choice, sizeof(wrong) / sizeof(wrong[0]))];
		return;
	}
	if (dice == 1 && seldom(choice, 16))
		request->alignment = (size_t)1 << (23 + choose(choice, 41));
	else if (dice < 4 && seldom(choice, 8))
		request->alignment = (size_t)1 << (20 + choose(choice, 3));
	else if (dice < 16)
		request->alignment = (size_t)1 << choose(choice, 20);
	else
		request->alignment = (size_t)1 << choose(choice, 13);
	/* A C++ compiler asks for no less. */
	if (request->way >= BY_NEW && request->alignment < 16)
		request->alignment = 16;
}

/* ---- what must come of it ---- */

static void foresee(struct request *request)
{
	size_t alignment = request->alignment;
	bool posix = request->way == BY_POSIX_MEMALIGN;

	request->outcome = MUST_SUCCEED;
	request->error = ENOMEM;
	if (!is_power_of_two(alignment) || (posix && alignment % sizeof(void *))) {
		request->outcome = MUST_FAIL;
		request->error = EINVAL;
	} else if (request->bytes >= BEYOND || alignment >= BEYOND) {
		request->outcome = MUST_FAIL;
	} else if (alignment > 4 * MIB) {
		request->outcome = MAY_FAIL;
	}
}

void request_draw(struct request *request, struct choice *choice, size_t room)
{
	/* Of 64, in the order of enum way. */
	static const uint8_t shares[WAYS] = { 30, 9, 3, 2, 4, 4, 2, 1, 1, 3, 2, 2, 1 };
	unsigned dice = (unsigned)choose(choice, 64), way = 0;

	while (dice >= shares[way])
		dice -= shares[way++];
	request->way = (enum way)way;
	if (request->way >= BY_NEW && !calls.cxx[0].make)
		request->way = BY_MALLOC;
	request->alignment = 1;
	request->nothrow = false;
	switch (request->way) {
	case BY_CALLOC:
	case BY_REALLOCARRAY:
		draw_product(request, choice, room);
		break;
	case BY_ALIGNED_ALLOC:
	case BY_POSIX_MEMALIGN:
	case BY_MEMALIGN:
	case BY_NEW_ALIGNED:
	case BY_NEW_ARRAY_ALIGNED:
		draw_size(request, choice, room);
		draw_alignment(request, choice);
		break;
	case BY_VALLOC:
	case BY_PVALLOC:
		draw_size(request, choice, room);
		request->alignment = calls.page;
		break;
	default:
		draw_size(request, choice, room);
	}
	if (request->way >= BY_NEW) {
		/* What is no power of two, no compiler asks operator new for. */
		while (!is_power_of_two(request->alignment))
			request->alignment = 16;
		request->nothrow = choose(choice, 2);
	}
	foresee(request);
	/* Without a C++ run time there is nothing to throw. */
	if (request->outcome != MUST_SUCCEED)
		request->nothrow = true;
}

void request_draw_resize(struct request *request, struct choice *choice, size_t room,
			 const struct block *block)
{
	request->way = choose(choice, 4) ? BY_REALLOC : BY_REALLOCARRAY;
	request->alignment = 1;
	request->nothrow = false;
	if (choose(choice, 2))
		draw_size_near(request, choice, room, block);
	else if (request->way == BY_REALLOC)
		draw_size(request, choice, room);
	else
		draw_product(request, choice, room);
	foresee(request);
}

/* ---- the calls ---- */

static void *make_posix(const struct request *request, int *error)
{
	static char untouched;
	void *block = &untouched;

	*error = calls.allocate_posix(&block, request->alignment, request->bytes);
	if (!*error)
		return block;
	/* POSIX leaves it open; this library's, as glibc's, does not touch it. */
	if (block != &untouched)
		*error = -1;
	return NULL;
}

static void *make_cxx(const struct request *request)
{
	bool array = request->way == BY_NEW_ARRAY || request->way == BY_NEW_ARRAY_ALIGNED;
	const struct cxx_calls *cxx = &calls.cxx[array];

	if (request->way == BY_NEW || request->way == BY_NEW_ARRAY)
		return request->nothrow ? cxx->make_nothrow(request->bytes, "")
					: cxx->make(request->bytes);
	return request->nothrow
		       ? cxx->make_aligned_nothrow(request->bytes, request->alignment, "")
		       : cxx->make_aligned(request->bytes, request->alignment);
}

void *request_make(const struct request *request, int *error)
{
	void *block;

	switch (request->way) {
	case BY_MALLOC:
		block = calls.allocate(request->bytes);
		break;
	case BY_CALLOC:
		block = calls.allocate_zeroed(request->count, request->size);
		break;
	case BY_REALLOC:
		block = calls.resize(NULL, request->bytes);
		break;
	case BY_REALLOCARRAY:
		block = calls.resize_array(NULL, request->count, request->size);
		break;
	case BY_ALIGNED_ALLOC:
		block = calls.allocate_aligned(request->alignment, request->bytes);
		break;
	case BY_POSIX_MEMALIGN:
		return make_posix(request, error);
	case BY_MEMALIGN:
		block = calls.allocate_memalign(request->alignment, request->bytes);
		break;
	case BY_VALLOC:
		block = calls.allocate_page(request->bytes);
		break;
	case BY_PVALLOC:
		block = calls.allocate_pages(request->bytes);
		break;
	default:
		block = make_cxx(request);
	}
	*error = block ? 0 : errno;
	return block;
}

/* ---- and their opposites ---- */

static void end_cxx(struct block *block, struct choice *choice)
{
	bool array = block->way == BY_NEW_ARRAY || block->way == BY_NEW_ARRAY_ALIGNED;
	const struct cxx_calls *cxx = &calls.cxx[array];
	unsigned which = (unsigned)choose(choice, 3);

	if (block->way == BY_NEW || block->way == BY_NEW_ARRAY) {
		if (which == 0)
			cxx->end(block->base);
		else if (which == 1)
			cxx->end_nothrow(block->base, "");
		else
			cxx->end_sized(block->base, block->size);
	} else {
		if (which == 0)
			cxx->end_aligned(block->base, block->alignment);
		else if (which == 1)
			cxx->end_aligned_nothrow(block->base, block->alignment, "");
		else
			cxx->end_sized_aligned(block->base, block->size,
					       block->alignment);
	}
}

void request_end(struct block *block, struct choice *choice)
{
	unsigned which = (unsigned)choose(choice, 8);

	if (block->way >= BY_NEW)
		end_cxx(block, choice);
	else if (which == 0 && calls.end_c)
		calls.end_c(block->base);
	else if (which <= 2 && calls.end_sized && block->way <= BY_REALLOCARRAY)
		calls.end_sized(block->base, block->size);
	else if (which <= 3 && calls.end_aligned_sized && block->way == BY_ALIGNED_ALLOC)
		calls.end_aligned_sized(block->base, block->alignment, block->size);
	else
		calls.end(block->base);
}
