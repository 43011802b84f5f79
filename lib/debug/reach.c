/* SPDX-License-Identifier: MIT
 *
 * reach.c - mark and sweep, but for the sweep.
 *
 * Owns a mapping for the time of one call: the blocks sorted by address, the mappings of the
 * process, the data of its objects, and the list of blocks still to be looked into.  Holds all
 * locks while the world is stopped, so that no thread stands inside the heap; takes the
 * loader's (dl_iterate_phdr(3)) before, never under ours.  May not allocate.
 *
 * Any memory may be protected or gone, so only what /proc/self/maps calls readable, read while
 * nothing moves, is looked at.
 */
#define _GNU_SOURCE
#include "debug/reach.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "debug/sort.h"
#include "debug/world.h"
#include "fork.h"
#include "os.h"

/* Room for what comes between counting and stopping; addresses only, until they are used. */
#define MORE_TARGETS ((size_t)1 << 20)
#define MORE_RANGES ((size_t)1 << 14)
#define MORE_ROOTS ((size_t)1 << 10)
#define MAPS_BYTES ((size_t)16 << 10) /* read at a time */

#define SIZE_BITS 56
#define SIZE_MASK (((uint64_t)1 << SIZE_BITS) - 1)

typedef uintptr_t __attribute__((may_alias)) word;

enum mark { UNSEEN, REACHED, INDIRECT, LOST };

/* A live block. */
struct target {
	uint64_t start; /* what hk_sort() goes by */
	const struct hk_block_record *record;
	uint64_t size : SIZE_BITS, mark : 64 - SIZE_BITS;
};

struct range {
	uintptr_t start, end;
	bool readable, main_stack;
};

struct root {
	uintptr_t start, end;
};

struct reach {
	void (*tell)(void *context, const struct hk_block_record *record, size_t size,
		     enum hk_reach reach);
	void *context;
	uintptr_t arena, arena_end; /* this mapping */
	int maps;                   /* /proc/self/maps */
	uint32_t process;           /* its id, and the main thread's */
	int error;
	struct hk_reach_moment moment;

	struct target *targets;
	size_t targets_count, targets_room;
	uintptr_t low, span; /* of all of them */
	uint32_t *left;      /* marked, but not yet looked into */
	size_t left_count;
	enum mark marking;
	const struct target *leader;

	struct range *ranges; /* sorted, as the kernel lists them */
	size_t ranges_count, ranges_room;
	size_t last_range; /* most searches end where the one before did */

	struct root *roots;
	size_t roots_count, roots_room;
	unsigned long long objects; /* loaded so far */
	struct root loader;         /* its code */

	char *text; /* of maps, a part at a time */
};

/* ---- the mappings of the process ---- */

static void add_range(struct reach *reach, struct range range)
{
	/* Of us they see nothing: the list of all blocks would reach all of them. */
	if (range.start < reach->arena_end && range.end > reach->arena) {
		struct range before = range, after = range;

		before.end = reach->arena;
		after.start = reach->arena_end;
		if (before.start < before.end)
			add_range(reach, before);
		if (after.start < after.end)
			add_range(reach, after);
		return;
	}
	if (reach->ranges_count == reach->ranges_room)
		reach->error = EAGAIN;
	else
		reach->ranges[reach->ranges_count++] = range;
}

static uintptr_t parse_number(const char **text)
{
	uintptr_t value = 0;

	for (;; ++*text) {
		char c = **text;

		if (c >= '0' && c <= '9')
			value = value << 4 | (uintptr_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (uintptr_t)(c - 'a' + 10);
		else
			return value;
	}
}

/* "START-END rw-p OFFSET DEVICE INODE   PATH" */
static void parse_line(struct reach *reach, const char *line)
{
	struct range range = { 0 };

	range.start = parse_number(&line);
	line += *line == '-';
	range.end = parse_number(&line);
	line += *line == ' ';
	range.readable = *line == 'r';
	line = strchr(line, '[');
	range.main_stack = line && !strcmp(line, "[stack]");
	add_range(reach, range);
}

/* Not by libc's read(), where a cancelled thread would end. */
static long read_maps(struct reach *reach, size_t at)
{
	return syscall(SYS_read, reach->maps, reach->text + at, MAPS_BYTES - 1 - at);
}

static void find_ranges(struct reach *reach)
{
	size_t used = 0;
	long got;

	lseek(reach->maps, 0, SEEK_SET);
	while ((got = read_maps(reach, used)) > 0) {
		char *line = reach->text, *end;

		used += (size_t)got;
		reach->text[used] = '\0';
		for (; (end = strchr(line, '\n')); line = end + 1) {
			*end = '\0';
			parse_line(reach, line);
		}
		used -= (size_t)(line - reach->text);
		memmove(reach->text, line, used);
		/* No path is that long: the kernel's limit is a page. */
		if (used == MAPS_BYTES - 1)
			used = 0;
	}
}

/* The first that ends behind this address. */
static size_t range_at(struct reach *reach, uintptr_t address)
{
	size_t low = 0, high = reach->ranges_count, last = reach->last_range;

	if (last < high && reach->ranges[last].start <= address &&
	    address < reach->ranges[last].end)
		return last;
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (reach->ranges[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	reach->last_range = low;
	return low;
}

/* ---- the data of the objects ---- */

static void add_root(struct reach *reach, uintptr_t start, uintptr_t end)
{
	if (reach->roots_count < reach->roots_room)
		reach->roots[reach->roots_count] = (struct root){ start, end };
	reach->roots_count++;
}

/* Linked into the program, our own variables are among the program's, and do no harm. */
static bool is_own(const struct dl_phdr_info *object)
{
	static const char here;

	if (!object->dlpi_name || !object->dlpi_name[0])
		return false;
	for (size_t i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &object->dlpi_phdr[i];

		if (header->p_type == PT_LOAD &&
		    (uintptr_t)&here - object->dlpi_addr - header->p_vaddr <
			    header->p_memsz)
			return true;
	}
	return false;
}

static struct root extent_of(const struct dl_phdr_info *object)
{
	struct root extent = { UINTPTR_MAX, 0 };

	for (size_t i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &object->dlpi_phdr[i];
		uintptr_t start = object->dlpi_addr + header->p_vaddr;

		if (header->p_type != PT_LOAD)
			continue;
		if (start < extent.start)
			extent.start = start;
		if (start + header->p_memsz > extent.end)
			extent.end = start + header->p_memsz;
	}
	return extent;
}

static int visit_object(struct dl_phdr_info *object, size_t size, void *context)
{
	struct reach *reach = context;

	(void)size;
	reach->objects = object->dlpi_adds;
	if (is_own(object))
		return 0;
	if (object->dlpi_addr && object->dlpi_addr == getauxval(AT_BASE))
		reach->loader = extent_of(object);
	for (size_t i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &object->dlpi_phdr[i];
		uintptr_t start = object->dlpi_addr + header->p_vaddr;

		if (header->p_type == PT_LOAD && header->p_flags & PF_W)
			add_root(reach, start, start + header->p_memsz);
	}
	return 0;
}

/* ---- marking ---- */

/* The last target that starts at or before the address, which is not below the first. */
static struct target *target_before(const struct reach *reach, uintptr_t address)
{
	struct target *target = reach->targets;

	for (size_t left = reach->targets_count; left > 1;) {
		size_t half = left / 2;

		target += target[half].start <= address ? half : 0;
		left -= half;
	}
	return target;
}

/* The live block there, or NULL; one of no bytes is found by its start. */
static struct target *target_at(const struct reach *reach, uintptr_t address)
{
	struct target *target;

	if (address - reach->low >= reach->span)
		return NULL;
	target = target_before(reach, address);
	return address - target->start < target->size + !target->size ? target : NULL;
}

static void mark(struct reach *reach, struct target *target)
{
	if (target->mark == UNSEEN) {
		target->mark = reach->marking;
		reach->left[reach->left_count++] = (uint32_t)(target - reach->targets);
	} else if (target->mark == LOST && target != reach->leader) {
		target->mark = INDIRECT;
	}
}

static void scan_words(struct reach *reach, uintptr_t start, uintptr_t end)
{
	const word *last = (const word *)(end & ~(sizeof(word) - 1));

	for (const word *w = (const word *)hk_align_up(start, sizeof(word)); w < last;
	     w++) {
		struct target *target = target_at(reach, *w);

		if (target)
			mark(reach, target);
	}
}

static void scan(struct reach *reach, uintptr_t start, uintptr_t end)
{
	for (size_t i = range_at(reach, start); i < reach->ranges_count && start < end;
	     i++) {
		const struct range *range = &reach->ranges[i];
		uintptr_t to = range->end < end ? range->end : end;

		if (range->start > start)
			start = range->start;
		if (range->readable && start < to)
			scan_words(reach, start, to);
		start = to;
	}
}

static void follow(struct reach *reach)
{
	while (reach->left_count) {
		const struct target
			*target = &reach->targets[reach->left[--reach->left_count]];

		scan(reach, target->start, target->start + target->size);
	}
}

/* ---- the threads ---- */

/* The mapping of a stack, or the block, if it is one of ours; empty if there is nothing. */
static struct root area_of(struct reach *reach, uintptr_t address)
{
	const struct target *target = target_at(reach, address);
	size_t i = range_at(reach, address);

	if (target)
		return (struct root){ target->start, target->start + target->size };
	/* The guard below the stack, that is: it has run over, or is about to. */
	if (i < reach->ranges_count && !reach->ranges[i].readable)
		i++;
	if (i == reach->ranges_count)
		return (struct root){ 0, 0 };
	return (struct root){ reach->ranges[i].start, reach->ranges[i].end };
}

static void scan_main_stack(struct reach *reach)
{
	for (size_t i = 0; i < reach->ranges_count; i++)
		if (reach->ranges[i].main_stack)
			scan(reach, reach->ranges[i].start, reach->ranges[i].end);
}

/*
 * A stack of pthread_create()'s has the thread's control block and static thread-local storage
 * at its upper end; the main thread's lie in a mapping of the loader's.  What was allocated for
 * a thread-local variable later is a block, and the control block reaches it.
 *
 * A thread that is on another stack (sigaltstack(2), a coroutine's) has left its own one, up to
 * we do not know where: then all of it counts.
 */
static void scan_thread(struct reach *reach, const struct hk_world_thread *thread)
{
	struct root stack = area_of(reach, thread->stack_pointer);
	struct root local = area_of(reach, thread->thread_pointer);
	size_t i = range_at(reach, thread->stack_pointer);

	for (unsigned k = 0; k < thread->count; k++) {
		struct target *target = target_at(reach, thread->registers[k]);

		if (target)
			mark(reach, target);
	}
	scan(reach, thread->stack_pointer, stack.end);
	if (local.start != stack.start)
		scan(reach, local.start, local.end);
	if (thread->id == reach->process && i < reach->ranges_count &&
	    !reach->ranges[i].main_stack)
		scan_main_stack(reach);
}

/*
 * What the loader allocates for a thread, its table of thread-local storage, stays with the
 * stacks that libc keeps for later threads; only libc knows where those are.  So nothing that
 * the loader itself has allocated is lost (as in LeakSanitizer).
 */
static bool is_of_loader(const struct reach *reach, const struct target *target)
{
	uintptr_t frames[HK_FRAMES];
	uint32_t generation;

	return hk_stacks_frames(target->record->allocated, frames, &generation) &&
	       frames[0] >= reach->loader.start && frames[0] < reach->loader.end;
}

static void mark_of_loader(struct reach *reach)
{
	for (size_t i = 0; i < reach->targets_count; i++) {
		struct target *target = &reach->targets[i];

		if (target->mark == UNSEEN && is_of_loader(reach, target))
			mark(reach, target);
	}
}

/* ---- all of it ---- */

static void count_block(const struct hk_block *block, void *context)
{
	(void)block;
	++*(size_t *)context;
}

static void add_target(const struct hk_block *block, void *context)
{
	struct reach *reach = context;

	if (block->state != HK_BLOCK_LIVE)
		return;
	if (reach->targets_count == reach->targets_room)
		reach->error = EAGAIN;
	else
		reach->targets[reach->targets_count++] = (struct target){
			.start = (uintptr_t)block->start,
			.record = block->record,
			.size = block->size & SIZE_MASK
		};
}

static void tell_quarantined(const struct hk_block *block, void *context)
{
	struct reach *reach = context;

	if (block->state == HK_BLOCK_QUARANTINED)
		reach->tell(reach->context, block->record, block->size,
			    HK_REACH_QUARANTINED);
}

static void find_targets(struct reach *reach)
{
	const struct target *last;

	hk_block_visit(add_target, reach);
	if (reach->error || !reach->targets_count)
		return;
	hk_sort(reach->targets, reach->targets_count,
		sizeof(*reach->targets) / sizeof(uint64_t));
	last = &reach->targets[reach->targets_count - 1];
	reach->low = reach->targets[0].start;
	reach->span = last->start + last->size + !last->size - reach->low;
}

/*
 * Each that nothing has reached leads whatever it reaches; a leader that a later one reaches
 * leads no more.  So each block is looked into once.
 */
static void mark_lost(struct reach *reach)
{
	reach->marking = INDIRECT;
	for (size_t i = 0; i < reach->targets_count; i++) {
		struct target *target = &reach->targets[i];

		if (target->mark != UNSEEN)
			continue;
		target->mark = LOST;
		reach->leader = target;
		scan(reach, target->start, target->start + target->size);
		follow(reach);
	}
}

/* In the helper of world.c. */
static void work(const struct hk_world *world, void *context)
{
	static const enum hk_reach reaches[] = {
		[REACHED] = HK_REACH_REACHABLE,
		[INDIRECT] = HK_REACH_INDIRECT,
		[LOST] = HK_REACH_LOST,
	};
	struct reach *reach = context;

	find_ranges(reach);
	find_targets(reach);
	if (reach->error)
		return;
	reach->moment.missed = world->missed;
	reach->moment.mark = hk_block_next_mark();
	reach->marking = REACHED;
	for (size_t i = 0; i < reach->roots_count; i++)
		scan(reach, reach->roots[i].start, reach->roots[i].end);
	for (size_t i = 0; i < world->count; i++)
		scan_thread(reach, &world->threads[i]);
	follow(reach);
	mark_of_loader(reach);
	follow(reach);
	mark_lost(reach);
	for (size_t i = 0; i < reach->targets_count; i++) {
		const struct target *target = &reach->targets[i];

		reach->tell(reach->context, target->record, target->size,
			    reaches[target->mark]);
	}
	hk_block_visit(tell_quarantined, reach);
}

/* ---- the caller ---- */

/* Its buffer, with what was on the stack before, is not to be there when stacks are scanned. */
static __attribute__((noinline)) size_t count_lines(int fd)
{
	char text[1024];
	size_t lines = 0;
	long got;

	while ((got = syscall(SYS_read, fd, text, sizeof(text))) > 0)
		for (long i = 0; i < got; i++)
			lines += text[i] == '\n';
	return lines;
}

/* How much there is of each: roughly, as nothing is stopped yet. */
static void count_all(struct reach *reach)
{
	dl_iterate_phdr(visit_object, reach);
	reach->roots_room = reach->roots_count + MORE_ROOTS;
	reach->roots_count = 0;
	reach->ranges_room = count_lines(reach->maps) + MORE_RANGES;
	hk_lock_all();
	hk_block_visit(count_block, &reach->targets_room);
	hk_unlock_all();
	reach->targets_room += MORE_TARGETS;
}

/* A piece of the mapping, or how long it must be, while there is none. */
static void *take(struct reach *arena, size_t *used, size_t size)
{
	size_t at = *used;

	*used = hk_align_up(at + size, sizeof(uint64_t));
	return arena ? (char *)arena + at : NULL;
}

static size_t lay_out(struct reach *counts, struct reach *arena)
{
	size_t used = 0;

	take(arena, &used, sizeof(*arena));
	counts->text = take(arena, &used, MAPS_BYTES);
	counts->targets = take(arena, &used,
			       counts->targets_room * sizeof(struct target));
	counts->left = take(arena, &used, counts->targets_room * sizeof(uint32_t));
	counts->ranges = take(arena, &used, counts->ranges_room * sizeof(struct range));
	counts->roots = take(arena, &used, counts->roots_room * sizeof(struct root));
	return hk_align_up(used, hk_os_page_size);
}

static int run(struct reach *reach)
{
	unsigned long long objects;

	dl_iterate_phdr(visit_object, reach);
	if (reach->roots_count > reach->roots_room)
		return EAGAIN;
	hk_lock_all();
	if (!hk_world_stop(work, reach))
		reach->error = ENOTSUP;
	hk_unlock_all();
	objects = reach->objects;
	reach->roots_room = 0;
	dl_iterate_phdr(visit_object, reach);
	reach->moment.loaded = reach->objects != objects;
	return reach->error;
}

static int run_with_maps(struct reach *counts, struct hk_reach_moment *moment)
{
	struct reach *reach;
	size_t size;
	int error;

	count_all(counts);
	if (counts->targets_room > UINT32_MAX)
		return ENOMEM;
	size = lay_out(counts, NULL);
	reach = hk_os_map(size, hk_os_page_size, NULL);
	if (!reach)
		return ENOMEM;
	lay_out(counts, reach);
	*reach = *counts;
	reach->arena = (uintptr_t)reach;
	reach->arena_end = reach->arena + size;
	error = run(reach);
	*moment = reach->moment;
	hk_os_unmap(reach, size);
	return error;
}

int hk_reach(void (*tell)(void *context, const struct hk_block_record *record,
			  size_t size, enum hk_reach reach),
	     void *context, struct hk_reach_moment *moment)
{
	struct reach counts = { .tell = tell,
				.context = context,
				.process = (uint32_t)getpid() };
	int kept = errno, error = ENOTSUP;

	counts.maps = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/maps",
				   O_RDONLY | O_CLOEXEC);
	if (counts.maps >= 0) {
		error = run_with_maps(&counts, moment);
		syscall(SYS_close, counts.maps);
	}
	errno = kept;
	return error;
}
