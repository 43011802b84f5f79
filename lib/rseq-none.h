/* SPDX-License-Identifier: MIT
 *
 * rseq-none.h - machines without sequences of ours: hk_rseq_area stays 0, and none of these
 * is ever called.  Included by rseq.h alone.
 */
#ifndef HK_RSEQ_NONE_H
#define HK_RSEQ_NONE_H

#define HK_RSEQ false

static inline bool hk_rseq_pop(size_t kind, void **block)
{
	(void)kind;
	(void)block;
	return false;
}

static inline enum hk_pushed hk_rseq_push(size_t kind, void *block)
{
	(void)kind;
	(void)block;
	return HK_NOT_PUSHED;
}

static inline uint32_t hk_rseq_pop_batch(size_t kind, void **out, uint32_t n)
{
	(void)kind;
	(void)out;
	(void)n;
	return 0;
}

static inline uint32_t hk_rseq_push_batch(size_t kind, void *const *in, uint32_t n)
{
	(void)kind;
	(void)in;
	(void)n;
	return 0;
}

static inline uint32_t hk_rseq_push_run(size_t kind, const char *first, ptrdiff_t step,
					uint32_t n)
{
	(void)kind;
	(void)first;
	(void)step;
	(void)n;
	return 0;
}

static inline uint32_t hk_rseq_pop_run(size_t kind, uint32_t n, uint32_t least,
				       ptrdiff_t size, char **last, ptrdiff_t *step)
{
	(void)kind;
	(void)n;
	(void)least;
	(void)size;
	(void)last;
	(void)step;
	return 0;
}

static inline bool hk_rseq_set_limit(size_t kind, const struct hk_set *set, uint32_t old,
				     uint32_t new)
{
	(void)kind;
	(void)set;
	(void)old;
	(void)new;
	return false;
}

static inline unsigned hk_rseq_current(void)
{
	return 0;
}

#endif /* HK_RSEQ_NONE_H */
