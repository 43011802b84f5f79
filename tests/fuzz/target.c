/* SPDX-License-Identifier: MIT
 *
 * target.c - an input's steps, and then all is given back: no block may live, nothing may be
 * cached, and the next input starts with an empty heap.
 */
#define _GNU_SOURCE
#include "target.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "calls.h"
#include "driver.h"
#include "refuse.h"

static struct worker worker;

/* Of the steps, abort() makes a crash: the fuzzer keeps the input. */
static void tell(const struct worker *its, const char *what)
{
	(void)its;
	driver_say(STDERR_FILENO, "not ok - %s\n", what);
}

static void start(uint64_t seed, uint64_t steps)
{
	static bool ready;

	if (!ready) {
		driver.workers = 1;
		driver.slots = 256;
		driver.most = (size_t)128 << 20;
		driver.refuse = refuse_init();
		driver.lone = true;
		driver.visits = true;
		driver.broken = tell;
		driver.trace = getenv("TEST_TRACE") != NULL;
		driver_init();
		driver_make(&worker, 0, 0, 0);
		ready = true;
	}
	worker.seed = seed;
	worker.step = 0;
	worker.steps = steps;
}

static void set(const char *name, const char *value)
{
	struct hakmem_option option = { 0 };

	option.name = name;
	strcpy(option.value, value);
	EXPECT(&worker, calls.ctl(HAKMEM_SET, &option, sizeof(option)) == 0,
	       "HAKMEM_SET %s to %s", name, value);
}

static void end(void)
{
	struct hakmem_stats stats = { 0 };

	driver_end(&worker, true);
	set("tiny_profile", "conservative");
	set("magazine_bytes", "8M");
	set("purge_delay_ms", "10");
	set("lru_superslabs", "2");
	set("thp", "never");
	set("timing", "0");
	EXPECT(&worker,
	       calls.ctl(HAKMEM_RELEASE, NULL, 0) == 0 &&
		       calls.ctl(HAKMEM_CHECK, NULL, 0) == 0 &&
		       calls.ctl(HAKMEM_STATS, &stats, sizeof(stats)) == 0,
	       "HAKMEM_RELEASE, HAKMEM_CHECK or HAKMEM_STATS failed");
	EXPECT(&worker,
	       stats.blocks_live + stats.bytes_cached + stats.superslabs_live +
			       stats.superslabs_cached + stats.large_live ==
		       0,
	       "left: %llu blocks, %llu bytes cached, %llu SuperSlabs live, %llu cached, "
	       "%llu large blocks",
	       (unsigned long long)stats.blocks_live,
	       (unsigned long long)stats.bytes_cached,
	       (unsigned long long)stats.superslabs_live,
	       (unsigned long long)stats.superslabs_cached,
	       (unsigned long long)stats.large_live);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	start(0, UINT64_MAX);
	worker.choice = choice_of_bytes(data, size);
	driver_work(&worker);
	end();
	return 0;
}

void target_run(uint64_t seed, uint64_t steps)
{
	start(seed, steps);
	worker.choice = (struct choice){ 0 };
	driver_work(&worker);
	end();
}
