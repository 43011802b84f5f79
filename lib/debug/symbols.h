/* SPDX-License-Identifier: MIT
 *
 * symbols.h - names for program counters, when a report is written.
 *
 * Object and offset always; function and line from a program that knows debug information:
 * addr2line, eu-addr2line or llvm-symbolizer, whichever is found first (HAKMEM_DEBUG=symbols:
 * has another, or "no"), run once for each object as a child, without LD_PRELOAD and with the
 * offsets on its standard input.  It demangles the names of C++.  Where it knows nothing, or
 * there is none, exported functions by the object's own table, as they are there.
 *
 * May be called from a process that is about to abort, so it allocates nothing from the heap
 * (mappings of its own instead) and takes no lock.
 */
#ifndef HK_SYMBOLS_H
#define HK_SYMBOLS_H

#include "debug/stacks.h"

struct hk_symbol {
	uintptr_t pc;       /* as recorded: where the call will return to */
	const char *object; /* path, or NULL */
	uintptr_t offset;   /* in the object, as addr2line wants it; of the call itself */
	const char *function; /* or NULL */
	uintptr_t distance;   /* from the function's start, if known, else 0 */
	const char *file;     /* source, or NULL */
	unsigned line;
	unsigned inlined; /* this is a function inlined into the next one's frame */
};

/*
 * Tell of each frame of these stacks, in order: tell(context, which stack, frame number in it,
 * symbol); a frame into which functions were inlined is told of several times with the same
 * number, innermost first.  Strings are valid during the call only.
 */
void hk_symbols_tell(const hk_stack *stacks, size_t count,
		     void (*tell)(void *context, size_t stack, unsigned frame,
				  const struct hk_symbol *symbol),
		     void *context);

#endif /* HK_SYMBOLS_H */
