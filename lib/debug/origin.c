/* SPDX-License-Identifier: MIT
 *
 * origin.c - a mapping of /proc/self/maps (proc_pid_maps(5)), read line by line.
 */
#define _GNU_SOURCE
#include "debug/origin.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "debug/modules.h"

struct reader {
	int fd;
	size_t used, size;
	char buffer[1024];
};

static int next_character(struct reader *reader)
{
	if (reader->used == reader->size) {
		ssize_t got;

		do
			got = read(reader->fd, reader->buffer, sizeof(reader->buffer));
		while (got < 0 && errno == EINTR);
		if (got <= 0)
			return -1;
		reader->used = 0;
		reader->size = (size_t)got;
	}
	return (unsigned char)reader->buffer[reader->used++];
}

/* Up to the end of the line, or of line[]; false: there is no other line. */
static bool next_line(struct reader *reader, char *line, size_t size)
{
	size_t length = 0;
	int c;

	while ((c = next_character(reader)) >= 0 && c != '\n') {
		if (length + 1 < size)
			line[length++] = (char)c;
	}
	line[length] = '\0';
	return c >= 0;
}

static uintptr_t hexadecimal(const char **text)
{
	uintptr_t value = 0;

	for (;; (*text)++) {
		char c = **text;

		if (c >= '0' && c <= '9')
			value = value * 16 + (uintptr_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value * 16 + (uintptr_t)(c - 'a' + 10);
		else
			return value;
	}
}

/* The line's path, or name in brackets, or "". */
static const char *path_of(const char *line)
{
	/* address perms offset dev inode path */
	for (unsigned field = 0; field < 5; field++) {
		while (*line && *line != ' ')
			line++;
		while (*line == ' ')
			line++;
	}
	return line;
}

static void describe(const char *path, bool has_stack, struct hk_origin *origin)
{
	static const char in_file[] = ", but in ";

	if (has_stack)
		origin->what = ", but on this thread's stack";
	else if (!strncmp(path, "[stack", 6))
		origin->what = ", but on the main thread's stack";
	else if (!*path)
		origin->what = ", but in an anonymous mapping";
	else
		origin->what = in_file;
	if (origin->what == in_file) {
		size_t length = strlen(path);

		if (length >= sizeof(origin->where))
			length = sizeof(origin->where) - 1;
		memcpy(origin->where, path, length);
		origin->where[length] = '\0';
	}
}

void hk_origin_find(const void *address, struct hk_origin *origin)
{
	uintptr_t wanted = (uintptr_t)address;
	uintptr_t stack = (uintptr_t)__builtin_frame_address(0);
	struct reader reader = { .fd = -1 };
	struct hk_module module;
	char line[512];
	int kept = errno;

	*origin = (struct hk_origin){ .what = ", and nothing is mapped there" };
	reader.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (reader.fd < 0) {
		origin->what = "";
		errno = kept;
		return;
	}
	while (next_line(&reader, line, sizeof(line))) {
		const char *text = line, *path = path_of(line);
		uintptr_t start = hexadecimal(&text), end;

		text++;
		end = hexadecimal(&text);
		if (wanted < start || wanted >= end)
			continue;
		/* The end of an object's .bss has no name there. */
		if (!*path && hk_modules_find(wanted, hk_modules_generation(), &module))
			path = module.path;
		describe(path, stack >= start && stack < end, origin);
		break;
	}
	close(reader.fd);
	errno = kept;
}
