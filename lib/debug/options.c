/* SPDX-License-Identifier: MIT
 *
 * options.c - the words of HAKMEM_DEBUG.  Parsed under the lock of config.c, once, at start.
 */
#include "debug/options.h"

#include <string.h>

#include "parse.h"

struct hk_debug_options hk_debug_options = {
	.unwinder = HK_UNWIND_LIBUNWIND,
	.poison = true,
	.quarantine = 2 << 20,
	.quarantine_ms = 60000,
	.leaks = HK_LEAKS_NONE,
};

enum value { FLAG, WORD, NUMBER, TEXT };

/*
 * words: of a WORD, which stand for 0, 1 and so on; of a FLAG, what it is set to; else what a
 * message says is wanted.  A word alone, without its value, sets `alone', if there is such a
 * word.
 */
static const struct option {
	const char *name;
	enum value value;
	const char *words;
	const char *alone;
	size_t offset, size;
} options[] = {
#define FIELD(field)                              \
	offsetof(struct hk_debug_options, field), \
		sizeof(((struct hk_debug_options *)NULL)->field)
	{ "poison", FLAG, "1", NULL, FIELD(poison) },
	{ "none", FLAG, "0", NULL, FIELD(poison) },
	{ "unwind", WORD, "libunwind|fp|no", NULL, FIELD(unwinder) },
	{ "leaks", WORD, "no|lost|all", "lost", FIELD(leaks) },
	{ "guard", NUMBER, "NUMBER", NULL, FIELD(guard) },
	{ "quarantine", NUMBER, "NUMBER", NULL, FIELD(quarantine) },
	{ "quarantine_ms", NUMBER, "NUMBER", NULL, FIELD(quarantine_ms) },
	{ "exitcode", NUMBER, "0..255", NULL, FIELD(exit_code) },
	{ "continue", FLAG, "1", NULL, FIELD(go_on) },
	{ "json", FLAG, "1", NULL, FIELD(json) },
	{ "log", TEXT, "TEXT", NULL, FIELD(log) },
	{ "suppressions", TEXT, "TEXT", NULL, FIELD(suppressions) },
	{ "symbols", TEXT, "TEXT", NULL, FIELD(symbols) },
#undef FIELD
};

#define OPTIONS (sizeof(options) / sizeof(options[0]))

/* The value of one word, into *result; false: not such a value. */
static bool parse_value(const struct option *option, const char *value, const char *end,
			struct hk_debug_options *result)
{
	char *field = (char *)result + option->offset;
	size_t length = (size_t)(end - value);
	uint64_t number = 0;

	switch (option->value) {
	case NUMBER:
		if (!hk_parse_number(value, end, true, &number) ||
		    (option->offset == offsetof(struct hk_debug_options, exit_code) &&
		     number > 255))
			return false;
		memcpy(field, &number, option->size);
		return true;
	case TEXT:
		if (!length || length >= option->size)
			return false;
		memcpy(field, value, length);
		field[length] = '\0';
		return true;
	case WORD:
		if (!hk_parse_word(option->words, value, length, &number))
			return false;
		break;
	default:
		number = option->words[0] == '1';
	}
	/* Enumerations and flags, little-endian or of one byte. */
	memcpy(field, &number, option->size);
	return true;
}

/* One "name" or "name:value". */
static bool parse_word(const char *text, const char *end, struct hk_debug_options *result)
{
	const char *colon = memchr(text, ':', (size_t)(end - text));
	size_t length = (size_t)((colon ? colon : end) - text);

	for (size_t i = 0; i < OPTIONS; i++) {
		const struct option *option = &options[i];
		const char *alone = option->alone;

		if (strlen(option->name) != length || memcmp(option->name, text, length))
			continue;
		if (colon && option->value != FLAG)
			return parse_value(option, colon + 1, end, result);
		if (!colon && option->value == FLAG)
			return parse_value(option, end, end, result);
		return !colon && alone &&
		       parse_value(option, alone, alone + strlen(alone), result);
	}
	return false;
}

/* With its value; alone where that has a meaning, and none is given. */
static const char *form_of(const struct option *option, bool has_value)
{
	static char form[64];

	if (option->value == FLAG || (option->alone && !has_value))
		return option->name;
	hk_assert(strlen(option->name) + 1 + strlen(option->words) < sizeof(form));
	strcpy(form, option->name);
	strcat(form, ":");
	return strcat(form, option->words);
}

static const char *nearest_form(const char *word, size_t length)
{
	const char *colon = memchr(word, ':', length);
	const struct option *nearest = &options[0];
	size_t best = SIZE_MAX;

	if (colon)
		length = (size_t)(colon - word);
	for (size_t i = 0; i < OPTIONS; i++) {
		const char *name = options[i].name;
		size_t distance = hk_distance(word, length, name, strlen(name));

		if (distance < best) {
			best = distance;
			nearest = &options[i];
		}
	}
	return form_of(nearest, colon != NULL);
}

bool hk_debug_options_parse(const char *text, const char **word, size_t *length,
			    const char **nearest)
{
	struct hk_debug_options result = hk_debug_options;

	if (!*text)
		return true;
	for (;;) {
		const char *end = strchr(text, ',');

		if (!end)
			end = text + strlen(text);
		if (!parse_word(text, end, &result)) {
			*word = text;
			*length = (size_t)(end - text);
			*nearest = nearest_form(text, *length);
			return false;
		}
		if (!*end)
			break;
		text = end + 1;
	}
	hk_debug_options = result;
	return true;
}
