/* SPDX-License-Identifier: MIT
 *
 * hakmem_ctl() with operations, structs and descriptors it cannot take: the errno of
 * hakmem_ctl(3), and a failing call changes nothing.
 */
#include "libabuse.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

static void refused(int op, void *arg, size_t size, int wanted, const char *what)
{
	int answer;

	errno = 0;
	answer = ctl((enum hakmem_op)op, arg, size);
	ok(answer == -1 && errno == wanted, "%s: -1 and %s (%d, %s)", what,
	   strerrorname_np(wanted), answer, errno ? strerrorname_np(errno) : "0");
}

static void served(int op, void *arg, size_t size, const char *what)
{
	int answer;

	errno = EXDEV;
	answer = ctl((enum hakmem_op)op, arg, size);
	ok(answer == 0 && errno == EXDEV, "%s: 0, and errno is kept (%d, %s)", what,
	   answer, errno ? strerrorname_np(errno) : "0");
}

static void operations(void)
{
	static const int unknown[] = { 0, 10, 11, 99, -1, 1 << 30, -2147483647 - 1 };
	char some[64] = { 0 };

	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		refused(unknown[i], NULL, 0, EINVAL,
			"unknown operation without a struct");
		refused(unknown[i], some, sizeof(some), EINVAL,
			"unknown operation with a struct");
	}
}

static void missing_structs(void)
{
	struct hakmem_stats stats;

	refused(HAKMEM_STATS, NULL, 0, EFAULT, "STATS, NULL and 0");
	refused(HAKMEM_STATS, NULL, sizeof(stats), EFAULT, "STATS, NULL and a size");
	refused(HAKMEM_DUMP, NULL, 0, EFAULT, "DUMP, NULL and 0");
	refused(HAKMEM_GET, NULL, 0, EFAULT, "GET, NULL and 0");
	refused(HAKMEM_SET, NULL, 0, EFAULT, "SET, NULL and 0");
	refused(HAKMEM_SET, NULL, sizeof(struct hakmem_option), EFAULT,
		"SET, NULL and a size");
	refused(HAKMEM_QUERY, NULL, 0, EFAULT, "QUERY, NULL and 0");
	refused(HAKMEM_FLUSH, NULL, sizeof(struct hakmem_flush), EFAULT,
		"FLUSH, NULL and a size");
	refused(HAKMEM_RELEASE, NULL, sizeof(struct hakmem_release), EFAULT,
		"RELEASE, NULL and a size");
	served(HAKMEM_FLUSH, NULL, 0, "FLUSH, NULL and 0");
	served(HAKMEM_RELEASE, NULL, 0, "RELEASE, NULL and 0");
	served(HAKMEM_CHECK, NULL, 0, "CHECK, NULL and 0");
}

/* A caller compiled with an older header: its struct ends earlier. */
static void short_structs(void)
{
	union {
		struct hakmem_stats stats;
		unsigned char bytes[sizeof(struct hakmem_stats)];
	} u, full;
	union {
		struct hakmem_flush flush;
		unsigned char bytes[sizeof(struct hakmem_flush)];
	} f;
	const size_t shorter = offsetof(struct hakmem_stats, bytes_mapped);
	void *block = opaque(malloc(opaque_size(1000)));

	memset(&u, 0xee, sizeof(u));
	served(HAKMEM_STATS, &u, shorter, "STATS, a struct of four fields");
	served(HAKMEM_STATS, &full, sizeof(full), "STATS, the whole struct");
	ok(u.stats.bytes_live == full.stats.bytes_live &&
		   u.stats.blocks_live == full.stats.blocks_live,
	   "the fields there are the same");
	ok(all_bytes(u.bytes + shorter, 0xee, sizeof(u) - shorter),
	   "nothing is written beyond");

	memset(&u, 0xee, sizeof(u));
	served(HAKMEM_STATS, &u, 12, "STATS, a struct that ends inside a field");
	ok(u.stats.bytes_live == full.stats.bytes_live &&
		   all_bytes(u.bytes + 12, 0xee, sizeof(u) - 12),
	   "it is served as far as it goes");

	memset(&f, 0xee, sizeof(f));
	f.flush.scope = HAKMEM_ALL;
	f.flush.reserved = 0;
	served(HAKMEM_FLUSH, &f, offsetof(struct hakmem_flush, blocks),
	       "FLUSH, only its inputs");
	ok(all_bytes(f.bytes + 8, 0xee, sizeof(f) - 8), "nothing is written beyond them");
	free(block);
}

/* A caller compiled with a newer header: zeros are no request, anything else is one. */
static void long_structs(void)
{
	struct {
		struct hakmem_flush known;
		uint64_t tail[64];
	} flush = { 0 };
	struct {
		struct hakmem_stats known;
		unsigned char tail[4096];
	} stats;
	struct {
		struct hakmem_option known;
		uint64_t tail[2];
	} option = { .known = { .name = "purge_delay_ms", .value = "77" } };
	struct hakmem_option now = { .name = "purge_delay_ms" };
	char before[64];

	served(HAKMEM_FLUSH, &flush, sizeof(flush), "FLUSH, a longer struct, zero tail");
	flush.tail[63] = 1;
	refused(HAKMEM_FLUSH, &flush, sizeof(flush), E2BIG,
		"FLUSH, last byte of the tail not zero");
	flush.tail[63] = 0;
	flush.tail[0] = 1;
	refused(HAKMEM_FLUSH, &flush, sizeof(flush), E2BIG,
		"FLUSH, first byte of the tail not zero");

	memset(&stats, 0, sizeof(stats));
	served(HAKMEM_STATS, &stats, sizeof(stats), "STATS, a longer struct, zero tail");
	ok(stats.known.bytes_mapped > 0 && all_bytes(stats.tail, 0, sizeof(stats.tail)),
	   "the known part is filled, the tail is left");
	memset(&stats, 0, sizeof(stats));
	stats.tail[100] = 1;
	refused(HAKMEM_STATS, &stats, sizeof(stats), E2BIG, "STATS, tail not zero");
	ok(all_bytes(&stats.known, 0, sizeof(stats.known)), "nothing is written then");

	served(HAKMEM_GET, &now, sizeof(now), "GET purge_delay_ms");
	memcpy(before, now.value, sizeof(before));
	option.tail[1] = 1;
	refused(HAKMEM_SET, &option, sizeof(option), E2BIG, "SET, tail not zero");
	served(HAKMEM_GET, &now, sizeof(now), "GET again");
	ok(!strcmp(before, now.value) && strcmp(now.value, "77"),
	   "the option has not changed");
	option.tail[1] = 0;
	served(HAKMEM_SET, &option, sizeof(option), "SET, zero tail");
	served(HAKMEM_GET, &now, sizeof(now), "GET again");
	ok(!strcmp(now.value, "77"), "the option has changed");
}

static void reserved_fields(void)
{
	struct hakmem_flush flush = { .scope = HAKMEM_ALL, .reserved = 1, .blocks = 42 };
	struct hakmem_release release = { .flags = 1, .superslabs = 42 };

	refused(HAKMEM_FLUSH, &flush, sizeof(flush), EINVAL, "FLUSH, reserved not zero");
	ok(flush.blocks == 42, "the struct is as it was");
	flush.reserved = 0;
	flush.scope = 2;
	refused(HAKMEM_FLUSH, &flush, sizeof(flush), EINVAL, "FLUSH, scope 2");
	flush.scope = UINT32_MAX;
	refused(HAKMEM_FLUSH, &flush, sizeof(flush), EINVAL, "FLUSH, scope UINT32_MAX");
	flush.scope = HAKMEM_SELF;
	served(HAKMEM_FLUSH, &flush, sizeof(flush), "FLUSH, HAKMEM_SELF");

	refused(HAKMEM_RELEASE, &release, sizeof(release), EINVAL, "RELEASE, flags 1");
	ok(release.superslabs == 42, "the struct is as it was");
	release.flags = 0;
	release.reserved = 1;
	refused(HAKMEM_RELEASE, &release, sizeof(release), EINVAL,
		"RELEASE, reserved not zero");
}

static void descriptors(void)
{
	struct hakmem_dump dump = { .fd = -1, .format = HAKMEM_TEXT };
	int reading = open("/dev/null", O_RDONLY);
	int full = open("/dev/full", O_WRONLY);
	int ends[2];

	for (uint32_t format = HAKMEM_TEXT; format <= HAKMEM_OPENMETRICS; format++) {
		dump.format = format;
		dump.fd = -1;
		refused(HAKMEM_DUMP, &dump, sizeof(dump), EBADF, "DUMP to -1");
		dump.fd = 987;
		refused(HAKMEM_DUMP, &dump, sizeof(dump), EBADF,
			"DUMP to a closed descriptor");
		dump.fd = reading;
		refused(HAKMEM_DUMP, &dump, sizeof(dump), EBADF,
			"DUMP to a descriptor for reading");
		dump.fd = full;
		refused(HAKMEM_DUMP, &dump, sizeof(dump), ENOSPC,
			"DUMP to a full device");
		if (pipe(ends))
			exit(1);
		close(ends[0]);
		dump.fd = ends[1];
		refused(HAKMEM_DUMP, &dump, sizeof(dump), EPIPE,
			"DUMP to a pipe nobody reads");
		close(ends[1]);
	}
	dump.fd = STDOUT_FILENO;
	dump.format = 3;
	refused(HAKMEM_DUMP, &dump, sizeof(dump), EINVAL, "DUMP, format 3");
	dump.format = UINT32_MAX;
	refused(HAKMEM_DUMP, &dump, sizeof(dump), EINVAL, "DUMP, format UINT32_MAX");
	close(reading);
	close(full);
}

static void leaks(void)
{
	struct hakmem_leaks leaks = { .fd = STDERR_FILENO, .format = HAKMEM_TEXT };

	if (!on_debug_library()) {
		refused(HAKMEM_LEAKS, &leaks, sizeof(leaks), ENOTSUP, "LEAKS");
		return;
	}
	refused(HAKMEM_LEAKS, NULL, 0, EFAULT, "LEAKS without a struct");
	leaks.format = HAKMEM_OPENMETRICS;
	refused(HAKMEM_LEAKS, &leaks, sizeof(leaks), EINVAL, "LEAKS, HAKMEM_OPENMETRICS");
	leaks.format = HAKMEM_TEXT;
	leaks.fd = -1;
	refused(HAKMEM_LEAKS, &leaks, sizeof(leaks), EBADF, "LEAKS to descriptor -1");
	leaks.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	if (leaks.fd >= 0)
		refused(HAKMEM_LEAKS, &leaks, sizeof(leaks), ENOSPC,
			"LEAKS to a full device");
	close(leaks.fd);
}

int main(void)
{
	require_library();
	signal(SIGPIPE, SIG_IGN);
	operations();
	missing_structs();
	short_structs();
	long_structs();
	reserved_fields();
	descriptors();
	leaks();
	return tap_end();
}
