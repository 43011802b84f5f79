/* SPDX-License-Identifier: MIT
 *
 * unwind.c - the calling thread's stack: by frames.h, or where that does not do by libunwind
 * itself, by libgcc_s, or by frame pointers.
 *
 * Owns what is known of stacks (the memory), and the gate of fork().  Called by the entry
 * points, under no lock.  Takes no lock of ours; libunwind takes its own, and for a program
 * counter that is new to the thread the loader's, if it is in no object.  Keeps errno, and does
 * not allocate, though libunwind and the loader may: that call of malloc() comes back here and
 * gets stack 0.
 *
 * libunwind is loaded by dlopen(RTLD_LOCAL), not linked: it exports the _Unwind_ functions of
 * libgcc_s too, and among the objects that all symbols are looked up in it would serve
 * libstdc++ in the place of libgcc_s.  But pthread_cancel() takes libgcc_s's own, and the two
 * do not mix: no destructor of a cancelled thread ran.
 *
 * How libunwind is set up:
 *   no cache for all threads  its lock is held while the loader's is waited for, and who calls
 *                             malloc() from dl_iterate_phdr()'s callback has the loader's.
 *                             unw_backtrace()'s own cache is each thread's, without a lock
 *   our reading of memory     its own tests an address by writing a byte from there to a pipe
 *                             that it opens at the start; whoever closes all descriptors, as
 *                             daemons do, and opens others, would find them written to
 */
#define _GNU_SOURCE
#define UNW_LOCAL_ONLY
#include "debug/unwind.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <libunwind.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unwind.h>

#include "debug/frames.h"
#include "debug/modules.h"
#include "debug/options.h"
#include "lock.h"
#include "os.h"

#define OWN_FRAMES 10 /* of ours at most, between libunwind and the program */

/*
 * What libunwind may need below the stack pointer: with 1.6.2 it was 6.5 KiB, and the
 * loader's lazy binding and a signal handler want some.
 */
#define LIBUNWIND_STACK ((uintptr_t)16 << 10)

static _Thread_local struct {
	bool inside;  /* in the unwinder, or between fork()'s two handlers */
	bool loading; /* it is being loaded */
	bool counted; /* at the gate */
	uint32_t since; /* one more than the generation in which its cache began; 0: none yet */
	uintptr_t low; /* of the thread's stack, what is known to be mapped begins here */
	uintptr_t floor; /* ... and ends here: below is its guard page; 0: not met yet */
	uintptr_t high;  /* while libunwind runs: up to here the stack in use is mapped */
} thread;

/* ---- stacks, the memory ---- */

/*
 * The main thread's: from the program's name, which the kernel has put at its very top, down
 * to where it may grow.  The kernel keeps at least 128 MiB free of mappings there.
 */
#define MAIN_STACK_MAX ((uintptr_t)120 << 20)

static uintptr_t main_low, main_high;

/* What the thread's own stack is looked at for at a time. */
#define REACH_MAX ((uintptr_t)1 << 20)

/* How far a stack that nothing is known of is followed upwards. */
#define FOREIGN_MAX ((uintptr_t)1 << 20)

/*
 * May this address be read?  A way to ask that no sandbox forbids: the kernel reads the set of
 * signals, 8 bytes, before it finds that there is nothing of that kind to do (the idea of
 * Abseil's AddressIsReadable).  It does not look at address 0.
 */
static bool readable(uintptr_t address)
{
	address &= -(uintptr_t)8;
	return address && (syscall(SYS_rt_sigprocmask, -1, address, NULL, 8) == 0 ||
			   errno != EFAULT);
}

static void find_main_stack(void)
{
	struct rlimit limit;
	uintptr_t size = MAIN_STACK_MAX;

	main_high = getauxval(AT_EXECFN);
	if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < size)
		size = limit.rlim_cur;
	main_low = main_high > size ? main_high - size : main_high;
}

/*
 * Is all mapped from here up to the thread's descriptor, which glibc keeps at the top of its
 * stack?  Asks the kernel for each page once; where it finds the guard page, it stays.
 */
static bool own_stack_reaches(uintptr_t address)
{
	uintptr_t page = hk_os_page_size;

	if (!thread.low)
		thread.low = (uintptr_t)pthread_self() & -page;
	if (address >= thread.low)
		return true;
	if (address < thread.floor || thread.low - address > REACH_MAX)
		return false;
	while (thread.low > address) {
		if (!readable(thread.low - page)) {
			thread.floor = thread.low;
			return false;
		}
		thread.low -= page;
	}
	return true;
}

/* A stack that frames are looked for in: from the current frame up. */
struct stack {
	uintptr_t high;
	bool known;     /* all of it is mapped, and stays */
	uintptr_t page; /* else: the last one that was asked for */
};

HK_INLINE struct stack stack_at(uintptr_t sp)
{
	uintptr_t self = (uintptr_t)pthread_self();

	if (sp >= main_low && sp < main_high)
		return (struct stack){ .high = main_high, .known = true };
	if (sp < self && own_stack_reaches(sp))
		return (struct stack){ .high = self, .known = true };
	/* A coroutine's, or a signal handler's: it may be gone the next time. */
	return (struct stack){ .high = sp + FOREIGN_MAX };
}

static bool can_read(struct stack *stack, uintptr_t address)
{
	uintptr_t page = address & -hk_os_page_size;

	if (stack->known || page == stack->page)
		return true;
	if (!readable(address))
		return false;
	stack->page = page;
	return true;
}

static bool enough_for_libunwind(uintptr_t sp)
{
	uintptr_t self = (uintptr_t)pthread_self(), end = sp - LIBUNWIND_STACK;

	if (sp >= main_low && sp < main_high)
		return end >= main_low;
	if (sp < self && own_stack_reaches(end))
		return true;
	if (sp < self && sp >= thread.low)
		return false;
	for (uintptr_t page = hk_os_page_size, at = sp; at > end; at -= page)
		if (!readable(at - page))
			return false;
	return true;
}

/* ---- by frame pointers ---- */

/* Both architectures: where rbp or x29 points. */
struct frame {
	uintptr_t next;
	uintptr_t pc;
};

static unsigned walk(uintptr_t *frames, unsigned max, uintptr_t at)
{
	struct stack stack = stack_at(at);
	unsigned count = 0;

	while (count < max && at % sizeof(uintptr_t) == 0 &&
	       at <= stack.high - sizeof(struct frame) && can_read(&stack, at) &&
	       can_read(&stack, at + offsetof(struct frame, pc))) {
		const struct frame *frame = (const struct frame *)at;

		if (!frame->pc)
			break;
		frames[count++] = hk_plain_pc(frame->pc);
		if (frame->next <= at)
			break;
		at = frame->next;
	}
	return count;
}

/* ---- by libunwind ---- */

static int (*_Atomic backtrace)(void **frames, int size); /* NULL: not loaded */
static bool have_rules;                                   /* written before it */

/* Those inside, by thread in some way, so that they seldom share a cache line. */
#define GATES 64

static struct {
	_Alignas(64) _Atomic uint32_t inside;
} gates[GATES];
static _Atomic bool closed;

static _Atomic uint32_t *own_gate(void)
{
	return &gates[(uintptr_t)&thread * 0x9e3779b97f4a7c15 >> 58].inside;
}

_Static_assert(GATES == 1 << (64 - 58), "the hash has as many bits");

/*
 * A thread counts itself, then looks whether the gate is closed; fork() closes it, then looks
 * at the counts: with these in one order (seq_cst), one of the two sees the other.  Nobody
 * waits at the gate: he might have the loader's lock, which one inside waits for.
 */
static bool enter(void)
{
	atomic_fetch_add(own_gate(), 1);
	if (HK_LIKELY(!atomic_load(&closed))) {
		thread.counted = true;
		return true;
	}
	atomic_fetch_sub(own_gate(), 1);
	return false;
}

static void leave(void)
{
	thread.counted = false;
	atomic_fetch_sub_explicit(own_gate(), 1, memory_order_release);
}

/* Of the fork() under way: the gate before, and whether any other thread is there. */
static bool closed_before, alone;

void hk_unwind_fork_prepare(void)
{
	closed_before = atomic_exchange(&closed, true);
	for (size_t i = 0; i < GATES; i++) {
		/* This thread is one of them if it forks in a signal handler. */
		uint32_t own = thread.counted && own_gate() == &gates[i].inside, inside;
		unsigned rounds = 0;

		while ((inside = atomic_load(&gates[i].inside)) > own)
			if (rounds++ < 1000)
				hk_pause_cpu();
			else
				hk_os_futex_wait_ms(&gates[i].inside, inside, 1);
	}
	alone = hk_os_threads() == 1;
}

void hk_unwind_fork_parent(void)
{
	atomic_store(&closed, closed_before);
}

void hk_unwind_fork_child(void)
{
	atomic_store(&closed, closed_before || !alone);
}

/* libunwind's own variables are there, too, which it reads each time. */
static bool is_in_stack(uintptr_t address)
{
	return address >= (uintptr_t)__builtin_frame_address(0) &&
	       address <= thread.high - sizeof(uintptr_t);
}

static int access_memory(unw_addr_space_t space, unw_word_t address, unw_word_t *value,
			 int write, void *argument)
{
	(void)space;
	(void)argument;
	if (write) /* to a register that is in memory: in libunwind's own copy */
		*(unw_word_t *)address = *value;
	else if (is_in_stack(address) ||
		 (readable(address) && readable(address + sizeof(*value) - 1)))
		*value = *(const unw_word_t *)address;
	else
		return -UNW_EINVAL;
	return 0;
}

/* ---- what libunwind asks the loader ---- */

static __typeof__(&dl_iterate_phdr) real_iterate(void)
{
	static _Atomic(__typeof__(&dl_iterate_phdr)) next;
	__typeof__(&dl_iterate_phdr) real = atomic_load_explicit(&next,
								 memory_order_relaxed);

	if (HK_UNLIKELY(!real)) {
		real = (__typeof__(real))dlsym(RTLD_NEXT, "dl_iterate_phdr");
		hk_assert(real);
		atomic_store_explicit(&next, real, memory_order_relaxed);
	}
	return real;
}

static uintptr_t libunwind_start, libunwind_end; /* empty: not loaded */

static void find_libunwind(const void *function)
{
	struct dl_find_object found;

	if (_dl_find_object((void *)(uintptr_t)function, &found) != 0)
		return;
	libunwind_start = (uintptr_t)found.dlfo_map_start;
	libunwind_end = (uintptr_t)found.dlfo_map_end;
}

/* As the loader would tell it, without asking that one.  false: it knows no object there. */
static bool find_object(uintptr_t pc, struct dl_phdr_info *info)
{
	struct dl_find_object found;
	const ElfW(Ehdr) * header;

	if (_dl_find_object((void *)pc, &found) != 0)
		return false;
	header = found.dlfo_map_start;
	if (!readable((uintptr_t)header) || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
		return false;
	*info = (struct dl_phdr_info){
		.dlpi_addr = found.dlfo_link_map->l_addr,
		.dlpi_name = found.dlfo_link_map->l_name,
		.dlpi_phdr = (const void *)((const char *)header + header->e_phoff),
		.dlpi_phnum = header->e_phnum,
	};
	return true;
}

/*
 * The loader's own takes its lock.  A signal handler may have interrupted this thread between
 * taking that and noting whose it is, and if then the handler calls malloc(), the thread waits
 * for itself.  So libunwind is told of one object, that of the program counter which its data
 * begins with; only if it finds nothing there is the loader asked.
 */
HK_ENTRY int dl_iterate_phdr(int (*callback)(struct dl_phdr_info *, size_t, void *),
			     void *data)
{
	uintptr_t caller = (uintptr_t)__builtin_return_address(0);
	struct dl_phdr_info info;
	int found = 0;

	if (thread.inside && caller >= libunwind_start && caller < libunwind_end &&
	    find_object(*(const uintptr_t *)data, &info))
		found = callback(&info, sizeof(info), data);
	return found ? found : real_iterate()(callback, data);
}

/* The next two descriptors that open() would give. */
static void next_descriptors(int next[2])
{
	for (int i = 0; i < 2; i++)
		next[i] = open("/", O_PATH | O_CLOEXEC);
	for (int i = 0; i < 2; i++)
		if (next[i] >= 0)
			close(next[i]);
}

/* The pipe that has come there since, which nobody will use. */
static void close_pipe(const int ends[2])
{
	struct stat status[2];

	for (int i = 0; i < 2; i++)
		if (fstat(ends[i], &status[i]) != 0 || !S_ISFIFO(status[i].st_mode))
			return;
	if (status[0].st_dev != status[1].st_dev || status[0].st_ino != status[1].st_ino)
		return;
	close(ends[0]);
	close(ends[1]);
}

/* libunwind's names have the architecture in them, by macros. */
#define STRING(name) #name
#define NAME(name) STRING(name)

static void load_libunwind(void)
{
	void *library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
	unw_accessors_t *(*get_accessors)(unw_addr_space_t);
	int (*set_policy)(unw_addr_space_t, unw_caching_policy_t);
	int (*trace)(void **, int);
	unw_addr_space_t *space;
	bool single = hk_os_threads() == 1;
	int ends[2];

	if (!library)
		return;
	get_accessors = (unw_accessors_t * (*)(unw_addr_space_t))
		dlsym(library, NAME(unw_get_accessors));
	set_policy = (int (*)(unw_addr_space_t, unw_caching_policy_t))dlsym(
		library, NAME(unw_set_caching_policy));
	trace = (int (*)(void **, int))dlsym(library, NAME(unw_backtrace));
	space = dlsym(library, NAME(unw_local_addr_space));
	if (!get_accessors || !set_policy || !trace || !space)
		return;
	next_descriptors(ends);
	set_policy(*space, UNW_CACHE_NONE);
	get_accessors(*space)->access_mem = access_memory;
	if (single)
		close_pipe(ends);
	find_libunwind(*(const void **)&trace);
	have_rules = hk_frames_init(library);
	atomic_store_explicit(&backtrace, trace, memory_order_release);
}

/* ---- by libgcc_s ---- */

/*
 * What libunwind's cache of the thread says of an address stays, and no call clears it.  Where
 * other code may have come to stand there, it would read the stack in a wrong place, and without
 * asking.  This takes some ten times as long, remembers nothing, and takes no lock of the loader's
 * (_dl_find_object()) if it is GCC 12's or later.
 */
static _Atomic(__typeof__(&_Unwind_Backtrace)) step_all; /* NULL: not loaded */
static __typeof__(&_Unwind_GetIP) pc_of;                 /* written before it */

static void load_libgcc(void)
{
	void *library = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL);
	__typeof__(&_Unwind_Backtrace) step;

	if (!library)
		return;
	step = (__typeof__(step))dlsym(library, "_Unwind_Backtrace");
	pc_of = (__typeof__(pc_of))dlsym(library, "_Unwind_GetIP");
	if (step && pc_of)
		atomic_store_explicit(&step_all, step, memory_order_release);
}

struct list {
	uintptr_t *frames;
	unsigned max, count;
};

static _Unwind_Reason_Code add_frame(struct _Unwind_Context *context, void *argument)
{
	struct list *list = argument;
	uintptr_t pc = pc_of(context);

	if (!pc || list->count == list->max)
		return _URC_NORMAL_STOP;
	list->frames[list->count++] = pc;
	return _URC_NO_REASON;
}

static unsigned walk_without_cache(uintptr_t *frames, unsigned max)
{
	__typeof__(&_Unwind_Backtrace) step = atomic_load_explicit(&step_all,
								   memory_order_acquire);
	struct list list = { .frames = frames, .max = max };

	if (step)
		step(add_frame, &list);
	return list.count;
}

/* A thread that began later has a cache of its own, in which nothing is from before. */
static bool has_stale_cache(void)
{
	if (HK_UNLIKELY(!thread.since))
		thread.since = hk_modules_generation() + 1;
	return thread.since <= hk_modules_reused();
}

/* ---- */

extern const ElfW(Ehdr) __ehdr_start HK_HIDDEN;

static uintptr_t own_start,
	own_end; /* this library; empty in a program it is linked into */

static void find_own_range(void)
{
	const char *base = (const char *)&__ehdr_start;
	const ElfW(Phdr) *headers = (const ElfW(Phdr) *)(base + __ehdr_start.e_phoff);
	uintptr_t end = 0;

	for (ElfW(Half) i = 0; i < __ehdr_start.e_phnum; i++) {
		uintptr_t segment_end = headers[i].p_vaddr + headers[i].p_memsz;

		if (headers[i].p_type == PT_INTERP)
			return;
		if (headers[i].p_type == PT_LOAD && segment_end > end)
			end = segment_end;
	}
	own_start = (uintptr_t)base;
	own_end = own_start + end;
}

/* By the first call, which may come from the loader, long before the constructor's. */
static void find_ranges(void)
{
	static _Atomic bool found;

	if (HK_LIKELY(atomic_load_explicit(&found, memory_order_acquire)))
		return;
	find_own_range();
	find_main_stack();
	atomic_store_explicit(&found, true, memory_order_release);
}

void hk_unwind_init(void)
{
	int kept = errno;

	real_iterate();
	if (hk_debug_options.unwinder == HK_UNWIND_LIBUNWIND) {
		thread.inside = thread.loading = true;
		load_libunwind();
		load_libgcc();
		thread.inside = false;
		/* So that the loader gives this thread libunwind's thread-local storage now. */
		hk_unwind_here();
		thread.loading = false;
	}
	errno = kept;
}

static bool is_own(uintptr_t pc)
{
	return pc >= own_start && pc < own_end;
}

/*
 * From the program's frame on: those of this library have frame pointers.  false: by rules, they
 * do not suffice.
 */
static bool walk_places(uintptr_t here, uintptr_t high, bool linked, uint32_t generation,
			hk_stack *stack)
{
	const struct frame *own = (const struct frame *)here;
	enum hk_frames_end end;
	struct hk_frame at;
	bool learned;

	while (is_own(own->pc))
		own = (const struct frame *)own->next;
	for (;;) {
		at = (struct hk_frame){ hk_plain_pc(own->pc), (uintptr_t)(own + 1),
					own->next };
		end = hk_frames_walk(&thread, &at, high, linked, generation, stack);
		if (HK_LIKELY(end != HK_FRAMES_UNKNOWN))
			return end == HK_FRAMES_ALL;
		if (!enough_for_libunwind(here) || !enter())
			return false;
		thread.high = high;
		learned = hk_frames_learn(&at);
		leave();
		if (!learned)
			return false;
	}
}

static unsigned take_frames(uintptr_t *frames, unsigned max, uintptr_t here,
			    const struct stack *stack, int (*trace)(void **, int))
{
	unsigned count = 0;
	int found;

	if (trace && enough_for_libunwind(here) && enter()) {
		thread.high = stack->known ? stack->high : here;
		if (HK_UNLIKELY(has_stale_cache())) {
			count = walk_without_cache(frames, max);
		} else {
			found = trace((void **)frames, (int)max);
			count = found > 0 ? (unsigned)found : 0;
		}
		leave();
	}
	return count ? count : walk(frames, max, here);
}

__attribute__((noinline)) static hk_stack take_all(uintptr_t here,
						   const struct stack *stack,
						   int (*trace)(void **, int),
						   uint32_t generation)
{
	uintptr_t frames[HK_FRAMES + OWN_FRAMES];
	unsigned count, own = 0;

	count = take_frames(frames, HK_FRAMES + OWN_FRAMES, here, stack, trace);
	while (own < count && is_own(frames[own]))
		own++;
	return hk_stacks_add(frames + own, count - own, generation);
}

/* thread.inside is set, so that nothing of this is called twice at a time. */
HK_INLINE hk_stack take_stack(uintptr_t here, uint32_t generation)
{
	struct stack stack = stack_at(here);
	int (*trace)(void **, int) = NULL;
	hk_stack found;

	if (hk_debug_options.unwinder == HK_UNWIND_LIBUNWIND)
		trace = atomic_load_explicit(&backtrace, memory_order_acquire);
	if (stack.known && (!trace || (have_rules && !hk_modules_reused())) &&
	    walk_places(here, stack.high, !trace, generation, &found))
		return found;
	return take_all(here, &stack, trace, generation);
}

__attribute__((noinline)) hk_stack hk_unwind_here(void)
{
	uint32_t generation;
	hk_stack stack;
	int kept;

	if (hk_debug_options.unwinder == HK_UNWIND_NONE || thread.inside)
		return 0;
	kept = errno;
	generation = hk_modules_generation();
	thread.inside = true;
	atomic_signal_fence(memory_order_seq_cst);
	find_ranges();
	stack = take_stack((uintptr_t)__builtin_frame_address(0), generation);
	atomic_signal_fence(memory_order_seq_cst);
	thread.inside = false;
	errno = kept;
	return stack;
}

bool hk_unwind_inside(void)
{
	return thread.inside;
}

bool hk_unwind_loading(void)
{
	return thread.loading;
}
