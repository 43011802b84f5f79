/* SPDX-License-Identifier: MIT
 *
 * No block is lost or had twice when a sequence is interrupted, at whichever instruction.
 *
 * A child allocates and frees; its parent steps it, one instruction at a time
 * (ptrace(2)).  A stop makes the kernel abort a restartable sequence, so plain steps
 * never get beyond the first instruction of one.  To interrupt the n-th, the word that
 * says "in a sequence" is kept at 0 on the way there and put right again before the
 * signal: the child has no other thread that it would have to be protected from.  Each
 * operation is repeated until every instruction it passes inside sequences has been
 * interrupted once; the handler finds itself called from the abort handler, or the
 * interruption did not happen.
 *
 * Per thread there are no sequences: there the plain steps are all there is.
 *
 * The library's clock, which it has from here, stands still: stepped on a busy machine an
 * operation takes so long that it would be time to age the magazines at each, and its way
 * would never be the same twice.
 */
#include "libtap.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>

/* A trap, its first bytes, its length; where registers of ptrace and signals have the pc. */
#if defined(__x86_64__)
#define TRAP "int3"
enum { TRAP_MASK = 0xff, TRAP_CODE = 0xcc, TRAP_BYTES = 1 };
#define PC_OF_REGISTERS(registers) ((registers).rip)
#define PC_OF_SIGNAL(context) ((uint64_t)(context)->uc_mcontext.gregs[REG_RIP])
#elif defined(__aarch64__)
#define TRAP "brk #0"
enum { TRAP_MASK = -1, TRAP_CODE = (int)0xd4200000, TRAP_BYTES = 4 };
#define PC_OF_REGISTERS(registers) ((registers).pc)
#define PC_OF_SIGNAL(context) ((context)->uc_mcontext.pc)
#endif

#if defined(TRAP) && defined(RSEQ_SIG)

enum { SIZE = 16, KEPT = 100, ROOM = 32, MOST_SEQUENCES = 1024, MOST_STEPS = 4000 };

int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (clock != CLOCK_MONOTONIC_COARSE)
		return (int)syscall(SYS_clock_gettime, clock, now);
	*now = (struct timespec){ .tv_sec = 1000 };
	return 0;
}

/* Of these, 32 make a slab, a magazine's full capacity is 256, and the depot's 128. */
enum { RUN_SIZE = 2048, RUN_ROOM = 256, DRAINED = RUN_ROOM + 128 };

enum operation {
	MALLOC_HIT,
	FREE_HIT,
	REFILL,
	SPILL,
	ENTRIES,
	GROW, /* from here on with blocks of RUN_SIZE, and capacities that change */
	FILL,
	REFILL_FROM_DEPOT,
	DRAIN,
	DRAIN_BROKEN,
	DRAIN_WITHOUT_ORDER,
	OPERATIONS
};

static const char *const names[] = {
	"malloc hit",
	"free hit",
	"refill",
	"spill",
	"entries",
	"grow",
	"fill",
	"refill from depot",
	"drain",
	"drain, broken",
	"drain without order",
};

/* Seen by both processes: the parent says what to do, the child what came of it. */
static struct shared {
	volatile uint32_t operation;
	volatile bool more;
	volatile uint64_t interrupted_at; /* the address that the last signal found */
	volatile uint64_t signals;
	volatile uint64_t spills, refills;
	volatile int bad;
} * shared;

static struct rseq_cs sequences[MOST_SEQUENCES]; /* as the library has them */
static uint64_t descriptors[MOST_SEQUENCES];     /* where it has them */
static bool passed[MOST_SEQUENCES];              /* interrupted in some operation */
static size_t sequence_count;

/* ---- the child ---- */

static uint64_t *kept[KEPT];
static uint64_t live;
static size_t block_size = SIZE;

static void handler(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	shared->interrupted_at = PC_OF_SIGNAL((ucontext_t *)context);
	shared->signals++;
}

/* A trap before and after, for the parent; not inlined: the same every time. */
__attribute__((noinline)) static void *stepped_malloc(void)
{
	void *block;

	__asm__ volatile(TRAP ::: "memory");
	block = malloc(opaque_size(block_size));
	__asm__ volatile(TRAP ::: "memory");
	return block;
}

__attribute__((noinline)) static void stepped_free(void *block)
{
	__asm__ volatile(TRAP ::: "memory");
	free(block);
	__asm__ volatile(TRAP ::: "memory");
}

/* Each function that has a sequence of its own; the C++ ones by the names they have here. */
static const char *const giver_names[] = { "malloc", "_Znwm", "_Znam",
					   "_ZnwmRKSt9nothrow_t", "_ZnamRKSt9nothrow_t" };
static const char *const taker_names[] = { "free",
					   "cfree",
					   "_ZdlPv",
					   "_ZdaPv",
					   "_ZdlPvRKSt9nothrow_t",
					   "_ZdaPvRKSt9nothrow_t",
					   "_ZdlPvSt11align_val_t",
					   "_ZdaPvSt11align_val_t",
					   "_ZdlPvSt11align_val_tRKSt9nothrow_t",
					   "_ZdaPvSt11align_val_tRKSt9nothrow_t" };

enum {
	GIVERS = sizeof(giver_names) / sizeof(giver_names[0]),
	TAKERS = sizeof(taker_names) / sizeof(taker_names[0])
};

/* Those that have fewer arguments leave the rest alone. */
static void *(*givers[GIVERS])(size_t bytes, const void *nothrow);
static void (*takers[TAKERS])(void *block, size_t alignment, const void *nothrow);
static void (*give_sized)(void *block, size_t bytes);

static void find_entries(void)
{
	for (size_t i = 0; i < GIVERS; i++)
		*(void **)&givers[i] = dlsym(RTLD_DEFAULT, giver_names[i]);
	for (size_t i = 0; i < TAKERS; i++)
		*(void **)&takers[i] = dlsym(RTLD_DEFAULT, taker_names[i]);
	*(void **)&give_sized = dlsym(RTLD_DEFAULT, "free_sized");
}

static void enter_all(void)
{
	void *block;

	for (size_t i = 0; i < TAKERS; i++)
		takers[i](givers[i % GIVERS](opaque_size(SIZE), &live), 16, &live);
	give_sized(opaque(calloc(1, opaque_size(SIZE))), SIZE);
	free(opaque(aligned_alloc(16, opaque_size(SIZE))));
	block = opaque(realloc(NULL, opaque_size(SIZE)));
	block = opaque(realloc(block, opaque_size(8 * SIZE)));
	block = opaque(realloc(block, 0));
}

__attribute__((noinline)) static void stepped_entries(void)
{
	__asm__ volatile(TRAP ::: "memory");
	enter_all();
	__asm__ volatile(TRAP ::: "memory");
}

static void blame(const char *what)
{
	shared->bad++;
	printf("# %s, %s\n", names[shared->operation], what);
}

static uint64_t *take(bool stepped)
{
	uint64_t *block = stepped ? stepped_malloc()
				  : opaque(malloc(opaque_size(block_size)));

	if (!block) {
		blame("no block");
		_exit(1);
	}
	for (size_t i = 0; i < KEPT; i++)
		if (block == kept[i])
			blame("a block that lives was had again");
	return block;
}

static void look(void)
{
	struct hakmem_stats stats = stats_now();

	for (size_t i = 0; i < KEPT; i++)
		if (kept[i][0] != i || kept[i][1] != ~i)
			blame("a block that lives was written to");
	if (stats.blocks_live != live)
		blame("a block was lost, or is had twice");
	shared->spills = stats.spills_total;
	shared->refills = stats.refills_total;
}

/* Capacities as at the start, in a budget that does not end. */
static void lay_out(void)
{
	static bool odd;
	struct hakmem_option option = { .name = "magazine_bytes" };

	odd = !odd;
	strcpy(option.value, odd ? "2M" : "4M");
	ctl(HAKMEM_SET, &option, sizeof(option));
}

/* The capacity cannot grow beyond this. */
static void grow(void)
{
	static void *blocks[4 * RUN_ROOM];

	for (size_t i = 0; i < 4 * RUN_ROOM; i++)
		blocks[i] = take(false);
	for (size_t i = 0; i < 4 * RUN_ROOM; i++)
		free(blocks[i]);
}

static void swap(uint64_t **one, uint64_t **other)
{
	uint64_t *block = *one;

	*one = *other;
	*other = block;
}

/*
 * Fill depot and magazine, and free one more; the last half of what is in the magazine goes to
 * the slabs.
 */
static void drain(bool broken, bool without_order, bool stepped)
{
	static uint64_t *blocks[DRAINED + 1];

	for (size_t i = 0; i <= DRAINED; i++)
		blocks[i] = take(false);
	ctl(HAKMEM_FLUSH, NULL, 0);
	if (broken)
		swap(&blocks[0], &blocks[DRAINED - 19]);
	for (size_t i = 0; i < DRAINED && without_order; i += 2)
		swap(&blocks[i], &blocks[i + 1]);
	for (size_t i = 0; i < DRAINED; i++)
		free(blocks[i]);
	if (stepped)
		stepped_free(blocks[DRAINED]);
	else
		free(blocks[DRAINED]);
}

static void operate_on_runs(void)
{
	static uint64_t *blocks[RUN_ROOM / 2 + 1];

	if (shared->operation == GROW)
		lay_out();
	else
		grow();
	ctl(HAKMEM_FLUSH, NULL, 0);
	switch (shared->operation) {
	case GROW:
	case FILL:
		free(take(true));
		break;
	case REFILL_FROM_DEPOT:
		drain(false, false, false);
		for (size_t i = 0; i <= RUN_ROOM / 2; i++)
			blocks[i] = take(false);
		free(take(true));
		for (size_t i = 0; i <= RUN_ROOM / 2; i++)
			free(blocks[i]);
		break;
	default:
		drain(shared->operation == DRAIN_BROKEN,
		      shared->operation == DRAIN_WITHOUT_ORDER, true);
	}
}

/* From the same state each time, so that the same instructions are passed. */
static void operate(void)
{
	static uint64_t *blocks[ROOM + 1];
	uint64_t *block;
	uint64_t before;

	if (shared->operation >= GROW && block_size == SIZE) {
		block_size = RUN_SIZE;
		lay_out();
	}
	ctl(HAKMEM_FLUSH, NULL, 0);
	switch (shared->operation) {
	case MALLOC_HIT:
		block = take(false);
		free(block);
		block = take(true);
		free(block);
		break;
	case FREE_HIT:
		block = take(false);
		stepped_free(block);
		break;
	case REFILL:
		look();
		before = shared->refills;
		block = take(true);
		live++;
		look();
		live--;
		if (shared->refills != before + 1)
			blame("this was no refill");
		free(block);
		break;
	case ENTRIES:
		enter_all();
		stepped_entries();
		break;
	case SPILL:
		for (size_t i = 0; i <= ROOM; i++)
			blocks[i] = take(false);
		ctl(HAKMEM_FLUSH, NULL, 0);
		for (size_t i = 0; i < ROOM; i++)
			free(blocks[i]);
		live++;
		look();
		live--;
		stepped_free(blocks[ROOM]);
		break;
	default:
		operate_on_runs();
	}
	look();
	/* Two of a kind would be found now. */
	for (size_t i = 0; i <= ROOM; i++)
		(blocks[i] = take(false))[0] = i;
	for (size_t i = 0; i <= ROOM; i++)
		if (blocks[i][0] != i)
			blame("a block was had twice");
	for (size_t i = 0; i <= ROOM; i++)
		free(blocks[i]);
}

static void run_traced(void)
{
	struct hakmem_option option = { .name = "magazine_bytes", .value = "4K" };
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	/* All given out at once, 32 blocks of this class: no capacity changes. */
	ctl(HAKMEM_SET, &option, sizeof(option));
	sigaction(SIGUSR1, &action, NULL);
	find_entries();
	for (size_t i = 0; i < KEPT; i++) {
		kept[i] = malloc(opaque_size(SIZE));
		kept[i][0] = i;
		kept[i][1] = ~i;
	}
	live = stats_now().blocks_live;
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(2);
	raise(SIGSTOP);
	while (shared->more)
		operate();
	if (ctl(HAKMEM_CHECK, NULL, 0))
		shared->bad++;
	_exit(0);
}

/* ---- the parent ---- */

static uint64_t area_rseq_cs, library_base;

static void die(const char *what)
{
	printf("not ok - %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The library's descriptors: its section __rseq_cs, where it was loaded. */
static void find_sequences(void)
{
	const Elf64_Shdr *section;
	const Elf64_Ehdr *file;
	const char *strings;
	Dl_info library;
	off_t size = -1;
	int fd;

	if (!dladdr(*(void **)&ctl, &library))
		die("dladdr");
	fd = open(library.dli_fname, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || (size = lseek(fd, 0, SEEK_END)) < 0)
		die(library.dli_fname);
	file = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (file == MAP_FAILED)
		die(library.dli_fname);
	library_base = (uint64_t)(uintptr_t)library.dli_fbase;
	section = (const Elf64_Shdr *)((const char *)file + file->e_shoff);
	strings = (const char *)file + section[file->e_shstrndx].sh_offset;
	for (size_t i = 0; i < file->e_shnum; i++) {
		const struct rseq_cs *cs = (const void *)((char *)library.dli_fbase +
							  section[i].sh_addr);

		if (strcmp(strings + section[i].sh_name, "__rseq_cs"))
			continue;
		sequence_count = section[i].sh_size / sizeof(*cs);
		for (size_t k = 0; k < sequence_count && k < MOST_SEQUENCES; k++) {
			sequences[k] = cs[k];
			descriptors[k] = (uint64_t)(uintptr_t)&cs[k];
		}
	}
	munmap((void *)file, (size_t)size);
	area_rseq_cs = (uint64_t)(uintptr_t)__builtin_thread_pointer() +
		       (uint64_t)__rseq_offset + offsetof(struct rseq, rseq_cs);
}

/* In which it is, or -1. */
static int sequence_at(uint64_t address)
{
	for (size_t k = 0; k < sequence_count && k < MOST_SEQUENCES; k++)
		if (address - sequences[k].start_ip < sequences[k].post_commit_offset)
			return (int)k;
	return -1;
}

static void move_registers(pid_t child, int request, struct user_regs_struct *registers)
{
	struct iovec all = { registers, sizeof(*registers) };

	if (ptrace((enum __ptrace_request)request, child, (void *)NT_PRSTATUS, &all))
		die("registers");
}

static uint64_t wait_stop(pid_t child, int *number)
{
	struct user_regs_struct registers;
	int status;

	if (waitpid(child, &status, 0) != child)
		die("waitpid");
	if (!WIFSTOPPED(status)) {
		printf("not ok - the child ended with status %#x\n", status);
		exit(1);
	}
	*number = WSTOPSIG(status);
	move_registers(child, PTRACE_GETREGSET, &registers);
	return PC_OF_REGISTERS(registers);
}

static void go(pid_t child, int how, int number)
{
	if (ptrace((enum __ptrace_request)how, child, NULL, (void *)(uintptr_t)number))
		die("resume");
}

static void set_sequence(pid_t child, uint64_t descriptor)
{
	if (ptrace(PTRACE_POKEDATA, child, (void *)area_rseq_cs, (void *)descriptor))
		die("PTRACE_POKEDATA");
}

/* Is it at a trap, which it has not executed? */
static bool at_trap(pid_t child, uint64_t address)
{
	errno = 0;
	return ((int)ptrace(PTRACE_PEEKTEXT, child, (void *)address, NULL) & TRAP_MASK) ==
		       TRAP_CODE &&
	       errno == 0;
}

/* One that was executed leaves an Arm before it, and it would be executed again. */
static void pass_trap(pid_t child)
{
	struct user_regs_struct registers;

	move_registers(child, PTRACE_GETREGSET, &registers);
	if (!at_trap(child, PC_OF_REGISTERS(registers)))
		return;
	PC_OF_REGISTERS(registers) += TRAP_BYTES;
	move_registers(child, PTRACE_SETREGSET, &registers);
}

/*
 * Until its next trap, with this signal at first; of its own signals it gets none but those
 * that are given to it.
 */
static void run_to_trap(pid_t child, int number)
{
	do {
		go(child, PTRACE_CONT, number);
		wait_stop(child, &number);
	} while (number != SIGTRAP);
	pass_trap(child);
}

static uint64_t library_start, library_end;

/*
 * Step the whole operation as it comes; with signals, give one before each instruction of
 * the library.  How many.
 */
static unsigned long step_plainly(pid_t child, bool with_signals)
{
	unsigned long given = 0;
	uint64_t last = 0;
	int number;

	run_to_trap(child, 0);
	for (unsigned long i = 0; i < 2000000; i++) {
		uint64_t at;
		bool give;

		go(child, PTRACE_SINGLESTEP, 0);
		at = wait_stop(child, &number);
		if (at_trap(child, at))
			break;
		give = with_signals && at >= library_start && at < library_end;
		/* Back from the handler it stands where it stood. */
		if (give && at == last) {
			last = 0;
			continue;
		}
		if (!give)
			continue;
		last = at;
		given++;
		go(child, PTRACE_SINGLESTEP, SIGUSR1);
		wait_stop(child, &number);
	}
	run_to_trap(child, 0);
	return given;
}

/*
 * Step an operation through its sequences as if nobody looked, and interrupt it before
 * the nth instruction inside them, with a signal; 0: never.  seen[] gets their
 * addresses.  How many there were, or, interrupted, 0; -1: the interruption did not
 * abort the sequence.
 */
static int step_into(pid_t child, unsigned nth, uint64_t *seen)
{
	int count = 0, number;
	uint64_t signals = shared->signals;

	run_to_trap(child, 0);
	for (;;) {
		uint64_t at;
		int k;

		go(child, PTRACE_SINGLESTEP, 0);
		at = wait_stop(child, &number);
		if (at_trap(child, at))
			break;
		k = sequence_at(at);
		if (k < 0)
			continue;
		if (count < MOST_STEPS)
			seen[count] = at;
		count++;
		if ((unsigned)count == nth) {
			set_sequence(child, descriptors[k]);
			run_to_trap(child, SIGUSR1);
			return shared->signals == signals + 1 &&
					       shared->interrupted_at ==
						       sequences[k].abort_ip
				       ? 0
				       : -1;
		}
		set_sequence(child, 0);
	}
	run_to_trap(child, 0);
	return count;
}

static size_t distinct(const uint64_t *list, size_t count)
{
	size_t different = 0;

	for (size_t i = 0; i < count; i++) {
		size_t k = 0;

		while (k < i && list[k] != list[i])
			k++;
		different += k == i;
	}
	return different;
}

static bool same_way(const uint64_t *one, const uint64_t *other, int count)
{
	return !memcmp(one, other, (size_t)count * sizeof(*one));
}

/* Every instruction that it passes inside sequences, each time that it passes it. */
static void interrupt_everywhere(pid_t child, enum operation operation)
{
	/* As long as a sequence that does its work is, at the least. */
	static const size_t least[OPERATIONS] = { 8,  8,  20, 30, 150, 10,
						  40, 30, 50, 60, 40 };
	static uint64_t seen[MOST_STEPS], again[MOST_STEPS], hit[MOST_STEPS];
	size_t hits = 0, missed = 0;
	int count = 0, before, bad = shared->bad;

	/* A preemption may come first, and the way be another: then once more. */
	for (unsigned i = 0; i < 20; i++) {
		before = count;
		memcpy(again, seen, sizeof(again));
		count = step_into(child, 0, seen);
		if (count > MOST_STEPS)
			count = MOST_STEPS;
		if (i && same_way(seen, again, before > count ? before : count))
			break;
	}
	for (unsigned n = 1; n <= (unsigned)count; n++) {
		int answer = 1;

		for (unsigned i = 0; i < 20 && answer; i++) {
			answer = step_into(child, n, again);
			if (!same_way(seen, again, (int)n))
				answer = 1;
		}
		if (answer == 0) {
			hit[hits++] = again[n - 1];
			passed[sequence_at(again[n - 1])] = true;
		} else {
			missed++;
		}
	}
	ok(!missed && distinct(hit, hits) == distinct(seen, (size_t)count) &&
		   distinct(hit, hits) >= least[operation],
	   "%s: interrupted %zu times in sequences, at each of their %zu instructions",
	   names[operation], hits, distinct(hit, hits));
	ok(shared->bad == bad, "%s: no block was lost or had twice", names[operation]);
}

static void require_all_passed(void)
{
	size_t not_passed = 0;

	for (size_t k = 0; k < sequence_count; k++) {
		if (k < MOST_SEQUENCES && passed[k])
			continue;
		not_passed++;
		if (k < MOST_SEQUENCES)
			printf("# the sequence at %#lx is in no operation\n",
			       (unsigned long)(sequences[k].start_ip - library_base));
	}
	ok(sequence_count && !not_passed,
	   "each of the library's %zu sequences was passed", sequence_count);
}

static void find_library(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];

	if (!maps)
		die("/proc/self/maps");
	while (fgets(line, sizeof(line), maps)) {
		unsigned long start, end;
		char flags[8];

		if (sscanf(line, "%lx-%lx %7s", &start, &end, flags) == 3 &&
		    flags[2] == 'x' && (uintptr_t)ctl >= start && (uintptr_t)ctl < end) {
			library_start = start;
			library_end = end;
		}
	}
	fclose(maps);
}

/* One processor for both: a step is then a switch of tasks, not a wake-up across them. */
static void share_processor(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
}

/*
 * Where atomic operations are loops of exclusive accesses, each step makes the store fail,
 * and the loop has no end.
 */
static bool can_be_stepped(void)
{
#if defined(__aarch64__)
	return getauxval(AT_HWCAP) & HWCAP_ATOMICS;
#else
	return true;
#endif
}

int main(void)
{
	/* The other ways are long, and through the same sequences but for the entries'. */
	bool thorough = getenv("TEST_STEP_ALL") != NULL, per_cpu;
	int status, number;
	pid_t child;

	require_library();
	if (!can_be_stepped()) {
		puts("ok - stepped # SKIP exclusive accesses cannot be stepped through");
		return tap_end();
	}
	per_cpu = per_cpu_expected();
	find_library();
	find_sequences();
	share_processor();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	shared->more = true;
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0)
		run_traced();
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
		puts("ok - stepped # SKIP a child cannot be traced here");
		return tap_end();
	}
	for (unsigned i = 0; i < OPERATIONS; i++) {
		unsigned long given;
		int bad = shared->bad;

		if (!thorough && (i == ENTRIES || i > DRAIN))
			continue;
		shared->operation = i;
		/* Of these, each plain step would lead one into the slow path: too long a way. */
		if (i != ENTRIES) {
			step_plainly(child, false);
			step_plainly(child, false);
			ok(shared->bad == bad, "%s, stepped", names[i]);
			given = step_plainly(child, true);
			given += step_plainly(child, true);
			ok(shared->bad == bad && given > 40 && shared->signals >= given,
			   "%s, stepped with %lu signals", names[i], given);
		}
		if (per_cpu)
			interrupt_everywhere(child, i);
		else
			ok(step_into(child, 0, (uint64_t[MOST_STEPS]){ 0 }) == 0,
			   "%s: passes no sequence", names[i]);
	}
	if (per_cpu && thorough)
		require_all_passed();
	shared->more = false;
	/* It stands behind an operation, at worst before the next one's traps. */
	do {
		go(child, PTRACE_CONT, 0);
		if (waitpid(child, &status, 0) != child)
			die("waitpid");
		number = WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
		if (number == SIGTRAP)
			pass_trap(child);
	} while (number == SIGTRAP);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 0 && shared->bad == 0,
	   "HAKMEM_CHECK finds nothing (status %#x)", status);
	return tap_end();
}

#else

int main(void)
{
	require_library();
	puts("ok - stepped # SKIP no sequences to step through, or no way to here");
	return tap_end();
}

#endif
