/* SPDX-License-Identifier: MIT
 *
 * leaks.c - what reach.c finds, by allocating stack, as text or JSON.
 *
 * Owns a mapping for the time of one report: the groups.  Called by hakmem_ctl() and at exit,
 * under no lock; the world stands still only while the blocks are found, and runs again when
 * names are looked up and lines written.  Allocates nothing.
 *
 * A line and the stack for each group, those with the most bytes first:
 *
 *   hakmem: PROG[PID]: leaks(): lost 3 blocks, 300 bytes (the largest 100 bytes, the oldest
 *   12.34 s ago, thread 17)
 *       #0  ...
 *
 * then with HAKMEM_DEBUG=leaks:all the same with "reachable" for "lost", and a last line:
 *
 *   hakmem: PROG[PID]: leaks(): in all: lost 3 blocks, 300 bytes, in 1 stack; indirectly lost
 *   2 blocks, 64 bytes; reachable 10 blocks, 999 bytes; in quarantine 1 block, 8 bytes;
 *   suppressed 0 blocks, 0 bytes, in 0 stacks
 *
 * each of them one line in fact; with "; 2 threads could not be stopped: what only they reach
 * is told as lost" where that was so.  As JSON, an object on a line:
 *
 *   {"program":"PROG","pid":1,"function":"leaks","category":"lost","blocks":3,"bytes":300,
 *    "largest":100,"oldest_ms":12340,"thread":17,"frames":[...]}
 *   {"program":"PROG","pid":1,"function":"leaks","category":"summary",
 *    "lost":{"blocks":3,"bytes":300,"stacks":1},"indirectly_lost":{"blocks":2,"bytes":64},
 *    "reachable":{...},"quarantine":{...},"suppressed":{...,"stacks":0},"missed_threads":0}
 */
#define _GNU_SOURCE
#include "debug/leaks.h"

#include <errno.h>
#include <unistd.h>

#include "debug/options.h"
#include "debug/reach.h"
#include "debug/report.h"
#include "debug/sort.h"
#include "debug/suppressions.h"
#include "os.h"

#define TRIES 8          /* if objects are loaded all the time, the last is the answer */
#define MORE_GROUPS 4096 /* stacks that are new while we count */

struct sum {
	uint64_t blocks, bytes;
};

/* Blocks of one stack and one category. */
struct group {
	uint64_t order; /* what hk_sort() goes by */
	struct sum sum; /* no blocks: this place of the table is free */
	uint64_t largest;
	hk_stack stack;
	uint32_t oldest; /* hk_debug_now() */
	uint32_t thread; /* that allocated the oldest */
	uint8_t category;
	bool suppressed;
};

_Static_assert(sizeof(struct group) % sizeof(uint64_t) == 0,
	       "hk_sort() moves whole words");

struct leaks {
	uint64_t since;
	bool json;
	struct hk_reach_moment moment;
	bool full;
	struct sum sums[HK_REACHES], suppressed;
	size_t stacks, suppressed_stacks; /* of lost blocks */
	struct group *groups; /* a hash table with open addressing; then a sorted array */
	size_t room, count;   /* room: a power of two */
	hk_stack *numbers; /* of the sorted ones, as report.h and symbols.h want them */
};

/* ---- while the world stands still ---- */

static struct group *group_of(struct leaks *leaks, hk_stack stack, enum hk_reach reach)
{
	/* Knuth's multiplicative hashing (1973). */
	uint64_t hash = ((uint64_t)stack << 2 | reach) * 0x9e3779b97f4a7c15u;

	for (size_t i = (size_t)(hash >> 32);; i++) {
		struct group *group = &leaks->groups[i & (leaks->room - 1)];

		if (group->sum.blocks) {
			if (group->stack == stack && group->category == reach)
				return group;
			continue;
		}
		/* A half empty table keeps the searches short, and ends them. */
		if (leaks->count == leaks->room / 2)
			return NULL;
		leaks->count++;
		group->stack = stack;
		group->category = (uint8_t)reach;
		group->oldest = UINT32_MAX;
		return group;
	}
}

static void add(struct sum *sum, uint64_t blocks, uint64_t bytes)
{
	sum->blocks += blocks;
	sum->bytes += bytes;
}

static void add_block(void *context, const struct hk_block_record *record, size_t size,
		      enum hk_reach reach)
{
	struct leaks *leaks = context;
	struct group *group;

	if (hk_record_mark(record) < leaks->since)
		return;
	add(&leaks->sums[reach], 1, size);
	if (reach != HK_REACH_LOST &&
	    !(reach == HK_REACH_REACHABLE && hk_debug_options.leaks == HK_LEAKS_ALL))
		return;
	group = group_of(leaks, hk_stacks_told(record->allocated), reach);
	if (!group) {
		leaks->full = true;
		return;
	}
	add(&group->sum, 1, size);
	if (size > group->largest)
		group->largest = size;
	if (record->allocated_at < group->oldest) {
		group->oldest = record->allocated_at;
		group->thread = record->allocator;
	}
}

/* ---- afterwards ---- */

/* The table as an array: what was lost first, then by bytes. */
static void sort_groups(struct leaks *leaks)
{
	size_t count = 0;

	for (size_t i = 0; i < leaks->room && count < leaks->count; i++)
		if (leaks->groups[i].sum.blocks)
			leaks->groups[count++] = leaks->groups[i];
	for (size_t i = 0; i < count; i++) {
		struct group *group = &leaks->groups[i];

		group->order = (UINT64_MAX >> 1) - group->sum.bytes;
		if (group->category != HK_REACH_LOST)
			group->order |= (uint64_t)1 << 63;
	}
	hk_sort(leaks->groups, count, sizeof(struct group) / sizeof(uint64_t));
}

static void number_groups(struct leaks *leaks)
{
	for (size_t i = 0; i < leaks->count; i++)
		leaks->numbers[i] = leaks->groups[i].stack;
}

static void suppress_by(void *context, size_t stack, unsigned frame,
			const struct hk_symbol *symbol)
{
	struct leaks *leaks = context;
	struct group *group = &leaks->groups[stack];

	(void)frame;
	if (!group->suppressed && group->category == HK_REACH_LOST)
		group->suppressed = hk_suppressions_match(symbol);
}

/* The groups that stay are the first ones, in the same order. */
static void suppress(struct leaks *leaks)
{
	size_t kept = 0;

	if (hk_suppressions_any()) {
		number_groups(leaks);
		hk_symbols_tell(leaks->numbers, leaks->count, suppress_by, leaks);
	}
	for (size_t i = 0; i < leaks->count; i++) {
		const struct group *group = &leaks->groups[i];

		if (group->suppressed) {
			add(&leaks->suppressed, group->sum.blocks, group->sum.bytes);
			leaks->sums[HK_REACH_LOST].blocks -= group->sum.blocks;
			leaks->sums[HK_REACH_LOST].bytes -= group->sum.bytes;
			leaks->suppressed_stacks++;
		} else {
			leaks->stacks += group->category == HK_REACH_LOST;
			leaks->groups[kept++] = *group;
		}
	}
	leaks->count = kept;
	number_groups(leaks);
}

/* ---- text ---- */

static const char *program(void)
{
	return program_invocation_short_name ? program_invocation_short_name : "?";
}

static void write_count(struct hk_text *text, uint64_t count, const char *what)
{
	hk_text(text, "%lu %s%s", (unsigned long)count, what, count == 1 ? "" : "s");
}

static void write_sum(struct hk_text *text, const char *words, const struct sum *sum)
{
	hk_text(text, "%s ", words);
	write_count(text, sum->blocks, "block");
	hk_text(text, ", ");
	write_count(text, sum->bytes, "byte");
}

static void open_line(struct hk_text *text)
{
	hk_text(text, "hakmem: %s[%d]: leaks(): ", program(), (int)getpid());
}

static void write_heading(void *context, struct hk_text *text, size_t stack)
{
	const struct leaks *leaks = context;
	const struct group *group = &leaks->groups[stack];

	open_line(text);
	write_sum(text, group->category == HK_REACH_LOST ? "lost" : "reachable",
		  &group->sum);
	hk_text(text, " (the largest ");
	write_count(text, group->largest, "byte");
	hk_text(text, ", the oldest ");
	hk_report_age(text, group->oldest, hk_debug_now());
	hk_text(text, " ago, thread %u)%s\n", group->thread,
		group->stack ? "" : ", no stack known");
}

static void write_text(struct hk_text *text, struct leaks *leaks)
{
	if (leaks->count)
		hk_report_stacks(text, leaks->numbers, leaks->count, write_heading,
				 leaks);
	open_line(text);
	write_sum(text, "in all: lost", &leaks->sums[HK_REACH_LOST]);
	hk_text(text, ", in ");
	write_count(text, leaks->stacks, "stack");
	write_sum(text, "; indirectly lost", &leaks->sums[HK_REACH_INDIRECT]);
	write_sum(text, "; reachable", &leaks->sums[HK_REACH_REACHABLE]);
	write_sum(text, "; in quarantine", &leaks->sums[HK_REACH_QUARANTINED]);
	write_sum(text, "; suppressed", &leaks->suppressed);
	hk_text(text, ", in ");
	write_count(text, leaks->suppressed_stacks, "stack");
	if (leaks->moment.missed) {
		hk_text(text, "; ");
		write_count(text, leaks->moment.missed, "thread");
		hk_text(text,
			" could not be stopped: what only they reach is told as lost");
	}
	hk_text(text, "\n");
}

/* ---- JSON ---- */

static void open_object(struct hk_text *text, const char *category)
{
	hk_text(text, "{\"program\":");
	hk_text_json(text, program());
	hk_text(text, ",\"pid\":%d,\"function\":\"leaks\",\"category\":\"%s\"",
		(int)getpid(), category);
}

static void write_members(struct hk_text *text, const struct sum *sum)
{
	hk_text(text, "\"blocks\":%lu,\"bytes\":%lu", (unsigned long)sum->blocks,
		(unsigned long)sum->bytes);
}

static void write_json_group(struct hk_text *text, const struct group *group)
{
	uint32_t now = hk_debug_now();

	open_object(text, group->category == HK_REACH_LOST ? "lost" : "reachable");
	hk_text(text, ",");
	write_members(text, &group->sum);
	hk_text(text, ",\"largest\":%lu,\"oldest_ms\":%lu,\"thread\":%u,\"frames\":",
		(unsigned long)group->largest, (unsigned long)(now - group->oldest) * 10,
		group->thread);
	hk_report_json_frames(text, group->stack);
	hk_text(text, "}\n");
}

static void write_member(struct hk_text *text, const char *name, const struct sum *sum)
{
	hk_text(text, ",\"%s\":{", name);
	write_members(text, sum);
}

static void write_json(struct hk_text *text, const struct leaks *leaks)
{
	for (size_t i = 0; i < leaks->count; i++)
		write_json_group(text, &leaks->groups[i]);
	open_object(text, "summary");
	write_member(text, "lost", &leaks->sums[HK_REACH_LOST]);
	hk_text(text, ",\"stacks\":%lu}", (unsigned long)leaks->stacks);
	write_member(text, "indirectly_lost", &leaks->sums[HK_REACH_INDIRECT]);
	hk_text(text, "}");
	write_member(text, "reachable", &leaks->sums[HK_REACH_REACHABLE]);
	hk_text(text, "}");
	write_member(text, "quarantine", &leaks->sums[HK_REACH_QUARANTINED]);
	hk_text(text, "}");
	write_member(text, "suppressed", &leaks->suppressed);
	hk_text(text, ",\"stacks\":%lu},\"missed_threads\":%lu}\n",
		(unsigned long)leaks->suppressed_stacks,
		(unsigned long)leaks->moment.missed);
}

/* ---- the whole ---- */

/* 0, or the errno of write(2). */
static int write_leaks(struct leaks *leaks, int fd)
{
	struct hk_text text;

	hk_text_open(&text, fd);
	if (leaks->json)
		write_json(&text, leaks);
	else
		write_text(&text, leaks);
	return hk_text_close(&text);
}

/* A mapping for the groups of all stacks that there are, twice. */
static size_t map_groups(struct leaks *leaks)
{
	size_t stacks, bytes;

	hk_stacks_count(&stacks, &bytes);
	leaks->room = 1;
	while (leaks->room < 2 * (2 * stacks + MORE_GROUPS))
		leaks->room *= 2;
	bytes = hk_align_up(leaks->room * (sizeof(struct group) + sizeof(hk_stack)),
			    hk_os_page_size);
	leaks->groups = hk_os_map(bytes, hk_os_page_size, NULL);
	leaks->numbers = (hk_stack *)(leaks->groups + leaks->room);
	return leaks->groups ? bytes : 0;
}

/* One try, from a clean table on; the mapping is there when it succeeds. */
static int find_once(struct leaks *leaks, size_t *mapped, bool last)
{
	int error;

	*leaks = (struct leaks){ .since = leaks->since, .json = leaks->json };
	*mapped = map_groups(leaks);
	if (!*mapped)
		return ENOMEM;
	error = hk_reach(add_block, leaks, &leaks->moment);
	if (!error && (leaks->full || (leaks->moment.loaded && !last)))
		error = EAGAIN;
	if (error)
		hk_os_unmap(leaks->groups, *mapped);
	return error;
}

static int find(struct leaks *leaks, size_t *mapped)
{
	int error = EAGAIN;

	for (unsigned i = 0; i < TRIES && error == EAGAIN; i++)
		error = find_once(leaks, mapped, i + 1 == TRIES);
	if (error)
		return error == EAGAIN ? ENOMEM : error;
	sort_groups(leaks);
	suppress(leaks);
	return 0;
}

int hk_leaks(struct hakmem_leaks *leaks)
{
	struct leaks found = { .since = leaks->since,
			       .json = leaks->format == HAKMEM_JSON };
	size_t mapped;
	int error;

	if (leaks->format > HAKMEM_JSON)
		return EINVAL;
	error = find(&found, &mapped);
	if (error)
		return error;
	/* Not its descriptor, but its turn: one report at a time. */
	hk_report_begin();
	error = write_leaks(&found, leaks->fd);
	hk_report_end();
	leaks->mark = found.moment.mark;
	leaks->blocks = found.sums[HK_REACH_LOST].blocks;
	leaks->bytes = found.sums[HK_REACH_LOST].bytes;
	hk_os_unmap(found.groups, mapped);
	return error;
}

static void tell_why_not(int error)
{
	struct hk_text text;

	hk_text_open(&text, hk_report_begin());
	open_line(&text);
	hk_text(&text, "%s\n",
		error == ENOTSUP
			? "threads cannot be stopped here: no ptrace(2), no /proc, "
			  "or another process traces them"
			: "no memory to look for them");
	hk_text_close(&text);
	hk_report_end();
}

void hk_leaks_at_exit(void)
{
	struct leaks found = { .json = hk_debug_options.json };
	size_t mapped;
	int error;

	if (hk_debug_options.leaks == HK_LEAKS_NONE)
		return;
	error = find(&found, &mapped);
	if (error) {
		tell_why_not(error);
		return;
	}
	/* Nothing to say is said in silence, unless all was asked for. */
	if (found.stacks || hk_debug_options.leaks == HK_LEAKS_ALL) {
		write_leaks(&found, hk_report_begin());
		hk_report_end();
	}
	if (found.stacks)
		hk_report_counted();
	hk_os_unmap(found.groups, mapped);
}
