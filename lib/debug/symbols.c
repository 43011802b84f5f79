/* SPDX-License-Identifier: MIT
 *
 * symbols.c - names for program counters: asked of a program that knows them (symbolizer.c),
 * else what the object itself tells.
 *
 * Called by reports, in any thread, under the lock of reports.  Owns nothing that outlives the
 * call, takes no lock, does not allocate from the heap; keeps errno.
 */
#define _GNU_SOURCE
#include "debug/symbols.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "debug/modules.h"
#include "debug/symbolizer.h"

/* One function at a program counter: what is inlined first. */
struct name {
	const char *function, *file; /* or NULL */
	unsigned line;
};

/* A program counter of a generation, however many stacks it is in. */
struct request {
	uintptr_t pc;
	uint32_t generation;
	bool found, asked;
	struct hk_module module; /* if found */
	const struct name *names;
	size_t count;
};

struct work {
	struct hk_scratch scratch;
	struct request *requests;
	size_t count;
	uint32_t *table; /* by hash: a request's index, and 1 */
	size_t mask;
	const char *path; /* the object that is asked about */
};

/* As addr2line wants it: of the call, not of what follows it. */
static uintptr_t offset_of(const struct request *request)
{
	return request->pc - 1 - request->module.bias;
}

/* Paths are kept once, so equal ones are one pointer. */
static bool is_asked(const struct work *work, const struct request *request)
{
	return request->found && request->module.path == work->path;
}

/* ---- the symbolizer's answer ---- */

/*
 * "0xOFFSET", then the function and "FILE:LINE" of each.  eu-addr2line has a column behind the line, and " inlined at ..." behind the first function;
 * addr2line a "(discriminator N)" behind the line, and "?" for one it does not know.
 */

static char *next_line(char **text, const char *end)
{
	char *line = *text, *stop;

	if (line >= end)
		return NULL;
	stop = memchr(line, '\n', (size_t)(end - line));
	if (!stop)
		stop = line + (end - line);
	*stop = '\0';
	*text = stop + 1;
	return line;
}

static bool is_address(const char *text, const char *end)
{
	return end - text > 2 && text[0] == '0' && text[1] == 'x';
}

static bool is_unknown(const char *text)
{
	return !*text || strcmp(text, "??") == 0;
}

/* Take ":NUMBER" or ":?" off the end. */
static bool cut_number(char *text, unsigned *number)
{
	char *colon = strrchr(text, ':'), *end;
	unsigned long value;

	if (!colon)
		return false;
	value = strtoul(colon + 1, &end, 10);
	if (end == colon + 1 && *end == '?')
		end++;
	if (end == colon + 1 || *end)
		return false;
	*colon = '\0';
	*number = value <= UINT_MAX ? (unsigned)value : 0;
	return true;
}

static struct name read_name(char *function, char *location)
{
	struct name name = { .function = function, .file = location };
	char *more = strstr(function, " inlined at ");
	unsigned line;

	if (more)
		*more = '\0';
	more = strstr(location, " (discriminator ");
	if (more)
		*more = '\0';
	/* The last number is the column if there are two. */
	if (cut_number(location, &name.line) && cut_number(location, &line))
		name.line = line;
	if (is_unknown(function))
		name.function = NULL;
	if (is_unknown(location))
		name.file = NULL;
	return name;
}

/*
 * Has the file a table of all its symbols?  addr2line takes the nearest symbol before for the
 * function, however far; where only the exported ones are left, that is most often wrong.
 */
static bool has_all_symbols(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool found = false;
	ElfW(Ehdr) header;
	ElfW(Shdr) section;

	if (fd < 0)
		return false;
	if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header))
		header.e_shnum = 0;
	for (size_t i = 0; !found && i < header.e_shnum; i++) {
		off_t at = (off_t)(header.e_shoff + i * sizeof(section));

		if (pread(fd, &section, sizeof(section), at) != (ssize_t)sizeof(section))
			break;
		found = section.sh_type == SHT_SYMTAB;
	}
	close(fd);
	return found;
}

/* To the object's requests, in the order in which they were written. */
static void share_out(struct work *work, char *text, size_t length)
{
	bool by_symbols = has_all_symbols(work->path);
	const char *end = text + length;
	size_t lines = 1, used = 0;
	struct name *names;

	for (const char *at = text; (at = memchr(at, '\n', (size_t)(end - at))); at++)
		lines++;
	names = hk_scratch_take(&work->scratch, lines / 2 * sizeof(*names));
	for (size_t i = 0; names && i < work->count; i++) {
		struct request *request = &work->requests[i];
		char *line, *function;

		if (!is_asked(work, request))
			continue;
		line = is_address(text, end) ? next_line(&text, end) : NULL;
		if (!line || strtoull(line, NULL, 16) != offset_of(request))
			return;
		request->names = names + used;
		while (text < end && !is_address(text, end)) {
			function = next_line(&text, end);
			line = next_line(&text, end);
			if (!line)
				return;
			names[used] = read_name(function, line);
			if (!names[used].file && !by_symbols)
				names[used].function = NULL;
			used++;
			request->count++;
		}
	}
}

/* ---- all of it ---- */

static size_t hash_of(uintptr_t pc, uint32_t generation)
{
	return (size_t)((pc ^ (uintptr_t)generation << 48) * 0x9e3779b97f4a7c15 >> 20);
}

/* Its place in the table, which is 0 if there is no such request. */
static uint32_t *place_of(const struct work *work, uintptr_t pc, uint32_t generation)
{
	size_t i = hash_of(pc, generation) & work->mask;

	while (work->table[i]) {
		const struct request *request = &work->requests[work->table[i] - 1];

		if (request->pc == pc && request->generation == generation)
			break;
		i = (i + 1) & work->mask;
	}
	return &work->table[i];
}

static void request_name(struct request *request, uintptr_t pc, uint32_t generation)
{
	*request = (struct request){ .pc = pc, .generation = generation };
	request->found = hk_modules_find(pc - 1, generation, &request->module);
}

/* false: no memory. */
static bool collect(struct work *work, const hk_stack *stacks, size_t count)
{
	uintptr_t frames[HK_FRAMES];
	size_t total = 0, size = 16;
	uint32_t generation;

	for (size_t i = 0; i < count; i++)
		total += hk_stacks_frames(stacks[i], frames, &generation);
	if (total > UINT32_MAX / 4)
		return false;
	while (size < total * 2)
		size *= 2;
	work->mask = size - 1;
	work->requests = hk_scratch_take(&work->scratch, total * sizeof(*work->requests));
	work->table = hk_scratch_take(&work->scratch, size * sizeof(*work->table));
	if (!work->requests || !work->table)
		return false;
	for (size_t i = 0; i < count; i++) {
		unsigned depth = hk_stacks_frames(stacks[i], frames, &generation);

		for (unsigned k = 0; k < depth; k++) {
			uint32_t *place = place_of(work, frames[k], generation);

			if (*place)
				continue;
			request_name(&work->requests[work->count], frames[k], generation);
			*place = (uint32_t)++work->count;
		}
	}
	return true;
}

static void write_offsets(const void *context, struct hk_text *text)
{
	const struct work *work = context;

	for (size_t i = 0; i < work->count; i++)
		if (is_asked(work, &work->requests[i]))
			hk_text(text, "0x%lx\n",
				(unsigned long)offset_of(&work->requests[i]));
}

static void ask_all(struct work *work)
{
	struct hk_symbolizer *symbolizer = hk_symbolizer_find(&work->scratch);

	for (size_t i = 0; symbolizer && i < work->count; i++) {
		size_t length;
		char *text;

		if (!work->requests[i].found || work->requests[i].asked)
			continue;
		work->path = work->requests[i].module.path;
		if (access(work->path, R_OK) == 0) {
			text = hk_symbolizer_ask(symbolizer, &work->scratch, work->path,
						 write_offsets, work, &length);
			if (text)
				share_out(work, text, length);
		}
		for (size_t k = i; k < work->count; k++)
			if (is_asked(work, &work->requests[k]))
				work->requests[k].asked = true;
	}
}

typedef void teller(void *context, size_t stack, unsigned frame,
		    const struct hk_symbol *symbol);

static void tell_frame(const struct request *request, size_t stack, unsigned frame,
		       teller *tell, void *context)
{
	struct hk_symbol symbol = { .pc = request->pc };
	char exported[512];
	size_t i = 0;

	if (request->found) {
		symbol.object = request->module.path;
		symbol.offset = offset_of(request);
	}
	do {
		symbol.inlined = i + 1 < request->count;
		if (i < request->count) {
			symbol.function = request->names[i].function;
			symbol.file = request->names[i].file;
			symbol.line = request->names[i].line;
		}
		if (!symbol.function && !symbol.inlined && request->found &&
		    !request->module.unloaded &&
		    hk_modules_symbol(request->pc - 1, exported, sizeof(exported),
				      &symbol.distance))
			symbol.function = exported;
		tell(context, stack, frame, &symbol);
	} while (++i < request->count);
}

void hk_symbols_tell(const hk_stack *stacks, size_t count, teller *tell, void *context)
{
	struct work work = { 0 };
	int kept = errno, cancel;
	bool collected;

	/* Or the report's lock would stay held. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	collected = collect(&work, stacks, count);
	if (collected && work.count)
		ask_all(&work);
	for (size_t i = 0; i < count; i++) {
		uintptr_t frames[HK_FRAMES];
		uint32_t generation;
		unsigned depth = hk_stacks_frames(stacks[i], frames, &generation);

		for (unsigned k = 0; k < depth; k++) {
			struct request single;

			if (collected) {
				uint32_t index = *place_of(&work, frames[k], generation);

				tell_frame(&work.requests[index - 1], i, k, tell,
					   context);
			} else {
				request_name(&single, frames[k], generation);
				tell_frame(&single, i, k, tell, context);
			}
		}
	}
	hk_scratch_give(&work.scratch);
	pthread_setcancelstate(cancel, NULL);
	errno = kept;
}
