/* SPDX-License-Identifier: MIT
 *
 * check.c - the walk of HAKMEM_CHECK; each part verifies itself where it is written down.
 */
#include "check.h"

#include "fork.h"
#include "large.h"
#include "medium.h"
#include "sets.h"
#include "pool.h"
#include "registry.h"
#include "slab.h"
#include "spans.h"
#include "spare.h"
#include "sparse.h"

static void check_large(void)
{
	uint64_t count = 0, bytes = 0;

	for (struct hk_large *large = hk_large_blocks; large; large = large->next) {
		hk_assert(hk_registry_owner(large->base) == large);
		hk_assert(hk_registry_kind(large->base) == HK_KIND_LARGE);
		hk_assert(!large->next || large->next->previous == large);
		count++;
		bytes += large->bytes;
	}
	hk_assert(count == hk_large_count && bytes == hk_large_bytes);
	hk_spans_check_locked();
}

void hk_check(void)
{
	hk_lock_all();
	hk_sets_stop();
	hk_pool_check();
	hk_slab_check();
	hk_medium_check();
	hk_spare_check();
	hk_sparse_check();
	hk_sets_check();
	check_large();
	hk_sets_resume();
	hk_unlock_all();
}
