/* SPDX-License-Identifier: MIT
 *
 * Every interposed C function with the edge cases that programs rely on: those of ISO C,
 * POSIX and the Linux manual pages, and where these leave a choice, glibc's.
 */
#include "libtap.h"

static const size_t sizes[] = {
	0,       1,       2,       7,       8,       9,       15,      16,      17,
	23,      24,      25,      31,      32,      33,      48,      63,      64,
	65,      100,     127,     128,     129,     143,     144,     145,     200,
	255,     256,     257,     511,     512,     513,     640,     1000,    1023,
	1024,    1025,    2047,    2048,    2049,    4000,    4095,    4096,    4097,
	8191,    8192,    8193,    10000,   16384,   16385,   32767,   32768,   32769,
	57344,   57345,   65535,   65536,   65537,   100000,  131072,  131073,  262144,
	524288,  524289,  1000000, 1048575, 1048576, 1048577, 1500000, 2097151, 2097152,
	2097153, 3000000, 5000000,
};

enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

/* What is always true of a block: checks it, and writes all of what may be used. */
static int bad_block(void *block, size_t size, size_t alignment)
{
	int bad = 0;
	size_t usable = malloc_usable_size(block);

	SILENT(bad, block != NULL, "%zu bytes", size);
	SILENT(bad, (uintptr_t)block % alignment == 0, "%p of %zu bytes, alignment %zu",
	       block, size, alignment);
	SILENT(bad, usable >= size, "%zu usable of %zu", usable, size);
	memset(block, 0xa5, usable);
	SILENT(bad, malloc_usable_size(block) == usable, "%zu, then %zu", usable,
	       malloc_usable_size(block));
	SILENT(bad, all_bytes(block, 0xa5, usable), "%zu bytes at %p", usable, block);
	return bad;
}

static void sizes_and_alignment(void)
{
	int bad = 0;

	for (size_t i = 0; i < SIZES; i++) {
		void *block = opaque(malloc(opaque_size(sizes[i])));

		/* ISO C: aligned for any object that fits. */
		bad += bad_block(block, sizes[i], sizes[i] >= 16 ? 16 : 8);
		free(block);
	}
	ok(!bad,
	   "malloc: alignment, usable size at least the request, constant and writable");
}

static void nothing(void)
{
	enum { MANY = 1000 };
	static void *blocks[MANY];
	int bad = 0;

	for (size_t i = 0; i < MANY; i++) {
		blocks[i] = opaque(malloc(opaque_size(0)));
		SILENT(bad, blocks[i] != NULL, "malloc(0) number %zu", i);
		for (size_t j = 0; j < i; j++)
			SILENT(bad, blocks[i] != blocks[j], "number %zu and %zu: %p", i,
			       j, blocks[i]);
	}
	ok(!bad, "malloc(0): not NULL, and unique");
	for (size_t i = 0; i < MANY; i++)
		free(blocks[i]);

	errno = EXDEV;
	free(opaque(NULL));
	ok(errno == EXDEV, "free(NULL) does nothing");
	ok(malloc_usable_size(opaque(NULL)) == 0, "malloc_usable_size(NULL) is 0");
	for (size_t i = 0; i < MANY; i++) {
		blocks[i] = i % 2 ? opaque(calloc(opaque_size(0), opaque_size(i)))
				  : opaque(calloc(opaque_size(i), opaque_size(0)));
		SILENT(bad, blocks[i] != NULL, "calloc with a zero, number %zu", i);
		if (i)
			SILENT(bad, blocks[i] != blocks[i - 1],
			       "calloc with a zero, twice");
	}
	ok(!bad, "calloc(0, n) and calloc(n, 0): not NULL, and unique");
	for (size_t i = 0; i < MANY; i++)
		free(blocks[i]);
}

static void errno_kept(void)
{
	int bad = 0;

	for (size_t i = 0; i < SIZES; i++) {
		void *block = opaque(malloc(opaque_size(sizes[i])));

		errno = EXDEV;
		free(block);
		SILENT(bad, errno == EXDEV, "free of %zu bytes: %d", sizes[i], errno);
		errno = EXDEV;
		block = opaque(malloc(opaque_size(sizes[i])));
		SILENT(bad, errno == EXDEV, "malloc of %zu bytes: %d", sizes[i], errno);
		block = opaque(realloc(block, opaque_size(sizes[i] * 2 + 1)));
		SILENT(bad, errno == EXDEV, "realloc of %zu bytes: %d", sizes[i], errno);
		free(block);
	}
	ok(!bad, "free, malloc and realloc that succeed keep errno");
}

static void zeroes(void)
{
	int bad = 0;

	for (unsigned round = 0; round < 4; round++) {
		for (size_t i = 0; i < SIZES; i++) {
			enum { MANY = 20 };
			void *blocks[MANY];

			/* Dirty the memory that the next calloc is likely to get. */
			for (size_t j = 0; j < MANY; j++) {
				blocks[j] = opaque(malloc(opaque_size(sizes[i])));
				memset(blocks[j], 0xff, malloc_usable_size(blocks[j]));
			}
			for (size_t j = 0; j < MANY; j++)
				free(blocks[j]);
			if (round == 1)
				ctl(HAKMEM_FLUSH, NULL, 0);
			if (round == 2)
				ctl(HAKMEM_RELEASE, NULL, 0);
			for (size_t j = 0; j < MANY; j++) {
				size_t half = sizes[i] / 2;

				blocks[j] = j % 2 ? opaque(calloc(opaque_size(2),
								  opaque_size(half)))
						  : opaque(calloc(opaque_size(1),
								  opaque_size(sizes[i])));
				SILENT(bad, blocks[j] != NULL, "%zu bytes", sizes[i]);
				SILENT(bad,
				       all_bytes(blocks[j], 0,
						 j % 2 ? half * 2 : sizes[i]),
				       "%zu bytes at %p, round %u", sizes[i], blocks[j],
				       round);
			}
			for (size_t j = 0; j < MANY; j++)
				free(blocks[j]);
		}
	}
	ok(!bad,
	   "calloc: zeros, also where memory was used before, flushed, or given back");
}

static void reallocs(void)
{
	int bad = 0;
	char *block;

	for (size_t i = 0; i < SIZES; i++) {
		block = opaque(realloc(opaque(NULL), opaque_size(sizes[i])));
		bad += bad_block(block, sizes[i], sizes[i] >= 16 ? 16 : 8);
		free(block);
	}
	ok(!bad, "realloc(NULL, n) is malloc(n)");

	for (size_t i = 0; i < SIZES; i++) {
		struct hakmem_stats before = stats_now();

		block = opaque(malloc(opaque_size(sizes[i])));
		errno = EXDEV;
		SILENT(bad, realloc(block, opaque_size(0)) == NULL, "%zu bytes",
		       sizes[i]);
		SILENT(bad, errno == EXDEV, "%zu bytes: errno %d", sizes[i], errno);
		SILENT(bad, stats_now().blocks_live == before.blocks_live,
		       "%zu bytes: %llu live, then %llu", sizes[i],
		       (unsigned long long)before.blocks_live,
		       (unsigned long long)stats_now().blocks_live);
	}
	ok(!bad, "realloc(p, 0) frees, answers NULL and keeps errno");

	for (size_t i = 0; i < SIZES; i++) {
		for (size_t j = 0; j < SIZES; j++) {
			size_t least = sizes[i] < sizes[j] ? sizes[i] : sizes[j];

			if (!sizes[j] ||
			    (sizes[i] > 300000 && sizes[j] > 300000 && (i + j) % 4))
				continue;
			block = opaque(malloc(opaque_size(sizes[i])));
			for (size_t k = 0; k < least; k++)
				block[k] = (char)(k * 7 + i);
			block = opaque(realloc(block, opaque_size(sizes[j])));
			SILENT(bad, block != NULL, "%zu to %zu", sizes[i], sizes[j]);
			SILENT(bad, malloc_usable_size(block) >= sizes[j],
			       "%zu to %zu: %zu", sizes[i], sizes[j],
			       malloc_usable_size(block));
			for (size_t k = 0; k < least; k++)
				if (block[k] != (char)(k * 7 + i)) {
					SILENT(bad, false, "%zu to %zu: byte %zu",
					       sizes[i], sizes[j], k);
					break;
				}
			block[sizes[j] - 1] = 1;
			free(block);
		}
	}
	ok(!bad, "realloc keeps the contents, from every size to every size");

	block = opaque(malloc(opaque_size(1)));
	block[0] = 'x';
	for (size_t size = 2; size < (size_t)20 << 20; size += size / 3 + 1) {
		block = opaque(realloc(block, opaque_size(size)));
		SILENT(bad, block[0] == 'x', "grown to %zu", size);
		block[size - 1] = 'y';
	}
	for (size_t size = (size_t)20 << 20; size > 1; size -= size / 3 + 1) {
		block = opaque(realloc(block, opaque_size(size)));
		SILENT(bad, block[0] == 'x', "shrunk to %zu", size);
	}
	free(block);
	ok(!bad, "realloc up to 20 MiB and down again, step by step");

	block = opaque(reallocarray(opaque(NULL), opaque_size(10), opaque_size(30)));
	bad += bad_block(block, 300, 16);
	block = opaque(reallocarray(block, opaque_size(1000), opaque_size(30)));
	SILENT(bad, all_bytes(block, 0xa5, 300), "grown from 300 to 30,000");
	bad += bad_block(block, 30000, 16);
	ok(!bad && !reallocarray(block, opaque_size(0), opaque_size(30)),
	   "reallocarray: the product's block, and NULL for nothing");
}

static void aligned(void)
{
	static const size_t some[] = { 0,    1,    8,     24,      100,
				       4096, 5000, 70000, 1 << 20, 3 << 20 };
	int bad = 0;

	for (size_t alignment = 1; alignment <= (size_t)2 << 20; alignment *= 2) {
		for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
			enum { MANY = 3 };
			void *blocks[3 * MANY];
			size_t n = 0;

			for (size_t j = 0; j < MANY; j++) {
				blocks[n] = opaque(aligned_alloc(opaque_size(alignment),
								 opaque_size(some[i])));
				bad += bad_block(blocks[n++], some[i], alignment);
				blocks[n] = opaque(memalign(opaque_size(alignment),
							    opaque_size(some[i])));
				bad += bad_block(blocks[n++], some[i], alignment);
				if (alignment < sizeof(void *))
					continue;
				errno = EXDEV;
				SILENT(bad,
				       posix_memalign(&blocks[n], opaque_size(alignment),
						      opaque_size(some[i])) == 0,
				       "alignment %zu, %zu bytes", alignment, some[i]);
				SILENT(bad, errno == EXDEV, "errno %d", errno);
				bad += bad_block(blocks[n++], some[i], alignment);
			}
			for (size_t j = 1; j < n; j++)
				SILENT(bad, blocks[j] != blocks[j - 1],
				       "alignment %zu, %zu bytes", alignment, some[i]);
			/*
			 * What is aligned can be resized and is freed as any other
			 * block.
			 */
			blocks[0] = opaque(
				realloc(blocks[0], opaque_size(some[i] + 1000)));
			SILENT(bad, all_bytes(blocks[0], 0xa5, some[i]),
			       "alignment %zu, %zu bytes", alignment, some[i]);
			for (size_t j = 0; j < n; j++)
				free(blocks[j]);
		}
	}
	ok(!bad, "aligned_alloc, memalign, posix_memalign: 1 B to 2 MiB, freed, resized");

	for (size_t alignment = (size_t)4 << 20; alignment <= (size_t)1 << 30;
	     alignment *= 4) {
		void *block = opaque(memalign(opaque_size(alignment), opaque_size(100)));

		bad += bad_block(block, 100, alignment);
		free(block);
	}
	ok(!bad, "memalign: 4 MiB to 1 GiB");
}

static void pages(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int bad = 0;

	for (size_t i = 0; i < SIZES; i++) {
		void *block = opaque(valloc(opaque_size(sizes[i])));

		bad += bad_block(block, sizes[i], page);
		free(block);
		block = opaque(pvalloc(opaque_size(sizes[i])));
		bad += bad_block(block, (sizes[i] + page - 1) / page * page, page);
		free(block);
	}
	ok(!bad, "valloc and pvalloc: whole pages, the latter also in size");
}

/*
 * Not in every libc's headers, so looked up as a program built elsewhere would find
 * them.
 */
static void sized_frees(void)
{
	void (*cfree_)(void *), (*free_sized_)(void *, size_t);
	void (*free_aligned_sized_)(void *, size_t, size_t);
	struct hakmem_stats before;

	*(void **)&cfree_ = dlsym(RTLD_DEFAULT, "cfree");
	*(void **)&free_sized_ = dlsym(RTLD_DEFAULT, "free_sized");
	*(void **)&free_aligned_sized_ = dlsym(RTLD_DEFAULT, "free_aligned_sized");
	if (!ok(cfree_ && free_sized_ && free_aligned_sized_,
		"cfree, free_sized and free_aligned_sized are there"))
		return;
	before = stats_now();
	for (size_t i = 0; i < SIZES; i++) {
		cfree_(opaque(malloc(opaque_size(sizes[i]))));
		free_sized_(opaque(malloc(opaque_size(sizes[i]))), sizes[i]);
		free_sized_(opaque(calloc(opaque_size(1), opaque_size(sizes[i]))),
			    sizes[i]);
		free_aligned_sized_(
			opaque(aligned_alloc(opaque_size(64), opaque_size(sizes[i]))), 64,
			sizes[i]);
		free_aligned_sized_(
			opaque(aligned_alloc(opaque_size(8192), opaque_size(sizes[i]))),
			8192, sizes[i]);
	}
	errno = EXDEV;
	cfree_(NULL);
	free_sized_(NULL, 100);
	free_aligned_sized_(NULL, 64, 100);
	ok(errno == EXDEV && stats_now().blocks_live == before.blocks_live,
	   "each frees what it is given, and nothing for NULL");
}

int main(void)
{
	require_library();
	sizes_and_alignment();
	nothing();
	errno_kept();
	zeroes();
	reallocs();
	aligned();
	pages();
	sized_frees();
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	return tap_end();
}
