/* SPDX-License-Identifier: MIT
 *
 * loader.c - what the dynamic loader would do, asked from the dynamic loader.
 */
#define _GNU_SOURCE
#include "loader.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_ours(const char *entry, size_t length)
{
	const char *slash = memrchr(entry, '/', length);
	const char *base = slash ? slash + 1 : entry;
	size_t rest = length - (size_t)(base - entry);

	return (rest == strlen(LOADER_PRODUCTION) &&
		!memcmp(base, LOADER_PRODUCTION, rest)) ||
	       (rest == strlen(LOADER_DEBUG) && !memcmp(base, LOADER_DEBUG, rest));
}

char *loader_preload(const char *soname)
{
	const char *old = getenv("LD_PRELOAD");
	char *list = malloc(strlen(soname) + (old ? strlen(old) : 0) + 2);
	char *end;

	if (!list)
		err(125, NULL);
	end = stpcpy(list, soname);
	while (old && *old) {
		size_t length = strcspn(old, " :");

		if (length && !is_ours(old, length)) {
			*end++ = ':';
			end = mempcpy(end, old, length);
			*end = '\0';
		}
		old += length;
		old += strspn(old, " :");
	}
	return list;
}

static void run(const char *interpreter, const char *program, const char *preload,
		int out)
{
	static const char *const unwanted[] = {
		"LD_BIND_NOW",
		"LD_DEBUG",
		"LD_DEBUG_OUTPUT",
		"LD_SHOW_AUXV",
		"LD_VERBOSE",
		"LD_WARN",
		"LD_TRACE_LOADED_OBJECTS",
		"LD_TRACE_PRELINKING",
	};
	int null = open("/dev/null", O_RDWR);

	for (size_t i = 0; i < sizeof(unwanted) / sizeof(*unwanted); i++)
		unsetenv(unwanted[i]);
	if (null < 0 || setenv("LD_PRELOAD", preload, 1) || dup2(null, 0) < 0 ||
	    dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(127);
	execl(interpreter, interpreter, "--list", program, (char *)NULL);
	_exit(127);
}

static void add_object(struct loader_answer *answer, const char *name, const char *path)
{
	struct loader_object *object;

	answer->objects = reallocarray(answer->objects, answer->count + 1,
				       sizeof(*answer->objects));
	if (!answer->objects)
		err(125, NULL);
	object = &answer->objects[answer->count++];
	object->name = strdup(name);
	object->path = path ? strdup(path) : NULL;
	if (!object->name || (path && !object->path))
		err(125, NULL);
}

/* "\tNAME => PATH (0xADDRESS)", "\tNAME => not found", "\tPATH (0xADDRESS)". */
static void read_line(struct loader_answer *answer, char *line)
{
	char *path, *address;

	line[strcspn(line, "\n")] = '\0';
	if (*line != '\t') {
		if (!*answer->complaint)
			snprintf(answer->complaint, sizeof(answer->complaint), "%s",
				 line);
		return;
	}
	line++;
	address = strstr(line, " (0x");
	if (address)
		*address = '\0';
	path = strstr(line, " => ");
	if (!path) {
		add_object(answer, line, line);
		return;
	}
	*path = '\0';
	path += 4;
	add_object(answer, line, strcmp(path, "not found") ? path : NULL);
}

int loader_ask(const char *interpreter, const char *program, const char *preload,
	       struct loader_answer *answer)
{
	int pipes[2], status = -1;
	char *line = NULL;
	size_t room = 0;
	FILE *output;
	pid_t child;

	memset(answer, 0, sizeof(*answer));
	if (pipe2(pipes, O_CLOEXEC))
		return -1;
	child = fork();
	if (child == 0)
		run(interpreter, program, preload, pipes[1]);
	close(pipes[1]);
	output = fdopen(pipes[0], "r");
	if (!output)
		err(125, NULL);
	while (getline(&line, &room, output) > 0)
		read_line(answer, line);
	free(line);
	fclose(output);
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
	    (WEXITSTATUS(status) == 127 && !answer->count && !*answer->complaint))
		return -1;
	/* A loader that succeeds may still warn, of this preload or of another. */
	if (WEXITSTATUS(status) == 0)
		*answer->complaint = '\0';
	return 0;
}

const char *loader_path(const struct loader_answer *answer, const char *soname)
{
	for (size_t i = 0; i < answer->count; i++) {
		if (!strcmp(answer->objects[i].name, soname))
			return answer->objects[i].path;
	}
	return NULL;
}

void loader_forget(struct loader_answer *answer)
{
	for (size_t i = 0; i < answer->count; i++) {
		free(answer->objects[i].name);
		free(answer->objects[i].path);
	}
	free(answer->objects);
	memset(answer, 0, sizeof(*answer));
}
