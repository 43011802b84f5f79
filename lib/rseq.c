/* SPDX-License-Identifier: MIT
 *
 * rseq.c - finds out whether restartable sequences work here.
 */
#define _GNU_SOURCE
#include "rseq.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/auxv.h>

#include "os.h"
#include "registry.h"

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27 /* linux 6.3 */
#endif

/* The kernel's struct rseq (linux/rseq.h); the last field is newer than many headers. */
struct area {
	uint32_t cpu_id_start;
	uint32_t cpu_id;
	uint64_t rseq_cs;
	uint32_t flags;
	uint32_t node_id;
	uint32_t mm_cid;
};

_Static_assert(offsetof(struct area, rseq_cs) == 8, "the sequences know this offset");

/* glibc 2.35 and later; elsewhere they are not there, and we do without. */
__attribute__((weak)) extern const ptrdiff_t __rseq_offset;
__attribute__((weak)) extern const unsigned int __rseq_size;

struct hk_cpu_sets hk_cpu_sets;
ptrdiff_t hk_rseq_area HK_STARTUP_DATA, hk_rseq_id HK_STARTUP_DATA;
size_t hk_hit_sizes HK_STARTUP_DATA;
uintptr_t hk_hit_tops HK_STARTUP_DATA;

static bool register_fence(void)
{
	return hk_os_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ);
}

HK_STARTUP void hk_rseq_init(bool wanted)
{
	bool concurrency_ids = getauxval(AT_RSEQ_FEATURE_SIZE) >=
			       offsetof(struct area, mm_cid) + sizeof(uint32_t);

	/* The size is 0 where registration failed: an old kernel, valgrind, a tunable. */
	if (!HK_RSEQ || !wanted || !&__rseq_size || !__rseq_size || !register_fence())
		return;
	hk_rseq_id = __rseq_offset + (ptrdiff_t)(concurrency_ids
							 ? offsetof(struct area, mm_cid)
							 : offsetof(struct area, cpu_id));
	hk_rseq_area = __rseq_offset;
	/* There is no second thread yet: whoever starts one has allocated its stack's record. */
	hk_hit_sizes = HK_TINY_MAX + 1;
	hk_hit_tops = HK_ROOT_ENTRIES;
}

void hk_rseq_adopt(void)
{
	if (hk_rseq_area)
		register_fence();
}

bool hk_rseq_fence(void)
{
	return hk_os_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ);
}
