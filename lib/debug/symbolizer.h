/* SPDX-License-Identifier: MIT
 *
 * symbolizer.h - a child process that knows debug information: addr2line, or one like it.
 */
#ifndef HK_SYMBOLIZER_H
#define HK_SYMBOLIZER_H

#include "base.h"
#include "text.h"

/* Mappings that are given back all at once. */
struct hk_scratch {
	struct hk_scratch_part *parts;
};

/* Zeroed; NULL: no memory. */
void *hk_scratch_take(struct hk_scratch *scratch, size_t bytes);
void hk_scratch_give(struct hk_scratch *scratch);

/* The program to ask, as HAKMEM_DEBUG=symbols:... says; NULL: none. */
struct hk_symbolizer *hk_symbolizer_find(struct hk_scratch *scratch);

/*
 * Ask it about one object: write() writes the offsets, "0xOFFSET" a line.  Its answer, with a
 * NUL behind it: for each offset the line "0xOFFSET", then in turn a function and where it is,
 * innermost first.  NULL: there is none; what could not be run, or did not answer in time, is
 * not asked again.
 */
char *hk_symbolizer_ask(struct hk_symbolizer *symbolizer, struct hk_scratch *scratch,
			const char *object,
			void (*write)(const void *context, struct hk_text *text),
			const void *context, size_t *length);

#endif /* HK_SYMBOLIZER_H */
