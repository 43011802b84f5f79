/* SPDX-License-Identifier: MIT
 *
 * base.h - the units of the machine, and the assertions.
 *
 *   SuperSlab (2 MiB, 2 MiB-aligned, user data only)
 *   +--------+--------+--------+----  ...  ----+--------+
 *   | slot 0 | slot 1 | slot 2 |               | slot 31|     slot = 64 KiB
 *   +--------+--------+--------+----  ...  ----+--------+
 *    \______/ \_______________/
 *     a slab    MEDIUM slots, where blocks of many sizes lie, and may span slots
 *
 * Each 2 KiB window of the address space has one byte in the registry, its kind:
 *
 *   0                     not ours
 *   1 .. HK_SLAB_CLASSES  in a slab of that size class
 *   .. HK_CLASSES         in a MEDIUM slot, and here begins a block of that size class
 *   HK_KIND_MEDIUM        in a MEDIUM slot
 *   HK_KIND_LARGE         in the first 64 KiB of a block with a mapping of its own
 *
 * A size class *is* its kind, so the byte that free() reads indexes the magazines.
 */
#ifndef HK_BASE_H
#define HK_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hakmem.h"

#define HK_LIKELY(x) __builtin_expect(!!(x), 1)
#define HK_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define HK_INLINE static inline __attribute__((always_inline)) /* the fast paths */
#define HK_COLD __attribute__((noinline, cold))
#define HK_HIDDEN __attribute__((visibility("hidden"))) /* reached without the GOT */
/* With a fast path inside, which lies on two cache lines then instead of on three. */
#define HK_ENTRY __attribute__((visibility("default"), aligned(64)))
/*
 * What runs, is read and is written when a process starts lies together, so that one that
 * then does nothing has few pages of ours: 16 at a time are mapped around each that is
 * touched, and .data is written anyway, for the loader's sake.
 */
#define HK_STARTUP __attribute__((section(".text.startup")))
#define HK_STARTUP_DATA __attribute__((section(".data")))
#ifndef HK_DEBUG
#define HK_DEBUG 0 /* 1: the debug library */
#endif
#define HK_PRINTF(string, first) __attribute__((format(printf, string, first)))

#if defined(__SANITIZE_THREAD__)
#define HK_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HK_TSAN 1
#endif
#endif

/*
 * A load whose value is the address of what is read next: no machine we know reorders the
 * two (consume, as compilers ought to do it).  ThreadSanitizer has to be told in its words.
 */
#if HK_TSAN
#define HK_CONSUME memory_order_acquire
#else
#define HK_CONSUME memory_order_relaxed
#endif

#define HK_SLOT_SHIFT 16
#define HK_SLOT_BYTES ((size_t)1 << HK_SLOT_SHIFT)
#define HK_SUPERSLAB_SHIFT 21
#define HK_SUPERSLAB_BYTES ((size_t)1 << HK_SUPERSLAB_SHIFT)
#define HK_SLOTS ((unsigned)(HK_SUPERSLAB_BYTES / HK_SLOT_BYTES))
#define HK_ALL_SLOTS UINT32_MAX
#define HK_WINDOW_SHIFT 11 /* what a byte of the registry stands for */
#define HK_GRAIN_SHIFT 8
#define HK_GRAINS ((unsigned)(HK_SLOT_BYTES >> HK_GRAIN_SHIFT)) /* of a slot */

#define HK_CLASSES 81 /* 8, 16 .. 128 by 16, then 8 to a doubling up to 64 KiB */
#define HK_TINY_MAX ((size_t)1024) /* requests the routing profiles speak of */
#define HK_SLAB_CLASSES 41         /* up to 2 KiB: in slabs; the others are medium */
#define HK_CLASS_MAX HK_SLOT_BYTES /* the largest block of a size class */
#define HK_MEDIUM_MAX (16 * HK_SLOT_BYTES) /* beyond: a mapping of its own */

enum { HK_KIND_NONE = 0, HK_KIND_MEDIUM = HK_CLASSES + 1, HK_KIND_LARGE, HK_KINDS };

_Static_assert(sizeof(void *) == 8, "the registry and the masks are laid out for LP64");
_Static_assert(HK_SLOTS == 32, "a SuperSlab's slots are bits of a uint32_t");
_Static_assert(HK_KINDS <= 256, "a kind is a byte of the registry");

static inline uintptr_t hk_align_up(uintptr_t value, uintptr_t alignment)
{
	return (value + alignment - 1) & ~(alignment - 1);
}

/*
 * An invariant of ours.  hk_assert() stays in every build and must be O(1);
 * hk_assert_slow() is the second level, in the debug library and the tests.
 */
_Noreturn void hk_assert_failed(const char *file, unsigned line, const char *what);

#define hk_assert(x) (HK_LIKELY(x) ? (void)0 : hk_assert_failed(__FILE__, __LINE__, #x))

#if HK_DEBUG
#define hk_assert_slow(x) hk_assert(x)
#else
#define hk_assert_slow(x) ((void)0)
#endif

#endif /* HK_BASE_H */
