/* SPDX-License-Identifier: MIT
 *
 * world.c - the threads stopped by ptrace(2), from a task beside them.
 *
 * Owns nothing but a mapping for the time of one call.  Takes no lock; the caller may hold
 * any.  May not allocate, nor call what does: between the clone and the end of the helper two
 * tasks run on one thread pointer.  The caller then only waits, so the helper may use errno.
 *
 *   caller                          helper
 *   blocks all signals
 *   clone                 ------->  dies with the caller from here on
 *   lets itself be traced, go --->  seizes, interrupts and awaits all but the caller;
 *                                   lists again until two lists have nothing new
 *                                   work()
 *                                   detaches all, ends
 *   wait4                 <-------
 *
 * Signals that a thread was about to get when it stopped are given to it at the end.  What
 * cannot be hidden: some system calls, epoll_wait(2) for one, end with EINTR when their thread
 * is stopped, whoever does it (signal(7), at its end).
 */
#define _GNU_SOURCE
#include "debug/world.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "debug/registers.h"
#include "os.h"

#define STACK_BYTES ((size_t)256 << 10) /* of the helper */
#define TIDS ((size_t)1 << 22)          /* the kernel's PID_MAX_LIMIT */
#define WAIT_MS 10000   /* for one that sleeps uninterruptibly, in vfork() for example */
#define EAGER_TRIES 100 /* looks at a thread before we sleep between them */

enum outcome { NOT_DONE, DONE, TOO_MANY };

struct tracee {
	int id;
	bool stopped; /* else it was seized, but never stopped in time */
	int signal;   /* to be given to it at the end */
};

struct stop {
	void (*work)(const struct hk_world *world, void *context);
	void *context;
	_Atomic uint32_t go, never; /* futexes */
	uint64_t deadline;
	enum outcome outcome;
	int process, caller; /* ids */
	int tasks;           /* /proc/self/task of the caller */
	struct hk_world world;
	struct hk_world_thread *threads;
	struct tracee *tracees;
	size_t count, capacity;   /* of tracees; threads has room for one more */
	uint64_t seen[TIDS / 64]; /* those in tracees, and those missed */
	char entries[32768];
	char stack[STACK_BYTES] __attribute__((aligned(64)));
};

/* As getdents64(2) writes them. */
struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

/* Libc's own would be points where a thread that was cancelled ends. */
static int open_at(int directory, const char *name, int flags)
{
	return (int)syscall(SYS_openat, directory, name, flags | O_CLOEXEC);
}

static void close_it(int fd)
{
	syscall(SYS_close, fd);
}

static long trace(unsigned request, int id, uintptr_t address, uintptr_t data)
{
	return syscall(SYS_ptrace, (long)request, (long)id, address, data);
}

/* ---- which have we ---- */

static bool is_seen(const struct stop *stop, int id)
{
	return stop->seen[id / 64] >> (id % 64) & 1;
}

static void see(struct stop *stop, int id)
{
	stop->seen[id / 64] |= (uint64_t)1 << (id % 64);
}

static void forget(struct stop *stop, int id)
{
	stop->seen[id / 64] &= ~((uint64_t)1 << (id % 64));
}

static int number(const char *name)
{
	int value = 0;

	for (; *name >= '0' && *name <= '9' && value < (int)TIDS; name++)
		value = value * 10 + (*name - '0');
	return *name || value >= (int)TIDS ? 0 : value;
}

/*
 * Has it ended, or is it just about to?  A main thread that has ended before the others is
 * listed like this as long as they run.
 */
static bool is_dead(const struct stop *stop, int id)
{
	char path[32] = "/stat", text[128], *start = path + 16, *state = NULL;
	long length;
	int fd;

	for (int i = 0; i < 6; i++)
		start[i] = "/stat"[i];
	for (; id; id /= 10)
		*--start = (char)('0' + id % 10);
	fd = open_at(stop->tasks, start, O_RDONLY);
	if (fd < 0)
		return errno == ENOENT;
	length = syscall(SYS_read, fd, text, sizeof(text));
	close_it(fd);
	/* "ID (NAME) STATE ...", and the name may have anything in it. */
	for (long i = 0; i + 2 < length; i++)
		if (text[i] == ')')
			state = &text[i + 2];
	return !state || *state == 'Z' || *state == 'X';
}

/* ---- stopping ---- */

/* Is there one more than before? */
static bool seize(struct stop *stop, int id)
{
	if (trace(PTRACE_SEIZE, id, 0, PTRACE_O_TRACEEXIT) != 0) {
		if (errno != EPERM || is_dead(stop, id))
			return false;
		see(stop, id);
		stop->world.missed++;
		return true;
	}
	see(stop, id);
	stop->tracees[stop->count++] = (struct tracee){ .id = id };
	trace(PTRACE_INTERRUPT, id, 0, 0);
	return true;
}

/* How many of those in the list are new. */
static size_t seize_all(struct stop *stop)
{
	size_t fresh = 0;
	long length;

	lseek(stop->tasks, 0, SEEK_SET);
	while ((length = syscall(SYS_getdents64, stop->tasks, stop->entries,
				 sizeof(stop->entries))) > 0) {
		const struct entry *entry;

		for (long at = 0; at < length; at += entry->length) {
			int id;

			entry = (const struct entry *)(stop->entries + at);
			id = number(entry->name);
			if (!id || id == stop->caller || is_seen(stop, id))
				continue;
			if (stop->count == stop->capacity) {
				stop->outcome = TOO_MANY;
				return 0;
			}
			fresh += seize(stop, id);
		}
	}
	return fresh;
}

/*
 * false: it has ended.  Not by a wait4() that sleeps: it does not tell of a main thread that
 * ends before the others.  Whoever ends after it was seized stops at its end, too.
 */
static bool await(struct stop *stop, struct tracee *tracee)
{
	for (unsigned tries = 0;; tries++) {
		int status;
		long id = syscall(SYS_wait4, tracee->id, &status, __WALL | WNOHANG, NULL);

		if (id == tracee->id && WIFSTOPPED(status)) {
			tracee->stopped = true;
			/* Neither our interruption, nor its end: a signal for it. */
			if (!(status >> 16))
				tracee->signal = WSTOPSIG(status);
			return true;
		}
		if (id != 0 || (tries >= EAGER_TRIES && is_dead(stop, tracee->id)))
			return false;
		if (hk_os_now_ms() > stop->deadline) {
			stop->world.missed++;
			return true;
		}
		if (tries < EAGER_TRIES)
			syscall(SYS_sched_yield);
		else
			hk_os_futex_wait_ms(&stop->never, 0, 1);
	}
}

/*
 * A list that is read while threads end may leave others out, so one without anything new is
 * not enough.
 */
static void stop_all(struct stop *stop)
{
	size_t awaited = 0;
	unsigned quiet = 0;

	while (quiet < 2 && stop->outcome == NOT_DONE) {
		quiet = seize_all(stop) ? 0 : quiet + 1;
		while (awaited < stop->count) {
			struct tracee *tracee = &stop->tracees[awaited];

			if (await(stop, tracee)) {
				awaited++;
			} else {
				/* Its number may be another's in the next list. */
				forget(stop, tracee->id);
				*tracee = stop->tracees[--stop->count];
			}
		}
	}
}

static void read_registers(struct stop *stop, const struct tracee *tracee)
{
	struct hk_world_thread *thread = &stop->threads[stop->world.count];
	struct user_regs_struct registers;
	struct iovec general = { &registers, sizeof(registers) };
	uintptr_t pointer = 0;
	struct iovec other = { &pointer, sizeof(pointer) };

	_Static_assert(sizeof(registers) <= sizeof(thread->registers),
		       "a thread has room for its registers");
	/* Whoever cannot be asked was killed just now, and runs no more. */
	if (!tracee->stopped ||
	    trace(PTRACE_GETREGSET, tracee->id, NT_PRSTATUS, (uintptr_t)&general) != 0)
		return;
	if (HK_THREAD_REGISTERS)
		trace(PTRACE_GETREGSET, tracee->id, HK_THREAD_REGISTERS,
		      (uintptr_t)&other);
	thread->id = (uint32_t)tracee->id;
	thread->stack_pointer = hk_registers_stack(&registers) - HK_RED_ZONE;
	thread->thread_pointer = hk_registers_thread(&registers, pointer);
	thread->count = (unsigned)(general.iov_len / sizeof(uintptr_t));
	for (unsigned i = 0; i < thread->count; i++)
		thread->registers[i] = ((const uintptr_t *)&registers)[i];
	stop->world.count++;
}

/* The helper. */
static int run(void *context)
{
	struct stop *stop = context;
	size_t stopped;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!atomic_load(&stop->go) && syscall(SYS_getppid) == stop->process)
		hk_os_futex_wait(&stop->go, 0);
	if (syscall(SYS_getppid) != stop->process)
		return 0;
	stop->deadline = hk_os_now_ms() + WAIT_MS;
	stop_all(stop);
	for (size_t i = 0; i < stop->count; i++)
		read_registers(stop, &stop->tracees[i]);
	stopped = stop->world.count - 1;
	if (stop->outcome == NOT_DONE && (stopped || !stop->world.missed)) {
		stop->work(&stop->world, stop->context);
		stop->outcome = DONE;
	}
	/* Those that never stopped are let go when we end. */
	for (size_t i = 0; i < stop->count; i++) {
		if (stop->tracees[i].stopped)
			trace(PTRACE_DETACH, stop->tracees[i].id, 0,
			      (uintptr_t)stop->tracees[i].signal);
	}
	return 0;
}

/* ---- the caller ---- */

static void run_helper(struct stop *stop)
{
	int helper = clone(run, stop->stack + STACK_BYTES,
			   CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_UNTRACED, stop);

	if (helper < 0)
		return;
	/*
	 * Yama (ptrace_scope 1) wants to be told.  What the program may have told it before
	 * cannot be read, and is lost; elsewhere this is EINVAL.
	 */
	prctl(PR_SET_PTRACER, (unsigned long)helper, 0, 0, 0);
	atomic_store(&stop->go, 1);
	hk_os_futex_wake(&stop->go, 1);
	/* ECHILD: another thread waits for any child at all; then it has ended. */
	while (syscall(SYS_wait4, helper, NULL, __WALL, NULL) < 0 && errno == EINTR)
		;
	prctl(PR_SET_PTRACER, 0, 0, 0, 0);
}

_Thread_local uintptr_t hk_world_floor;

static void run_here(struct stop *stop)
{
	stop->work(&stop->world, stop->context);
	stop->outcome = DONE;
}

static enum outcome stop_once(void (*work)(const struct hk_world *world, void *context),
			      void *context, int tasks, size_t capacity, bool alone)
{
	size_t size = hk_align_up(sizeof(struct stop) + capacity * sizeof(struct tracee) +
					  (capacity + 1) * sizeof(struct hk_world_thread),
				  hk_os_page_size);
	struct stop *stop = hk_os_map(size, hk_os_page_size, NULL);
	uint64_t all = UINT64_MAX, before = 0;
	enum outcome outcome;

	if (!stop)
		return NOT_DONE;
	stop->work = work;
	stop->context = context;
	stop->process = (int)getpid();
	stop->caller = (int)hk_os_thread_id();
	stop->tasks = tasks;
	stop->threads = (struct hk_world_thread *)(stop + 1);
	stop->tracees = (struct tracee *)(stop->threads + capacity + 1);
	stop->capacity = capacity;
	stop->threads[0].id = (uint32_t)stop->caller;
	stop->threads[0].stack_pointer = hk_world_floor - HK_SAVED_BELOW;
	stop->threads[0].thread_pointer = hk_thread_pointer();
	stop->world.threads = stop->threads;
	stop->world.count = 1;
	/* Also those that libc keeps for itself, which its own function would leave out. */
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(all));
	if (alone)
		run_here(stop);
	else
		run_helper(stop);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
	outcome = stop->outcome;
	hk_os_unmap(stop, size);
	return outcome;
}

bool hk_world_stop(void (*work)(const struct hk_world *world, void *context),
		   void *context)
{
	enum outcome outcome = TOO_MANY;
	int kept = errno, tasks;

	hk_assert(hk_world_floor);
	tasks = open_at(AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY);
	if (tasks < 0) {
		errno = kept;
		return false;
	}
	/* They may become more while we count. */
	for (size_t room = 2; room <= 128 && outcome == TOO_MANY; room *= 2) {
		size_t threads = hk_os_threads();

		outcome = stop_once(work, context, tasks, room * (threads + 32),
				    threads == 1);
	}
	close_it(tasks);
	errno = kept;
	return outcome == DONE;
}
