/* SPDX-License-Identifier: MIT
 *
 * suppressions.c - the patterns of HAKMEM_DEBUG=suppressions:FILE.
 *
 * Owns the patterns, in a mapping that stays.
 * Takes no lock, as nothing changes after the file was read; allocates nothing; keeps errno.
 */
#define _GNU_SOURCE
#include "debug/suppressions.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fatal.h"
#include "os.h"

#define FIRST_BYTES ((size_t)64 << 10)
#define BYTES_MAX ((size_t)64 << 20) /* more is no file of suppressions */

static const char type[] = "leak:";

/* One after the other, each with its NUL, where the file's text was. */
static char *patterns;
static size_t patterns_bytes;

/* ---- one pattern ---- */

/* The first place of this piece, or NULL; strstr() with a length. */
static const char *find(const char *text, const char *piece, size_t length)
{
	return memmem(text, strlen(text), piece, length);
}

/*
 * Pieces between stars, each at the first place behind the one before: what a later place
 * would allow, the first allows too.  Only the last one, if '$' follows, is looked for at the
 * end of the text instead.
 */
static bool matches(const char *pattern, const char *text)
{
	size_t length = strlen(pattern);
	const char *end = pattern + length;
	bool at_start = *pattern == '^', at_end;

	pattern += at_start;
	at_end = end > pattern && end[-1] == '$';
	end -= at_end;
	for (;;) {
		const char *star = memchr(pattern, '*', (size_t)(end - pattern));
		size_t piece = (size_t)((star ? star : end) - pattern);
		size_t left = strlen(text);

		if (piece > left)
			return false;
		if (!star && at_end) {
			if (at_start && piece != left)
				return false;
			return !memcmp(text + left - piece, pattern, piece);
		}
		if (!at_start)
			text = find(text, pattern, piece);
		else if (memcmp(text, pattern, piece) != 0)
			text = NULL;
		if (!text || !star)
			return text != NULL;
		text += piece;
		pattern = star + 1;
		at_start = false;
	}
}

/* ---- the file ---- */

static void complain(const char *file, size_t line, const char *what, const char *text)
{
	struct hk_text message;

	hk_message_open(&message, HK_BAD_SUPPRESSION);
	hk_text(&message, "%s", file);
	if (line)
		hk_text(&message, ":%lu", (unsigned long)line);
	hk_text(&message, ": %s%s\n", what, text);
	hk_text_close(&message);
}

/* Twice the room, with what is in it; NULL: no memory, or it would be more than BYTES_MAX. */
static char *grow(char *text, size_t *room)
{
	char *more = NULL;

	if (2 * *room <= BYTES_MAX)
		more = hk_os_map(2 * *room, hk_os_page_size, NULL);
	if (more)
		memcpy(more, text, *room);
	hk_os_unmap(text, *room);
	*room *= 2;
	return more;
}

/* The whole file with a NUL behind it, and its length; NULL, and errno. */
static char *read_all(int fd, size_t *length)
{
	size_t room = FIRST_BYTES;
	char *text = hk_os_map(room, hk_os_page_size, NULL);

	*length = 0;
	for (;;) {
		ssize_t got;

		if (text && *length + 1 == room)
			text = grow(text, &room);
		if (!text) {
			errno = room > BYTES_MAX ? EFBIG : ENOMEM;
			return NULL;
		}
		got = read(fd, text + *length, room - 1 - *length);
		if (got == 0)
			return text;
		if (got > 0) {
			*length += (size_t)got;
		} else if (errno != EINTR) {
			hk_os_unmap(text, room);
			return NULL;
		}
	}
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The line without blanks around it, ended with a NUL. */
static char *trim(char *line, char *end)
{
	while (line < end && is_blank(*line))
		line++;
	while (end > line && is_blank(end[-1]))
		end--;
	*end = '\0';
	return line;
}

/* The pattern of a line, or NULL. */
static char *pattern_of(char *line)
{
	size_t length = sizeof(type) - 1;

	return strncmp(line, type, length) == 0 && line[length] ? line + length : NULL;
}

/*
 * Files for several tools are common, so of the lines that are not for us only the first is
 * told.
 */
static void parse(const char *file, char *text, char *end)
{
	size_t number = 0, kept = 0;
	bool told = false;
	char *next;

	for (char *line = text; line < end; line = next) {
		char *line_end = memchr(line, '\n', (size_t)(end - line)), *pattern;

		if (!line_end)
			line_end = end;
		next = line_end + 1;
		number++;
		line = trim(line, line_end);
		if (!*line || *line == '#')
			continue;
		pattern = pattern_of(line);
		if (pattern) {
			size_t bytes = strlen(pattern) + 1;

			memmove(text + kept, pattern, bytes);
			kept += bytes;
		} else if (!told) {
			complain(file, number, "not leak:PATTERN: ", line);
			told = true;
		}
	}
	patterns = text;
	patterns_bytes = kept;
}

void hk_suppressions_read(const char *file)
{
	int kept = errno, fd = open(file, O_RDONLY | O_CLOEXEC);
	char *text = NULL;
	size_t length;

	if (fd >= 0) {
		text = read_all(fd, &length);
		if (text)
			parse(file, text, text + length);
		else
			complain(file, 0, "cannot be read: ", strerrordesc_np(errno));
		close(fd);
	} else {
		complain(file, 0, "cannot be opened: ", strerrordesc_np(errno));
	}
	errno = kept;
}

bool hk_suppressions_match(const struct hk_symbol *symbol)
{
	const char *const names[] = { symbol->function, symbol->file, symbol->object };
	const char *end = patterns + patterns_bytes;

	for (const char *p = patterns; p < end; p += strlen(p) + 1)
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (names[i] && matches(p, names[i]))
				return true;
	return false;
}

bool hk_suppressions_any(void)
{
	return patterns_bytes != 0;
}
