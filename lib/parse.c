/* SPDX-License-Identifier: MIT
 *
 * parse.c - see parse.h.
 */
#include "parse.h"

#include <string.h>

bool hk_parse_number(const char *text, const char *end, bool units, uint64_t *number)
{
	static const char unit_names[] = "kmgtpe";
	const char *digits = text, *unit;
	uint64_t value = 0;
	unsigned shift;

	for (; text < end && *text >= '0' && *text <= '9'; text++) {
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
			return false;
	}
	*number = value;
	if (text == digits || text == end)
		return text != digits;
	unit = units ? memchr(unit_names, hk_lower(*text), sizeof(unit_names) - 1) : NULL;
	if (!unit || text + 1 != end)
		return false;
	shift = 10 * (unsigned)(unit - unit_names + 1);
	/* 16E is one more than fits: it stands for the largest value. */
	if (value > UINT64_MAX >> shift && !(shift == 60 && value == 16))
		return false;
	*number = value > UINT64_MAX >> shift ? UINT64_MAX : value << shift;
	return true;
}

/*
 * With strchr(), which every process has called before: strcspn() would bring in 128 KiB of
 * libc that an idle one has not touched.
 */
size_t hk_word_at(const char *words, unsigned index, const char **word)
{
	const char *end;

	for (; index; index--) {
		words = strchr(words, '|');
		if (!words)
			return 0;
		words++;
	}
	*word = words;
	end = strchr(words, '|');
	return end ? (size_t)(end - words) : strlen(words);
}

bool hk_parse_word(const char *words, const char *text, size_t length, uint64_t *number)
{
	const char *word;
	size_t word_length;

	for (unsigned i = 0; (word_length = hk_word_at(words, i, &word)) != 0; i++) {
		if (word_length == length && !memcmp(word, text, length)) {
			*number = i;
			return true;
		}
	}
	return false;
}

/* With one row of the table. */
size_t hk_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t row[HK_PARSE_WORD_MAX + 1];

	if (a_length > HK_PARSE_WORD_MAX || b_length > HK_PARSE_WORD_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= b_length; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			size_t change = diagonal +
					(hk_lower(a[i - 1]) != hk_lower(b[j - 1]));

			diagonal = row[j];
			row[j] = row[j - 1] + 1 < row[j] + 1 ? row[j - 1] + 1
							     : row[j] + 1;
			if (change < row[j])
				row[j] = change;
		}
	}
	return row[b_length];
}
