/* SPDX-License-Identifier: MIT
 *
 * The start of a process that has little address space (RLIMIT_AS): below what the loader and
 * the library need it ends as the loader ends it, above there are NULL and ENOMEM, and never a
 * crash; and when the limit is raised there is memory.
 *
 * The program runs itself under each limit; then it allocates before it does anything else.
 */
#include "libtap.h"

#include <sys/resource.h>
#include <sys/wait.h>

enum { STEP_KIB = 256, STREAK = 16, MOST_KIB = 96 << 10 };
enum { ENOUGH, NONE_AT_FIRST = 3, NOT_LOADED = 4, BAD = 5, BY_LOADER = 127 };

static int as_child(void)
{
	int (*control)(enum hakmem_op op, void *arg, size_t size);
	struct rlimit limit;
	void *first, *second;
	bool none;

	errno = 0;
	first = opaque(malloc(opaque_size(100)));
	none = !first;
	if (none && errno != ENOMEM)
		return BAD;
	*(void **)&control = dlsym(RTLD_DEFAULT, "hakmem_ctl");
	if (!control)
		return NOT_LOADED;
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_AS, &limit);
	second = opaque(malloc(opaque_size((size_t)8 << 20)));
	if (!second)
		return BAD;
	memset(second, 1, (size_t)8 << 20);
	free(second);
	free(first);
	first = opaque(malloc(opaque_size(100)));
	if (!first || control(HAKMEM_CHECK, NULL, 0))
		return BAD;
	free(first);
	return none ? NONE_AT_FIRST : ENOUGH;
}

/* What became of a process with so much address space. */
static int run_with(size_t kib)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		struct rlimit limit;
		int null = open("/dev/null", O_WRONLY);

		getrlimit(RLIMIT_AS, &limit);
		limit.rlim_cur = kib << 10;
		setrlimit(RLIMIT_AS, &limit);
		dup2(null, STDERR_FILENO);
		execl("/proc/self/exe", "interpose-start", "child", (char *)NULL);
		_exit(BY_LOADER);
	}
	if (waitpid(child, &status, 0) != child)
		return BAD;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static bool is_no_crash(int status)
{
	return status == ENOUGH || status == NONE_AT_FIRST || status == NOT_LOADED ||
	       status == BY_LOADER;
}

/*
 * What the kernel cannot map of a program it ends by a signal, before anything of ours runs;
 * from the first that is not so, none may be.  How much is enough depends a little on where
 * the kernel places what must be aligned: it is, if it has been STREAK times in a row.
 */
int main(int argc, char **argv)
{
	size_t kib = STEP_KIB, loader = 0, none = 0, streak = 0, most, enough;
	int bad = 0, status;

	(void)argv;
	if (argc > 1)
		return as_child();
	require_library();
	while (kib < MOST_KIB && run_with(kib) < 0)
		kib += STEP_KIB;
	for (; kib < MOST_KIB && streak < STREAK; kib += STEP_KIB) {
		status = run_with(kib);
		streak = status == ENOUGH ? streak + 1 : 0;
		if (status == NOT_LOADED && !loader)
			loader = kib;
		if (status == NONE_AT_FIRST && !none)
			none = kib;
		SILENT(bad, is_no_crash(status), "%zu KiB: status %d", kib, status);
	}
	ok(!bad, "no crash, at any limit");
	ok(none, "from %zu KiB on NULL and ENOMEM, then, the limit raised, memory", none);
	/* hakmem(3) tells this. */
	most = (on_debug_library() ? 40 : 12) << 10;
	enough = kib - STREAK * STEP_KIB;
	ok(streak == STREAK && loader && enough - loader <= most,
	   "from %zu KiB on a block: %zu KiB more than without the library", enough,
	   enough - loader);
	return tap_end();
}
