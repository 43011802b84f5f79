/* SPDX-License-Identifier: MIT
 *
 * report.h - what was found about a program: one aligned line per finding.
 */
#ifndef REPORT_H
#define REPORT_H

#include <stdbool.h>
#include <stdio.h>

enum report_mark {
	REPORT_OK,   /* nothing stands in the way */
	REPORT_NOTE, /* worth knowing; does not decide */
	REPORT_NO    /* interposition will not take, or nobody can say that it will */
};

struct report {
	FILE *out;         /* NULL: only the verdict is wanted */
	bool takes;        /* no finding so far is a REPORT_NO */
	char reason[1024]; /* the text of the first REPORT_NO */
};

void report_open(struct report *report, FILE *out);

__attribute__((format(printf, 4, 5))) void report_add(struct report *report,
						      enum report_mark mark,
						      const char *subject,
						      const char *format, ...);

#endif /* REPORT_H */
