/* SPDX-License-Identifier: MIT
 *
 * doctor.h - will interposition take in this program; has it in this process?
 */
#ifndef DOCTOR_H
#define DOCTOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "report.h"

/* What a caller that is about to run the program needs beside the verdict. */
struct doctor_result {
	bool missing; /* execvp(3) will fail, and say why */
	bool asked;   /* the program's loader has answered */
	bool found;   /* ... and would find the library */
};

/* Follow name as execvp(3) would, and report whether soname, preloaded, takes in it. */
void doctor_program(struct report *report, const char *name, const char *soname,
		    struct doctor_result *result);

/* Report whether a libhakmem is in the process, and whether its malloc is that one's. */
void doctor_process(struct report *report, pid_t pid);

/* "hakmem doctor ARG...", argv[0] being "doctor"; the exit status. */
int doctor_main(int argc, char **argv);

#endif /* DOCTOR_H */
