/* SPDX-License-Identifier: MIT
 *
 * watch.h - the debug library between the entry points and the heap: every block recorded
 * (block.h), surrounded by canaries and poisoned (poison.h), and kept for a while when it was
 * freed (quarantine.h).
 *
 * Every mistake is told of by report.h.  Where HAKMEM_DEBUG=continue lets the program go on, a
 * free that is none is not done.  With HAKMEM_DEBUG=none blocks are the heap's own; those of
 * before the environment could be read are told by their records.
 */
#ifndef HK_WATCH_H
#define HK_WATCH_H

#include "base.h"
#include "family.h"

void *hk_front_allocate(size_t size, enum hk_family family, const char *function);
void *hk_front_allocate_zeroed(size_t size, const char *function);
void *hk_front_allocate_aligned(size_t alignment, size_t size, enum hk_family family,
				const char *function);
void hk_front_free(void *block, enum hk_family family, const char *function);
void hk_front_free_sized(void *block, size_t alignment, size_t size,
			 enum hk_family family, const char *function);
void *hk_front_resize(void *block, size_t size, const char *function);
size_t hk_front_usable_size(const void *block, const char *function);

void hk_front_init(void);
void hk_front_exit(void);
void hk_front_fork_prepare(void);
void hk_front_fork_parent(void);
void hk_front_fork_child(void);
struct hk_flushed;
bool hk_front_flush(struct hk_flushed *flushed, const char *function);
void hk_front_check(const char *function);
void hk_front_query(struct hakmem_query *query);
int hk_front_leaks(struct hakmem_leaks *leaks);
void hk_front_count_locked(uint64_t *blocks, uint64_t *bytes);

#endif /* HK_WATCH_H */
