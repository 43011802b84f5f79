/* SPDX-License-Identifier: MIT
 *
 * magazine.h - bounded arrays of free blocks, one per size class and CPU (or thread); the
 * fast paths of malloc and free pop and push here and nowhere else (Bonwick and Adams,
 * "Magazines and Vmem", USENIX 2001).
 *
 * Two forms, chosen at start: per CPU by restartable sequences (rseq.h), else per thread
 * (thread_set.h).  Above and below the operations here, they are the same code.
 *
 * In both, a set that is not there, or that is being flushed, looks like one whose magazines
 * have neither blocks nor room; and the kinds that are no class (0: not ours, medium, large)
 * have such a magazine in every set.  So the fast paths test for an empty or a full magazine
 * and for nothing else, where sequences are used at all.
 *
 * fork(): a magazine is changed by one store of top that follows the stores of blocks;
 * batches move to and from the depot under the class's lock, which fork() holds.  The child
 * sees each CPU's stores in order, so it finds every block in a slab, in the depot, in a
 * magazine or with the program.
 */
#ifndef HK_MAGAZINE_H
#define HK_MAGAZINE_H

#include "rseq.h"
#include "size_class.h"
#include "thread_set.h"

/* What hk_magazine_flush() did. */
struct hk_flushed {
	uint64_t blocks, bytes, unreached;
};

/*
 * Only where sequences are used; magazines of threads are the slow paths'.  A block of the
 * class; false: the magazine is empty, or this kind has none.
 */
HK_INLINE bool hk_magazine_pop(size_t kind, void **block)
{
	return HK_RSEQ && hk_rseq_pop(kind, block);
}

/* Likewise. */
HK_INLINE enum hk_pushed hk_magazine_push(size_t kind, void *block)
{
	return HK_RSEQ ? hk_rseq_push(kind, block) : HK_NOT_PUSHED;
}

/*
 * The slow paths.  A block from depot or slab, and a batch for the magazine; NULL: no
 * memory.  *zero: the block reads as zero.  The reverse: a batch of the magazine to the
 * depot, and the block.  function names the entry point in messages.
 */
void *hk_magazine_refill(unsigned size_class, bool *zero);
void hk_magazine_spill(unsigned size_class, void *block, const char *function);

/*
 * When that had no memory: TINY_FIRST classes take a block of a larger class, of as many as
 * have the alignment that is asked for.
 */
void *hk_magazine_take_larger(unsigned size_class, size_t alignment, bool *zero);

/* Say that HK_LIES_ON_TOP came of a push, and abort. */
HK_COLD _Noreturn void hk_magazine_report_twice(unsigned size_class, const void *block,
						const char *function);

/*
 * Send every block home: of the calling thread's, or its CPU's, magazines (all = false), or
 * of all magazines and depots.  unreached counts magazines' sets that could not be reached;
 * never any in the per-CPU form.
 */
void hk_magazine_flush(bool all, struct hk_flushed *flushed, const char *function);

/* As hk_magazine_flush(true, ...), and the pages of the emptied arrays go back, too. */
void hk_magazine_release(struct hk_flushed *flushed, const char *function);

/*
 * At a slow path, also of blocks that no magazine holds; under no lock.  Once in an interval:
 * what this CPU's, or thread's, magazines and all depots held in vain goes home, and the pool
 * is tidied.  may_start: see background.h, which does all this on its own time if it is asked
 * for.
 */
void hk_magazine_tick(bool may_start);

/*
 * The end of an interval, for all sets and depots: what was held in vain goes home.  Unlike
 * the slow paths, which do it for their own, this may make membarrier(2).  true: there are
 * blocks left that may be found idle at the next.
 */
bool hk_magazine_age(void);

/*
 * What this CPU or thread, and the depots, have of blocks of 16 KiB and more goes home, and their
 * magazines have no room until they are missed.  Makes system calls, under no lock.
 */
void hk_magazine_yield(const char *function);

/*
 * Magazines without room from now on, so that every block passes the slow paths; or as
 * HAKMEM_MAGAZINE_BYTES says.
 */
void hk_magazine_disable(bool disable);

/* HAKMEM_MAGAZINE_BYTES has changed. */
void hk_magazine_resize(void);

#endif /* HK_MAGAZINE_H */
