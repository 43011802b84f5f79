/* SPDX-License-Identifier: MIT
 *
 * rseq-aarch64.h - the sequences for 64-bit Arm; see rseq.h for what they do.
 *
 * Included by rseq.h alone.  Labels: 1 start, 2 end (the instruction before it commits),
 * 3 the descriptor, 4 the abort handler, behind the signature that glibc registered
 * (RSEQ_SIG).  cs is the address of the area's rseq_cs, at of its id.  Stores may be
 * reordered here, so a push commits by a store-release: the block is there for whoever sees
 * the count, be it the child of fork() or a thread that has stopped this CPU's set.
 */
#ifndef HK_RSEQ_AARCH64_H
#define HK_RSEQ_AARCH64_H

#define HK_RSEQ true

/* After this, t is the address of the magazine's element in the set's first array. */
#define HK_RSEQ_BEGIN                            \
	".pushsection __rseq_cs, \"aw\"\n\t"     \
	".balign 32\n"                           \
	"3:\n\t"                                 \
	".word 0, 0\n\t"                         \
	".quad 1f, 2f - 1f, 4f\n\t"              \
	".popsection\n\t"                        \
	"adrp %[t], 3b\n\t"                      \
	"add %[t], %[t], :lo12:3b\n\t"           \
	"str %[t], [%[cs]]\n"                    \
	"1:\n\t"                                 \
	"ldrh %w[t], [%[at]]\n\t"                \
	"ldr %[t], [%[table], %[t], lsl #3]\n\t" \
	"add %[t], %[t], %[magazine]\n\t"

#define HK_RSEQ_END                               \
	"2:\n\t"                                  \
	".pushsection __rseq_failure, \"ax\"\n\t" \
	".inst 0xd428bc00\n"                      \
	"4:\n\t"                                  \
	"b %l[failed]\n\t"                        \
	".popsection\n\t"

#define HK_RSEQ_INPUTS(kind)                                                            \
	[cs] "r"((char *)__builtin_thread_pointer() + hk_rseq_area + 8),                \
		[at] "r"((char *)__builtin_thread_pointer() + hk_rseq_id),              \
		[table] "r"(hk_cpu_sets.table), [magazine] "r"(hk_rseq_magazine(kind)), \
		[blocks_after] "i"(offsetof(struct hk_set, blocks))

/* count - 1 -> count; the block is what lay there. */
HK_INLINE bool hk_rseq_pop(size_t kind, void **block)
{
	uintptr_t t, count;
	void *popped;

	__asm__ goto volatile(HK_RSEQ_BEGIN
			      "ldr %w[count], [%[t]]\n\t"
			      "cbz %w[count], %l[failed]\n\t"
			      "ldr %[popped], [%[t], #%c[blocks_after]]\n\t"
			      "sub %w[count], %w[count], #1\n\t"
			      "ldr %[popped], [%[popped], %[count], lsl #3]\n\t"
			      "str %w[count], [%[t]]\n" /* commit */
			      HK_RSEQ_END
			      : [t] "=&r"(t), [count] "=&r"(count), [popped] "=&r"(popped)
			      : HK_RSEQ_INPUTS(kind)
			      : "memory", "cc"
			      : failed);
	*block = popped;
	return true;
failed:
	return false;
}

/* The block goes where count points; count + 1 -> count. */
HK_INLINE bool hk_rseq_push(size_t kind, void *block)
{
	uintptr_t t, count, blocks;

	__asm__ goto volatile(HK_RSEQ_BEGIN
			      "ldp %w[count], %w[blocks], [%[t]]\n\t"
			      "cmp %w[count], %w[blocks]\n\t"
			      "b.hs %l[failed]\n\t"
			      "ldr %[blocks], [%[t], #%c[blocks_after]]\n\t"
			      "str %[block], [%[blocks], %[count], lsl #3]\n\t"
			      "add %w[count], %w[count], #1\n\t"
			      "stlr %w[count], [%[t]]\n" /* commit */
			      HK_RSEQ_END
			      : [t] "=&r"(t), [count] "=&r"(count), [blocks] "=&r"(blocks)
			      : HK_RSEQ_INPUTS(kind), [block] "r"(block)
			      : "memory", "cc"
			      : failed);
	return true;
failed:
	return false;
}

/* Up to n (not 0) blocks from the end of the magazine into out[], in order; how many. */
static inline uint32_t hk_rseq_pop_batch(size_t kind, void **out, uint32_t n)
{
	uintptr_t t, count, from, block, i, taken;

	__asm__ goto volatile(HK_RSEQ_BEGIN "ldr %w[count], [%[t]]\n\t"
					    "cbz %w[count], %l[failed]\n\t"
					    "cmp %w[n], %w[count]\n\t"
					    "csel %w[taken], %w[n], %w[count], ls\n\t"
					    "sub %w[count], %w[count], %w[taken]\n\t"
					    "ldr %[from], [%[t], #%c[blocks_after]]\n\t"
					    "add %[from], %[from], %[count], lsl #3\n\t"
					    "mov %w[i], %w[taken]\n"
					    "5:\n\t"
					    "sub %w[i], %w[i], #1\n\t"
					    "ldr %[block], [%[from], %[i], lsl #3]\n\t"
					    "str %[block], [%[out], %[i], lsl #3]\n\t"
					    "cbnz %w[i], 5b\n\t"
					    "stlr %w[count], [%[t]]\n" /* commit */
			      HK_RSEQ_END
			      : [t] "=&r"(t), [count] "=&r"(count), [from] "=&r"(from),
				[block] "=&r"(block), [i] "=&r"(i), [taken] "=&r"(taken)
			      : HK_RSEQ_INPUTS(kind), [out] "r"(out), [n] "r"(n)
			      : "memory", "cc"
			      : failed);
	return (uint32_t)taken;
failed:
	return 0;
}

/* As many of n (not 0) blocks as there is room for, in order, from the first; how many. */
static inline uint32_t hk_rseq_push_batch(size_t kind, void *const *in, uint32_t n)
{
	uintptr_t t, count, to, block, i, put;

	__asm__ goto volatile(HK_RSEQ_BEGIN "ldp %w[count], %w[put], [%[t]]\n\t"
					    "subs %w[put], %w[put], %w[count]\n\t"
					    "b.ls %l[failed]\n\t"
					    "cmp %w[n], %w[put]\n\t"
					    "csel %w[put], %w[n], %w[put], ls\n\t"
					    "ldr %[to], [%[t], #%c[blocks_after]]\n\t"
					    "add %[to], %[to], %[count], lsl #3\n\t"
					    "add %w[count], %w[count], %w[put]\n\t"
					    "mov %w[i], %w[put]\n"
					    "5:\n\t"
					    "sub %w[i], %w[i], #1\n\t"
					    "ldr %[block], [%[in], %[i], lsl #3]\n\t"
					    "str %[block], [%[to], %[i], lsl #3]\n\t"
					    "cbnz %w[i], 5b\n\t"
					    "stlr %w[count], [%[t]]\n" /* commit */
			      HK_RSEQ_END
			      : [t] "=&r"(t), [count] "=&r"(count), [to] "=&r"(to),
				[block] "=&r"(block), [i] "=&r"(i), [put] "=&r"(put)
			      : HK_RSEQ_INPUTS(kind), [in] "r"(in), [n] "r"(n)
			      : "memory", "cc"
			      : failed);
	return (uint32_t)put;
failed:
	return 0;
}

/* If the id's set is this one, and the capacity is old: it is new.  The id runs here. */
static inline bool hk_rseq_set_capacity(size_t kind, const struct hk_set *set,
					uint32_t old, uint32_t new)
{
	uintptr_t t, capacity;

	__asm__ goto volatile(HK_RSEQ_BEGIN "cmp %[t], %[wanted]\n\t"
					    "b.ne %l[failed]\n\t"
					    "ldr %w[capacity], [%[t], #4]\n\t"
					    "cmp %w[capacity], %w[old]\n\t"
					    "b.ne %l[failed]\n\t"
					    "str %w[new], [%[t], #4]\n" /* commit */
			      HK_RSEQ_END
			      : [t] "=&r"(t), [capacity] "=&r"(capacity)
			      : HK_RSEQ_INPUTS(kind), [wanted] "r"(&set->magazine[kind]),
				[old] "r"(old), [new] "r"(new)
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

	__asm__ volatile("ldrh %w[id], [%[at]]"
			 : [id] "=r"(id)
			 : [at] "r"((char *)__builtin_thread_pointer() + hk_rseq_id)
			 : "memory");
	return id;
}

#endif /* HK_RSEQ_AARCH64_H */
