/* SPDX-License-Identifier: MIT
 *
 * fill.c - see fill.h.  Takes no lock.
 */
#include "fill.h"

#include "os.h"

#define LEAST_BYTES 16384 /* less is not worth the call */
#define CONFIDENCE_MOST 63
#define BACKOFF_MOST 1023

/* So many places in a block are asked for, of so many bytes each, at least a page. */
#define PLACES 4
#define PLACE_BYTES 16384

struct size {
	_Atomic uint16_t sure;       /* so many more blocks' pages are faulted in */
	_Atomic uint16_t wait;       /* so many more are not watched */
	_Atomic uint16_t confidence; /* how many that was the last time */
	_Atomic uint16_t backoff;
};

static struct size sizes[HK_FILL_SIZES];

_Atomic uintptr_t hk_fill_watched[HK_FILL_SIZES];
uint64_t hk_fill_ns_if_there = 8000;

static unsigned get(_Atomic uint16_t *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

static void set(_Atomic uint16_t *to, unsigned value, unsigned most)
{
	atomic_store_explicit(to, (uint16_t)(value < most ? value : most),
			      memory_order_relaxed);
}

static unsigned size_of(size_t bytes)
{
	unsigned log = 63 - (unsigned)__builtin_clzl((bytes - 1) >> 16);

	return log < HK_FILL_SIZES ? log : HK_FILL_SIZES - 1;
}

/* Are the pages there, as far as it shows?  Those that are not, are now. */
static bool is_filled(char *block, size_t bytes)
{
	size_t place = PLACE_BYTES < hk_os_page_size ? hk_os_page_size : PLACE_BYTES;
	uint64_t start = hk_os_now_ns();

	for (size_t i = 0; i < PLACES; i++) {
		size_t at = (bytes - place) / (PLACES - 1) * i & -hk_os_page_size;

		if (!hk_os_populate(block + at, place))
			return false;
	}
	return hk_os_now_ns() - start < hk_fill_ns_if_there;
}

static void judge(unsigned i)
{
	struct size *size = &sizes[i];
	uintptr_t watched = atomic_exchange_explicit(&hk_fill_watched[i], 0,
						     memory_order_relaxed);
	uintptr_t pages = (watched & 4095) + 1;
	unsigned confidence = get(&size->confidence), backoff = get(&size->backoff);

	if (!watched)
		return;
	if (is_filled((char *)(watched & ~(uintptr_t)4095), pages * hk_os_page_size)) {
		confidence = 2 * confidence + 1;
		backoff = 0;
	} else if (confidence) {
		confidence /= 4; /* the thread may have been interrupted */
	} else {
		backoff = 2 * backoff + 1;
	}
	set(&size->confidence, confidence, CONFIDENCE_MOST);
	set(&size->sure, confidence, CONFIDENCE_MOST);
	set(&size->backoff, backoff, BACKOFF_MOST);
	set(&size->wait, backoff, BACKOFF_MOST);
}

void hk_fill_given(const void *block, size_t bytes, const struct hk_fill *fill)
{
	struct size *size = &sizes[size_of(bytes)];
	_Atomic uintptr_t *watched = &hk_fill_watched[size_of(bytes)];
	unsigned sure, wait;

	/* The debug library writes into all of a block. */
	if (HK_DEBUG || fill->bytes < LEAST_BYTES)
		return;
	for (unsigned i = 0; i < HK_FILL_SIZES; i++) {
		if ((atomic_load_explicit(&hk_fill_watched[i], memory_order_relaxed) ^
		     (uintptr_t)block) < HK_SUPERSLAB_BYTES)
			judge(i);
	}
	sure = get(&size->sure);
	wait = get(&size->wait);
	if (sure) {
		set(&size->sure, sure - 1, sure);
		hk_os_populate(fill->pages, fill->bytes);
	} else if (wait) {
		set(&size->wait, wait - 1, wait);
	} else if (fill->bytes > bytes / 4 * 3) {
		/* The one before may live for ever. */
		atomic_store_explicit(watched,
				      (uintptr_t)block | (bytes / hk_os_page_size - 1),
				      memory_order_relaxed);
	}
}

void hk_fill_freed(const void *block)
{
	for (unsigned i = 0; i < HK_FILL_SIZES; i++) {
		if ((atomic_load_explicit(&hk_fill_watched[i], memory_order_relaxed) ^
		     (uintptr_t)block) < 4096)
			judge(i);
	}
}
