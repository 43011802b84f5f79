/* SPDX-License-Identifier: MIT
 *
 * process.c - has interposition taken in this process?
 *
 * The question has an exact answer: libc calls malloc through a slot that the dynamic
 * loader filled at the start with the address of the malloc that won.  Where the process's
 * memory may not be read, the list of its mappings must do.
 */
#define _GNU_SOURCE
#include "doctor.h"

#include <elf.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image.h"
#include "loader.h"

struct mapping {
	uint64_t first, end;
	uint64_t offset;
	char *path;
};

struct process {
	pid_t pid;
	struct mapping *mappings;
	size_t count;
};

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Open /proc/PID/LEAF; NULL with errno. */
static FILE *open_leaf(pid_t pid, const char *leaf)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, leaf);
	return fopen(path, "re");
}

static int read_mappings(struct process *process)
{
	FILE *maps = open_leaf(process->pid, "maps");
	char *line = NULL;
	size_t room = 0;

	if (!maps)
		return -1;
	while (getline(&line, &room, maps) > 0) {
		struct mapping *mapping;
		int path = 0;

		process->mappings = reallocarray(process->mappings, process->count + 1,
						 sizeof(*process->mappings));
		if (!process->mappings)
			err(EXIT_FAILURE, NULL);
		mapping = &process->mappings[process->count];
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %n",
			   &mapping->first, &mapping->end, &mapping->offset, &path) < 3)
			continue;
		line[strcspn(line, "\n")] = '\0';
		mapping->path = strdup(path ? line + path : "");
		if (!mapping->path)
			err(EXIT_FAILURE, NULL);
		process->count++;
	}
	free(line);
	fclose(maps);
	return 0;
}

static void forget_mappings(struct process *process)
{
	for (size_t i = 0; i < process->count; i++)
		free(process->mappings[i].path);
	free(process->mappings);
}

static bool is_library(const char *path, const char *stem)
{
	const char *base = base_name(path);
	size_t length = strlen(stem);

	return *path == '/' && !strncmp(base, stem, length) &&
	       (base[length] == '.' || base[length] == '\0' || base[length] == ' ');
}

static const struct mapping *find_library(const struct process *process, const char *stem)
{
	for (size_t i = 0; i < process->count; i++) {
		if (is_library(process->mappings[i].path, stem))
			return &process->mappings[i];
	}
	return NULL;
}

/*
 * The file that is mapped, as this process can open it: through map_files when allowed,
 * for it may have been replaced since; else by its name in the other's root.
 */
static void file_of(const struct process *process, const struct mapping *mapping,
		    char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "/proc/%d/map_files/%" PRIx64 "-%" PRIx64,
		 (int)process->pid, mapping->first, mapping->end);
	if (access(path, R_OK))
		snprintf(path, PATH_MAX, "/proc/%d/root%s", (int)process->pid,
			 mapping->path);
}

static const struct mapping *find_mapping(const struct process *process, uint64_t address)
{
	for (size_t i = 0; i < process->count; i++) {
		if (address >= process->mappings[i].first &&
		    address < process->mappings[i].end)
			return &process->mappings[i];
	}
	return NULL;
}

/* The mapping that holds the malloc libc calls; NULL if that cannot be told. */
static const struct mapping *find_malloc(const struct process *process)
{
	const struct mapping *libc = find_library(process, "libc.so.6"), *winner;
	uint64_t slot, own, address;
	char path[PATH_MAX];
	ssize_t count;
	int memory;

	if (!libc || libc->offset != 0)
		return NULL;
	file_of(process, libc, path);
	if (!image_malloc_slot(path, &slot, &own))
		return NULL;
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)process->pid);
	memory = open(path, O_RDONLY | O_CLOEXEC);
	if (memory < 0)
		return NULL;
	count = pread(memory, &address, sizeof(address), (off_t)(libc->first + slot));
	close(memory);
	if (count != (ssize_t)sizeof(address))
		return NULL;
	winner = find_mapping(process, address);
	/* A slot that waits for its first call (lazy binding) points back into libc. */
	if (winner && !strcmp(winner->path, libc->path) && address != libc->first + own)
		return NULL;
	return winner;
}

static bool secure_execution(pid_t pid)
{
	FILE *auxv = open_leaf(pid, "auxv");
	unsigned long entry[2];
	bool secure = false;

	while (auxv && fread(entry, sizeof(entry), 1, auxv) == 1 && entry[0] != AT_NULL) {
		if (entry[0] == AT_SECURE)
			secure = entry[1] != 0;
	}
	if (auxv)
		fclose(auxv);
	return secure;
}

/* Does LD_PRELOAD, as the process was started, name a libhakmem? */
static bool was_asked_for(pid_t pid)
{
	FILE *environment = open_leaf(pid, "environ");
	bool asked = false;
	char *entry = NULL;
	size_t room = 0;

	while (environment && getdelim(&entry, &room, '\0', environment) > 0) {
		if (!strncmp(entry, "LD_PRELOAD=", 11) && strstr(entry, "libhakmem"))
			asked = true;
	}
	free(entry);
	if (environment)
		fclose(environment);
	return asked;
}

static void explain_absence(struct report *report, const struct process *process,
			    const struct image *image)
{
	if (image && image->contains_hakmem) {
		report_add(report, REPORT_OK, "library", "linked in statically%s%s",
			   *image->version ? ", version " : "", image->version);
		return;
	}
	report_add(report, REPORT_NO, "library", "not in the process");
	if (image && !*image->interpreter)
		report_add(report, REPORT_NO, "reason", "the program is static");
	else if (image && image->elf_class == ELFCLASS32)
		report_add(report, REPORT_NO, "reason", "the program is a 32-bit one");
	else if (secure_execution(process->pid))
		report_add(report, REPORT_NO, "reason",
			   "secure execution: the loader dropped LD_PRELOAD");
	else if (was_asked_for(process->pid))
		report_add(report, REPORT_NO, "reason",
			   "LD_PRELOAD named it, but the loader did not find it");
	else
		report_add(report, REPORT_NO, "reason",
			   "LD_PRELOAD did not name it when the program was started");
}

static void check_malloc(struct report *report, const struct process *process,
			 const struct mapping *library, const struct image *image)
{
	const struct mapping *winner = find_malloc(process);

	if (winner && strcmp(winner->path, library->path))
		report_add(report, REPORT_NO, "malloc", "is that of %s", winner->path);
	else if (image && image->malloc != IMAGE_MALLOC_NONE && !image->contains_hakmem)
		report_add(report, REPORT_NO, "malloc", "the program has its own");
	else if (winner)
		report_add(report, REPORT_OK, "malloc", "served by the library");
	else
		report_add(report, REPORT_NOTE, "malloc",
			   "memory not readable; judged by the mappings alone");
}

static void check_library(struct report *report, const struct process *process,
			  const struct mapping *library, const struct image *image)
{
	static const char deleted[] = " (deleted)";
	size_t length = strlen(library->path);
	char path[PATH_MAX];
	struct image file;

	report_add(report, REPORT_OK, "library", "%s", library->path);
	if (length > strlen(deleted) &&
	    !strcmp(library->path + length - strlen(deleted), deleted))
		report_add(report, REPORT_NOTE, "library",
			   "its file has been replaced or removed since");
	file_of(process, library, path);
	if (!image_read(path, &file) && *file.version)
		report_add(report, REPORT_OK, "version", "%s", file.version);
	else
		report_add(report, REPORT_NOTE, "version", "not to be had from the file");
	check_malloc(report, process, library, image);
}

void doctor_process(struct report *report, pid_t pid)
{
	struct process process = { .pid = pid };
	const struct mapping *library;
	char link[64], path[PATH_MAX];
	struct image image;
	bool readable;
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0) {
		int error = errno;
		const char *why = strerror(error);

		if (error == ENOENT) {
			snprintf(path, sizeof(path), "/proc/%d", (int)pid);
			why = access(path, F_OK) ? "no such process"
						 : "a kernel thread, or about to end";
		}
		report_add(report, REPORT_NO, "process", "%d: %s%s", (int)pid, why,
			   error == EACCES ? " (ask as its owner, or as root)" : "");
		return;
	}
	path[length] = '\0';
	report_add(report, REPORT_OK, "process", "%d, %s", (int)pid, path);
	if (read_mappings(&process)) {
		report_add(report, REPORT_NO, "library",
			   "the mappings cannot be read: %s", strerror(errno));
		return;
	}
	readable = !image_read(link, &image);
	library = find_library(&process, "libhakmem.so");
	if (!library)
		library = find_library(&process, "libhakmem_debug.so");
	if (library)
		check_library(report, &process, library, readable ? &image : NULL);
	else
		explain_absence(report, &process, readable ? &image : NULL);
	forget_mappings(&process);
}
