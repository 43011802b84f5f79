/* SPDX-License-Identifier: MIT
 *
 * A random walk through functions of all kinds of frames.  What the library notes of each
 * allocation's stack is what backtrace(3) sees, which reads the unwind tables anew each time;
 * by libunwind only, as frame pointers are not there to be followed.  innocent.sh runs it.
 */
#include "libabuse.h"

#include <alloca.h>
#include <execinfo.h>
#include <signal.h>

enum { STEPS = 20000, DEPTH = 120, TOLD = 32 };

static bool by_libunwind;
static _Thread_local unsigned random_state = 1;

static unsigned draw(unsigned below)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % below;
}

/* The caller's frames, from the second on: the first is at another instruction. */
STEP void compare(const struct hakmem_query *query, void *const *frames, int count)
{
	int told = count < TOLD ? count : TOLD;
	int same = 1;

	while (same < told && same < (int)query->frames &&
	       query->stack[same] == (uint64_t)(uintptr_t)frames[same])
		same++;
	if ((int)query->frames != told || same != told) {
		fprintf(stderr, "%d frames, %d told, %d the same\n", count,
			(int)query->frames, same);
		_exit(1);
	}
}

STEP void allocate(void)
{
	void *frames[TOLD + 1], *block = make(draw(200));
	struct hakmem_query query = { .address = block };
	int count;

	if (by_libunwind) {
		count = backtrace(frames, TOLD + 1);
		ctl(HAKMEM_QUERY, &query, sizeof(query));
		/* make() is one more. */
		memmove(query.stack, query.stack + 1,
			sizeof(query.stack[0]) * (TOLD - 1));
		query.frames--;
		compare(&query, frames, count < TOLD ? count : TOLD - 1);
	}
	drop(block);
}

static void go(unsigned depth);

STEP void plain(unsigned depth)
{
	go(depth);
}

/* The frame pointer is needed, and the stack pointer moves. */
STEP void with_alloca(unsigned depth)
{
	char *volatile room = (char *)alloca(draw(300) + 1);

	room[0] = 1;
	go(depth);
	room[0] = 2;
}

/* The stack is aligned anew: how far the frame's end is differs from call to call. */
STEP void aligned(unsigned depth)
{
	_Alignas(64) volatile char line[64] = { 0 };

	line[draw(64)] = 1;
	go(depth);
	opaque((void *)(uintptr_t)&line[draw(64)]);
}

#if defined(__x86_64__)
/*
 * Aligned, with the frame's end told from a word in the frame, as GCC does it where rbp cannot be
 * what its arguments are told from.
 */
__attribute__((used)) static void go_from_assembly(unsigned depth)
{
	go(depth);
	STAY();
}

void aligned_by_argument_pointer(unsigned depth);
__asm__(".text\n"
	"aligned_by_argument_pointer:\n"
	"	.cfi_startproc\n"
	"	leaq 8(%rsp), %r10\n"
	"	.cfi_def_cfa 10, 0\n"
	"	andq $-64, %rsp\n"
	"	pushq -8(%r10)\n"
	"	pushq %rbp\n"
	"	movq %rsp, %rbp\n"
	"	.cfi_escape 0x10, 0x06, 0x02, 0x76, 0x00\n" /* rbp is at rbp */
	"	pushq %r10\n"
	"	.cfi_escape 0x0f, 0x03, 0x76, 0x78, 0x06\n" /* the CFA is at rbp - 8 */
	"	subq $8, %rsp\n"
	"	call go_from_assembly\n"
	"	movq -8(%rbp), %r10\n"
	"	.cfi_def_cfa 10, 0\n"
	"	leave\n"
	"	.cfi_restore 6\n"
	"	leaq -8(%r10), %rsp\n"
	"	.cfi_def_cfa 7, 8\n"
	"	ret\n"
	"	.cfi_endproc\n");
#else
#define aligned_by_argument_pointer aligned
#endif

/* Many registers are saved, the frame pointer's among them. */
STEP void busy(unsigned depth)
{
	unsigned a = draw(9), b = draw(9), c = draw(9), d = draw(9), e = draw(9),
		 f = draw(9);

	go(depth);
	opaque(&(unsigned){ a + b });
	go(depth / 2);
	opaque(&(unsigned){ c * d + e - f + a });
}

static void in_handler(int signal)
{
	(void)signal;
	if (draw(2))
		plain(2);
}

STEP void signalled(unsigned depth)
{
	raise(SIGUSR1);
	go(depth);
}

static _Thread_local unsigned steps;

static void go(unsigned depth)
{
	static void (*const kinds[])(unsigned) = {
		plain, plain,    with_alloca, aligned, aligned_by_argument_pointer,
		busy,  signalled
	};

	for (unsigned rounds = draw(3) + 1; rounds-- && steps;) {
		if (draw(2) || !depth) {
			steps--;
			allocate();
		} else {
			kinds[draw(sizeof(kinds) / sizeof(kinds[0]))](depth - 1);
		}
	}
}

static void *walk(void *argument)
{
	random_state = (unsigned)(uintptr_t)argument;
	for (steps = STEPS; steps;)
		go(draw(DEPTH));
	return NULL;
}

STEP void random_walk(void)
{
	const char *words = getenv("HAKMEM_DEBUG");
	pthread_t thread;

	by_libunwind = !words || !strstr(words, "unwind:");
	signal(SIGUSR1, in_handler);
	pthread_create(&thread, NULL, walk, (void *)(uintptr_t)2);
	walk((void *)(uintptr_t)1);
	pthread_join(thread, NULL);
}

static const struct crime crimes[] = {
	{ "random-walk", NULL, random_walk },
};

FAMILY(crimes)
