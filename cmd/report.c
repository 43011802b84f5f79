/* SPDX-License-Identifier: MIT
 *
 * report.c - what was found about a program: one aligned line per finding.
 */
#include "report.h"

#include <stdarg.h>
#include <string.h>

void report_open(struct report *report, FILE *out)
{
	memset(report, 0, sizeof(*report));
	report->out = out;
	report->takes = true;
}

void report_add(struct report *report, enum report_mark mark, const char *subject,
		const char *format, ...)
{
	static const char *const marks[] = { "ok", "note", "no" };
	char text[sizeof(report->reason)];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	if (report->out)
		fprintf(report->out, "%-4s  %-11s  %s\n", marks[mark], subject, text);
	if (mark == REPORT_NO && report->takes) {
		report->takes = false;
		strcpy(report->reason, text);
	}
}
