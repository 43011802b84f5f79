/* SPDX-License-Identifier: MIT
 *
 * driver.h - follows a stream of choices through the interface under test, and compares what
 * comes of each with the shadow heap.
 *
 * A run has workers; at any time one thread works for each, or fewer than one.  Blocks go from
 * worker to worker by way of a few boxes.  What is found wrong ends the process.
 */
#ifndef FUZZ_DRIVER_H
#define FUZZ_DRIVER_H

#include <stdatomic.h>
#include <stdio.h>

#include "choice.h"
#include "shadow.h"

enum { DRIVER_BOXES = 64, DRIVER_WORKERS = 64 };

/* What was done, so that a run can be seen to have done it. */
enum deed {
	DID_ALLOCATE,
	DID_ZERO,
	DID_ALIGN,
	DID_REFUSE_REQUEST, /* one that cannot be granted, and was not */
	DID_RUN_OUT,        /* ENOMEM, while system calls were made to fail */
	DID_RESIZE_IN_PLACE,
	DID_RESIZE_AWAY,
	DID_END,
	DID_LOOK,
	DID_QUERY,
	DID_HAND_OVER,
	DID_FLUSH,
	DID_RELEASE,
	DID_CHECK,
	DID_STATS,
	DID_SET,
	DID_FILL,   /* many blocks by equal requests */
	DID_SHRINK, /* nearly all blocks freed */
	DID_LEAVE,  /* a thread ended, another goes on in its place */
	DEEDS
};

struct worker {
	unsigned number;
	uint64_t seed;
	struct choice choice;
	uint64_t step, steps;
	struct block **slots;
	size_t held_blocks, held_bytes;
	unsigned refusals_left; /* steps until the kernel is itself again */
	uint8_t perturb;        /* M_PERTURB, where there is one worker ... */
	unsigned perturb_left;  /* ... for so many steps */
	bool leaves;            /* its thread is to end */
	bool visiting;          /* its thread is another's for a few steps */
	unsigned long deeds[DEEDS];
};

/* Set before the first worker works. */
struct driver {
	unsigned workers;
	size_t slots;   /* of each */
	size_t most;    /* bytes that may live at a time, in all */
	bool refuse;    /* make system calls fail: refuse_init() was true */
	bool lone;      /* nobody else's blocks come or go: counts are compared */
	bool unreached; /* a flush may not reach a thread that is between two marks */
	FILE *nowhere;  /* has a buffer of its own already */
	bool trace;     /* write every step to standard error */
	bool visits; /* other threads take some steps; else one ends by worker->leaves */
	/* Tell it, with the way to see it again, and end the process. */
	void (*broken)(const struct worker *worker, const char *what);
};

extern struct driver driver;

/* The worker of the calling thread. */
extern _Thread_local struct worker *driver_worker;

/* Once, and then for each worker. */
void driver_init(void);
void driver_make(struct worker *worker, unsigned number, uint64_t seed, uint64_t steps);

/* Steps, until there are no more, no choices, or the thread is to end. */
void driver_work(struct worker *worker);
void driver_step(struct worker *worker);

/* All blocks of the worker are looked at and freed; the last one empties the boxes, too. */
void driver_end(struct worker *worker, bool last);

/* Without a block of malloc, of which there may be none to have, nor a lock of stdio's. */
__attribute__((format(printf, 2, 3))) void driver_say(int fd, const char *format, ...);

/* ---- for events.c ---- */

/* What one of few steps does beside blocks: operations on the whole heap, or none. */
void driver_event(struct worker *worker);
void driver_release(struct worker *worker, struct block *block);

/* Equal requests, for many slots that have no block. */
void driver_fill(struct worker *worker);

__attribute__((format(printf, 2, 3))) void driver_note(const struct worker *worker,
						       const char *format, ...);
__attribute__((format(printf, 2, 3))) _Noreturn void
driver_fail(const struct worker *worker, const char *format, ...);

/* Tells of a step in a trace, and of what must hold. */
#define NOTE(worker, ...)                                 \
	do {                                              \
		if (driver.trace)                         \
			driver_note(worker, __VA_ARGS__); \
	} while (0)
#define EXPECT(worker, condition, ...)                    \
	do {                                              \
		if (__builtin_expect(!(condition), 0))    \
			driver_fail(worker, __VA_ARGS__); \
	} while (0)

#endif /* FUZZ_DRIVER_H */
