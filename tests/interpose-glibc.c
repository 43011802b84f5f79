/* SPDX-License-Identifier: MIT
 *
 * The functions of glibc's <malloc.h> beyond allocation: mallinfo, mallinfo2,
 * malloc_info, malloc_stats, malloc_trim and mallopt.
 */
#include "libtap.h"

#include <fcntl.h>

/* Text of what a function writes to standard error. */
static size_t standard_error_of(void (*function)(void), char *text, size_t size)
{
	int kept = dup(STDERR_FILENO);
	FILE *file = tmpfile();
	size_t length;

	if (kept < 0 || !file || dup2(fileno(file), STDERR_FILENO) < 0)
		exit(1);
	function();
	fflush(stderr);
	dup2(kept, STDERR_FILENO);
	close(kept);
	rewind(file);
	length = fread(text, 1, size - 1, file);
	text[length] = '\0';
	fclose(file);
	return length;
}

/* Deprecated, for its ints, but programs have it. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static void infos(void)
{
	struct mallinfo2 before = mallinfo2(), after;
	struct mallinfo old;
	enum { MANY = 1000 };
	static void *blocks[MANY];

	for (size_t i = 0; i < MANY; i++)
		blocks[i] = opaque(malloc(opaque_size(1000)));
	after = mallinfo2();
	ok(after.uordblks + after.hblkhd >=
		   before.uordblks + before.hblkhd + MANY * 1000ul,
	   "mallinfo2: in use %zu, then %zu", before.uordblks + before.hblkhd,
	   after.uordblks + after.hblkhd);
	ok(after.arena + after.hblkhd >= after.uordblks,
	   "mallinfo2: what is held covers it");
	old = mallinfo();
	ok((size_t)old.uordblks == after.uordblks && (size_t)old.arena == after.arena,
	   "mallinfo says the same");
	for (size_t i = 0; i < MANY; i++)
		free(blocks[i]);
	after = mallinfo2();
	ok(after.uordblks + after.hblkhd <= before.uordblks + before.hblkhd + 1000,
	   "mallinfo2: back to %zu", after.uordblks + after.hblkhd);

	blocks[0] = opaque(malloc(opaque_size((size_t)64 << 20)));
	after = mallinfo2();
	ok(after.hblkhd >= (size_t)64 << 20 && after.hblks >= 1,
	   "mallinfo2: a large block is in hblks and hblkhd (%zu, %zu)", after.hblks,
	   after.hblkhd);
	free(blocks[0]);
}

/* preload-interpose.sh reads the file with an XML parser. */
static void info_document(const char *path)
{
	char text[8192];
	FILE *file = fopen(path, "w+");
	size_t length;

	if (!file)
		exit(1);
	ok(malloc_info(0, file) == 0, "malloc_info(0, file) succeeds");
	fflush(file);
	rewind(file);
	length = fread(text, 1, sizeof(text) - 1, file);
	text[length] = '\0';
	ok(!strncmp(text, "<malloc version=", 16) && strstr(text, "</malloc>"),
	   "it writes an element <malloc version=...>");
	fclose(file);
	errno = 0;
	ok(malloc_info(1, stdout) == EINVAL || errno == EINVAL,
	   "malloc_info with options other than 0: EINVAL");
}

static void tells(void)
{
	char text[8192];

	ok(standard_error_of(malloc_stats, text, sizeof(text)) > 0 && strchr(text, '\n'),
	   "malloc_stats writes lines on standard error");
}

static void trims(void)
{
	enum { MANY = 40000 };
	static void *blocks[MANY];

	for (size_t i = 0; i < MANY; i++)
		memset(blocks[i] = opaque(malloc(opaque_size(400))), 1, 400);
	for (size_t i = 0; i < MANY; i++)
		free(blocks[i]);
	ok(malloc_trim(0) == 1, "malloc_trim: 1 when memory goes back");
	malloc_trim(0);
	ok(malloc_trim(0) == 0, "malloc_trim: 0 when there is none left to give");
	errno = EXDEV;
	malloc_trim((size_t)1 << 20);
	ok(errno == EXDEV, "malloc_trim keeps errno");
}

static bool filled(size_t size, int value)
{
	unsigned char *block = opaque(malloc(opaque_size(size)));
	bool good = all_bytes(block, value, size);

	free(block);
	return good;
}

static void options(void)
{
	static const size_t sizes[] = { 1, 8, 100, 1024, 5000, 65536, 200000, 3 << 20 };
	unsigned char *zeros;
	int bad = 0;

	ok(mallopt(M_TRIM_THRESHOLD, 131072) == 1,
	   "mallopt: M_TRIM_THRESHOLD is accepted");
	ok(mallopt(M_MMAP_THRESHOLD, 131072) == 1,
	   "mallopt: M_MMAP_THRESHOLD is accepted");

	ok(mallopt(M_PERTURB, 0x5a) == 1, "mallopt: M_PERTURB is accepted");
	for (unsigned round = 0; round < 3; round++)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			/* mallopt(3): the complement of the least significant byte. */
			SILENT(bad, filled(sizes[i], 0xa5), "%zu bytes", sizes[i]);
			zeros = opaque(calloc(opaque_size(1), opaque_size(sizes[i])));
			SILENT(bad, all_bytes(zeros, 0, sizes[i]), "calloc of %zu bytes",
			       sizes[i]);
			free(zeros);
		}
	ok(!bad, "M_PERTURB 0x5a: malloc gives bytes of 0xa5, calloc zeros");
	zeros = opaque(malloc(opaque_size(200)));
	memset(zeros, 0x33, 200);
	free(opaque(zeros));
	ok(mallopt(M_PERTURB, 0) == 1, "M_PERTURB can be turned off");
	zeros = opaque(malloc(opaque_size(200)));
	ok(!all_bytes(zeros, 0x33, 200), "a freed block's contents had been overwritten");
	memset(zeros, 0x33, 200);
	free(opaque(zeros));
	ok(!filled(200, 0xa5), "and then blocks are not filled any more");
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	require_library();
	infos();
	info_document(argv[1]);
	tells();
	trims();
	options();
	ok(ctl(HAKMEM_CHECK, NULL, 0) == 0, "HAKMEM_CHECK finds nothing");
	return tap_end();
}
