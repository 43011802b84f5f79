/* SPDX-License-Identifier: MIT
 *
 * text.h - formatted output without stdio: a fixed buffer and write(2).
 *
 * For messages and dumps.  Allocates nothing, takes no lock, keeps errno.
 */
#ifndef HK_TEXT_H
#define HK_TEXT_H

#include <stdarg.h>

#include "base.h"

struct hk_text {
	int fd;    /* -1: what does not fit is dropped */
	int error; /* the errno of the first write that failed; the rest is dropped */
	size_t used;
	char buffer[1024];
};

void hk_text_open(struct hk_text *text, int fd);

/* printf's %s %d %u %lu %lx %c %p %%, with '-', a width, and '*' for it; nothing else. */
HK_PRINTF(2, 3) void hk_text(struct hk_text *text, const char *format, ...);
HK_PRINTF(2, 0) void hk_text_list(struct hk_text *text, const char *format, va_list list);

/* The string as one of JSON, in its quotation marks. */
void hk_text_json(struct hk_text *text, const char *string);

/* As hk_text_list(), into a string, cut off where it does not fit. */
HK_PRINTF(3, 0)
void hk_text_format(char *string, size_t size, const char *format, va_list list);

/* Write out what is left: 0, or the errno of the first write that failed. */
int hk_text_close(struct hk_text *text);

#endif /* HK_TEXT_H */
