/* SPDX-License-Identifier: MIT
 *
 * hakmem.c - run a program on libhakmem.
 *
 * The library is named to the dynamic loader by its bare SONAME: the loader then finds the
 * file itself, for whichever architecture the program is of.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"
#include "loader.h"

/* Exit statuses; but for the first, env(1)'s. */
enum { USAGE = 2, FAILED = 125, CANNOT_RUN = 126, NOT_FOUND = 127 };

struct request {
	const char *soname;
	bool stats;
	const char *output;
};

static void print_usage(FILE *out)
{
	fputs("Usage: hakmem [--debug] [--stats] [-o FILE] [--] PROGRAM [ARG...]\n"
	      "       hakmem doctor [--debug] PROGRAM\n"
	      "       hakmem doctor PID\n"
	      "Run PROGRAM on the libhakmem memory allocator, or say whether that would work.\n"
	      "\n"
	      "      --debug    use the debug library\n"
	      "      --stats    write the allocator's statistics when a process exits\n"
	      "  -o FILE        with --stats: append them to FILE, not to standard error;\n"
	      "                 %p in FILE is the process ID\n"
	      "      --help     print this, and exit\n"
	      "      --version  print the version, and exit\n"
	      "\n"
	      "Exit status: PROGRAM's own; 2 for a usage error, 125 if the library cannot be\n"
	      "had, 126 if PROGRAM cannot be run, 127 if it is not found.  See hakmem(1).\n",
	      out);
}

static int usage_error(void)
{
	fputs("Try 'hakmem --help'.\n", stderr);
	return USAGE;
}

static void set(const char *name, const char *value)
{
	if (setenv(name, value, 1))
		err(FAILED, "%s", name);
}

/*
 * At exit it would be too late to tell the user that FILE cannot be written.  A name with
 * %p is not known yet: its directory must do.
 */
static void try_output(const char *path)
{
	if (strstr(path, "%p")) {
		const char *slash = strrchr(path, '/');
		char *directory = strndup(path, (size_t)(slash - path) + 1);

		if (!directory || access(directory, W_OK | X_OK))
			err(FAILED, "%s", directory ? directory : path);
		free(directory);
	} else {
		int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY,
			      0666);

		if (fd < 0)
			err(FAILED, "%s", path);
		close(fd);
	}
}

/* The program may change its directory before it writes the statistics. */
static void set_stats(const char *output)
{
	char *directory = NULL, *value;

	if (!output) {
		set("HAKMEM_STATS", "exit");
		return;
	}
	if (*output != '/' && !(directory = getcwd(NULL, 0)))
		err(FAILED, "current directory");
	if (asprintf(&value, "exit:%s%s%s", directory ? directory : "",
		     directory ? "/" : "", output) < 0)
		err(FAILED, NULL);
	try_output(value + strlen("exit:"));
	set("HAKMEM_STATS", value);
	free(value);
	free(directory);
}

/* Whatever the loader would only mumble, or not say at all, is said before it runs. */
static void warn_early(const char *soname, const char *program)
{
	struct doctor_result result;
	struct report report;

	report_open(&report, NULL);
	doctor_program(&report, program, soname, &result);
	if (result.asked && !result.found)
		errx(FAILED, "%s: not where the loader of %s looks (is it installed?)",
		     soname, program);
	if (!report.takes && !result.missing)
		warnx("warning: interposition will not take in %s: %s", program,
		      report.reason);
}

static int run(const struct request *request, char **argv)
{
	char *preload = loader_preload(request->soname);
	int error;

	if (request->stats)
		set_stats(request->output);
	warn_early(request->soname, argv[0]);
	set("LD_PRELOAD", preload);
	free(preload);
	execvp(argv[0], argv);
	error = errno;
	warn("%s", argv[0]);
	return error == ENOENT ? NOT_FOUND : CANNOT_RUN;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "debug", no_argument, NULL, 'd' },
		{ "stats", no_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	struct request request = { .soname = LOADER_PRODUCTION };
	int option;

	if (argc > 1 && !strcmp(argv[1], "doctor")) {
		argv[1] = (char[]){ "hakmem doctor" }; /* for getopt's messages */
		return doctor_main(argc - 1, argv + 1);
	}
	while ((option = getopt_long(argc, argv, "+o:", options, NULL)) != -1) {
		switch (option) {
		case 'd':
			request.soname = LOADER_DEBUG;
			break;
		case 's':
			request.stats = true;
			break;
		case 'o':
			request.output = optarg;
			break;
		case 'h':
			print_usage(stdout);
			return 0;
		case 'V':
			puts("hakmem " PACKAGE_VERSION);
			return 0;
		default:
			return usage_error();
		}
	}
	if (optind == argc) {
		warnx("no program named");
		return usage_error();
	}
	if (request.output && (!request.stats || !*request.output)) {
		warnx(request.stats ? "-o: empty name" : "-o needs --stats");
		return usage_error();
	}
	return run(&request, argv + optind);
}
