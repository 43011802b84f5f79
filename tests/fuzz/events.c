/* SPDX-License-Identifier: MIT
 *
 * events.c - what happens seldom: operations on the whole heap, options, threads that end,
 * system calls that fail.  None of it may disturb a block.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "calls.h"
#include "driver.h"
#include "refuse.h"

static int ctl(enum hakmem_op op, void *arg, size_t size)
{
	int result;

	refuse_enter();
	result = calls.ctl(op, arg, size);
	refuse_leave();
	return result;
}

static void flush(struct worker *worker)
{
	struct hakmem_flush flush = { 0 };
	int result;

	flush.scope = choose(&worker->choice, 2) ? HAKMEM_SELF : HAKMEM_ALL;
	NOTE(worker, "HAKMEM_FLUSH, scope %u", flush.scope);
	result = ctl(HAKMEM_FLUSH, &flush, sizeof(flush));
	EXPECT(worker,
	       result == 0 && (!flush.unreached || driver.unreached || refuse_any()),
	       "HAKMEM_FLUSH: %d, %llu unreached", result,
	       (unsigned long long)flush.unreached);
	worker->deeds[DID_FLUSH]++;
}

static void release(struct worker *worker)
{
	struct hakmem_release release = { 0 };
	int result;

	NOTE(worker, "HAKMEM_RELEASE");
	result = ctl(HAKMEM_RELEASE, &release, sizeof(release));
	EXPECT(worker, result == 0, "HAKMEM_RELEASE: %d, errno %d", result, errno);
	worker->deeds[DID_RELEASE]++;
}

static void trim(struct worker *worker)
{
	int result;

	NOTE(worker, "malloc_trim");
	refuse_enter();
	result = calls.trim(choose(&worker->choice, 2) * 4096);
	refuse_leave();
	EXPECT(worker, result == 0 || result == 1, "malloc_trim: %d", result);
	worker->deeds[DID_RELEASE]++;
}

static void check(struct worker *worker)
{
	int result;

	NOTE(worker, "HAKMEM_CHECK");
	result = ctl(HAKMEM_CHECK, NULL, 0);
	EXPECT(worker, result == 0, "HAKMEM_CHECK: %d, errno %d", result, errno);
	worker->deeds[DID_CHECK]++;
}

/* The boxes' blocks, and other workers', are counted as well. */
static void stats(struct worker *worker)
{
	struct hakmem_stats stats = { 0 };
	int result;

	NOTE(worker, "HAKMEM_STATS");
	result = ctl(HAKMEM_STATS, &stats, sizeof(stats));
	EXPECT(worker, result == 0, "HAKMEM_STATS: %d, errno %d", result, errno);
	EXPECT(worker,
	       refuse_any() || (stats.blocks_live >= worker->held_blocks &&
				stats.bytes_live >= worker->held_bytes),
	       "HAKMEM_STATS: %llu blocks of %llu bytes live, the worker alone has %zu of %zu",
	       (unsigned long long)stats.blocks_live,
	       (unsigned long long)stats.bytes_live, worker->held_blocks,
	       worker->held_bytes);
	EXPECT(worker,
	       !driver.lone || refuse_any() || stats.blocks_live == shadow_blocks(),
	       "HAKMEM_STATS: %llu blocks live, in truth %zu",
	       (unsigned long long)stats.blocks_live, shadow_blocks());
	worker->deeds[DID_STATS]++;
}

static void info(struct worker *worker)
{
	struct mallinfo2 info;
	int result;

	refuse_enter();
	info = calls.info();
	refuse_leave();
	NOTE(worker, "mallinfo2: %zu bytes in use", info.uordblks);
	EXPECT(worker,
	       !calls.hakmem || refuse_any() || info.uordblks >= worker->held_bytes,
	       "mallinfo2: %zu bytes in use, the worker alone has %zu", info.uordblks,
	       worker->held_bytes);
	if (driver.workers > 1 || !seldom(&worker->choice, 16))
		return;
	result = calls.write_info(0, driver.nowhere);
	EXPECT(worker, result == 0 && calls.write_info(1, driver.nowhere) == EINVAL,
	       "malloc_info: %d", result);
}

static void set_option(struct worker *worker)
{
	static const struct {
		const char *name, *values[4];
	} options[] = {
		{ "tiny_profile", { "conservative", "hot", "full", "off" } },
		{ "magazine_bytes", { "8M", "0", "64K", "1M" } },
		{ "purge_delay_ms", { "10", "0", "1000", "1" } },
		{ "lru_superslabs", { "2", "0", "1", "16" } },
		{ "thp", { "never", "dense", "never", "always" } },
		{ "timing", { "0", "1", "0", "0" } },
	};
	struct hakmem_option option = { 0 };
	size_t which = choose(&worker->choice, sizeof(options) / sizeof(options[0]));
	int result;

	option.name = options[which].name;
	strcpy(option.value, options[which].values[choose(&worker->choice, 4)]);
	NOTE(worker, "HAKMEM_SET %s to %s", option.name, option.value);
	result = ctl(HAKMEM_SET, &option, sizeof(option));
	EXPECT(worker, result == 0, "HAKMEM_SET %s to %s: %d, errno %d", option.name,
	       option.value, result, errno);
	worker->deeds[DID_SET]++;
}

/* Of glibc's, only some blocks obey it; the debug library has patterns of its own. */
static void perturb(struct worker *worker)
{
	if (driver.workers > 1 || !calls.hakmem || calls.debug)
		return;
	worker->perturb = (uint8_t)choose(&worker->choice, 256);
	worker->perturb_left = 1 + (unsigned)choose(&worker->choice, 64);
	NOTE(worker, "mallopt(M_PERTURB, %u)", worker->perturb);
	EXPECT(worker, calls.set_parameter(M_PERTURB, worker->perturb) == 1,
	       "mallopt(M_PERTURB, %u)", worker->perturb);
}

/* A phase in which the program shrinks to almost nothing. */
static void shrink(struct worker *worker)
{
	uint64_t kept = choose(&worker->choice, 16);

	NOTE(worker, "shrink");
	for (size_t i = 0; i < driver.slots; i++)
		if (worker->slots[i]->base && i % 16 != kept)
			driver_release(worker, worker->slots[i]);
	worker->deeds[DID_SHRINK]++;
}

/* Calls about nothing. */
static void nothing(struct worker *worker)
{
	NOTE(worker, "NULL, freed in every way");
	errno = EXDEV;
	calls.end(NULL);
	if (calls.end_c)
		calls.end_c(NULL);
	if (calls.end_sized)
		calls.end_sized(NULL, 100);
	if (calls.end_aligned_sized)
		calls.end_aligned_sized(NULL, 64, 100);
	for (size_t i = 0; i < 2 && calls.cxx[i].end; i++) {
		calls.cxx[i].end(NULL);
		calls.cxx[i].end_sized(NULL, 10);
		calls.cxx[i].end_aligned(NULL, 64);
		calls.cxx[i].end_sized_aligned(NULL, 10, 64);
	}
	EXPECT(worker, calls.usable_size(NULL) == 0 && errno == EXDEV,
	       "usable size of NULL: %zu, errno %d", calls.usable_size(NULL), errno);
}

/* Steps of the one worker that another thread takes while the worker's own waits for it. */
static void *visit(void *argument)
{
	struct worker *worker = argument;
	uint64_t most = worker->steps;

	worker->visiting = true;
	worker->step++;
	worker->steps = worker->step + 1 + choose(&worker->choice, 64);
	if (worker->steps > most)
		worker->steps = most;
	driver_work(worker);
	worker->steps = most;
	worker->step--;
	worker->visiting = false;
	return NULL;
}

/*
 * On a stack for which libc makes no system call when the thread ends; ThreadSanitizer wants a
 * megabyte.
 */
static void be_visited(struct worker *worker)
{
	enum { STACK = 2 << 20 };
	void *stack = shadow_map(STACK);
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	if (pthread_attr_setstack(&attributes, stack, STACK) ||
	    pthread_create(&thread, &attributes, visit, worker))
		_exit(3);
	pthread_attr_destroy(&attributes);
	pthread_join(thread, NULL);
	munmap(stack, STACK);
}

static void change_thread(struct worker *worker)
{
	/* That is the thread's. */
	refuse_none();
	worker->refusals_left = 0;
	if (driver.visits && !worker->visiting) {
		NOTE(worker, "another thread");
		be_visited(worker);
		worker->deeds[DID_LEAVE]++;
	} else if (!driver.visits) {
		NOTE(worker, "the thread ends");
		worker->leaves = true;
	}
}

static void refuse(struct worker *worker)
{
	if (!driver.refuse)
		return;
	/* So that what comes next needs some. */
	if (choose(&worker->choice, 2))
		trim(worker);
	NOTE(worker, "system calls fail");
	refuse_some(&worker->choice);
	worker->refusals_left = 1 + (unsigned)choose(&worker->choice, 256);
}

static const struct {
	void (*happen)(struct worker *worker);
	unsigned one_in; /* of those that could */
	bool by_ctl;
} events[] = {
	{ flush, 4, true },         { release, 16, true },  { trim, 32, false },
	{ check, 16, true },        { stats, 4, true },     { info, 4, false },
	{ set_option, 8, true },    { perturb, 16, false }, { shrink, 32, false },
	{ driver_fill, 32, false }, { nothing, 1, false },  { change_thread, 8, false },
	{ refuse, 1, false },
};

void driver_event(struct worker *worker)
{
	size_t which = choose(&worker->choice, sizeof(events) / sizeof(events[0]));

	if ((events[which].by_ctl && !calls.ctl) ||
	    !seldom(&worker->choice, events[which].one_in))
		return;
	events[which].happen(worker);
}
