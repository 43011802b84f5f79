/* SPDX-License-Identifier: MIT
 *
 * loader.h - what the dynamic loader would do, asked from the dynamic loader.
 *
 * Its search (RPATH, LD_LIBRARY_PATH, hardware subdirectories, cache, defaults) is its own
 * affair; a program's loader is run with --list, as ldd(1) does, and its answer is read.
 */
#ifndef LOADER_H
#define LOADER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define LOADER_PRODUCTION "libhakmem.so.0"
#define LOADER_DEBUG "libhakmem_debug.so.0"

struct loader_object {
	char *name; /* as it was asked for */
	char *path; /* NULL: not found */
};

struct loader_answer {
	struct loader_object *objects; /* in the order in which symbols are searched */
	size_t count;
	char complaint[512]; /* the first line of a loader that failed; else empty */
};

/* LD_PRELOAD with soname first, and no other libhakmem behind it.  To be freed. */
char *loader_preload(const char *soname);

/* Ask interpreter about program under this LD_PRELOAD.  0, or -1: it could not be run. */
int loader_ask(const char *interpreter, const char *program, const char *preload,
	       struct loader_answer *answer);

/* Where soname was found, or NULL. */
const char *loader_path(const struct loader_answer *answer, const char *soname);

void loader_forget(struct loader_answer *answer);

#endif /* LOADER_H */
