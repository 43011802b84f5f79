/* SPDX-License-Identifier: MIT
 *
 * frames.c - the walk, and a table of rules by program counter that only grows.
 *
 * A rule is in force as soon as it is not 0, which is stored (release) after the key was taken
 * by a compare-and-swap; neither changes again.  Two threads that learn the same one store the
 * same.  Code that comes to stand where other code stood would make it wrong: unwind.c does
 * without rules from then on (hk_modules_reused()).
 */
#define _GNU_SOURCE
#define UNW_LOCAL_ONLY
#include "debug/frames.h"

#include <dlfcn.h>
#include <libunwind.h>
#include <stdatomic.h>
#include <string.h>

/*
 * A rule: bits 0-1 what, 2 whether the CFA is told from the frame pointer, 3-31 how far it is
 * above, 32-63 how far below it the caller's frame pointer lies (0: that is the frame's own); both
 * in bytes.
 */
#define END ((uint64_t)1)
#define STEP ((uint64_t)2)
#define HARD ((uint64_t)3)
#define KIND ((uint64_t)3)
#define FROM_FP ((uint64_t)4)
#define ABOVE_SHIFT 3
#define ABOVE_MOST ((uintptr_t)1 << 24)
#define BELOW_SHIFT 32

/* Of a function that has a frame pointer, at either architecture. */
#define LINK (2 * sizeof(uintptr_t))
#define LINKED (STEP | FROM_FP | LINK << ABOVE_SHIFT | (uint64_t)LINK << BELOW_SHIFT)

static uintptr_t word_at(uintptr_t address)
{
	return *(const uintptr_t *)address;
}

/* ---- the table ---- */

#if HK_FRAMES_RULES

#define ENTRIES_SHIFT 15
#define PROBES 8

static struct entry {
	_Atomic uintptr_t pc;
	_Atomic uint64_t rule;
} entries[((size_t)1 << ENTRIES_SHIFT) + PROBES];

static struct entry *first_entry(uintptr_t pc)
{
	return &entries[pc * 0x9e3779b97f4a7c15 >> (64 - ENTRIES_SHIFT)];
}

HK_INLINE uint64_t find_rule(uintptr_t pc)
{
	struct entry *entry = first_entry(pc);

	for (unsigned i = 0; i < PROBES; i++, entry++) {
		uintptr_t key = atomic_load_explicit(&entry->pc, memory_order_relaxed);

		if (HK_LIKELY(key == pc))
			return atomic_load_explicit(&entry->rule, memory_order_acquire);
		if (!key)
			break;
	}
	return 0;
}

static bool add_rule(uintptr_t pc, uint64_t rule)
{
	struct entry *entry = first_entry(pc);

	for (unsigned i = 0; i < PROBES; i++, entry++) {
		uintptr_t key = 0;

		if (atomic_compare_exchange_strong_explicit(&entry->pc, &key, pc,
							    memory_order_relaxed,
							    memory_order_relaxed) ||
		    key == pc) {
			atomic_store_explicit(&entry->rule, rule, memory_order_release);
			return true;
		}
	}
	return false;
}

/* ---- learning ---- */

static __typeof__(&unw_init_local) init_local;
static __typeof__(&unw_get_proc_info) get_proc_info;
static __typeof__(&unw_is_signal_frame) is_signal_frame;
static __typeof__(&unw_step) step;
static __typeof__(&unw_get_reg) get_reg;
static __typeof__(&unw_get_save_loc) get_save_loc;

/* libunwind's names have the architecture in them, by macros. */
#define STRING(name) #name
#define NAME(name) STRING(name)
#define LOAD(library, function, name) \
	((function = (__typeof__(function))dlsym(library, NAME(name))) != NULL)

bool hk_frames_init(void *library)
{
	return LOAD(library, init_local, unw_init_local) &&
	       LOAD(library, get_proc_info, unw_get_proc_info) &&
	       LOAD(library, is_signal_frame, unw_is_signal_frame) &&
	       LOAD(library, step, unw_step) && LOAD(library, get_reg, unw_get_reg) &&
	       LOAD(library, get_save_loc, unw_get_save_loc);
}

/* What of the rule is seen in one step of the frame. */
static uint64_t rule_of_step(const struct hk_frame *at, unw_cursor_t *cursor,
			     const unw_context_t *context)
{
	uintptr_t in_context, above, below = 0;
	unw_word_t pc, cfa, fp;
	unw_save_loc_t saved;
	bool from_fp;

	if (get_reg(cursor, UNW_REG_IP, &pc) != 0 ||
	    get_reg(cursor, UNW_REG_SP, &cfa) != 0 ||
	    get_reg(cursor, UNW_X86_64_RBP, &fp) != 0 ||
	    get_save_loc(cursor, UNW_X86_64_RBP, &saved) != 0 ||
	    saved.type != UNW_SLT_MEMORY)
		return HARD;
	if (cfa <= at->sp || cfa % sizeof(uintptr_t) ||
	    word_at(cfa - sizeof(uintptr_t)) != pc)
		return HARD;
	/* Not saved by this frame, its place is where the step began. */
	in_context = saved.u.addr - (uintptr_t)context;
	if (in_context >= sizeof(*context)) {
		below = cfa - saved.u.addr;
		if (saved.u.addr < at->sp || saved.u.addr >= cfa)
			return HARD;
	}
	/*
	 * A function that has made rbp point at its saved rbp has a frame pointer: the CFA is
	 * told from that, as the stack pointer may move, and is 16 above.  If it is not, the
	 * function has aligned its stack, and each of its frames is another.
	 */
	from_fp = below && saved.u.addr == at->fp;
	above = cfa - (from_fp ? at->fp : at->sp);
	if (above >= ABOVE_MOST || (from_fp && above != LINK))
		return HARD;
	return STEP | (from_fp ? FROM_FP : 0) | above << ABOVE_SHIFT |
	       (uint64_t)below << BELOW_SHIFT;
}

static uint64_t ask(const struct hk_frame *at)
{
	unw_proc_info_t info;
	unw_context_t context;
	unw_cursor_t cursor;
	int made;

	memset(&context, 0, sizeof(context));
	context.uc_mcontext.gregs[REG_RIP] = (greg_t)at->pc;
	context.uc_mcontext.gregs[REG_RSP] = (greg_t)at->sp;
	context.uc_mcontext.gregs[REG_RBP] = (greg_t)at->fp;
	/*
	 * Without unwind information it would guess, from what the registers happen to have; it
	 * tells of such a function that it begins right there.
	 */
	if (init_local(&cursor, &context) != 0 || get_proc_info(&cursor, &info) != 0 ||
	    info.start_ip >= at->pc || is_signal_frame(&cursor) != 0)
		return HARD;
	made = step(&cursor);
	if (made < 0)
		return HARD;
	return made ? rule_of_step(at, &cursor, &context) : END;
}

bool hk_frames_learn(const struct hk_frame *at)
{
	struct dl_find_object found;

	/* Code that is in no object may be other code the next time. */
	if (_dl_find_object((void *)at->pc, &found) != 0)
		return false;
	return add_rule(at->pc, ask(at));
}
#else
static uint64_t find_rule(uintptr_t pc)
{
	(void)pc;
	return HARD;
}

bool hk_frames_init(void *library)
{
	(void)library;
	return false;
}

bool hk_frames_learn(const struct hk_frame *at)
{
	(void)at;
	return false;
}
#endif

/* ---- the last walk ---- */

#define PLACES 256u /* room to move: a walk has at most HK_FRAMES */
#define OUTERMOST (((uint32_t)1 << 24) - 1)
#define DEPTH_MOST (2 * HK_FRAMES)
#define PUSHED_SHIFT 9

/*
 * A frame, and the stack from there outwards.  That may have more frames than are told, or end
 * before the outermost, and so may places: depth is how many it has.
 */
struct place {
	uintptr_t pc, sp, fp;
	uint32_t below : 24; /* of the rule; OUTERMOST: that of END */
	uint32_t depth : 8;
	hk_stack stack;
};

_Static_assert(DEPTH_MOST + HK_FRAMES < 256, "depth has 8 bits");

/* Innermost first; the next one's sp is the end of a place's frame. */
struct last_walk {
	const void *_Atomic owner;
	uint32_t generation;
	hk_stack root; /* of it */
	unsigned first, end;
	struct place places[PLACES];
	struct pushed {
		uintptr_t pc;
		hk_stack caller, stack;
	} pushed[(size_t)1
		 << PUSHED_SHIFT]; /* some of the last ones: stacks.h has them all */
};

/*
 * By thread.  That of one that has ended serves the thread that comes to have its storage: what
 * the places say is looked at in any case.
 */
#define WALKS_SHIFT 7
#define WALK_PROBES 4

static struct last_walk walks[((size_t)1 << WALKS_SHIFT) + WALK_PROBES];

/* NULL: others have them all. */
HK_INLINE struct last_walk *walk_of(const void *thread)
{
	struct last_walk *walk =
		&walks[(uintptr_t)thread * 0x9e3779b97f4a7c15 >> (64 - WALKS_SHIFT)];

	for (unsigned i = 0; i < WALK_PROBES; i++, walk++) {
		const void *owner = atomic_load_explicit(&walk->owner,
							 memory_order_relaxed);

		if (HK_LIKELY(owner == thread))
			return walk;
		if (!owner && atomic_compare_exchange_strong_explicit(
				      &walk->owner, &owner, thread, memory_order_relaxed,
				      memory_order_relaxed))
			return walk;
	}
	return NULL;
}

/* ---- walking ---- */

/* What is known of the frame, and the next one. */
HK_INLINE enum hk_frames_end step_out(struct hk_frame *frame, uintptr_t high, bool linked,
				      struct place *place)
{
	uint64_t rule = linked ? LINKED : find_rule(frame->pc);
	uintptr_t cfa, below = rule >> BELOW_SHIFT;

	*place = (struct place){ frame->pc, frame->sp, frame->fp, OUTERMOST, 0, 0 };
	if (HK_UNLIKELY((rule & KIND) != STEP))
		return rule == END ? HK_FRAMES_ALL
		       : rule      ? HK_FRAMES_HARD
				   : HK_FRAMES_UNKNOWN;
	cfa = (rule & FROM_FP ? frame->fp : frame->sp) + ((uint32_t)rule >> ABOVE_SHIFT);
	/* Each frame lies above the one before, its words within it. */
	if (HK_UNLIKELY(cfa <= frame->sp || cfa > high || below > cfa - frame->sp ||
			cfa % sizeof(uintptr_t)))
		return linked ? HK_FRAMES_ALL : HK_FRAMES_HARD;
	frame->pc = hk_plain_pc(word_at(cfa - sizeof(uintptr_t)));
	frame->sp = cfa;
	if (below)
		frame->fp = word_at(cfa - below);
	if (HK_LIKELY(frame->pc))
		place->below = (uint32_t)below & OUTERMOST;
	return HK_FRAMES_ALL;
}

/* Is the caller of this place still the next one? */
HK_INLINE bool still_leads_to(const struct place *place, const struct place *next,
			      uintptr_t high)
{
	uintptr_t cfa = next->sp;

	return HK_LIKELY(cfa <= high &&
			 hk_plain_pc(word_at(cfa - sizeof(uintptr_t))) == next->pc &&
			 (!place->below || word_at(cfa - place->below) == next->fp));
}

/*
 * Number `at', so that there is room for n places before, and behind for as many as a walk may
 * need.
 */
static unsigned make_room(struct last_walk *walk, unsigned at, unsigned n)
{
	unsigned left = walk->end - at;

	if (HK_LIKELY(at >= n && at + HK_FRAMES <= PLACES))
		return at;
	if (left > HK_FRAMES)
		left = HK_FRAMES;
	memmove(&walk->places[PLACES / 2], &walk->places[at],
		left * sizeof(walk->places[0]));
	walk->end = PLACES / 2 + left;
	return PLACES / 2;
}

HK_INLINE hk_stack push(struct last_walk *walk, hk_stack caller, uintptr_t pc)
{
	uint64_t hash = (pc ^ (uint64_t)caller << 20) * 0x9e3779b97f4a7c15;
	struct pushed *pushed = &walk->pushed[hash >> (64 - PUSHED_SHIFT)];

	if (HK_UNLIKELY(pushed->pc != pc || pushed->caller != caller))
		*pushed = (struct pushed){ pc, caller, hk_stacks_push(caller, pc) };
	return pushed->stack;
}

/* The stacks of the places from `from' to before `to', of which that one's is known; or 0 is. */
HK_INLINE void number_places(struct last_walk *walk, unsigned from, unsigned to)
{
	hk_stack stack = to < walk->end ? walk->places[to].stack : walk->root;
	unsigned depth = to < walk->end ? walk->places[to].depth : 0;

	while (to-- > from) {
		stack = push(walk, stack, walk->places[to].pc);
		walk->places[to].stack = stack;
		walk->places[to].depth = ++depth & 255;
	}
}

/*
 * The place of number `at' is a frame of this stack.  As long as those behind it are what they
 * were, so is its number; what is no more so is made by rules.
 */
static enum hk_frames_end look_at_callers(struct last_walk *walk, unsigned at,
					  unsigned most, uintptr_t high, bool linked,
					  struct hk_frame *frame)
{
	struct place *place = &walk->places[at], *last = &walk->places[walk->end - 1];
	struct place *enough = place + most - 1;
	enum hk_frames_end ended;

	if (last > enough)
		last = enough;
	while (place < last && HK_LIKELY(still_leads_to(place, place + 1, high)))
		place++;
	if (place == enough || place->below == OUTERMOST)
		return HK_FRAMES_ALL;
	*frame = (struct hk_frame){ place->pc, place->sp, place->fp };
	ended = step_out(frame, high, linked, place);
	while (ended == HK_FRAMES_ALL && place->below != OUTERMOST && place < enough)
		ended = step_out(frame, high, linked, ++place);
	walk->end = (unsigned)(place - walk->places);
	if (ended != HK_FRAMES_ALL)
		return ended;
	walk->end++;
	number_places(walk, at, walk->end);
	return HK_FRAMES_ALL;
}

enum hk_frames_end hk_frames_walk(const void *thread, struct hk_frame *at, uintptr_t high,
				  bool linked, uint32_t generation, hk_stack *stack)
{
	struct last_walk *walk = walk_of(thread);
	struct place before[HK_FRAMES];
	enum hk_frames_end ended;
	unsigned met, n = 0;
	bool all = false;

	if (HK_UNLIKELY(!walk))
		return HK_FRAMES_HARD;
	if (HK_UNLIKELY(walk->generation != generation || !walk->root)) {
		walk->generation = generation;
		walk->root = hk_stacks_root(generation);
		walk->first = walk->end = 0;
	}
	for (met = walk->first; !all; n++) {
		const struct place *place = &walk->places[met];

		for (; met < walk->end && place->sp < at->sp; place++)
			met++;
		if (met < walk->end && place->sp == at->sp && place->pc == at->pc &&
		    place->fp == at->fp)
			break;
		ended = step_out(at, high, linked, &before[n]);
		if (HK_UNLIKELY(ended != HK_FRAMES_ALL))
			return ended;
		all = before[n].below == OUTERMOST || n + 1 == HK_FRAMES;
	}
	/* What comes behind is of another stack; or of this one, but it would become too long. */
	if (all || (met < walk->end && walk->places[met].depth + n > DEPTH_MOST))
		walk->end = all ? met : met + 1;
	met = make_room(walk, met, n);
	walk->first = met - n;
	for (unsigned i = 0; i < n; i++)
		walk->places[walk->first + i] = before[i];
	if (!all) {
		if (n)
			hk_stacks_prefetch(walk->places[met].stack, before[n - 1].pc);
		ended = look_at_callers(walk, met, HK_FRAMES - n, high, linked, at);
		if (HK_UNLIKELY(ended != HK_FRAMES_ALL)) {
			walk->first = walk->end = 0;
			return ended;
		}
	}
	number_places(walk, walk->first, met);
	*stack = walk->places[walk->first].stack;
	return HK_FRAMES_ALL;
}
