/* SPDX-License-Identifier: MIT
 *
 * sort.c - see sort.h.  Quicksort (Hoare 1961) with pivots drawn by lot, so that no order of
 * what is sorted makes it slow; the stack stays below 64 calls.  Owns nothing, takes no lock,
 * allocates nothing.
 */
#include "debug/sort.h"

#define FEW 12 /* by insertion */

typedef uint64_t __attribute__((may_alias)) word;

static void swap(word *a, word *b, size_t words)
{
	for (size_t i = 0; i < words; i++) {
		word kept = a[i];

		a[i] = b[i];
		b[i] = kept;
	}
}

static void insert_all(word *first, size_t count, size_t words)
{
	for (size_t i = 1; i < count; i++)
		for (word *one = first + i * words;
		     one > first && one[0] < *(one - words); one -= words)
			swap(one, one - words, words);
}

static uint64_t next(uint64_t *lot)
{
	/* Marsaglia's xorshift64 (2003). */
	*lot ^= *lot << 13;
	*lot ^= *lot >> 7;
	*lot ^= *lot << 17;
	return *lot;
}

static void sort(word *first, size_t count, size_t words, uint64_t *lot)
{
	while (count > FEW) {
		word pivot = first[next(lot) % count * words];
		word *low = first, *high = first + (count - 1) * words;
		size_t below, above;

		for (;;) {
			while (*low < pivot)
				low += words;
			while (*high > pivot)
				high -= words;
			if (low >= high)
				break;
			swap(low, high, words);
			low += words;
			high -= words;
		}
		/* All before low are at most the pivot, all from it on at least. */
		below = (size_t)(low - first) / words;
		above = count - below;
		if (below < above) {
			sort(first, below, words, lot);
			first = low;
			count = above;
		} else {
			sort(low, above, words, lot);
			count = below;
		}
	}
	insert_all(first, count, words);
}

void hk_sort(void *records, size_t count, size_t words)
{
	uint64_t lot = 88172645463325252;

	sort(records, count, words, &lot);
}
