/* SPDX-License-Identifier: MIT
 *
 * guard.c - see guard.h.
 *
 * Owns the range of slots, what is known of each, and the handlers of SIGSEGV and SIGBUS.
 * Called by whoever allocates, frees and looks for blocks, under no lock of the heap's;
 * takes hk_guard_lock, a leaf, for the list of free slots.  Never allocates from the
 * heap.  Talks to the kernel itself, as nobody else protects pages or reserves addresses.
 *
 * All that hk_guard_find() tells of a slot is in one word of it, so that no lock is
 * needed:
 *   - the store of LIVE (release) comes before the block's address leaves
 *     hk_guard_allocate(); who has the address has it by some hand-over from there, and
 *     sees this word or a later one;
 *   - the store of QUARANTINED comes before the call that takes the pages away.  Whoever
 *     faults on them met the page tables as that call left them, and so sees this word or
 *     a later one;
 *   - a later one there is only when the slot is used again: then the address was a
 *     dangling one, and it is told of the block that has the slot now.
 */
#define _GNU_SOURCE
#include "debug/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "debug/fault.h"
#include "debug/modules.h"
#include "debug/options.h"
#include "debug/report.h"
#include "debug/unwind.h"
#include "os.h"
#include "pretend.h"

#define SLOTS 8192
#define SLOTS_LEAST 16
#define SHARE_OF_LIMIT 8 /* an eighth of RLIMIT_AS is the most that the range takes */
#define FRONT 16
#define GAP 8
#define AT_START_EVERY 8
#define NONE UINT32_MAX
#define MAP_COUNT 65530 /* the kernel's default of vm.max_map_count */

/* A slot's word: its block's state, family and size, and its offset in the slot. */
#define FAMILY_SHIFT 2
#define SIZE_SHIFT 8
#define OFFSET_SHIFT 32
#define SIZE_MASK 0xffffff

_Static_assert(HK_BLOCK_FREED < 1 << FAMILY_SHIFT, "the state has two bits of the word");
_Static_assert(HK_FAMILIES <= 1 << (SIZE_SHIFT - FAMILY_SHIFT), "and the family six");
_Static_assert(HK_SLOT_BYTES <= SIZE_MASK, "and the size 24");

struct slot {
	_Atomic uint64_t word;
	uint32_t next; /* in the list of free ones; under the lock */
	struct hk_block_record record;
};

struct hk_guard_range {
	char *first; /* slot 0; the page before it is a guard page, too */
	size_t stride;
	uint32_t slots;
	uint32_t open_most;
	uint64_t every;
	struct slot *slot;
};

struct hk_lock hk_guard_lock;

/* Under the lock.  Slots from `fresh' on were never used. */
static uint32_t fresh, open_slots, first_free = NONE, last_free = NONE;

static struct hk_guard_range reserved;
struct hk_guard_range *_Atomic hk_guard_range; /* NULL while the mode is off */

static struct sigaction previous[2];

static struct hk_guard_range *range_now(void)
{
	return atomic_load_explicit(&hk_guard_range, HK_CONSUME);
}

/* ---- Slots ---- */

static bool is_at_start(uint32_t slot)
{
	return slot % AT_START_EVERY == AT_START_EVERY - 1;
}

static char *slot_start(const struct hk_guard_range *range, uint32_t slot)
{
	return range->first + slot * range->stride;
}

/* The slot whose 64 KiB or guard page has this address; NONE: not in the range. */
static uint32_t slot_of(const struct hk_guard_range *range, uintptr_t address)
{
	uintptr_t offset = address - (uintptr_t)range->first;

	if (offset >= range->slots * range->stride)
		return NONE;
	return (uint32_t)(offset / range->stride);
}

static void place(const struct hk_guard_range *range, uint32_t slot, size_t offset,
		  struct hk_block *block)
{
	size_t front = 0, end = HK_SLOT_BYTES;

	if (is_at_start(slot))
		end = hk_align_up(block->size + GAP, hk_os_page_size);
	else
		front = (offset - FRONT) & ~(hk_os_page_size - 1);
	block->record = &range->slot[slot].record;
	block->word = atomic_load_explicit(&block->record->word, memory_order_acquire);
	block->start = slot_start(range, slot) + offset;
	block->room = slot_start(range, slot) + front;
	block->room_size = end - front;
}

/* false: the slot has never had a block. */
static bool read_slot(const struct hk_guard_range *range, uint32_t slot,
		      struct hk_block *block)
{
	uint64_t word = atomic_load_explicit(&range->slot[slot].word,
					     memory_order_acquire);

	block->state = word & ((1 << FAMILY_SHIFT) - 1);
	block->family = (word >> FAMILY_SHIFT) & ((1 << (SIZE_SHIFT - FAMILY_SHIFT)) - 1);
	block->size = (word >> SIZE_SHIFT) & SIZE_MASK;
	if (block->state == HK_BLOCK_NEVER)
		return false;
	place(range, slot, word >> OFFSET_SHIFT, block);
	return true;
}

static void write_slot(const struct hk_guard_range *range, uint32_t slot,
		       const struct hk_block *block)
{
	uint64_t offset = (uint64_t)(block->start - slot_start(range, slot));
	uint64_t word = offset << OFFSET_SHIFT | block->size << SIZE_SHIFT |
			(uint64_t)block->family << FAMILY_SHIFT | block->state;

	atomic_store_explicit(&range->slot[slot].word, word, memory_order_release);
}

/*
 * Those never used first: a freed block then stays out of reach for longest.  Each slot
 * that is open is a mapping, and cuts the one around it in two, so not all of them may
 * be.
 */
static uint32_t take_slot(const struct hk_guard_range *range)
{
	uint32_t slot = NONE;

	hk_lock(&hk_guard_lock);
	if (open_slots < range->open_most) {
		if (fresh < range->slots) {
			slot = fresh++;
		} else if (first_free != NONE) {
			slot = first_free;
			first_free = range->slot[slot].next;
			if (first_free == NONE)
				last_free = NONE;
		}
		open_slots += slot != NONE;
	}
	hk_unlock(&hk_guard_lock);
	return slot;
}

static void give_slot(const struct hk_guard_range *range, uint32_t slot)
{
	hk_lock(&hk_guard_lock);
	range->slot[slot].next = NONE;
	if (last_free == NONE)
		first_free = slot;
	else
		range->slot[last_free].next = slot;
	last_free = slot;
	open_slots--;
	hk_unlock(&hk_guard_lock);
}

static bool protect(void *base, size_t size, int protection)
{
	int kept = errno;
	bool done = mprotect(base, size, protection) == 0;

	errno = kept;
	return done;
}

/*
 * A new mapping, rather than mprotect() and madvise(): it is one call, it merges with
 * those around it whatever their history, and the memory is no longer accounted for.
 */
static bool take_pages_away(const struct hk_block *block)
{
	int kept = errno;
	bool done = mmap(block->room, block->room_size, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			 0) != MAP_FAILED;

	errno = kept;
	/* RLIMIT_MEMLOCK after mlockall(MCL_FUTURE), or memory of the kernel's own. */
	if (!done && protect(block->room, block->room_size, PROT_NONE)) {
		hk_os_purge(block->room, block->room_size);
		done = true;
	}
	return done;
}

/* ---- Blocks ---- */

/*
 * Counted by each thread alone.  Threads begin at different points of the count, or
 * those that do the same would have the same of their blocks guarded.
 */
static bool is_turn(const struct hk_guard_range *range)
{
	static _Atomic uint32_t threads;
	static _Thread_local uint64_t left;

	if (!left) {
		uint64_t number = atomic_fetch_add_explicit(&threads, 1,
							    memory_order_relaxed);

		left = 1 + (number * UINT64_C(0x9e3779b97f4a7c15) >> 32) % range->every;
	}
	if (--left)
		return false;
	left = range->every;
	return true;
}

bool hk_guard_allocate(size_t size, size_t alignment, enum hk_family family,
		       struct hk_block *block)
{
	struct hk_guard_range *range = range_now();
	uint32_t slot;

	if (HK_LIKELY(!range))
		return false;
	if (alignment > hk_os_page_size || size > HK_SLOT_BYTES - FRONT ||
	    hk_align_up(size, alignment) > HK_SLOT_BYTES - FRONT || !is_turn(range))
		return false;
	slot = take_slot(range);
	if (slot == NONE)
		return false;
	*block = (struct hk_block){ .state = HK_BLOCK_LIVE,
				    .family = family,
				    .size = size };
	place(range, slot,
	      is_at_start(slot) ? 0 : HK_SLOT_BYTES - hk_align_up(size, alignment),
	      block);
	if (!protect(block->room, block->room_size, PROT_READ | PROT_WRITE)) {
		give_slot(range, slot);
		return false;
	}
	write_slot(range, slot, block);
	return true;
}

bool hk_guard_find(const void *address, struct hk_block *block)
{
	struct hk_guard_range *range = range_now();
	uint32_t slot;

	if (HK_LIKELY(!range))
		return false;
	slot = slot_of(range, (uintptr_t)address);
	return slot != NONE && read_slot(range, slot, block);
}

void hk_guard_free(const struct hk_block *block)
{
	struct hk_guard_range *range = range_now();
	struct hk_block freed = *block;
	uint32_t slot;

	hk_assert(range);
	slot = slot_of(range, (uintptr_t)block->room);
	hk_assert(slot != NONE);
	freed.state = HK_BLOCK_QUARANTINED;
	/* Who visits the blocks has the lock, and may read what it finds LIVE. */
	hk_lock(&hk_guard_lock);
	write_slot(range, slot, &freed);
	hk_unlock(&hk_guard_lock);
	/* Else the slot is not used again: free ones are inaccessible and zero. */
	if (take_pages_away(block))
		give_slot(range, slot);
}

void hk_guard_visit(void (*visit)(const struct hk_block *block, void *context),
		    void *context)
{
	struct hk_guard_range *range = range_now();
	struct hk_block block;

	for (uint32_t slot = 0; range && slot < range->slots; slot++)
		if (read_slot(range, slot, &block))
			visit(&block, context);
}

/* ---- Faults ---- */

/* From the block's nearest byte; 0: it is inside. */
static size_t distance(const struct hk_block *block, uintptr_t address)
{
	uintptr_t start = (uintptr_t)block->start, end = start + block->size;

	if (address < start)
		return start - address;
	return address < end ? 0 : address - end + 1;
}

/* The block meant is the nearest one: the slot's own, or a neighbour's. */
static bool find_nearest(const struct hk_guard_range *range, uintptr_t address,
			 struct hk_block *nearest)
{
	uintptr_t offset = address - (uintptr_t)range->first + hk_os_page_size;
	uint32_t slot = slot_of(range, address);
	size_t least = SIZE_MAX;

	if (offset >= range->slots * range->stride + hk_os_page_size)
		return false;
	if (slot == NONE)
		slot = 0; /* the page before it */
	for (uint32_t i = slot ? slot - 1 : 0; i <= slot + 1 && i < range->slots; i++) {
		struct hk_block block;

		if (read_slot(range, i, &block) && distance(&block, address) < least) {
			least = distance(&block, address);
			*nearest = block;
		}
	}
	return least != SIZE_MAX;
}

/* The number of frames up to this one, it included; 0: it is not there. */
static unsigned frames_to(const uintptr_t *frames, unsigned count, uintptr_t wanted)
{
	for (unsigned i = 0; i < count; i++)
		if (frames[i] == wanted)
			return i + 1;
	return 0;
}

/*
 * The stack of the fault, out of the handler's.  libunwind has the faulting instruction
 * itself behind the signal's trampoline; a walk by frame pointers has its function's
 * caller there, or that one's, if a leaf was compiled without a frame.  Frames are told
 * as calls that return to them, so one more is what leads to the instruction.
 */
static hk_stack stack_of_fault(uintptr_t pc, uintptr_t trampoline)
{
	uintptr_t kept[HK_FRAMES] = { pc + 1 };
	uint32_t generation = hk_modules_generation();
	uintptr_t frames[HK_FRAMES];
	unsigned count = hk_stacks_frames(hk_unwind_here(), frames, &generation);
	unsigned skipped = frames_to(frames, count, pc), length = 1;

	if (!skipped)
		skipped = frames_to(frames, count, trampoline);
	for (unsigned i = skipped; skipped && i < count && length < HK_FRAMES; i++)
		kept[length++] = frames[i];
	return hk_stacks_add(kept, length, generation);
}

static enum hk_message message_for(const struct hk_block *block, uintptr_t address,
				   bool write)
{
	if (block->state == HK_BLOCK_QUARANTINED)
		return write ? HK_WRITE_AFTER_FREE : HK_READ_AFTER_FREE;
	if (address < (uintptr_t)block->start)
		return write ? HK_WRITE_BEFORE : HK_READ_BEFORE;
	return write ? HK_WRITE_BEHIND : HK_READ_BEHIND;
}

static void report(const struct hk_block *block, int signal, uintptr_t address,
		   const ucontext_t *context, uintptr_t trampoline)
{
	const struct hk_block_record *record = block->record;
	bool write = hk_fault_is_write(context),
	     freed = block->state == HK_BLOCK_QUARANTINED;
	const struct hk_party parties[] = {
		{ .did = write ? "written" : "read",
		  .stack = stack_of_fault(hk_fault_pc(context), trampoline),
		  .thread = (uint32_t)hk_os_thread_id(),
		  .time = hk_debug_now() },
		{ .did = "allocated",
		  .stack = record->allocated,
		  .thread = record->allocator,
		  .time = record->allocated_at },
		{ .did = "freed",
		  .stack = record->freed,
		  .thread = record->freer,
		  .time = record->freed_at },
	};
	uintptr_t start = (uintptr_t)block->start, end = start + block->size, bytes;
	const char *where;

	if (address < start) {
		bytes = start - address;
		where = "before its start";
	} else if (address >= end) {
		bytes = address - end;
		where = "beyond its end";
	} else {
		bytes = address - start;
		where = "into it";
	}
	hk_report(message_for(block, address, write),
		  signal == SIGBUS ? "SIGBUS" : "SIGSEGV", block->start, parties,
		  freed ? 3 : 2, HK_CALLER, "%lu-byte block, %lu byte%s %s",
		  (unsigned long)block->size, (unsigned long)bytes, bytes == 1 ? "" : "s",
		  where);
}

/*
 * An instruction that faulted faults again when the handler returns, and the core file
 * has the true reason.  What does not come back by itself (a signal that someone sent, a
 * frame that did not fit the stack, a memory error reported early) is sent once more: it
 * is blocked here, so it comes on return, too; if that call is forbidden, it is lost.
 */
static void die_by(int signal, siginfo_t *info)
{
	struct sigaction fall_back = { .sa_handler = SIG_DFL };
	bool comes_back = info->si_code > 0 && info->si_code < SI_KERNEL &&
			  !(signal == SIGBUS && info->si_code == BUS_MCEERR_AO);

	sigaction(signal, &fall_back, NULL);
	if (!comes_back)
		syscall(SYS_rt_tgsigqueueinfo, getpid(), (pid_t)hk_os_thread_id(), signal,
			info);
}

/* What the kernel would have done without us. */
static void hand_on(int signal, siginfo_t *info, ucontext_t *context)
{
	const struct sigaction *before = &previous[signal == SIGBUS];
	struct sigaction fall_back = { .sa_handler = SIG_DFL };
	uint64_t mask, more; /* the kernel's sigset_t, to which libc's adds */

	/* A fault cannot be ignored, only a signal that someone has sent. */
	if (before->sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	if (before->sa_handler == SIG_DFL || before->sa_handler == SIG_IGN) {
		die_by(signal, info);
		return;
	}
	if ((unsigned)before->sa_flags & SA_RESETHAND)
		sigaction(signal, &fall_back, NULL);
	memcpy(&mask, &context->uc_sigmask, sizeof(mask));
	memcpy(&more, &before->sa_mask, sizeof(more));
	mask |= more;
	if (!(before->sa_flags & SA_NODEFER))
		mask |= UINT64_C(1) << (signal - 1);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
	if (before->sa_flags & SA_SIGINFO)
		before->sa_sigaction(signal, info, context);
	else
		before->sa_handler(signal);
}

/*
 * Not with SA_NODEFER: should the report itself fault, the process ends, rather than wait
 * for a report that it is in the middle of.
 */
static void on_fault(int signal, siginfo_t *info, void *context)
{
	uintptr_t trampoline = (uintptr_t)__builtin_return_address(0);
	uintptr_t address = (uintptr_t)info->si_addr;
	struct hk_guard_range *range = range_now();
	struct hk_block block;
	int kept = errno;

	/* In the room of a live block, the fault has other reasons (it is not code). */
	if (info->si_code > 0 && range && find_nearest(range, address, &block) &&
	    (block.state == HK_BLOCK_QUARANTINED ||
	     address - (uintptr_t)block.room >= block.room_size))
		report(&block, signal, address, context, trampoline);
	hand_on(signal, info, context);
	errno = kept;
}

/* ---- Start ---- */

static unsigned long max_map_count(void)
{
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	unsigned long count = 0;
	char text[32];
	ssize_t length = 0;

	if (fd >= 0) {
		length = read(fd, text, sizeof(text));
		close(fd);
	}
	for (ssize_t i = 0; i < length && text[i] >= '0' && text[i] <= '9'; i++)
		count = count * 10 + (unsigned long)(text[i] - '0');
	return count ? count : MAP_COUNT;
}

static bool reserve(struct hk_guard_range *range)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	size_t page = hk_os_page_size, bytes, records;
	void *base = MAP_FAILED;

	getrlimit(RLIMIT_AS, &limit);
	range->stride = HK_SLOT_BYTES + page;
	for (range->slots = SLOTS; range->slots >= SLOTS_LEAST; range->slots /= 2) {
		bytes = page + range->slots * range->stride;
		if (bytes > limit.rlim_cur / SHARE_OF_LIMIT)
			continue;
		base = mmap(NULL, bytes, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (base != MAP_FAILED)
			break;
	}
	if (base == MAP_FAILED)
		return false;
	records = hk_align_up(range->slots * sizeof(struct slot), page);
	range->slot = hk_os_map(records, page, NULL);
	if (!range->slot) {
		munmap(base, bytes);
		return false;
	}
	range->first = (char *)base + page;
	/* At most a quarter of the mappings that a process may have. */
	range->open_most = (uint32_t)(max_map_count() / 8);
	return true;
}

static void take_over(int signal)
{
	struct sigaction ours = { .sa_sigaction = on_fault,
				  .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

	sigaction(signal, NULL, &previous[signal == SIGBUS]);
	sigaction(signal, &ours, NULL);
}

void hk_guard_init(void)
{
	int kept = errno;
	struct hk_text text;

	if (!hk_debug_options.guard || range_now())
		return;
	reserved.every = hk_debug_options.guard;
	if (reserve(&reserved)) {
		take_over(SIGSEGV);
		take_over(SIGBUS);
		atomic_store_explicit(&hk_guard_range, &reserved, memory_order_release);
	} else {
		hk_message_open(&text, HK_GUARD_OFF);
		hk_text(&text, "no address space for %u blocks (RLIMIT_AS)\n",
			SLOTS_LEAST);
		hk_text_close(&text);
	}
	errno = kept;
}
