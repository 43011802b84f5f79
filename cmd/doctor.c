/* SPDX-License-Identifier: MIT
 *
 * doctor.c - will interposition take in this program?
 */
#define _GNU_SOURCE
#include "doctor.h"

#include <elf.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"
#include "loader.h"
#include "program.h"

/* The kernel gives up after five interpreters of interpreters; env(1) adds to them. */
#define STEPS_MAX 8

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void add_program(struct report *report, const char *path)
{
	char *real = realpath(path, NULL);

	if (real && strcmp(real, path))
		report_add(report, REPORT_OK, "program", "%s -> %s", path, real);
	else
		report_add(report, REPORT_OK, "program", "%s", path);
	free(real);
}

static bool locate(struct report *report, const char *name, char path[PATH_MAX])
{
	int error = program_locate(name, path);

	switch (error) {
	case 0:
		add_program(report, path);
		return true;
	case ENOENT:
	case ENOTDIR:
		report_add(report, REPORT_NO, "program", "%s: not found%s", name,
			   strchr(name, '/') ? "" : " in PATH");
		return false;
	case EISDIR:
		report_add(report, REPORT_NO, "program", "%s: is a directory", name);
		return false;
	case EPERM:
		report_add(report, REPORT_NO, "program", "%s: not executable", name);
		return false;
	default:
		report_add(report, REPORT_NO, "program", "%s: %s", name, strerror(error));
		return false;
	}
}

static void check_rights(struct report *report, const char *path)
{
	char text[256];

	switch (program_rights(path, text, sizeof(text))) {
	case PROGRAM_KEEPS_RIGHTS:
		report_add(report, REPORT_OK, "privileges",
			   "none gained, no secure execution");
		break;
	case PROGRAM_HAS_RIGHTS:
		report_add(report, REPORT_NOTE, "privileges", "%s", text);
		break;
	case PROGRAM_GAINS_RIGHTS:
		report_add(report, REPORT_NO, "privileges",
			   "%s: secure execution, the loader drops LD_PRELOAD", text);
		break;
	}
}

/*
 * From the name to the ELF file that will call malloc: through scripts to their
 * interpreters, and through env(1), whose own malloc is nobody's concern.
 */
static bool follow(struct report *report, const char *name, char path[PATH_MAX],
		   struct doctor_result *result)
{
	char next[PATH_MAX], behind_env[PATH_MAX] = "";
	struct program_head head;

	snprintf(next, sizeof(next), "%s", name);
	for (int step = 0; step < STEPS_MAX; step++) {
		int error;

		if (!locate(report, next, path)) {
			result->missing = true;
			return false;
		}
		error = program_read_head(path, &head);
		if (error) {
			report_add(report, REPORT_NO, "program", "%s: cannot be read: %s",
				   path, strerror(error));
			return false;
		}
		switch (head.kind) {
		case PROGRAM_UNKNOWN:
			report_add(report, REPORT_NO, "program",
				   "%s: neither an ELF file nor a script", path);
			return false;
		case PROGRAM_SCRIPT:
		case PROGRAM_TEXT:
			if (head.env_clears) {
				report_add(report, REPORT_NO, "script",
					   "run by env -i, which drops LD_PRELOAD");
				return false;
			}
			report_add(report, REPORT_OK, "script", "run by %s%s%s",
				   head.interpreter, *head.env_program ? " " : "",
				   head.env_program);
			strcpy(next, head.interpreter);
			if (*head.env_program)
				strcpy(behind_env, head.env_program);
			continue;
		case PROGRAM_ELF:
			if (!*behind_env)
				return true;
			strcpy(next, behind_env);
			*behind_env = '\0';
			continue;
		}
	}
	report_add(report, REPORT_NO, "script", "%s: too many interpreters", name);
	return false;
}

static bool runs_here(const struct image *image)
{
	unsigned native = image_machine_native();

	return image->machine == native ||
	       (native == EM_X86_64 && image->machine == EM_386) ||
	       (native == EM_AARCH64 && image->machine == EM_ARM);
}

static bool check_linkage(struct report *report, const struct image *image)
{
	const char *machine = image_machine_name(image->machine, image->elf_class);

	if (!runs_here(image)) {
		report_add(report, REPORT_NO, "linkage",
			   "%s: not this machine's architecture", machine);
		return false;
	}
	if (image->contains_hakmem) {
		report_add(report, REPORT_OK, "linkage",
			   "%s, libhakmem%s%s linked in statically", machine,
			   *image->version ? " " : "", image->version);
		return false;
	}
	if (!*image->interpreter) {
		report_add(report, REPORT_NO, "linkage",
			   "%s, static: no dynamic loader that would preload", machine);
		return false;
	}
	if (!strncmp(base_name(image->interpreter), "ld-musl", 7)) {
		report_add(report, REPORT_NO, "linkage",
			   "%s, dynamic, by musl (%s); the library needs glibc", machine,
			   image->interpreter);
		return false;
	}
	report_add(report, REPORT_OK, "linkage", "%s, dynamic, by %s%s", machine,
		   image->interpreter,
		   image->links_hakmem ? "; links libhakmem itself" : "");
	return true;
}

static void check_own_malloc(struct report *report, const struct image *image)
{
	switch (image->malloc) {
	case IMAGE_MALLOC_NONE:
		report_add(report, REPORT_OK, "malloc", "not defined by the program");
		break;
	case IMAGE_MALLOC_EXPORTED:
		report_add(report, REPORT_NO, "malloc",
			   "the program exports its own, which comes before any preload");
		break;
	case IMAGE_MALLOC_HIDDEN:
		report_add(report, REPORT_NO, "malloc",
			   "the program has its own, out of a preload's reach");
		break;
	}
}

/* Only a loader that belongs to the system or to the caller is run. */
static bool trusted(const char *interpreter)
{
	struct stat status;

	return !stat(interpreter, &status) && !(status.st_mode & S_IWOTH) &&
	       (status.st_uid == 0 || status.st_uid == geteuid());
}

static bool is_libc(const char *name)
{
	return !strncmp(name, "libc.so.", 8) || !strncmp(name, "ld-linux", 8) ||
	       !strncmp(name, "ld.so.", 6) || !strncmp(name, "ld64.so.", 8);
}

static void check_objects(struct report *report, const struct loader_answer *answer)
{
	struct image image;

	for (size_t i = 0; i < answer->count; i++) {
		const struct loader_object *object = &answer->objects[i];
		const char *base = base_name(object->name);

		if (!object->path) {
			report_add(report, REPORT_NOTE, "loader",
				   "%s not found: the program will not start",
				   object->name);
		} else if (!strncmp(base, "libasan.so.", 11)) {
			report_add(
				report, REPORT_NO, "malloc",
				"%s wants to come first and stops the program otherwise",
				base);
		} else if (report->out && !is_libc(base) &&
			   !image_read(object->path, &image) &&
			   image.malloc == IMAGE_MALLOC_EXPORTED &&
			   !image.contains_hakmem) {
			report_add(report, REPORT_NOTE, "malloc",
				   "also in %s; the preload comes before it and wins",
				   base);
		}
	}
}

static void check_loader(struct report *report, const char *path, const char *soname,
			 const struct image *image, struct doctor_result *result)
{
	char *preload = loader_preload(soname);
	struct loader_answer answer;
	struct image library;
	const char *where;

	if (!trusted(image->interpreter)) {
		report_add(report, REPORT_NO, "library",
			   "%s is missing, or not to be trusted", image->interpreter);
		free(preload);
		return;
	}
	if (loader_ask(image->interpreter, path, preload, &answer)) {
		report_add(report, REPORT_NO, "library", "%s cannot be run",
			   image->interpreter);
		free(preload);
		return;
	}
	free(preload);
	where = loader_path(&answer, soname);
	check_objects(report, &answer);
	if (*answer.complaint)
		report_add(report, REPORT_NO, "loader", "%s", answer.complaint);
	else
		result->asked = true;
	result->found = where;
	if (!where) {
		report_add(
			report, REPORT_NO, "library",
			"%s: not where the loader looks (ldconfig(8), LD_LIBRARY_PATH)",
			soname);
	} else if (image_read(where, &library) || !library.contains_hakmem) {
		report_add(report, REPORT_NO, "library", "%s: not a libhakmem", where);
	} else {
		report_add(report, REPORT_OK, "library", "%s%s%s", where,
			   *library.version ? ", version " : "", library.version);
	}
	loader_forget(&answer);
}

static void check_python(struct report *report, const char *path)
{
	const char *setting = getenv("PYTHONMALLOC");
	char *real = realpath(path, NULL);

	if (!strncmp(base_name(real ? real : path), "python3", 7) &&
	    (!setting || strcmp(setting, "malloc")))
		report_add(
			report, REPORT_NOTE, "python3",
			"keeps blocks up to 512 bytes to itself; set PYTHONMALLOC=malloc");
	free(real);
}

void doctor_program(struct report *report, const char *name, const char *soname,
		    struct doctor_result *result)
{
	char path[PATH_MAX];
	struct image image;

	memset(result, 0, sizeof(*result));
	if (!follow(report, name, path, result))
		return;
	if (image_read(path, &image)) {
		report_add(report, REPORT_NO, "linkage", "%s: %s", path,
			   errno == ENOEXEC ? "damaged ELF file" : strerror(errno));
		return;
	}
	check_rights(report, path);
	if (!check_linkage(report, &image))
		return;
	check_own_malloc(report, &image);
	check_loader(report, path, soname, &image, result);
	check_python(report, path);
}

static void print_usage(FILE *out)
{
	fputs("Usage: hakmem doctor [--debug] PROGRAM\n"
	      "       hakmem doctor PID\n"
	      "Say whether interposition will take in PROGRAM, or has taken in process PID.\n"
	      "\n"
	      "      --debug  ask about the debug library\n"
	      "      --help   print this, and exit\n"
	      "\n"
	      "Exit status: 0 if it takes, 1 if not, 2 for a usage error.  See hakmem(1).\n",
	      out);
}

static int usage_error(void)
{
	fputs("Try 'hakmem doctor --help'.\n", stderr);
	return 2;
}

static bool is_number(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 10;
}

int doctor_main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "debug", no_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *soname = LOADER_PRODUCTION;
	struct doctor_result result;
	struct report report;
	bool is_process;
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		switch (option) {
		case 'd':
			soname = LOADER_DEBUG;
			break;
		case 'h':
			print_usage(stdout);
			return 0;
		default:
			return usage_error();
		}
	}
	if (optind != argc - 1) {
		warnx("doctor: name one program or process");
		return usage_error();
	}
	is_process = is_number(argv[optind]);
	report_open(&report, stdout);
	if (is_process)
		doctor_process(&report, (pid_t)atol(argv[optind]));
	else
		doctor_program(&report, argv[optind], soname, &result);
	if (report.takes)
		report_add(&report, REPORT_OK, "verdict", "interposition %s",
			   is_process ? "has taken" : "will take");
	else
		report_add(&report, REPORT_NO, "verdict", "interposition %s not %s",
			   is_process ? "has" : "will", is_process ? "taken" : "take");
	return report.takes ? 0 : 1;
}
