/* SPDX-License-Identifier: MIT
 *
 * parse.h - numbers and words as the environment has them.  Allocates nothing, uses no locale.
 */
#ifndef HK_PARSE_H
#define HK_PARSE_H

#include "base.h"

static inline char hk_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Up to end: digits, and for sizes a unit.  false: not such a number, or beyond 64 bits. */
bool hk_parse_number(const char *text, const char *end, bool units, uint64_t *number);

/* The word number index of "a|b|c"; its length, or 0 past the last. */
size_t hk_word_at(const char *words, unsigned index, const char **word);

/* Which of "a|b|c" these characters are; false: none. */
bool hk_parse_word(const char *words, const char *text, size_t length, uint64_t *number);

/*
 * How many letters are to be added, dropped or changed to make one of the other (Levenshtein);
 * SIZE_MAX where either is longer than HK_PARSE_WORD_MAX.
 */
#define HK_PARSE_WORD_MAX 32
size_t hk_distance(const char *a, size_t a_length, const char *b, size_t b_length);

#endif /* HK_PARSE_H */
