/* SPDX-License-Identifier: MIT
 *
 * request.h - what a step asks for, drawn from its choices, and what must come of it.
 */
#ifndef FUZZ_REQUEST_H
#define FUZZ_REQUEST_H

#include "choice.h"
#include "shadow.h"

enum outcome { MUST_SUCCEED, MAY_FAIL, MUST_FAIL };

struct request {
	enum way way;
	size_t count, size; /* of an array; else count is 1 */
	size_t bytes;       /* their product, as far as a size_t goes */
	size_t alignment;   /* 1: none was asked for */
	bool nothrow;
	enum outcome outcome;
	int error; /* the errno of a failure */
};

/* An allocation of at most so many bytes, or one that cannot be granted. */
void request_draw(struct request *request, struct choice *choice, size_t room);

/* A new size for the block; the way is BY_REALLOC or BY_REALLOCARRAY. */
void request_draw_resize(struct request *request, struct choice *choice, size_t room,
			 const struct block *block);

/* One call, with errno as the caller set it. */
void *request_make(const struct request *request, int *error);

/* Ends a block by one of the functions that may. */
void request_end(struct block *block, struct choice *choice);

extern const char *const way_names[WAYS];

#endif /* FUZZ_REQUEST_H */
