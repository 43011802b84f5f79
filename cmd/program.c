/* SPDX-License-Identifier: MIT
 *
 * program.c - from the word on the command line to the file that execve(2) runs, and the
 * privileges it would get.
 */
#define _GNU_SOURCE
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The kernel reads this much of a file's head, and no interpreter line beyond it. */
#define HEAD_BYTES 256

static int runnable(const char *path)
{
	struct stat status;

	if (stat(path, &status))
		return errno;
	if (S_ISDIR(status.st_mode))
		return EISDIR;
	if (!S_ISREG(status.st_mode) || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS))
		return EPERM;
	return 0;
}

int program_locate(const char *name, char path[PATH_MAX])
{
	const char *search = getenv("PATH");
	int error = ENOENT;

	if (!*name)
		return ENOENT;
	if (strlen(name) >= PATH_MAX)
		return ENAMETOOLONG;
	if (strchr(name, '/')) {
		strcpy(path, name);
		return runnable(path);
	}
	if (!search)
		search = "/bin:/usr/bin";
	for (const char *end;; search = end + 1) {
		int tried = ENOENT, length;

		end = strchrnul(search, ':');
		length = (int)(end - search);
		if (snprintf(path, PATH_MAX, "%.*s/%s", length ? length : 1,
			     length ? search : ".", name) < PATH_MAX)
			tried = runnable(path);
		if (!tried)
			return 0;
		/* A directory that may not be searched is passed over. */
		if (tried == EPERM || tried == EISDIR)
			error = EPERM;
		if (!*end)
			return error;
	}
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The rest of a "#!/usr/bin/env" line: [-S] [-i] [NAME=VALUE]... PROGRAM. */
static void read_env_line(char *words, struct program_head *head)
{
	char *state = NULL;

	for (char *word = strtok_r(words, " \t", &state); word;
	     word = strtok_r(NULL, " \t", &state)) {
		if (!strncmp(word, "-S", 2))
			word += 2;
		if (!strcmp(word, "-i") || !strcmp(word, "-") ||
		    !strcmp(word, "--ignore-environment"))
			head->env_clears = true;
		else if (*word && *word != '-' && !strchr(word, '=')) {
			snprintf(head->env_program, sizeof(head->env_program), "%s",
				 word);
			return;
		}
	}
}

static void read_script_line(char *line, struct program_head *head)
{
	char *rest;

	line[strcspn(line, "\n")] = '\0';
	line += strspn(line, " \t");
	rest = line + strcspn(line, " \t");
	if (*rest)
		*rest++ = '\0';
	snprintf(head->interpreter, sizeof(head->interpreter), "%s", line);
	if (!strcmp(base_name(line), "env"))
		read_env_line(rest, head);
}

int program_read_head(const char *path, struct program_head *head)
{
	char bytes[HEAD_BYTES + 1] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t count;
	int error = 0;

	memset(head, 0, sizeof(*head));
	if (fd < 0)
		return errno;
	count = read(fd, bytes, HEAD_BYTES);
	if (count < 0)
		error = errno;
	close(fd);
	if (error)
		return error;
	if (count >= 4 && !memcmp(bytes, "\177ELF", 4)) {
		head->kind = PROGRAM_ELF;
	} else if (count >= 2 && !memcmp(bytes, "#!", 2)) {
		head->kind = PROGRAM_SCRIPT;
		read_script_line(bytes + 2, head);
	} else if (!memchr(bytes, '\0', (size_t)count)) {
		head->kind = PROGRAM_TEXT;
		strcpy(head->interpreter, "/bin/sh");
	} else {
		head->kind = PROGRAM_UNKNOWN;
	}
	return 0;
}

static const char *user_name(uid_t id)
{
	static char number[16];
	struct passwd *user = getpwuid(id);

	snprintf(number, sizeof(number), "%u", (unsigned)id);
	return user ? user->pw_name : number;
}

static const char *group_name(gid_t id)
{
	static char number[16];
	struct group *group = getgrgid(id);

	snprintf(number, sizeof(number), "%u", (unsigned)id);
	return group ? group->gr_name : number;
}

/* execve(2) and capabilities(7) have the conditions. */
enum program_rights program_rights(const char *path, char *text, size_t size)
{
	struct statvfs mount;
	struct stat status;
	bool set_user, set_group, capabilities;

	if (stat(path, &status))
		return PROGRAM_KEEPS_RIGHTS;
	set_user = status.st_mode & S_ISUID;
	set_group = (status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
	capabilities = getxattr(path, "security.capability", NULL, 0) > 0;
	if (!set_user && !set_group && !capabilities)
		return PROGRAM_KEEPS_RIGHTS;
	if (!statvfs(path, &mount) && (mount.f_flag & ST_NOSUID)) {
		snprintf(text, size, "set-ID bits and capabilities, on a nosuid mount");
		return PROGRAM_HAS_RIGHTS;
	}
	if (prctl(PR_GET_NO_NEW_PRIVS, 0L, 0L, 0L, 0L) == 1) {
		snprintf(text, size,
			 "set-ID bits and capabilities, but no_new_privs is set");
		return PROGRAM_HAS_RIGHTS;
	}
	if (set_user && status.st_uid != getuid()) {
		snprintf(text, size, "set-user-ID %s", user_name(status.st_uid));
		return PROGRAM_GAINS_RIGHTS;
	}
	if (set_group && status.st_gid != getgid()) {
		snprintf(text, size, "set-group-ID %s", group_name(status.st_gid));
		return PROGRAM_GAINS_RIGHTS;
	}
	if (capabilities && getuid() != 0) {
		snprintf(text, size, "file capabilities");
		return PROGRAM_GAINS_RIGHTS;
	}
	snprintf(text, size, "%s for others; not for you, %s",
		 set_user    ? "set-user-ID"
		 : set_group ? "set-group-ID"
			     : "file capabilities",
		 user_name(getuid()));
	return PROGRAM_HAS_RIGHTS;
}
