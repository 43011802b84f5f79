/* SPDX-License-Identifier: MIT
 *
 * glibc.c - malloc_trim(3), mallinfo(3), mallopt(3) and their like, answered from our own
 * statistics.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "dump.h"
#include "heap.h"
#include "init.h"
#include "size_class.h"
#include "stats.h"

#define EXPORT __attribute__((visibility("default")))

/* HAKMEM_RELEASE; what is to stay (pad) is for the magazines to say, not for us. */
EXPORT int malloc_trim(size_t pad)
{
	struct hakmem_release release = { 0 };

	(void)pad;
	hk_init();
	hk_heap_release(&release, "malloc_trim");
	return release.bytes != 0;
}

EXPORT struct mallinfo2 mallinfo2(void)
{
	struct hk_snapshot snapshot;
	const struct hakmem_stats *total = &snapshot.total;
	struct mallinfo2 info = { 0 };

	hk_init();
	hk_stats_take(&snapshot);
	info.arena = total->bytes_mapped - total->large_bytes;
	info.ordblks = total->blocks_cached;
	info.hblks = total->large_live;
	info.hblkhd = total->large_bytes;
	info.uordblks = total->bytes_live;
	info.fordblks = total->bytes_mapped - total->bytes_live;
	info.keepcost = total->slabs_empty * HK_SLOT_BYTES;
	return info;
}

/* The int fields wrap around, as mallinfo(3) says they do. */
EXPORT struct mallinfo mallinfo(void)
{
	struct mallinfo2 wide = mallinfo2();

	return (struct mallinfo){
		.arena = (int)wide.arena,
		.ordblks = (int)wide.ordblks,
		.smblks = (int)wide.smblks,
		.hblks = (int)wide.hblks,
		.hblkhd = (int)wide.hblkhd,
		.usmblks = (int)wide.usmblks,
		.fsmblks = (int)wide.fsmblks,
		.uordblks = (int)wide.uordblks,
		.fordblks = (int)wide.fordblks,
		.keepcost = (int)wide.keepcost,
	};
}

EXPORT int malloc_info(int options, FILE *stream)
{
	struct hk_snapshot snapshot;
	const struct hakmem_stats *total = &snapshot.total;

	if (options)
		return EINVAL;
	hk_init();
	hk_stats_take(&snapshot);
	fprintf(stream, "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n");
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		uint64_t cached = snapshot.classes[i].blocks_cached;

		if (cached)
			fprintf(stream,
				"<size from=\"%lu\" to=\"%lu\" total=\"%lu\" count=\"%lu\"/>\n",
				i > 1 ? hk_class_size(i - 1) + 1 : 1, hk_class_size(i),
				cached * hk_class_size(i), cached);
	}
	fprintf(stream,
		"</sizes>\n</heap>\n"
		"<total type=\"fast\" count=\"%lu\" size=\"%lu\"/>\n"
		"<total type=\"mmap\" count=\"%lu\" size=\"%lu\"/>\n"
		"<system type=\"current\" size=\"%lu\"/>\n"
		"<aspace type=\"total\" size=\"%lu\"/>\n</malloc>\n",
		total->blocks_cached, total->bytes_cached, total->large_live,
		total->large_bytes, total->bytes_committed, total->bytes_mapped);
	return 0;
}

EXPORT void malloc_stats(void)
{
	hk_init();
	hk_dump(STDERR_FILENO, HAKMEM_TEXT);
}

EXPORT int mallopt(int parameter, int value)
{
	hk_init();
	switch (parameter) {
	case M_TRIM_THRESHOLD:
	case M_MMAP_THRESHOLD:
		return 1; /* accepted: what they ask for follows from the live data here */
	case M_PERTURB:
		hk_heap_set_perturb((uint8_t)value);
		return 1;
	default:
		return 0;
	}
}
