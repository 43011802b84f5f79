/* SPDX-License-Identifier: MIT
 *
 * symbolizer.c - the program that knows debug information, run as a child.
 *
 * Called by symbols.c for a report.  Owns nothing that outlives it, takes no lock, does not
 * allocate from the heap.  The process may be about to abort, so it shall not matter what the
 * program has done to its memory, its signal handlers, its children or its descriptors.
 *
 * The child is not posix_spawn()'s, whose file actions allocate, and nobody shall find it: not
 * a handler of SIGCHLD, nor a wait() for any child.  So it is a child's child.  The one
 * between ends at once and, as it never calls execve(), without a signal (after execve() that
 * is always SIGCHLD), and only a wait for such children sees it (__WCLONE of wait4(2)).  Both
 * borrow our memory until then, as after vfork(), so no handler of fork() runs.
 */
#define _GNU_SOURCE
#include "debug/symbolizer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "debug/options.h"
#include "os.h"

#define PATIENCE_MS 20000 /* without a byte from the child */
#define ANSWER_MAX ((size_t)256 << 20)

/* ---- memory ---- */

struct hk_scratch_part {
	struct hk_scratch_part *next;
	size_t bytes;
	_Alignas(16) char data[];
};

void *hk_scratch_take(struct hk_scratch *scratch, size_t bytes)
{
	struct hk_scratch_part *part;

	if (bytes > PTRDIFF_MAX / 2)
		return NULL;
	bytes = hk_align_up(bytes + sizeof(*part), hk_os_page_size);
	part = hk_os_map(bytes, hk_os_page_size, NULL);
	if (!part)
		return NULL;
	part->next = scratch->parts;
	part->bytes = bytes;
	scratch->parts = part;
	return part->data;
}

void hk_scratch_give(struct hk_scratch *scratch)
{
	while (scratch->parts) {
		struct hk_scratch_part *part = scratch->parts;

		scratch->parts = part->next;
		hk_os_unmap(part, part->bytes);
	}
}

/* ---- which one ---- */

#define CHILD_STACK ((size_t)64 << 10)

struct hk_symbolizer {
	char program[PATH_MAX];
	bool llvm; /* llvm-symbolizer, which knows addr2line's options, but has a style */
	char **environment;
	char *stack;
	char **arguments;
	int input, output;
	pid_t id;
	bool failed;   /* to be run */
	bool given_up; /* it failed, or did not answer in time */
};

static bool is_executable(const char *path)
{
	return path[0] == '/' && access(path, X_OK) == 0;
}

/* In the directories of PATH, those that are absolute. */
static bool search_path(const char *name, char found[PATH_MAX])
{
	const char *list = getenv("PATH"), *end;

	if (!list)
		list = "/usr/local/bin:/usr/bin:/bin";
	for (; *list; list = *end ? end + 1 : end) {
		size_t length, size = strlen(name) + 1;

		end = strchrnul(list, ':');
		length = (size_t)(end - list);
		if (length + 1 + size > PATH_MAX)
			continue;
		memcpy(found, list, length);
		found[length] = '/';
		memcpy(found + length + 1, name, size);
		if (is_executable(found))
			return true;
	}
	return false;
}

/* In the order in which they are looked for. */
static const char *const programs[] = {
	"addr2line",          "eu-addr2line",       "llvm-symbolizer",
	"llvm-symbolizer-19", "llvm-symbolizer-18", "llvm-symbolizer-17",
	"llvm-symbolizer-16", "llvm-symbolizer-15", "llvm-symbolizer-14",
};

static bool find_program(char found[PATH_MAX])
{
	const char *wanted = hk_debug_options.symbols;

	/* A process with more rights than its user's shall not run what he chooses. */
	if (getauxval(AT_SECURE) || strcmp(wanted, "no") == 0)
		return false;
	if (strchr(wanted, '/')) {
		strcpy(found, wanted);
		return access(found, X_OK) == 0;
	}
	if (*wanted)
		return search_path(wanted, found);
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		if (search_path(programs[i], found))
			return true;
	return false;
}

_Static_assert(sizeof(hk_debug_options.symbols) <= PATH_MAX,
	       "it fits where it is copied to");

/* What is meant for the program, not for its tools: the loader's and ours; and no network. */
static bool is_for_child(const char *variable)
{
	static const char *const others[] = { "LD_", "HAKMEM_",
					      "DEBUGINFOD_URLS=", "LC_ALL=" };

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strncmp(variable, others[i], strlen(others[i])) == 0)
			return false;
	return true;
}

static char **make_environment(struct hk_scratch *scratch)
{
	static char locale[] = "LC_ALL=C";
	size_t count = 0, kept = 0;
	char **environment;

	while (environ && environ[count])
		count++;
	environment = hk_scratch_take(scratch, (count + 2) * sizeof(*environment));
	if (!environment)
		return NULL;
	for (size_t i = 0; i < count && environ[i]; i++)
		if (is_for_child(environ[i]))
			environment[kept++] = environ[i];
	environment[kept++] = locale;
	environment[kept] = NULL;
	return environment;
}

struct hk_symbolizer *hk_symbolizer_find(struct hk_scratch *scratch)
{
	struct hk_symbolizer *symbolizer = hk_scratch_take(scratch, sizeof(*symbolizer));

	if (!symbolizer || !find_program(symbolizer->program))
		return NULL;
	symbolizer->llvm = strstr(symbolizer->program, "llvm-symbolizer");
	symbolizer->environment = make_environment(scratch);
	symbolizer->stack = hk_scratch_take(scratch, 2 * CHILD_STACK);
	return symbolizer->environment && symbolizer->stack ? symbolizer : NULL;
}

/* ---- running it ---- */

static int become_program(void *argument)
{
	struct sigaction by_default = { .sa_handler = SIG_DFL };
	struct hk_symbolizer *symbolizer = argument;
	sigset_t none;
	int null;

	/* Before any signal may come: the program's handlers would run in its memory. */
	for (int i = 1; i < NSIG; i++)
		sigaction(i, &by_default, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(symbolizer->input, STDIN_FILENO);
	dup2(symbolizer->output, STDOUT_FILENO);
	null = open("/dev/null", O_WRONLY);
	dup2(null, STDERR_FILENO);
	close_range(STDERR_FILENO + 1, UINT_MAX, 0);
	execve(symbolizer->program, symbolizer->arguments, symbolizer->environment);
	symbolizer->failed = true;
	_exit(127);
}

static int stand_between(void *argument)
{
	struct hk_symbolizer *symbolizer = argument;

	symbolizer->id = clone(become_program, symbolizer->stack + 2 * CHILD_STACK,
			       CLONE_VM | CLONE_VFORK | SIGCHLD, symbolizer);
	_exit(0);
}

static bool start(struct hk_symbolizer *symbolizer)
{
	sigset_t all, before;
	pid_t between;

	symbolizer->id = -1;
	symbolizer->failed = false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	between = clone(stand_between, symbolizer->stack + CHILD_STACK,
			CLONE_VM | CLONE_VFORK, symbolizer);
	if (between >= 0)
		while (waitpid(between, NULL, (int)__WCLONE) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return between >= 0 && symbolizer->id > 0 && !symbolizer->failed;
}

/* The program may have closed its standard descriptors; the child's dup2() needs them. */
static int beyond_standard(int fd)
{
	int moved;

	if (fd < 0 || fd > STDERR_FILENO)
		return fd;
	moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	close(fd);
	return moved;
}

/* What it shall read: in a file, so that nobody waits to write. */
static int make_input(void (*write)(const void *context, struct hk_text *text),
		      const void *context)
{
	int fd = beyond_standard(memfd_create("hakmem-symbols", MFD_CLOEXEC));
	struct hk_text text;

	if (fd < 0)
		return -1;
	hk_text_open(&text, fd);
	write(context, &text);
	if (hk_text_close(&text) != 0 || lseek(fd, 0, SEEK_SET) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Wait for the next bytes: how many, 0 at the end, -1 if there is no more to wait for. */
static ssize_t read_some(int fd, char *data, size_t size)
{
	struct pollfd poll_for = { .fd = fd, .events = POLLIN };
	ssize_t length;
	int ready;

	do {
		do
			ready = poll(&poll_for, 1, PATIENCE_MS);
		while (ready < 0 && errno == EINTR);
		if (ready <= 0)
			return -1;
		length = read(fd, data, size);
	} while (length < 0 && (errno == EINTR || errno == EAGAIN));
	return length;
}

/* All that comes, with a NUL behind it; NULL: nothing that is whole. */
static char *read_answer(struct hk_scratch *scratch, int fd, size_t *length)
{
	size_t size = (size_t)256 << 10;
	char *text = hk_scratch_take(scratch, size), *larger;
	ssize_t some;

	*length = 0;
	while (text) {
		if (*length + 1 == size) {
			larger = size < ANSWER_MAX ? hk_scratch_take(scratch, size * 2)
						   : NULL;
			if (!larger)
				return NULL;
			memcpy(larger, text, size);
			text = larger;
			size *= 2;
		}
		some = read_some(fd, text + *length, size - *length - 1);
		if (some < 0)
			return NULL;
		if (some == 0)
			break;
		*length += (size_t)some;
	}
	return text;
}

char *hk_symbolizer_ask(struct hk_symbolizer *symbolizer, struct hk_scratch *scratch,
			const char *object,
			void (*write)(const void *context, struct hk_text *text),
			const void *context, size_t *length)
{
	const char *const arguments[] = { symbolizer->program,
					  "-e",
					  object,
					  "-a",
					  "-f",
					  "-i",
					  "-C",
					  symbolizer->llvm ? "--output-style=GNU" : NULL,
					  NULL };
	char *text = NULL;
	int ends[2];

	if (symbolizer->given_up)
		return NULL;
	symbolizer->input = make_input(write, context);
	if (symbolizer->input < 0)
		return NULL;
	if (pipe2(ends, O_CLOEXEC) == 0) {
		bool started;

		symbolizer->arguments = (char **)(uintptr_t)arguments;
		ends[0] = beyond_standard(ends[0]);
		symbolizer->output = beyond_standard(ends[1]);
		started = start(symbolizer);
		close(symbolizer->output);
		if (started)
			text = read_answer(scratch, ends[0], length);
		/* It has the pipe, so it has not ended, and its number is not another's. */
		if (started && !text)
			kill(symbolizer->id, SIGKILL);
		symbolizer->given_up = !text;
		close(ends[0]);
	}
	close(symbolizer->input);
	return text;
}
