/* SPDX-License-Identifier: MIT
 *
 * rseq-x86_64.h - the sequences for x86-64; see rseq.h for what they do.
 *
 * Included by rseq.h alone.  Labels: 1 start, 2 end (the instruction before it commits),
 * 3 the descriptor, 4 the abort handler, which the kernel only enters behind the signature
 * that glibc registered (RSEQ_SIG, here as an undefined instruction's operand).  %fs:8(area)
 * is the area's rseq_cs.  Stores are not reordered on x86: a block stored before the commit
 * is there for whoever sees the count.
 */
#ifndef HK_RSEQ_X86_64_H
#define HK_RSEQ_X86_64_H

#define HK_RSEQ true

/* After this, t is the address of the set. */
#define HK_RSEQ_BEGIN                              \
	".pushsection __rseq_cs, \"aw\"\n\t"       \
	".balign 32\n"                             \
	"3:\n\t"                                   \
	".long 0, 0\n\t"                           \
	".quad 1f, 2f - 1f, 4f\n\t"                \
	".popsection\n\t"                          \
	"leaq 3b(%%rip), %[t]\n\t"                 \
	"movq %[t], %%fs:8(%[area])\n"             \
	"1:\n\t"                                   \
	"movzwl %%fs:(%[id]), %k[t]\n\t"           \
	"movq %c[table](%[sets],%[t],8), %[t]\n\t" \
	"addq %[sets], %[t]\n\t"

#define HK_RSEQ_END                               \
	"2:\n\t"                                  \
	".pushsection __rseq_failure, \"ax\"\n\t" \
	".byte 0x0f, 0xb9, 0x3d\n\t"              \
	".long 0x53053053\n"                      \
	"4:\n\t"                                  \
	"jmp %l[failed]\n\t"                      \
	".popsection\n\t"

#define HK_RSEQ_INPUTS(kind)                                                      \
	[area] "r"(hk_rseq_area), [id] "r"(hk_rseq_id), [sets] "r"(&hk_cpu_sets), \
		[table] "i"(offsetof(struct hk_cpu_sets, table)), [at] "r"(kind), \
		[bottom] "i"(offsetof(struct hk_set, bottom))

/* The block is what lies on top, if that is not the bottom; top - 1 -> top. */
HK_INLINE bool hk_rseq_pop(size_t kind, void **block)
{
	uintptr_t t, top;
	void *popped;

	__asm__ goto volatile(HK_RSEQ_BEGIN "movl (%[t],%[at],8), %k[top]\n\t"
					    "movq (%[t],%[top],8), %[popped]\n\t"
					    "testq %[popped], %[popped]\n\t"
					    "jz %l[failed]\n\t"
					    "subl $1, %k[top]\n\t"
					    "movl %k[top], (%[t],%[at],8)\n" /* commit */
			      HK_RSEQ_END
			      : [t] "=&r"(t), [top] "=&r"(top), [popped] "=&a"(popped)
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
	uintptr_t t, top;

	__asm__ goto volatile(HK_RSEQ_BEGIN "movl (%[t],%[at],8), %k[top]\n\t"
					    "cmpq %[block], (%[t],%[top],8)\n\t"
					    "je %l[there]\n\t"
					    "cmpl 4(%[t],%[at],8), %k[top]\n\t"
					    "jae %l[failed]\n\t"
					    "movq %[block], 8(%[t],%[top],8)\n\t"
					    "addl $1, %k[top]\n\t"
					    "movl %k[top], (%[t],%[at],8)\n" /* commit */
			      HK_RSEQ_END
			      : [t] "=&r"(t), [top] "=&r"(top)
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
 * Move n (not 0) blocks, the last first, two at a time; n is 0 then.  Uses labels 5 to 7.
 * What a restart leaves half done lies above the top, or in the caller's own array.
 */
#define HK_RSEQ_MOVE(to, from, n)                        \
	"testl $1, %k[" n "]\n\t"                        \
	"jz 5f\n\t"                                      \
	"movq -8(%[" from "],%[" n "],8), %[block]\n\t"  \
	"movq %[block], -8(%[" to "],%[" n "],8)\n\t"    \
	"subl $1, %k[" n "]\n\t"                         \
	"jz 6f\n"                                        \
	"5:\n\t"                                         \
	"movups -16(%[" from "],%[" n "],8), %%xmm0\n\t" \
	"movups %%xmm0, -16(%[" to "],%[" n "],8)\n\t"   \
	"subl $2, %k[" n "]\n\t"                         \
	"jnz 5b\n"                                       \
	"6:\n\t"

/* Up to n (not 0) blocks from the end of the magazine into out[], in order; how many. */
static inline uint32_t hk_rseq_pop_batch(size_t kind, void **out, uint32_t n)
{
	uintptr_t t, top, from, block;
	uint64_t left, taken = n;

	__asm__ goto volatile(
		HK_RSEQ_BEGIN
		"movl (%[t],%[at],8), %k[top]\n\t"
		"movl %k[top], %k[left]\n\t"
		"subl %c[bottom](%[t],%[at],8), %k[left]\n\t"
		"jz %l[failed]\n\t"
		"movl %[n], %k[taken]\n\t"
		"cmpl %k[left], %k[taken]\n\t"
		"cmoval %k[left], %k[taken]\n\t"
		"subl %k[taken], %k[top]\n\t"
		"leaq 8(%[t],%[top],8), %[from]\n\t"
		"movl %k[taken], %k[left]\n\t" HK_RSEQ_MOVE(
			"out", "from",
			"left") "movl %k[top], (%[t],%[at],8)\n" /* commit */
		HK_RSEQ_END
		: [t] "=&r"(t), [top] "=&r"(top), [from] "=&r"(from),
		  [block] "=&r"(block), [left] "=&r"(left), [taken] "=&r"(taken)
		: HK_RSEQ_INPUTS(kind), [out] "r"(out), [n] "r"(n)
		: "memory", "cc", "xmm0"
		: failed);
	return (uint32_t)taken;
failed:
	return 0;
}

/* As many of n (not 0) blocks as there is room for, in order, from the first; how many. */
static inline uint32_t hk_rseq_push_batch(size_t kind, void *const *in, uint32_t n)
{
	uintptr_t t, top, to, block, left;
	uint64_t put;

	__asm__ goto volatile(
		HK_RSEQ_BEGIN
		"movl (%[t],%[at],8), %k[top]\n\t"
		"movl 4(%[t],%[at],8), %k[put]\n\t"
		"subl %k[top], %k[put]\n\t"
		"jbe %l[failed]\n\t"
		"cmpl %[n], %k[put]\n\t"
		"cmoval %[n], %k[put]\n\t"
		"leaq 8(%[t],%[top],8), %[to]\n\t"
		"addl %k[put], %k[top]\n\t"
		"movl %k[put], %k[left]\n\t" HK_RSEQ_MOVE(
			"to", "in", "left") "movl %k[top], (%[t],%[at],8)\n" /* commit */
		HK_RSEQ_END
		: [t] "=&r"(t), [top] "=&r"(top), [to] "=&r"(to), [block] "=&r"(block),
		  [left] "=&r"(left), [put] "=&r"(put)
		: HK_RSEQ_INPUTS(kind), [in] "r"(in), [n] "r"(n)
		: "memory", "cc", "xmm0"
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
	uintptr_t t, top, to, block;
	uint64_t left, put;

	__asm__ goto volatile(
		HK_RSEQ_BEGIN "movl (%[t],%[at],8), %k[top]\n\t"
			      "movl 4(%[t],%[at],8), %k[put]\n\t"
			      "subl %k[top], %k[put]\n\t"
			      "jbe %l[failed]\n\t"
			      "cmpl %[n], %k[put]\n\t"
			      "cmoval %[n], %k[put]\n\t"
			      "leaq 8(%[t],%[top],8), %[to]\n\t"
			      "addl %k[put], %k[top]\n\t"
			      "movl %k[put], %k[left]\n\t"
			      "movq %[first], %[block]\n\t"
			      "5:\n\t" /* one by one, until four by four is even */
			      "testl $3, %k[left]\n\t"
			      "jz 6f\n\t"
			      "movq %[block], (%[to])\n\t"
			      "addq %[step], %[block]\n\t"
			      "addq $8, %[to]\n\t"
			      "subl $1, %k[left]\n\t"
			      "jmp 5b\n"
			      "6:\n\t"
			      "testl %k[left], %k[left]\n\t"
			      "jz 8f\n\t"
			      "movq %[block], %%xmm0\n\t"
			      "addq %[step], %[block]\n\t"
			      "movq %[block], %%xmm2\n\t"
			      "punpcklqdq %%xmm2, %%xmm0\n\t"
			      "addq %[step], %[block]\n\t"
			      "movq %[block], %%xmm1\n\t"
			      "addq %[step], %[block]\n\t"
			      "movq %[block], %%xmm2\n\t"
			      "punpcklqdq %%xmm2, %%xmm1\n\t"
			      "leaq (,%[step],4), %[block]\n\t"
			      "movq %[block], %%xmm2\n\t"
			      "punpcklqdq %%xmm2, %%xmm2\n"
			      "7:\n\t"
			      "movups %%xmm0, (%[to])\n\t"
			      "movups %%xmm1, 16(%[to])\n\t"
			      "paddq %%xmm2, %%xmm0\n\t"
			      "paddq %%xmm2, %%xmm1\n\t"
			      "addq $32, %[to]\n\t"
			      "subl $4, %k[left]\n\t"
			      "jnz 7b\n"
			      "8:\n\t"
			      "movl %k[top], (%[t],%[at],8)\n" /* commit */
		HK_RSEQ_END
		: [t] "=&r"(t), [top] "=&r"(top), [to] "=&r"(to), [block] "=&r"(block),
		  [left] "=&r"(left), [put] "=&r"(put)
		: HK_RSEQ_INPUTS(kind), [first] "r"(first), [step] "r"(step), [n] "r"(n)
		: "memory", "cc", "xmm0", "xmm1", "xmm2"
		: failed);
	return (uint32_t)put;
failed:
	return 0;
}

/*
 * From the end of the magazine up to n neighbours of that size, in either direction: *last is
 * the magazine's last, the one before it lies *step bytes before it, and so on.  How many; 0
 * also if there are fewer than least (2 or more) to be had.  Looks at four at a time, so
 * what n and the magazine's count have beyond a multiple of that stays.
 */
static inline uint32_t hk_rseq_pop_run(size_t kind, uint32_t n, uint32_t least,
				       ptrdiff_t size, char **last, ptrdiff_t *step)
{
	uintptr_t t, top, from, end, between, left, taken, same;

	__asm__ goto volatile(
		HK_RSEQ_BEGIN
		"movl (%[t],%[at],8), %k[top]\n\t"
		"movl %k[top], %k[left]\n\t"
		"subl %c[bottom](%[t],%[at],8), %k[left]\n\t"
		"movl %[n], %k[taken]\n\t"
		"cmpl %k[left], %k[taken]\n\t"
		"cmoval %k[left], %k[taken]\n\t"
		"andl $-4, %k[taken]\n\t"
		"jz %l[failed]\n\t"
		"leaq (%[t],%[top],8), %[from]\n\t"
		"movq (%[from]), %[end]\n\t"
		"movq %[end], %[between]\n\t"
		"subq -8(%[from]), %[between]\n\t"
		"movq %[between], %[left]\n\t"
		"negq %[left]\n\t"
		"cmovsq %[between], %[left]\n\t" /* its magnitude */
		"cmpq %[size], %[left]\n\t"
		"jne %l[failed]\n\t"
		/* Two ought to be xmm0, the two before xmm1; xmm2 is the way to four before. */
		"movq %[end], %[left]\n\t"
		"movq %[left], %%xmm2\n\t"
		"subq %[between], %[left]\n\t"
		"movq %[left], %%xmm0\n\t"
		"punpcklqdq %%xmm2, %%xmm0\n\t"
		"subq %[between], %[left]\n\t"
		"movq %[left], %%xmm2\n\t"
		"subq %[between], %[left]\n\t"
		"movq %[left], %%xmm1\n\t"
		"punpcklqdq %%xmm2, %%xmm1\n\t"
		"leaq (,%[between],4), %[left]\n\t"
		"movq %[left], %%xmm2\n\t"
		"punpcklqdq %%xmm2, %%xmm2\n\t"
		"movl %k[taken], %k[left]\n"
		"5:\n\t"
		"movups -8(%[from]), %%xmm3\n\t"
		"movups -24(%[from]), %%xmm4\n\t"
		"pcmpeqd %%xmm0, %%xmm3\n\t"
		"pcmpeqd %%xmm1, %%xmm4\n\t"
		"pand %%xmm4, %%xmm3\n\t"
		"psubq %%xmm2, %%xmm0\n\t"
		"psubq %%xmm2, %%xmm1\n\t"
		"pmovmskb %%xmm3, %k[same]\n\t"
		"subq $32, %[from]\n\t"
		"cmpl $0xffff, %k[same]\n\t"
		"jne 6f\n\t"
		"subl $4, %k[left]\n\t"
		"jnz 5b\n\t"
		"jmp 8f\n"
		"6:\n\t" /* the last is one; of the other three, which? */
		"addq $32, %[from]\n\t"
		"cmpl %k[left], %k[taken]\n\t"
		"jne 7f\n\t"
		"subq $8, %[from]\n\t"
		"subl $1, %k[left]\n"
		"7:\n\t"
		"movq 8(%[from]), %[same]\n\t"
		"subq %[between], %[same]\n\t"
		"cmpq (%[from]), %[same]\n\t"
		"jne 8f\n\t"
		"subq $8, %[from]\n\t"
		"subl $1, %k[left]\n\t"
		"jmp 7b\n"
		"8:\n\t"
		"subl %k[left], %k[taken]\n\t"
		"cmpl %[least], %k[taken]\n\t"
		"jb %l[failed]\n\t"
		"subl %k[taken], %k[top]\n\t"
		"movl %k[top], (%[t],%[at],8)\n" /* commit */
		HK_RSEQ_END
		: [t] "=&r"(t), [top] "=&r"(top), [from] "=&r"(from), [end] "=&r"(end),
		  [between] "=&r"(between), [left] "=&r"(left), [taken] "=&r"(taken),
		  [same] "=&r"(same)
		: HK_RSEQ_INPUTS(kind), [n] "rm"(n), [least] "rm"(least), [size] "rm"(size)
		: "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4"
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
	uintptr_t t;

	__asm__ goto volatile(
		HK_RSEQ_BEGIN "cmpq %[wanted], %[t]\n\t"
			      "jne %l[failed]\n\t"
			      "cmpl %[old], 4(%[t],%[at],8)\n\t"
			      "jne %l[failed]\n\t"
			      "movl %[new], 4(%[t],%[at],8)\n" /* commit */
		HK_RSEQ_END
		: [t] "=&r"(t)
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

	__asm__ volatile("movzwl %%fs:(%[id_at]), %[id]"
			 : [id] "=r"(id)
			 : [id_at] "r"(hk_rseq_id)
			 : "memory");
	return id;
}

#endif /* HK_RSEQ_X86_64_H */
