/* SPDX-License-Identifier: MIT
 *
 * interpose-background MODE: what HAKMEM_BACKGROUND owes to a program.
 *
 * Memory that was freed leaves an idle process, or, without the thread, does not; the thread
 * comes when it is needed, also in a child and after exec, goes when it is not wanted, takes
 * no signal, and does not keep the process alive.  The program has no constructor of its
 * own, so that it is at once in main where the library expects it to be.
 */
#include "libtap.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { BLOCKS = 200000, MIB = 64 };

static void *blocks[BLOCKS];
static char text[4096];

static unsigned threads(void)
{
	struct stat status;

	return stat("/proc/self/task", &status) == 0 ? (unsigned)status.st_nlink - 2 : 0;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static const char *read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[length > 0 ? length : 0] = '\0';
	return text;
}

/* The first thread whose name is hakmem, or 0.  Allocates nothing. */
static unsigned look_for_thread(void)
{
	char entries[1024], path[64];
	int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long length = syscall(SYS_getdents64, fd, entries, sizeof(entries));
	unsigned found = 0;

	close(fd);
	for (long at = 0; at < length && !found;) {
		const char *name = entries + at + 19;
		unsigned id = (unsigned)strtoul(name, NULL, 10);

		at += *(unsigned short *)(entries + at + 16);
		snprintf(path, sizeof(path), "/proc/self/task/%u/comm", id);
		if (id && !strcmp(read_file(path), "hakmem\n"))
			found = id;
	}
	return found;
}

/* It gives itself its name, so that may take a moment. */
static unsigned find_thread(void)
{
	unsigned found = look_for_thread();

	for (uint64_t end = now_ms() + 10000; !found && now_ms() < end; usleep(1000))
		found = look_for_thread();
	return found;
}

/* Of many sizes up to 650 bytes: MIB MiB of them. */
static size_t fill(void)
{
	size_t sum = 0, count = 0;

	for (; count < BLOCKS && sum < (size_t)MIB << 20; count++) {
		size_t size = 16 + count % 40 * 16;

		blocks[count] = malloc(opaque_size(size));
		memset(blocks[count], 1, size);
		sum += size;
	}
	return count;
}

static void drop(size_t count)
{
	while (count)
		free(opaque(blocks[--count]));
}

static void work(void)
{
	drop(fill());
}

static bool wait_for_threads(unsigned wanted, bool working)
{
	for (uint64_t end = now_ms() + 10000; now_ms() < end; usleep(5000)) {
		if (threads() == wanted)
			return true;
		if (working)
			work();
	}
	return false;
}

static bool is_home(const struct hakmem_stats *stats)
{
	return !stats->blocks_cached && !stats->slabs_empty;
}

/* Nothing of the library is called meanwhile but HAKMEM_STATS, which changes nothing. */
static void gives_back(const char *when, size_t resident)
{
	uint64_t start = now_ms(), end = start + 10000;
	struct hakmem_stats stats = stats_now();

	printf("# freed: %llu KiB cached, %llu slabs empty, resident %zu KiB more\n",
	       (unsigned long long)stats.bytes_cached >> 10,
	       (unsigned long long)stats.slabs_empty, resident_kib() - resident);
	for (; !is_home(&stats) && now_ms() < end; stats = stats_now())
		usleep(50000);
	ok(is_home(&stats), "%s: nothing is left: %llu blocks, %llu empty slabs", when,
	   (unsigned long long)stats.blocks_cached,
	   (unsigned long long)stats.slabs_empty);
	ok(resident_kib() < resident + 2048, "%s: resident %zd KiB more than at first",
	   when, (ssize_t)(resident_kib() - resident));
	printf("# after %llu ms\n", (unsigned long long)(now_ms() - start));
}

static void idle(void)
{
	size_t resident, count;

	memset(blocks, 0xff, sizeof(blocks)); /* so that its pages count at first */
	resident = resident_kib();
	work();
	gives_back("an idle process", resident);
	ok(threads() == 2 && find_thread(), "one thread more, named hakmem");

	/* By now it rests; free() alone must wake it. */
	count = fill();
	sleep(3);
	drop(count);
	gives_back("after a rest", resident);
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
}

/*
 * Few slabs, so that it is the delay they wait for, and not their number: HAKMEM_PURGE_DELAY_MS
 * is to be more than the two intervals after which the thread may rest.
 */
static void late(void)
{
	void *held = opaque(malloc(opaque_size(16)));
	struct hakmem_stats stats;
	uint64_t end = now_ms() + 10000;

	for (size_t i = 0; i < 300; i++)
		blocks[i] = malloc(opaque_size(1000));
	drop(300);
	ok(wait_for_threads(2, false), "the thread runs");
	do
		usleep(50000);
	while (stats = stats_now(), stats.blocks_cached && now_ms() < end);
	usleep(600000);
	stats = stats_now();
	ok(!stats.blocks_cached && stats.slabs_empty, "%llu slabs wait to be purged",
	   (unsigned long long)stats.slabs_empty);
	while (stats = stats_now(), stats.slabs_empty && now_ms() < end)
		usleep(50000);
	ok(!stats.slabs_empty, "and are: all but %llu",
	   (unsigned long long)stats.slabs_empty);
	free(held);
}

static void without(void)
{
	struct hakmem_stats stats;

	work();
	sleep(2);
	stats = stats_now();
	ok(!is_home(&stats), "without it an idle process keeps %llu KiB, %llu slabs",
	   (unsigned long long)stats.bytes_cached >> 10,
	   (unsigned long long)stats.slabs_empty);
	ok(threads() == 1, "and has no thread more");
}

static volatile sig_atomic_t handled_by;

static void handle(int signal)
{
	(void)signal;
	handled_by = (sig_atomic_t)syscall(SYS_gettid);
}

static void signals(void)
{
	struct sigaction action = { .sa_handler = handle };
	unsigned long long blocked = 0;
	sigset_t one, before, pending;
	char path[64], *line;

	work();
	ok(wait_for_threads(2, false), "the thread runs");
	snprintf(path, sizeof(path), "/proc/self/task/%u/status", find_thread());
	read_file(path);
	line = strstr(text, "SigBlk:");
	if (line)
		sscanf(line, "SigBlk: %llx", &blocked);
	/* Not KILL, STOP, and the two that libc keeps for itself. */
	ok((blocked | 1u << 8 | 1u << 18 | 3ull << 31) == ~0ull,
	   "all signals are blocked in it: %llx", blocked);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	ok(!sigismember(&before, SIGUSR1), "and in the caller none that was not");

	sigaction(SIGUSR1, &action, NULL);
	sigemptyset(&one);
	sigaddset(&one, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &one, NULL);
	kill(getpid(), SIGUSR1);
	usleep(100000);
	sigpending(&pending);
	ok(!handled_by && sigismember(&pending, SIGUSR1),
	   "a signal waits for the program");
	pthread_sigmask(SIG_UNBLOCK, &one, NULL);
	ok(handled_by == getpid(), "which handles it");
}

static int status_of(pid_t child)
{
	int status = -1;

	for (uint64_t end = now_ms() + 30000; now_ms() < end; usleep(5000)) {
		if (waitpid(child, &status, WNOHANG) == child)
			return status;
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return -1;
}

static int in_child(void)
{
	size_t resident = resident_kib();

	if (threads() != 1)
		return 1;
	if (!wait_for_threads(2, true) || !find_thread())
		return 2;
	work();
	for (uint64_t end = now_ms() + 10000; now_ms() < end; usleep(50000)) {
		struct hakmem_stats stats = stats_now();

		if (is_home(&stats))
			return resident_kib() < resident + 4096 &&
					       ctl(HAKMEM_CHECK, NULL, 0) == 0
				       ? 0
				       : 3;
	}
	return 4;
}

static void forks(const char *program)
{
	pid_t child;
	int status;

	work();
	ok(wait_for_threads(2, false), "the thread runs");
	child = fork();
	if (child == 0)
		_exit(in_child());
	status = status_of(child);
	ok(status == 0, "a child has none, then one of its own: status %#x", status);
	child = fork();
	if (child == 0) {
		child = fork();
		_exit(child ? status_of(child) != 0 : in_child());
	}
	status = status_of(child);
	ok(status == 0, "and so does the child of one that never had it: status %#x",
	   status);
	status = 0;
	for (unsigned i = 0; i < 60 && !status; i++) {
		work();
		child = fork();
		if (child == 0) {
			work();
			_exit(ctl(HAKMEM_CHECK, NULL, 0) != 0);
		}
		status = status_of(child);
	}
	ok(status == 0, "60 children, forked while it works: status %#x", status);
	ok(threads() == 2, "the parent keeps its own");
	puts("# exec");
	fflush(stdout);
	execl(program, program, "executed", (char *)NULL);
	ok(false, "exec: %s", strerror(errno));
}

static void executed(void)
{
	ok(wait_for_threads(2, true) && find_thread(), "after exec there is a new one");
}

static bool set(const char *value)
{
	struct hakmem_option option = { .name = "background" };

	strcpy(option.value, value);
	return ctl(HAKMEM_SET, &option, sizeof(option)) == 0;
}

static void at_run_time(void)
{
	work();
	usleep(600000);
	work();
	ok(threads() == 1, "off at first");
	ok(set("1") && wait_for_threads(2, false), "SET 1, and it runs");
	sleep(3);
	ok(set("0") && wait_for_threads(1, false), "SET 0 while it rests, and it ends");
	ok(set("1") && set("0") && set("1") && wait_for_threads(2, false),
	   "1, 0 and 1 at once");
	for (unsigned i = 0; i < 1000; i++) {
		set(i % 2 ? "1" : "0");
		if (i % 16 == 0)
			usleep(200);
	}
	ok(wait_for_threads(2, false), "a thousand times; it runs");
	ok(set("0") && wait_for_threads(1, false), "and ends");
	work();
	usleep(600000);
	work();
	ok(threads() == 1, "and does not come back");
	ok(!set("2") && errno == EINVAL, "there is no 2");
}

static void *end_later(void *unused)
{
	usleep(700000);
	return unused;
}

/* The thread must neither keep the process alive nor end it early. */
static void exits(void)
{
	uint64_t start;
	pid_t child;
	int status;

	child = fork();
	if (child == 0) {
		work();
		exit(threads() == 2 ? 7 : 8);
	}
	status = status_of(child);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 7, "exit() with it: %#x", status);
	for (unsigned rest = 0; rest < 2; rest++) {
		start = now_ms();
		child = fork();
		if (child == 0) {
			pthread_t thread;

			work();
			if (!wait_for_threads(2, true))
				_exit(1);
			sleep(rest * 3);
			pthread_create(&thread, NULL, end_later, NULL);
			pthread_detach(thread);
			pthread_exit(NULL);
		}
		status = status_of(child);
		ok(status == 0 && now_ms() - start >= 700,
		   "main ends, %s, then the last thread, then the process: %#x",
		   rest ? "while it rests" : "while it works", status);
	}
}

/* With a preloaded object of constructor.c. */
static void constructors(void)
{
	const int *seen = dlsym(RTLD_DEFAULT, "threads_in_constructor");

	ok(seen && *seen == 1, "in a constructor there is no thread but main's: %d",
	   seen ? *seen : -1);
	ok(wait_for_threads(2, true), "later there is");
}

/* Likewise; it refuses to create threads. */
static void refused(void)
{
	const _Atomic int *tried = dlsym(RTLD_DEFAULT, "threads_refused");
	struct hakmem_query query = { 0 };
	void *block;

	block = opaque(malloc(opaque_size(1000)));
	free(opaque(block));
	query.address = block;
	errno = EXDEV;
	for (uint64_t end = now_ms() + 10000; now_ms() < end; usleep(10000)) {
		work();
		if (ctl(HAKMEM_QUERY, &query, sizeof(query)) == 0 &&
		    query.state == HAKMEM_FREE)
			break;
	}
	ok(errno == EXDEV, "errno is kept");
	ok(tried && *tried > 0 && *tried < 40 && threads() == 1,
	   "no thread can be had, and not each slow path tries: %d times",
	   tried ? *tried : -1);
	ok(query.state == HAKMEM_FREE, "slow paths do what it would do");
}

int main(int argc, char **argv)
{
	const char *mode = argc == 2 ? argv[1] : "";

	require_library();
	if (!strcmp(mode, "idle"))
		idle();
	else if (!strcmp(mode, "late"))
		late();
	else if (!strcmp(mode, "without"))
		without();
	else if (!strcmp(mode, "signals"))
		signals();
	else if (!strcmp(mode, "fork"))
		forks(argv[0]);
	else if (!strcmp(mode, "executed"))
		executed();
	else if (!strcmp(mode, "set"))
		at_run_time();
	else if (!strcmp(mode, "exit"))
		exits();
	else if (!strcmp(mode, "constructors"))
		constructors();
	else if (!strcmp(mode, "refused"))
		refused();
	else
		ok(false, "no such mode");
	return tap_end();
}
