/* SPDX-License-Identifier: MIT
 *
 * dump: what HAKMEM_TIMING measures, in each of the three formats, with the numbers that were
 * measured; and nothing of it when it is off; and the SuperSlabs that hold most back.  That
 * the formats are well formed is for parsers to say: interpose.sh.
 */
#include "libcheck.h"

#include "dump.h"
#include "fork.h"
#include "lock.h"
#include "magazine.h"
#include "medium.h"
#include "pool.h"
#include "slab.h"
#include "timing.h"

static char text[64 * 1024];
static struct hk_locks_report locks;
static struct hk_timing timing[HK_TIMED];

static void setup(void)
{
	hk_init();
	set_option("timing", "1");
}

static void teardown(void)
{
	set_option("timing", "0");
	fail_no_more();
}

static const char *dump(uint32_t format)
{
	int fd = memfd_create("dump", MFD_CLOEXEC);
	ssize_t length;

	ck_assert_int_eq(hk_dump(fd, format), 0);
	length = pread(fd, text, sizeof(text) - 1, 0);
	close(fd);
	ck_assert_int_gt(length, 0);
	text[length] = '\0';
	return text;
}

__attribute__((format(printf, 2, 3))) static bool has(const char *in, const char *format,
						      ...)
{
	char wanted[256];
	va_list list;

	va_start(list, format);
	vsnprintf(wanted, sizeof(wanted), format, list);
	va_end(list);
	return strstr(in, wanted) != NULL;
}

static const struct hk_lock_report *lock_named(const char *name)
{
	hk_locks_report(&locks);
	ck_assert_uint_eq(locks.names, HK_NAMED_LOCKS);
	for (size_t i = 0; i < locks.names; i++)
		if (!strcmp(locks.named[i].name, name))
			return &locks.named[i];
	ck_abort_msg("no lock named %s", name);
}

static struct hk_timing read_one(enum hk_timed what)
{
	hk_timing_read(timing);
	return timing[what];
}

/* The count grew by so many, and the times with it. */
static void grew(enum hk_timed what, struct hk_timing before, uint64_t count)
{
	struct hk_timing after = read_one(what);

	ck_assert_msg(after.count - before.count == count, "%s: %lu more calls, not %lu",
		      hk_timed_names[what], after.count - before.count, count);
	ck_assert_uint_gt(after.total_ns, before.total_ns);
	ck_assert_uint_gt(after.longest_ns, 0);
	ck_assert_uint_ge(after.longest_ns, before.longest_ns);
	ck_assert_uint_le(after.longest_ns, after.total_ns);
}

START_TEST(system_calls_are_timed)
{
	struct hk_timing before = read_one(HK_TIMED_MAP);
	void *base = hk_os_map(hk_os_page_size, hk_os_page_size, NULL);

	ck_assert_ptr_nonnull(base);
	grew(HK_TIMED_MAP, before, 1);
	before = read_one(HK_TIMED_PURGE);
	ck_assert(hk_os_purge(base, hk_os_page_size));
	grew(HK_TIMED_PURGE, before, 1);
	before = read_one(HK_TIMED_UNMAP);
	ck_assert(hk_os_unmap(base, hk_os_page_size));
	grew(HK_TIMED_UNMAP, before, 1);
}
END_TEST

START_TEST(slow_paths_are_timed_and_nothing_else)
{
	static void *blocks[5000];
	struct hk_timing refills, spills;
	struct hakmem_stats stats;

	release_all();
	refills = read_one(HK_TIMED_REFILL);
	spills = read_one(HK_TIMED_SPILL);
	stats = stats_now();
	for (size_t i = 0; i < 5000; i++)
		blocks[i] = malloc(64);
	grew(HK_TIMED_REFILL, refills, stats_now().refills_total - stats.refills_total);
	for (size_t i = 0; i < 5000; i++)
		free(blocks[i]);
	ck_assert_uint_gt(read_one(HK_TIMED_SPILL).count, spills.count);
	ck_assert_uint_lt(read_one(HK_TIMED_SPILL).count - spills.count, 1000);
}
END_TEST

/* A refill that found no memory is one, too. */
START_TEST(a_refill_in_vain_is_timed)
{
	struct hk_timing before;
	bool zero;

	release_all();
	before = read_one(HK_TIMED_REFILL);
	fail_after(HK_OS_MAP, 0);
	ck_assert_ptr_null(hk_magazine_refill(30, &zero));
	fail_no_more();
	grew(HK_TIMED_REFILL, before, 1);
}
END_TEST

START_TEST(off_nothing_is_measured)
{
	struct hk_timing before[HK_TIMED];

	set_option("timing", "0");
	hk_timing_read(before);
	for (unsigned i = 0; i < 100; i++) {
		free(malloc((size_t)5 << 20));
		free(malloc(100));
	}
	release_all();
	hk_timing_read(timing);
	ck_assert_mem_eq(before, timing, sizeof(timing));
}
END_TEST

static struct hk_lock *contended_lock;

static void *take(void *unused)
{
	hk_lock(contended_lock);
	hk_unlock(contended_lock);
	return unused;
}

/* Another thread waits for it, for 10 ms at least. */
static void contend(struct hk_lock *lock)
{
	pthread_t thread;

	contended_lock = lock;
	hk_lock(lock);
	ck_assert_int_eq(pthread_create(&thread, NULL, take, NULL), 0);
	while (atomic_load(&lock->state) != 2)
		usleep(1000);
	usleep(10000);
	hk_unlock(lock);
	pthread_join(thread, NULL);
}

START_TEST(a_lock_has_its_name)
{
	static const char *const names[] = { "init",    "config", "sets",
					     "classes", "pool",   "large" };

	for (size_t i = 0; i < 6; i++)
		lock_named(names[i]);
	for (size_t i = 0; i < 2; i++) {
		const char *name = i ? "pool" : "config";
		struct hk_lock_report before = *lock_named(name), after;

		contend(i ? &hk_pool_lock : &hk_config_lock);
		after = *lock_named(name);
		/* By both threads, and by the report itself. */
		ck_assert_uint_eq(after.acquired, before.acquired + 3);
		ck_assert_uint_eq(after.contended, before.contended + 1);
		ck_assert_uint_ge(after.waited_ns, before.waited_ns + 10000000);
	}
}
END_TEST

START_TEST(the_most_contended_classes_in_their_order)
{
	static const unsigned picked[] = { 7, 20, 5, 33 }, times[] = { 2, 4, 1, 3 };

	for (size_t i = 0; i < 4; i++)
		for (unsigned j = 0; j < times[i]; j++)
			contend(&hk_classes[picked[i]].lock);
	ck_assert_uint_ge(lock_named("classes")->contended, 10);
	ck_assert_uint_eq(locks.classes[0].size_class, 20);
	ck_assert_uint_eq(locks.classes[0].contended, 4);
	ck_assert_uint_eq(locks.classes[1].size_class, 33);
	ck_assert_uint_eq(locks.classes[1].contended, 3);
	ck_assert_uint_eq(locks.classes[2].size_class, 7);
	ck_assert_uint_eq(locks.classes[2].contended, 2);
	ck_assert_uint_ge(locks.classes[2].waited_ns, 20000000);

	dump(HAKMEM_TEXT);
	ck_assert(has(text, "\nclass %-14lu", hk_class_size(20)));
	ck_assert(!has(text, "\nclass %-14lu", hk_class_size(5)));
	dump(HAKMEM_JSON);
	ck_assert(has(text, "\"most_contended\":[{\"size\":%lu,\"acquired\":",
		      hk_class_size(20)));
	ck_assert(has(text, ",{\"size\":%lu,\"acquired\":", hk_class_size(7)));
	ck_assert(!has(text, "\"size\":%lu,\"acquired\":", hk_class_size(5)));
	dump(HAKMEM_OPENMETRICS);
	ck_assert(has(text, "\nhakmem_class_lock_waits_total{size=\"%lu\"} 4\n",
		      hk_class_size(20)));
	ck_assert(!has(text, "hakmem_class_lock_waits_total{size=\"%lu\"}",
		       hk_class_size(5)));
}
END_TEST

START_TEST(each_format_has_the_numbers)
{
	contend(&hk_config_lock);
	free(malloc((size_t)5 << 20));
	hk_timing_read(timing);
	dump(HAKMEM_TEXT);
	ck_assert(has(text, "\n%-20s %14lu %14lu %16lu\n", "unmap",
		      timing[HK_TIMED_UNMAP].count, timing[HK_TIMED_UNMAP].longest_ns,
		      timing[HK_TIMED_UNMAP].total_ns));
	dump(HAKMEM_JSON);
	ck_assert(has(text, "\"map\":{\"count\":%lu,\"total_ns\":%lu,\"longest_ns\":%lu}",
		      timing[HK_TIMED_MAP].count, timing[HK_TIMED_MAP].total_ns,
		      timing[HK_TIMED_MAP].longest_ns));
	ck_assert(has(text, "\"contended\":%lu,\"waited_ns\":%lu",
		      lock_named("config")->contended, lock_named("config")->waited_ns));
	dump(HAKMEM_OPENMETRICS);
	ck_assert(has(text, "\nhakmem_timed_calls_total{path=\"map\"} %lu\n",
		      timing[HK_TIMED_MAP].count));
	ck_assert(has(text, "\nhakmem_timed_nanoseconds_total{path=\"map\"} %lu\n",
		      timing[HK_TIMED_MAP].total_ns));
	ck_assert(has(text, "\nhakmem_timed_longest_nanoseconds{path=\"map\"} %lu\n",
		      timing[HK_TIMED_MAP].longest_ns));
	ck_assert(has(text, "\nhakmem_lock_waits_total{lock=\"config\"} %lu\n",
		      lock_named("config")->contended));
	ck_assert(has(text,
		      "\nhakmem_lock_waited_nanoseconds_total{lock=\"config\"} %lu\n",
		      lock_named("config")->waited_ns));
}
END_TEST

START_TEST(off_no_format_has_any)
{
	set_option("timing", "0");
	dump(HAKMEM_TEXT);
	ck_assert(!has(text, "longest ns") && !has(text, "waited ns"));
	ck_assert(!has(text, "\nrefill ") && !has(text, "\npool "));
	dump(HAKMEM_JSON);
	ck_assert(!has(text, "\"timing\":{") && !has(text, "\"locks\""));
	dump(HAKMEM_OPENMETRICS);
	ck_assert(!has(text, "hakmem_timed") && !has(text, "hakmem_lock_waits"));
	ck_assert(!has(text, "hakmem_class_lock"));
}
END_TEST

/* What the two blocks of the k'th SuperSlab of the next test are made to have. */
static size_t live_in(size_t k)
{
	return HK_MEDIUM_MAX + (k + 2) * HK_SLOT_BYTES;
}

/*
 * In the order of what they hold back: one with a small block and nothing else any more, then
 * those with so many slots' bytes in use.
 */
START_TEST(the_ten_that_hold_most_back)
{
	static void *first[12], *second[12];
	struct hk_slab *other;
	char line[256];
	void *block;
	bool zero;

	release_all();
	block = malloc(64);
	other = hk_pool_take(HK_KIND_MEDIUM, 24, 1, false, &zero);
	ck_assert_ptr_eq(hk_slab_superslab(other), hk_registry_owner(block));
	/* Two of 1 MiB in each, and then of the second only so many slots. */
	for (size_t i = 0; i < 12; i++) {
		size_t k = i * 7 % 12;

		first[k] = hk_medium_allocate(HK_MEDIUM_MAX, 1, false, &zero, NULL);
		second[k] = hk_medium_allocate(HK_MEDIUM_MAX, 1, false, &zero, NULL);
		ck_assert_ptr_eq(hk_registry_owner(first[k]),
				 hk_registry_owner(second[k]));
	}
	for (size_t k = 0; k < 12; k++)
		ck_assert(hk_medium_resize(second[k], (k + 2) * HK_SLOT_BYTES, "test"));
	hk_pool_give(other);
	dump(HAKMEM_TEXT);
	snprintf(line, sizeof(line), "\n%-18p %-8s %12u %12lu %6u 64\n",
		 (void *)hk_slab_superslab(other)->base, "draining", 1,
		 HK_SUPERSLAB_BYTES - 64, 0);
	ck_assert(has(text, "%s", line));
	for (size_t k = 0; k < 12; k++) {
		const char *at = strstr(text, line);

		snprintf(line, sizeof(line), "\n%-18p %-8s %12u %12lu %6lu medium\n",
			 first[k], "hot", 2, HK_SUPERSLAB_BYTES - live_in(k),
			 live_in(k) * 100 / HK_SUPERSLAB_BYTES);
		if (k < 9)
			ck_assert(at + strlen(line) < text + sizeof(text) &&
				  strstr(at, line) == strchr(at + 1, '\n'));
		else
			ck_assert(!has(text, "%p", first[k]));
	}
	dump(HAKMEM_JSON);
	ck_assert(
		has(text,
		    ",\"pinned\":[{\"superslab\":\"%p\",\"tier\":\"draining\",\"live\":1,"
		    "\"held_bytes\":%lu,\"fullness\":0,\"mostly_by\":\"64\"},",
		    (void *)hk_slab_superslab(other)->base, HK_SUPERSLAB_BYTES - 64));
	ck_assert(has(text,
		      ",{\"superslab\":\"%p\",\"tier\":\"hot\",\"live\":2,"
		      "\"held_bytes\":%lu,\"fullness\":81,\"mostly_by\":\"medium\"}]",
		      first[8], HK_SUPERSLAB_BYTES - live_in(8)));
	dump(HAKMEM_OPENMETRICS);
	ck_assert(!has(text, "%p", first[0]));

	for (size_t k = 0; k < 12; k++) {
		hk_medium_free(first[k], "test");
		hk_medium_free(second[k], "test");
	}
	free(block);
	release_all();
	dump(HAKMEM_TEXT);
	ck_assert(!has(text, "pinned SuperSlab"));
	dump(HAKMEM_JSON);
	ck_assert(has(text, ",\"pinned\":[]"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dump");
	TCase *tcase = add_case(suite, "dump");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, system_calls_are_timed);
	tcase_add_test(tcase, slow_paths_are_timed_and_nothing_else);
	tcase_add_test(tcase, a_refill_in_vain_is_timed);
	tcase_add_test(tcase, off_nothing_is_measured);
	tcase_add_test(tcase, a_lock_has_its_name);
	tcase_add_test(tcase, the_most_contended_classes_in_their_order);
	tcase_add_test(tcase, each_format_has_the_numbers);
	tcase_add_test(tcase, off_no_format_has_any);
	tcase_add_test(tcase, the_ten_that_hold_most_back);
	return run_suite(suite);
}
