/* SPDX-License-Identifier: MIT
 *
 * rseq-aarch64.h - the sequences for 64-bit Arm; see rseq.h for what they do.
 *
 * Included by rseq.h alone.  Labels: 1 start, 2 end (the instruction before it commits),
 * 3 the descriptor, 4 the abort handler, behind the signature that glibc registered
 * (RSEQ_SIG, an instruction that nothing else uses).  8(area) is the area's rseq_cs.  The
 * kernel goes to the handler by no branch, so that it needs no landing pad (BTI).
 *
 * Stores are reordered here, and loads pass them; yet the commits are plain stores, and what
 * precedes them plain loads and stores.  Whoever looks has an order from elsewhere:
 *
 *   the next sequence of the same id   runs on the same processor, which sees its own
 *                                      accesses in their order, or the kernel has passed
 *                                      full barriers as it moved thread or id
 *   who has stopped the set            membarrier: each processor that ran a thread of ours
 *                                      passes a full barrier between its last commit and the
 *                                      call's end, and another between the call's begin and
 *                                      its next sequence, which so finds no set
 *   a sequence after let_go()          what it loads and stores depends by address on the
 *                                      distance, which was stored with release
 *   the child of fork()                has the pages as they were when the parent's
 *                                      translations were invalidated, which waits for the
 *                                      stores that used them; who finds them gone waits for
 *                                      fork() to end.  So it has the stores of each
 *                                      processor up to some point in their program's order
 *
 * and who only estimates reads the top and no block.
 */
#ifndef HK_RSEQ_AARCH64_H
#define HK_RSEQ_AARCH64_H

#define HK_RSEQ true

/* The distance of the magazine of this kind in the set `none'. */
static inline uintptr_t hk_rseq_magazine(size_t kind)
{
	return (uintptr_t)&hk_cpu_sets.none + kind * sizeof(struct hk_magazine);
}

/* After this, t is the address of the set, and at that of the magazine. */
#define HK_RSEQ_BEGIN                         \
	".pushsection __rseq_cs, \"aw\"\n\t"  \
	".balign 32\n"                        \
	"3:\n\t"                              \
	".word 0, 0\n\t"                      \
	".quad 1f, 2f - 1f, 4f\n\t"           \
	".popsection\n\t"                     \
	"adrp %[t], 3b\n\t"                   \
	"add %[t], %[t], :lo12:3b\n\t"        \
	"str %[t], [%[area], #8]\n"           \
	"1:\n\t"                              \
	"ldrh %w[t], [%[thread], %[id]]\n\t"  \
	"add %[t], %[sets], %[t], lsl #3\n\t" \
	"ldr %[t], [%[t], #%c[table]]\n\t"    \
	"add %[at], %[t], %[magazine]\n\t"    \
	"add %[t], %[t], %[sets]\n\t"

#define HK_RSEQ_END                               \
	"2:\n\t"                                  \
	".pushsection __rseq_failure, \"ax\"\n\t" \
	".inst 0xd428bc00\n"                      \
	"4:\n\t"                                  \
	"b %l[failed]\n\t"                        \
	".popsection\n\t"

#define HK_RSEQ_INPUTS(kind)                                                    \
	[area] "r"((char *)__builtin_thread_pointer() + hk_rseq_area),          \
		[thread] "r"(__builtin_thread_pointer()), [id] "r"(hk_rseq_id), \
		[sets] "r"(&hk_cpu_sets),                                       \
		[table] "i"(offsetof(struct hk_cpu_sets, table)),               \
		[magazine] "r"(hk_rseq_magazine(kind)),                         \
		[bottom] "i"(offsetof(struct hk_set, bottom))

/* The block is what lies on top, if that is not the bottom; top - 1 -> top. */
HK_INLINE bool hk_rseq_pop(size_t kind, void **block)
{
	uintptr_t t, at, top;
	void *popped;

	__asm__ goto volatile(
		HK_RSEQ_BEGIN "ldr %w[top], [%[at]]\n\t"
			      "ldr %[popped], [%[t], %[top], lsl #3]\n\t"
			      "cbz %[popped], %l[failed]\n\t"
			      "sub %w[top], %w[top], #1\n\t"
			      "str %w[top], [%[at]]\n" /* commit */
		HK_RSEQ_END
		: [t] "=&r"(t), [at] "=&r"(at), [top] "=&r"(top), [popped] "=&r"(popped)
		: HK_RSEQ_INPUTS(kind)
		: "memory", "cc"
		: failed);
	*block = popped;
	return true;
failed:
	return false;
}

/* The block goes above the top, unless it lies there; top + 1 -> top. */
HK_INLINE enum hk_pushed hk_rseq_push(size_t kind, void *block)
{
	uintptr_t t, at, top, limit, last;

	__asm__ goto volatile(HK_RSEQ_BEGIN "ldp %w[top], %w[limit], [%[at]]\n\t"
					    "ldr %[last], [%[t], %[top], lsl #3]\n\t"
					    "cmp %[last], %[block]\n\t"
					    "b.eq %l[there]\n\t"
					    "cmp %w[top], %w[limit]\n\t"
					    "b.hs %l[failed]\n\t"
					    "add %w[top], %w[top], #1\n\t"
					    "str %[block], [%[t], %[top], lsl #3]\n\t"
					    "str %w[top], [%[at]]\n" /* commit */
			      HK_RSEQ_END
			      : [t] "=&r"(t), [at] "=&r"(at), [top] "=&r"(top),
				[limit] "=&r"(limit), [last] "=&r"(last)
			      : HK_RSEQ_INPUTS(kind), [block] "r"(block)
			      : "memory", "cc"
			      : failed, there);
	return HK_PUSHED;
failed:
	return HK_NOT_PUSHED;
there:
	return HK_LIES_ON_TOP;
}

/*
 * Move n (not 0) blocks, the first first, two at a time; both pointers go along, and n is 0
 * then.  Uses labels 5 and 6.  What a restart leaves half done lies above the top, or in the
 * caller's own array.  No pair needs to lie in one granule of 16 bytes: nobody looks yet.
 */
#define HK_RSEQ_MOVE(to, from, n)                         \
	"tbz %w[" n "], #0, 5f\n\t"                       \
	"ldr %[block], [%[" from "]], #8\n\t"             \
	"str %[block], [%[" to "]], #8\n\t"               \
	"subs %w[" n "], %w[" n "], #1\n\t"               \
	"b.eq 6f\n"                                       \
	"5:\n\t"                                          \
	"ldp %[block], %[second], [%[" from "]], #16\n\t" \
	"stp %[block], %[second], [%[" to "]], #16\n\t"   \
	"subs %w[" n "], %w[" n "], #2\n\t"               \
	"b.ne 5b\n"                                       \
	"6:\n\t"

/* Up to n (not 0) blocks from the end of the magazine into out[], in order; how many. */
static inline uint32_t hk_rseq_pop_batch(size_t kind, void **out, uint32_t n)
{
	uintptr_t t, at, top, from, block, second;
	uint64_t left, taken;

	__asm__ goto volatile(
		HK_RSEQ_BEGIN
		"ldr %w[top], [%[at]]\n\t"
		"ldr %w[left], [%[at], #%c[bottom]]\n\t"
		"subs %w[left], %w[top], %w[left]\n\t"
		"b.eq %l[failed]\n\t"
		"cmp %w[n], %w[left]\n\t"
		"csel %w[taken], %w[n], %w[left], ls\n\t"
		"sub %w[top], %w[top], %w[taken]\n\t"
		"add %[from], %[t], %[top], lsl #3\n\t"
		"add %[from], %[from], #8\n\t"
		"mov %w[left], %w[taken]\n\t" HK_RSEQ_MOVE(
			"out", "from", "left") "str %w[top], [%[at]]\n" /* commit */
		HK_RSEQ_END
		: [t] "=&r"(t), [at] "=&r"(at), [top] "=&r"(top), [from] "=&r"(from),
		  [block] "=&r"(block), [second] "=&r"(second), [left] "=&r"(left),
		  [taken] "=&r"(taken), [out] "+&r"(out)
		: HK_RSEQ_INPUTS(kind), [n] "r"(n)
		: "memory", "cc"
		: failed);
	return (uint32_t)taken;
failed:
	return 0;
}

/* As many of n (not 0) blocks as there is room for, in order, from the first; how many. */
static inline uint32_t hk_rseq_push_batch(size_t kind, void *const *in, uint32_t n)
{
	uintptr_t t, at, top, to, block, second;
	uint64_t left, put;

	__asm__ goto volatile(
		HK_RSEQ_BEGIN
		"ldp %w[top], %w[put], [%[at]]\n\t"
		"subs %w[put], %w[put], %w[top]\n\t"
		"b.ls %l[failed]\n\t"
		"cmp %w[n], %w[put]\n\t"
		"csel %w[put], %w[n], %w[put], ls\n\t"
		"add %[to], %[t], %[top], lsl #3\n\t"
		"add %[to], %[to], #8\n\t"
		"add %w[top], %w[top], %w[put]\n\t"
		"mov %w[left], %w[put]\n\t" HK_RSEQ_MOVE(
			"to", "in", "left") "str %w[top], [%[at]]\n" /* commit */
		HK_RSEQ_END
		: [t] "=&r"(t), [at] "=&r"(at), [top] "=&r"(top), [to] "=&r"(to),
		  [block] "=&r"(block), [second] "=&r"(second), [left] "=&r"(left),
		  [put] "=&r"(put), [in] "+&r"(in)
		: HK_RSEQ_INPUTS(kind), [n] "r"(n)
		: "memory", "cc"
		: failed);
	return (uint32_t)put;
failed:
	return 0;
}

/*
 * As hk_rseq_push_batch() for n (not 0) blocks of which each lies step bytes after the one
 * before.  They come from a slab whole, so none has to be written down twice.
 */
static inline uint32_t hk_rseq_push_run(size_t kind, const char *first, ptrdiff_t step,
					uint32_t n)
{
	uintptr_t t, at, top, to, block, left, put;

	__asm__ goto volatile(
		HK_RSEQ_BEGIN "ldp %w[top], %w[put], [%[at]]\n\t"
			      "subs %w[put], %w[put], %w[top]\n\t"
			      "b.ls %l[failed]\n\t"
			      "cmp %w[n], %w[put]\n\t"
			      "csel %w[put], %w[n], %w[put], ls\n\t"
			      "add %[to], %[t], %[top], lsl #3\n\t"
			      "add %[to], %[to], #8\n\t"
			      "add %w[top], %w[top], %w[put]\n\t"
			      "mov %[block], %[first]\n\t"
			      "mov %w[left], %w[put]\n"
			      "5:\n\t"
			      "str %[block], [%[to]], #8\n\t"
			      "add %[block], %[block], %[step]\n\t"
			      "subs %w[left], %w[left], #1\n\t"
			      "b.ne 5b\n\t"
			      "str %w[top], [%[at]]\n" /* commit */
		HK_RSEQ_END
		: [t] "=&r"(t), [at] "=&r"(at), [top] "=&r"(top), [to] "=&r"(to),
		  [block] "=&r"(block), [left] "=&r"(left), [put] "=&r"(put)
		: HK_RSEQ_INPUTS(kind), [first] "r"(first), [step] "r"(step), [n] "r"(n)
		: "memory", "cc"
		: failed);
	return (uint32_t)put;
failed:
	return 0;
}

/*
 * From the end of the magazine up to n neighbours of that size, in either direction: *last is
 * the magazine's last, the one before it lies *step bytes before it, and so on.  How many; 0
 * also if there are fewer than least (2 or more) to be had.
 */
static inline uint32_t hk_rseq_pop_run(size_t kind, uint32_t n, uint32_t least,
				       ptrdiff_t size, char **last, ptrdiff_t *step)
{
	uintptr_t t, at, top, from, end, between, block, wanted, left, taken;

	__asm__ goto volatile(
		HK_RSEQ_BEGIN "ldr %w[top], [%[at]]\n\t"
			      "ldr %w[left], [%[at], #%c[bottom]]\n\t"
			      "sub %w[left], %w[top], %w[left]\n\t"
			      "cmp %w[n], %w[left]\n\t"
			      "csel %w[taken], %w[n], %w[left], ls\n\t"
			      "cmp %w[taken], %w[least]\n\t"
			      "b.lo %l[failed]\n\t"
			      "add %[from], %[t], %[top], lsl #3\n\t"
			      "ldr %[end], [%[from]]\n\t"
			      "ldr %[block], [%[from], #-8]\n\t"
			      "sub %[between], %[end], %[block]\n\t"
			      "cmp %[between], %[size]\n\t"
			      "b.eq 5f\n\t"
			      "cmn %[between], %[size]\n\t"
			      "b.ne %l[failed]\n"
			      "5:\n\t"
			      "mov %[wanted], %[end]\n\t"
			      "mov %w[left], %w[taken]\n"
			      "6:\n\t" /* is the one before where this says? */
			      "subs %w[left], %w[left], #1\n\t"
			      "b.eq 7f\n\t"
			      "sub %[wanted], %[wanted], %[between]\n\t"
			      "ldr %[block], [%[from], #-8]!\n\t"
			      "cmp %[block], %[wanted]\n\t"
			      "b.eq 6b\n"
			      "7:\n\t"
			      "sub %w[taken], %w[taken], %w[left]\n\t"
			      "cmp %w[taken], %w[least]\n\t"
			      "b.lo %l[failed]\n\t"
			      "sub %w[top], %w[top], %w[taken]\n\t"
			      "str %w[top], [%[at]]\n" /* commit */
		HK_RSEQ_END
		: [t] "=&r"(t), [at] "=&r"(at), [top] "=&r"(top), [from] "=&r"(from),
		  [end] "=&r"(end), [between] "=&r"(between), [block] "=&r"(block),
		  [wanted] "=&r"(wanted), [left] "=&r"(left), [taken] "=&r"(taken)
		: HK_RSEQ_INPUTS(kind), [n] "r"(n), [least] "r"(least), [size] "r"(size)
		: "memory", "cc"
		: failed);
	*last = (char *)end;
	*step = (ptrdiff_t)between;
	return (uint32_t)taken;
failed:
	return 0;
}

/* If the id's set is this one, and the limit is old: it is new.  The id runs here. */
static inline bool hk_rseq_set_limit(size_t kind, const struct hk_set *set, uint32_t old,
				     uint32_t new)
{
	uintptr_t t, at, limit;

	__asm__ goto volatile(
		HK_RSEQ_BEGIN "cmp %[t], %[wanted]\n\t"
			      "b.ne %l[failed]\n\t"
			      "ldr %w[limit], [%[at], #4]\n\t"
			      "cmp %w[limit], %w[old]\n\t"
			      "b.ne %l[failed]\n\t"
			      "str %w[new], [%[at], #4]\n" /* commit */
		HK_RSEQ_END
		: [t] "=&r"(t), [at] "=&r"(at), [limit] "=&r"(limit)
		: HK_RSEQ_INPUTS(kind), [wanted] "r"(set), [old] "r"(old), [new] "r"(new)
		: "memory", "cc"
		: failed);
	return true;
failed:
	return false;
}

/* The id under which the thread runs at this moment; it may be another at the next. */
static inline unsigned hk_rseq_current(void)
{
	unsigned id;

	__asm__ volatile(
		"ldrh %w[id], [%[thread], %[id_at]]"
		: [id] "=r"(id)
		: [thread] "r"(__builtin_thread_pointer()), [id_at] "r"(hk_rseq_id)
		: "memory");
	return id;
}

#endif /* HK_RSEQ_AARCH64_H */
