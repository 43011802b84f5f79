/* SPDX-License-Identifier: MIT
 *
 * program.h - from the word on the command line to the file that execve(2) runs, and the
 * privileges it would get.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

enum program_kind {
	PROGRAM_ELF,
	PROGRAM_SCRIPT, /* "#!": the kernel runs its interpreter */
	PROGRAM_TEXT,   /* no header at all: execvp(3) gives it to /bin/sh */
	PROGRAM_UNKNOWN /* neither; binfmt_misc may know it */
};

struct program_head {
	enum program_kind kind;
	char interpreter[PATH_MAX]; /* of a script or text */
	char env_program[PATH_MAX]; /* what an interpreter env(1) runs in turn; or empty */
	bool env_clears;            /* env -i: the environment ends here */
};

/*
 * Find name as execvp(3) does; path gets a slash in any case.  0, or an errno: EPERM for a
 * file that is not executable.
 */
int program_locate(const char *name, char path[PATH_MAX]);

/* What the first line says.  0, or an errno. */
int program_read_head(const char *path, struct program_head *head);

enum program_rights {
	PROGRAM_KEEPS_RIGHTS, /* no set-ID bit, no file capability in effect */
	PROGRAM_HAS_RIGHTS,   /* has them, but they change nothing for this caller */
	PROGRAM_GAINS_RIGHTS  /* execve(2) turns on secure execution (AT_SECURE) */
};

/* The reason goes to text unless the rights are simply kept. */
enum program_rights program_rights(const char *path, char *text, size_t size);

#endif /* PROGRAM_H */
