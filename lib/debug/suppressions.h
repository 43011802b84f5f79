/* SPDX-License-Identifier: MIT
 *
 * suppressions.h - leaks that are known: a file in LeakSanitizer's format, "leak:PATTERN" a
 * line, '#' comments, '*' in a pattern for anything, '^' and '$' for the ends; a pattern is
 * looked for in the function, file and object names of each frame.
 */
#ifndef HK_SUPPRESSIONS_H
#define HK_SUPPRESSIONS_H

#include "debug/symbols.h"

/*
 * Read the file, once, before there are threads; says on stderr that it cannot be read, or
 * the first line that is not understood, by file and line.
 */
void hk_suppressions_read(const char *file);

/* Is a leak with such a frame to be left out? */
bool hk_suppressions_match(const struct hk_symbol *symbol);

/* Any there at all? */
bool hk_suppressions_any(void);

#endif /* HK_SUPPRESSIONS_H */
