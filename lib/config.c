/* SPDX-License-Identifier: MIT
 *
 * config.c - parses options.def's options; owns their values and hk_config_lock.
 */
#define _GNU_SOURCE
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "background.h"
#include "debug/options.h"
#include "fatal.h"
#include "parse.h"
#include "size_class.h"

enum option_type { WORD, COUNT, SIZE, MILLISECONDS, STATS, DEBUG };
enum option_when { RUNTIME, START };

struct option {
	const char *name; /* as in the environment, without the prefix */
	enum option_type type;
	const char *value; /* the default */
	enum option_when when;
	const char *words;
};

static const struct option options[HK_OPTIONS] = {
#define HK_OPTION(name, type, value, number, when, words, help) \
	{ #name, type, value, when, words },
#include "options.def"
#undef HK_OPTION
};

#define PREFIX "HAKMEM_"
#define PREFIX_LENGTH (sizeof(PREFIX) - 1)
#define KEPT_FD_MIN 200 /* out of the way of programs that count on low numbers */

_Atomic uint64_t hk_option_numbers[HK_OPTIONS] = {
#define HK_OPTION(name, type, value, number, when, words, help) number,
#include "options.def"
#undef HK_OPTION
};

struct hk_lock hk_config_lock HK_STARTUP_DATA;

static char stats_file[4096];           /* of HAKMEM_STATS=exit:FILE; empty: stderr */
static char debug_words[64] = "poison"; /* HAKMEM_DEBUG, as far as HAKMEM_GET has room */
static bool environment_read HK_STARTUP_DATA;

/*
 * Standard error as it was when HAKMEM_STATS=exit was read: programs close theirs before the
 * last destructors run (coreutils does).  Told by device and inode from another file that
 * may have got the number since.
 */
static struct {
	int fd;
	dev_t device;
	ino_t inode;
} kept_stderr = { .fd = -1 };

/* ---- values ---- */

static bool parse_in_range(const struct option *option, const char *text,
			   uint64_t *number)
{
	const char *dots = strstr(option->words, "..");
	bool units = option->type == SIZE;
	uint64_t lowest, highest;

	hk_assert(dots && hk_parse_number(option->words, dots, true, &lowest) &&
		  hk_parse_number(dots + 2, dots + strlen(dots), true, &highest));
	return hk_parse_number(text, text + strlen(text), units, number) &&
	       *number >= lowest && *number <= highest;
}

static bool is_kept_stderr(int fd)
{
	struct stat status;

	return fd >= 0 && fstat(fd, &status) == 0 &&
	       status.st_dev == kept_stderr.device && status.st_ino == kept_stderr.inode;
}

static void keep_stderr(void)
{
	int kept = errno;
	struct stat status;

	if (!is_kept_stderr(kept_stderr.fd) && fstat(STDERR_FILENO, &status) == 0) {
		kept_stderr.fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, KEPT_FD_MIN);
		kept_stderr.device = status.st_dev;
		kept_stderr.inode = status.st_ino;
	}
	errno = kept;
}

#if HK_DEBUG
static bool store_debug(const char *text)
{
	const char *word, *nearest;
	size_t length;

	if (!hk_debug_options_parse(text, &word, &length, &nearest))
		return false;
	/* The report at exit goes where messages went before. */
	if (hk_debug_options.leaks != HK_LEAKS_NONE)
		keep_stderr();
	strncpy(debug_words, text, sizeof(debug_words) - 1);
	return true;
}
#else
static bool store_debug(const char *text)
{
	(void)text;
	return false;
}
#endif

/* Parse and, only if it is valid, store. */
static bool store(enum hk_option which, const char *text)
{
	const struct option *option = &options[which];
	const char *file = "";
	uint64_t number;

	switch (option->type) {
	case WORD:
		if (!hk_parse_word(option->words, text, strlen(text), &number))
			return false;
		break;
	case DEBUG:
		return store_debug(text);
	case STATS:
		if (!strncmp(text, "exit:", 5) && text[5])
			file = text + 5;
		if (!hk_parse_word(option->words, text, *file ? 4 : strlen(text),
				   &number) ||
		    strlen(file) >= sizeof(stats_file))
			return false;
		/* The empty name is not written: the buffer's pages stay untouched. */
		if (*file || stats_file[0])
			strcpy(stats_file, file);
		if (number == HK_STATS_EXIT)
			keep_stderr();
		break;
	default:
		if (!parse_in_range(option, text, &number))
			return false;
	}
	atomic_store_explicit(&hk_option_numbers[which], number, memory_order_relaxed);
	if (which == HK_OPTION_TINY_PROFILE)
		hk_route_set((enum hk_profile)number);
	return true;
}

static void print_number(char *value, size_t size, uint64_t number, bool units)
{
	char digits[24], *next = digits + sizeof(digits);
	unsigned unit = 0;

	while (units && number && !(number & 1023) && unit < 6) {
		number >>= 10;
		unit++;
	}
	*--next = '\0';
	if (unit)
		*--next = "KMGTPE"[unit - 1];
	do {
		*--next = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	hk_assert(strlen(next) < size);
	strcpy(value, next);
}

static void print_value(enum hk_option which, char *value, size_t size)
{
	const struct option *option = &options[which];
	uint64_t number = hk_config_number(which);
	const char *word = "";
	size_t length;

	switch (option->type) {
	case DEBUG:
		hk_assert(sizeof(debug_words) <= size);
		strcpy(value, debug_words);
		break;
	case WORD:
	case STATS:
		length = hk_word_at(option->words, (unsigned)number, &word);
		hk_assert(length < size);
		memcpy(value, word, length);
		value[length] = '\0';
		if (option->type == STATS && stats_file[0]) {
			strncat(value, ":", size - length - 1);
			strncat(value, stats_file, size - length - 2);
		}
		break;
	default:
		print_number(value, size, number, option->type == SIZE);
	}
}

/* ---- messages ---- */

static void report_unknown(const char *name, size_t length)
{
	struct hk_text text;
	size_t best = SIZE_MAX;
	const char *nearest = options[0].name;

	for (unsigned i = 0; i < HK_OPTIONS; i++) {
		size_t d = hk_distance(name, length, options[i].name,
				       strlen(options[i].name));

		if (d < best) {
			best = d;
			nearest = options[i].name;
		}
	}
	hk_message_open(&text, HK_UNKNOWN_OPTION);
	hk_text(&text, PREFIX);
	for (size_t i = 0; i < length; i++)
		hk_text(&text, "%c", name[i]);
	hk_text(&text, " (did you mean " PREFIX "%s?)\n", nearest);
	hk_text_close(&text);
}

#if HK_DEBUG
/* Of a list, the first word that was not understood. */
static void report_debug(const struct option *option, const char *value)
{
	const char *word = value, *nearest = option->value;
	struct hk_text text;
	size_t length = 0;

	hk_debug_options_parse(value, &word, &length, &nearest);
	hk_message_open(&text, HK_BAD_VALUE);
	hk_text(&text, "\"");
	for (size_t i = 0; i < length; i++)
		hk_text(&text, "%c", word[i]);
	hk_text(&text, "\" for " PREFIX "%s (did you mean \"%s\"?), using \"%s\"\n",
		option->name, nearest, option->value);
	hk_text_close(&text);
}
#else
static void report_debug(const struct option *option, const char *value)
{
	(void)option;
	(void)value;
}
#endif

static void report_value(const struct option *option, const char *value)
{
	struct hk_text text;
	const char *word, *nearest = NULL;
	size_t length, nearest_length = 0, best = SIZE_MAX;

	hk_message_open(&text, HK_BAD_VALUE);
	hk_text(&text, "\"%s\" for " PREFIX "%s (", value, option->name);
	if (strstr(option->words, "..")) {
		hk_text(&text, "want %s", option->words);
	} else {
		for (unsigned i = 0; (length = hk_word_at(option->words, i, &word)) != 0;
		     i++) {
			size_t d = hk_distance(value, strlen(value), word, length);

			if (!nearest || d < best) {
				best = d;
				nearest = word;
				nearest_length = length;
			}
		}
		hk_text(&text, "did you mean \"");
		for (size_t i = 0; i < nearest_length; i++)
			hk_text(&text, "%c", nearest[i]);
		hk_text(&text, "\"?");
	}
	hk_text(&text, "), using \"%s\"\n", option->value);
	hk_text_close(&text);
}

/* ---- the environment ---- */

static void read_variable(const char *name)
{
	size_t length = (size_t)(strchr(name, '=') - name);

	for (unsigned i = 0; i < HK_OPTIONS; i++) {
		const char *known = options[i].name;

		if (strlen(known) != length || memcmp(known, name, length) != 0)
			continue;
		if (options[i].type == DEBUG && !HK_DEBUG)
			return; /* says nothing to the production library */
		if (store((enum hk_option)i, name + length + 1))
			return;
		if (options[i].type == DEBUG)
			report_debug(&options[i], name + length + 1);
		else
			report_value(&options[i], name + length + 1);
		return;
	}
	report_unknown(name, length);
}

/* Letter by letter, so that neither a string of ours nor a function of libc's is touched. */
static bool has_prefix(const char *variable)
{
	return variable[0] == 'H' && variable[1] == 'A' && variable[2] == 'K' &&
	       variable[3] == 'M' && variable[4] == 'E' && variable[5] == 'M' &&
	       variable[6] == '_';
}

HK_STARTUP bool hk_config_in_environment(void)
{
	for (char **variable = environ; variable && *variable; variable++) {
		if (has_prefix(*variable))
			return true;
	}
	return false;
}

HK_STARTUP void hk_config_read_environment(void)
{
	if (environment_read || !environ)
		return;
	environment_read = true;
	/* Whoever runs a set-user-ID program must not steer its memory. */
	if (getauxval(AT_SECURE))
		return;
	for (char **variable = environ; *variable; variable++) {
		if (has_prefix(*variable) && strchr(*variable, '='))
			read_variable(*variable + PREFIX_LENGTH);
	}
}

/* ---- GET and SET ---- */

/* Names in GET and SET are in lower case. */
static int find(const char *name)
{
	for (unsigned i = 0; i < HK_OPTIONS; i++) {
		const char *known = options[i].name;
		size_t length = strlen(known), same = 0;

		while (same < length && hk_lower(known[same]) == name[same])
			same++;
		if (same == length && !name[length])
			return (int)i;
	}
	return -1;
}

int hk_config_get(const char *name, char *value, size_t size)
{
	int which = find(name);

	if (which < 0)
		return ENOENT;
	if (options[which].type == DEBUG && !HK_DEBUG)
		return ENOTSUP;
	hk_lock(&hk_config_lock);
	print_value((enum hk_option)which, value, size);
	hk_unlock(&hk_config_lock);
	return 0;
}

int hk_config_set(const char *name, const char *value)
{
	int which = find(name);
	bool valid;

	if (which < 0)
		return ENOENT;
	if (options[which].when == START)
		return EACCES;
	hk_lock(&hk_config_lock);
	valid = store((enum hk_option)which, value);
	hk_unlock(&hk_config_lock);
	if (valid && which == HK_OPTION_BACKGROUND)
		hk_background_changed();
	return valid ? 0 : EINVAL;
}

void hk_config_name(enum hk_option which, char *name)
{
	const char *known = options[which].name;

	do
		*name++ = hk_lower(*known);
	while (*known++);
}

int hk_config_stderr(void)
{
	return is_kept_stderr(kept_stderr.fd) ? kept_stderr.fd : STDERR_FILENO;
}

int hk_config_open_stats(void)
{
	char path[sizeof(stats_file) + 32], *out = path;
	int fd;

	for (const char *in = stats_file; *in && out < path + sizeof(stats_file); in++) {
		if (in[0] == '%' && in[1] == 'p') {
			print_number(out, 24, (uint64_t)getpid(), false);
			out += strlen(out);
			in++;
		} else {
			*out++ = *in;
		}
	}
	*out = '\0';
	fd = path[0] ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
	if (fd < 0 && is_kept_stderr(kept_stderr.fd))
		fd = kept_stderr.fd;
	return fd;
}
