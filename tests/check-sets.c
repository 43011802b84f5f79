/* SPDX-License-Identifier: MIT
 *
 * sets: when they are made, what stopping them means, draining, ageing, capacities and
 * their budget; in both forms.  Per CPU the ids are of the tests' choosing, so that one
 * thread can play many CPUs.
 */
#include "libcheck.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "slab.h"
#include "magazine.h"
#include "pool.h"

enum { MANY = 20000, INTERVAL_MS = 500, RECORD_BYTES = 1 << 18 };

static void *blocks[MANY];

static void setup(void)
{
	if (is_per_cpu())
		choose_ids();
	set_option("magazine_bytes", "2M");
	release_all();
}

static void teardown(void)
{
	fail_no_more();
	chosen_id = 0;
}

static void *get(unsigned size_class)
{
	void *block = NULL;
	bool zero;

	if (!pop_hit(size_class, &block))
		block = hk_magazine_refill(size_class, &zero);
	ck_assert_ptr_nonnull(block);
	return block;
}

static void put(unsigned size_class, void *block)
{
	if (!push_hit(size_class, block))
		hk_magazine_spill(size_class, block, "test");
}

static void fill(unsigned size_class, size_t n)
{
	for (size_t k = 0; k < n; k++)
		blocks[k] = get(size_class);
	for (size_t k = 0; k < n; k++)
		put(size_class, blocks[k]);
}

static struct hk_set *own_set(void)
{
	fill(5, 1);
	ck_assert_ptr_nonnull(hk_sets_current());
	return hk_sets_current();
}

static void stop(unsigned unreached)
{
	hk_lock(&hk_sets_lock);
	ck_assert_uint_eq(hk_sets_stop(), unreached);
}

static void resume(void)
{
	hk_sets_resume();
	hk_unlock(&hk_sets_lock);
}

static struct hk_flushed flush(void)
{
	struct hk_flushed flushed;

	hk_magazine_flush(true, &flushed, "test");
	return flushed;
}

static size_t sets_now(void)
{
	size_t count = 0;

	hk_lock(&hk_sets_lock);
	for (struct hk_set *set = hk_sets; set; set = set->next)
		count++;
	hk_unlock(&hk_sets_lock);
	ck_assert_uint_eq(hk_set_records.in_use, count);
	return count;
}

/* What it may hold, and what it could still be given: together its limit. */
static size_t capacity_bytes(struct hk_set *set)
{
	size_t bytes = set->budget;

	/* Overspent, it would be huge. */
	ck_assert_uint_le(set->budget, (size_t)1 << 30);
	for (unsigned i = 1; i <= HK_CLASSES; i++)
		bytes += hk_set_capacity(set, i) * hk_class_size(i);
	return bytes;
}

/* ---- making ---- */

static void check_layout(struct hk_set *set)
{
	char *end = (char *)(set + 1);

	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		ck_assert_uint_le(hk_set_capacity(set, i), hk_class_info(i)->capacity);
		/* Below its blocks lies a word of its own, which is 0. */
		ck_assert((char *)(hk_set_blocks(set, i) - 1) >= end);
		ck_assert_ptr_null(hk_set_blocks(set, i)[-1]);
		end = (char *)(hk_set_blocks(set, i) + hk_class_info(i)->capacity);
	}
	ck_assert(end <= (char *)set + RECORD_BYTES);
	ck_assert_uint_eq(hk_set_capacity(set, HK_KIND_NONE), 0);
	ck_assert_uint_eq(hk_set_capacity(set, HK_KIND_MEDIUM), 0);
	ck_assert_uint_eq(hk_set_capacity(set, HK_KIND_LARGE), 0);
}

START_TEST(one_is_made_when_it_is_first_used)
{
	static const uint32_t ids[] = { 0, 1, 77, 1023, 65535 };
	size_t before = sets_now();

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		struct hk_set *set;

		chosen_id = ids[i];
		ck_assert_ptr_null(hk_sets_current());
		ck_assert_uint_eq(hk_cpu_sets.table[ids[i]], 0);
		set = own_set();
		ck_assert_uint_eq(set->id, ids[i]);
		ck_assert_uint_eq(sets_now(), before + i + 1);
		ck_assert_ptr_eq(own_set(), set);
		ck_assert_uint_eq(sets_now(), before + i + 1);
		check_layout(set);
		ck_assert_uint_eq(hk_set_count(set, 5),
				  1 + hk_set_capacity(set, 5) / 2 - 1);
	}
	/* A flush does not make any, and does not drop any. */
	flush();
	chosen_id = 5;
	flush();
	ck_assert_ptr_null(hk_sets_current());
	ck_assert_uint_eq(sets_now(), before + 5);
	check_all();
}
END_TEST

static void *make_own(void *argument)
{
	struct hk_set **set = argument;
	void *none;

	set[1] = hk_sets_current();
	if (hk_thread_pop(5, &none) || hk_thread_push(5, &none))
		set[1] = &hk_cpu_sets.none;
	set[0] = own_set();
	check_layout(set[0]);
	return NULL;
}

START_TEST(a_thread_has_one_from_its_first_slow_path_to_its_end)
{
	struct hk_set *mine = own_set(), *its[2];
	size_t before = sets_now();
	pthread_t thread;

	for (unsigned i = 0; i < 50; i++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, make_own, its), 0);
		pthread_join(thread, NULL);
		ck_assert_ptr_null(its[1]);
		ck_assert_ptr_ne(its[0], mine);
		ck_assert_uint_eq(sets_now(), before);
	}
	check_all();
}
END_TEST

static pthread_key_t keys[4];
static _Atomic unsigned destroyed;

static void destroy(void *value)
{
	put(5, value);
	put(6, get(6));
	/* Before the library's own hook, or after it: then without a set. */
	destroyed += 1 + (hk_sets_current() == NULL) * 1000;
	if (destroyed % 1000 < 3 && !pthread_getspecific(keys[0]))
		pthread_setspecific(keys[0], get(5));
}

static void *end_with_destructors(void *argument)
{
	(void)argument;
	own_set();
	for (size_t i = 0; i < 4; i++)
		pthread_setspecific(keys[i], get(5));
	return NULL;
}

START_TEST(no_second_set_after_the_exit_hook)
{
	size_t before;
	pthread_t thread;

	own_set();
	before = sets_now();
	for (size_t i = 0; i < 4; i++)
		pthread_key_create(&keys[i], destroy);
	ck_assert_int_eq(pthread_create(&thread, NULL, end_with_destructors, NULL), 0);
	pthread_join(thread, NULL);
	ck_assert_uint_ge(destroyed % 1000, 4);
	ck_assert_uint_ge(destroyed, 1000);
	ck_assert_uint_eq(sets_now(), before);
	check_all();
	flush();
	ck_assert_uint_eq(hk_classes[5].used, 0);
	for (size_t i = 0; i < 4; i++)
		pthread_key_delete(keys[i]);
}
END_TEST

/* No memory for a set: blocks are served without, and the set is made another time. */
START_TEST(without_memory_for_one)
{
	size_t refused = 0;

	own_set();
	for (size_t k = 0; k < 100; k++)
		blocks[k] = get(5);
	fail_after(HK_OS_MAP, 0);
	for (uint32_t id = 1; id < 100; id++) {
		chosen_id = id;
		put(5, blocks[id]);
		blocks[id] = get(5);
		refused += !hk_sets_current();
	}
	ck_assert_uint_gt(refused, 0);
	ck_assert_ptr_null(hk_sets_current());
	fail_no_more();
	put(5, blocks[99]);
	ck_assert_ptr_nonnull(hk_sets_current());
	for (size_t k = 0; k < 99; k++)
		put(5, blocks[k]);
	check_all();
	flush();
	ck_assert_uint_eq(hk_classes[5].used, 0);
}
END_TEST

/* ---- stopping ---- */

static void *work_while_stopped(void *argument)
{
	struct hk_set *set = argument;
	uint32_t count = hk_set_count(set, 5), other = hk_set_count(set, 9);
	size_t bad = 0;

	for (unsigned round = 0; round < 3; round++) {
		for (size_t k = 0; k < 100; k++) {
			blocks[k] = get(5);
			memset(blocks[k], 1, 64);
			blocks[1000 + k] = get(9);
			for (uint32_t i = 0; i < count; i++)
				bad += blocks[k] == hk_set_blocks(set, 5)[i];
		}
		for (size_t k = 0; k < 100; k++) {
			put(5, blocks[k]);
			put(9, blocks[1000 + k]);
		}
	}
	bad += hk_set_count(set, 5) != count || hk_set_count(set, 9) != other;
	return (void *)bad;
}

/* Whoever comes upon a stopped set goes on without it, and does not touch it. */
START_TEST(stopped_it_is_left_alone)
{
	struct hk_set *set = own_set();
	void *before[40];

	fill(5, 30);
	stop(0);
	ck_assert(set->reached);
	if (is_per_cpu()) {
		ck_assert_uint_eq(hk_cpu_sets.table[set->id], 0);
		ck_assert_ptr_null(hk_sets_current());
	} else {
		ck_assert(set->stopped);
	}
	ck_assert_uint_gt(hk_set_count(set, 5), 20);
	memcpy(before, hk_set_blocks(set, 5), 20 * sizeof(void *));
	ck_assert_ptr_null(work_while_stopped(set));
	ck_assert_mem_eq(hk_set_blocks(set, 5), before, 20 * sizeof(void *));
	resume();
	ck_assert(!set->reached && !set->stopped);
	ck_assert_ptr_eq(hk_sets_current(), set);
	before[0] = hk_set_blocks(set, 5)[hk_set_count(set, 5) - 1];
	ck_assert_ptr_eq(get(5), before[0]);
	put(5, before[0]);
	check_all();
}
END_TEST

START_TEST(every_set_is_stopped)
{
	struct hk_set *set[6];

	for (uint32_t i = 0; i < 6; i++) {
		chosen_id = i * 100;
		set[i] = own_set();
	}
	for (unsigned round = 0; round < 2; round++) {
		stop(0);
		for (uint32_t i = 0; i < 6; i++) {
			ck_assert_uint_eq(hk_cpu_sets.table[i * 100], 0);
			ck_assert(set[i]->reached);
		}
		resume();
		for (uint32_t i = 0; i < 6; i++) {
			chosen_id = i * 100;
			ck_assert_ptr_eq(hk_sets_current(), set[i]);
		}
	}
}
END_TEST

START_TEST(a_drain_empties_one_set)
{
	struct hk_flushed flushed = { 0 };
	struct hk_set *first = own_set(), *second;
	uint64_t count = 0, bytes = 0, used;

	fill(5, 30);
	fill(20, 10);
	if (!is_per_cpu())
		second = NULL;
	else {
		chosen_id = 1;
		second = own_set();
		fill(5, 30);
	}
	stop(0);
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		count += hk_set_count(first, i);
		bytes += hk_set_count(first, i) * hk_class_size(i);
	}
	ck_assert_uint_ge(count, 40);
	used = hk_classes[5].used;
	used -= hk_set_count(first, 5);
	hk_set_drain(first, &flushed, "test");
	ck_assert_uint_eq(flushed.blocks, count);
	ck_assert_uint_eq(flushed.bytes, bytes);
	ck_assert_uint_eq(hk_classes[5].used, used);
	for (unsigned i = 1; i <= HK_CLASSES; i++)
		ck_assert_uint_eq(hk_set_count(first, i), 0);
	if (second)
		ck_assert_uint_ge(hk_set_count(second, 5), 30);
	resume();
	check_all();
}
END_TEST

/* ---- per thread: threads that cannot be reached ---- */

static pthread_barrier_t gate;

static void *cache_and_answer(void *argument)
{
	struct hk_set **set = argument;
	void *kept[50];

	for (size_t k = 0; k < 50; k++)
		kept[k] = get(5);
	for (size_t k = 0; k < 50; k++)
		put(5, kept[k]);
	*set = hk_sets_current();
	pthread_barrier_wait(&gate); /* has cached */
	pthread_barrier_wait(&gate); /* was asked */
	/* A slow path, of another class: the first after a flush. */
	kept[0] = get(30);
	for (size_t k = 1; k < 50; k++)
		kept[k] = get(30);
	pthread_barrier_wait(&gate); /* has answered */
	pthread_barrier_wait(&gate); /* was looked at */
	for (size_t k = 0; k < 50; k++)
		put(30, kept[k]);
	return NULL;
}

static pthread_t start_cacher(struct hk_set **set)
{
	pthread_t thread;

	pthread_barrier_init(&gate, NULL, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, cache_and_answer, set), 0);
	pthread_barrier_wait(&gate);
	return thread;
}

static void let_answer(void)
{
	pthread_barrier_wait(&gate);
	pthread_barrier_wait(&gate);
}

static void end_cacher(pthread_t thread)
{
	pthread_barrier_wait(&gate);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&gate);
	check_all();
}

/* As if it had been preempted between its mark and its release of it. */
START_TEST(a_thread_held_inside_is_not_reached)
{
	struct hk_set *set;
	pthread_t thread = start_cacher(&set);
	uint32_t count = hk_set_count(set, 5);

	own_set();
	ck_assert_uint_ge(count, 50);
	set->inside = true;
	stop(1);
	ck_assert(!set->reached);
	ck_assert(!set->stopped);
	resume();
	ck_assert_uint_eq(flush().unreached, 1);
	ck_assert_uint_eq(hk_set_count(set, 5), count);
	ck_assert(set->wanted);
	/* Nor by an ageing, nor by a check; nor is it laid out anew. */
	check_all();
	set_option("magazine_bytes", "64K");
	ck_assert_uint_gt(capacity_bytes(set), 65536);
	ck_assert_uint_eq(hk_set_count(set, 5), count);
	set->inside = false;
	let_answer();
	ck_assert_uint_eq(hk_set_count(set, 5), 0);
	ck_assert(!set->wanted);
	ck_assert_uint_le(capacity_bytes(set), 65536);
	ck_assert_uint_eq(flush().unreached, 0);
	set_option("magazine_bytes", "2M");
	end_cacher(thread);
}
END_TEST

/* It holds nothing: there is nothing that could not be reached. */
START_TEST(an_empty_set_is_not_counted)
{
	struct hk_set *set;
	pthread_t thread = start_cacher(&set);

	ck_assert_uint_eq(flush().unreached, 0);
	set->inside = true;
	ck_assert_uint_eq(flush().unreached, 0);
	set->inside = false;
	let_answer();
	end_cacher(thread);
}
END_TEST

/* From here on membarrier(2) is what it is on a kernel without it. */
static void take_membarrier_away(void)
{
	static struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	static const struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 0);
	ck_assert(!hk_os_membarrier(0));
}

/* In a child: a filter stays. */
static void flush_without_a_fence(void)
{
	struct hk_set *set, *mine;
	pthread_t thread;
	struct hk_flushed flushed;

	take_membarrier_away();
	use_form(false);
	ck_assert(!hk_thread_fence());
	thread = start_cacher(&set);
	mine = own_set();
	fill(5, 30);
	flushed = flush();
	ck_assert_uint_eq(flushed.unreached, 1);
	ck_assert_uint_ge(flushed.blocks, 30);
	ck_assert_uint_eq(hk_set_count(mine, 5), 0);
	ck_assert_uint_ge(hk_set_count(set, 5), 50);
	let_answer();
	ck_assert_uint_eq(hk_set_count(set, 5), 0);
	end_cacher(thread);
}

/* An assertion that fails there ends the child, and with it the test. */
static void in_a_child(void (*function)(void))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		alarm(20);
		function();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

START_TEST(without_a_fence_others_are_asked)
{
	in_a_child(flush_without_a_fence);
}
END_TEST

/* In a sandbox entered after the start, sequences go on, but cannot be stopped. */
static void flush_when_the_fence_is_refused(void)
{
	struct hk_set *set = own_set();
	struct hk_flushed flushed;
	uint32_t count;
	void *block;

	fill(5, 30);
	count = hk_set_count(set, 5);
	take_membarrier_away();
	flushed = flush();
	ck_assert_uint_eq(flushed.unreached, 1);
	ck_assert_uint_ge(hk_set_count(set, 5), count);
	ck_assert_ptr_eq(hk_sets_current(), set);
	block = hk_set_blocks(set, 5)[hk_set_count(set, 5) - 1];
	ck_assert_ptr_eq(get(5), block);
	put(5, block);
	check_all();
	/* One's own is emptied by sequences. */
	hk_magazine_flush(false, &flushed, "test");
	ck_assert_uint_ge(flushed.blocks, count);
	ck_assert_uint_eq(hk_set_count(set, 5), 0);
	check_all();
}

START_TEST(a_fence_that_is_refused)
{
	in_a_child(flush_when_the_fence_is_refused);
}
END_TEST

/* Sequences could be used, but not stopped. */
static void choose_without_a_fence(void)
{
	take_membarrier_away();
	forget_form();
	hk_rseq_init(true);
	ck_assert_int_eq(hk_rseq_area, 0);
}

START_TEST(without_a_fence_magazines_are_per_thread)
{
	in_a_child(choose_without_a_fence);
}
END_TEST

/* ---- capacity ---- */

START_TEST(capacities_grow_on_misses_within_the_budget)
{
	struct hk_set *set = own_set();
	unsigned hot = hk_size_class_exact(16);
	uint32_t before = hk_set_capacity(set, hot), last = before;

	ck_assert_uint_eq(capacity_bytes(set), hk_sets_limit());
	ck_assert_uint_gt(before, 0);
	ck_assert_uint_le(before, 32);
	while (last < hk_class_info(hot)->capacity) {
		uint32_t now = hk_set_grow(hot, HK_RAN_EMPTY);

		ck_assert_uint_eq(now, hk_set_capacity(set, hot));
		ck_assert_uint_gt(now, last);
		ck_assert_uint_le(now, 2 * last);
		ck_assert_uint_eq(capacity_bytes(set), hk_sets_limit());
		last = now;
	}
	ck_assert_uint_eq(last, 2048);
	ck_assert_uint_eq(hk_set_grow(hot, HK_RAN_EMPTY), 2048);
	/* Another class has not got any for nothing. */
	ck_assert_uint_le(hk_set_capacity(set, hk_size_class_exact(32)), 32);
}
END_TEST

START_TEST(a_hot_class_reaches_its_full_capacity)
{
	struct hk_set *set = own_set();
	unsigned hot = hk_size_class_exact(16);

	for (unsigned round = 0; round < 5; round++)
		fill(hot, 6000);
	ck_assert_uint_eq(hk_set_capacity(set, hot), 2048);
	ck_assert_uint_gt(hk_set_count(set, hot), 1024);
	ck_assert_uint_le(hk_set_count(set, hot), 2048);
}
END_TEST

START_TEST(when_the_budget_is_spent_nothing_grows)
{
	struct hk_set *set;
	size_t held = 0;

	set_option("magazine_bytes", "64K");
	set = own_set();
	for (unsigned round = 0; round < 20; round++)
		for (unsigned i = 1; i <= HK_CLASSES; i++) {
			ck_assert_uint_eq(hk_set_grow(i, HK_RAN_FULL),
					  hk_set_capacity(set, i));
			ck_assert_uint_eq(capacity_bytes(set), 65536);
		}
	for (unsigned i = 1; i <= HK_CLASSES; i++)
		fill(i, 100);
	for (unsigned i = 1; i <= HK_CLASSES; i++)
		held += hk_set_count(set, i) * hk_class_size(i);
	ck_assert_uint_le(held, 65536);
	check_all();
	set_option("magazine_bytes", "2M");
}
END_TEST

START_TEST(a_resize_empties_and_lays_out)
{
	struct hk_set *set = own_set();
	unsigned i = hk_size_class_exact(64);

	fill(i, 5000);
	ck_assert_uint_gt(hk_set_count(set, i), 100);
	ck_assert_uint_gt(hk_set_capacity(set, i), 100);
	set_option("magazine_bytes", "100K");
	ck_assert_uint_eq(hk_set_count(set, i), 0);
	ck_assert_uint_eq(capacity_bytes(set), 102400);
	fill(i, 5000);
	set_option("magazine_bytes", "0");
	ck_assert_uint_eq(hk_set_count(set, i), 0);
	ck_assert_uint_eq(capacity_bytes(set), 0);
	fill(i, 5000);
	ck_assert_uint_eq(hk_set_count(set, i), 0);
	check_all();
	set_option("magazine_bytes", "4M");
	ck_assert_uint_eq(capacity_bytes(set), hk_sets_limit());
	ck_assert_uint_eq(capacity_bytes(set), 4 << 20);
	fill(i, 5000);
	ck_assert_uint_gt(hk_set_count(set, i), 100);
	set_option("magazine_bytes", "2M");
}
END_TEST

START_TEST(disabled_they_stay_empty)
{
	struct hk_set *set = own_set();

	fill(5, 100);
	hk_magazine_disable(true);
	ck_assert_uint_eq(hk_sets_limit(), 0);
	ck_assert_uint_eq(capacity_bytes(set), 0);
	fill(5, 1000);
	for (unsigned i = 1; i <= HK_CLASSES; i++)
		ck_assert_uint_eq(hk_set_count(set, i), 0);
	/* Even if the option says otherwise meanwhile. */
	set_option("magazine_bytes", "4M");
	ck_assert_uint_eq(capacity_bytes(set), 0);
	check_all();
	hk_magazine_disable(false);
	ck_assert_uint_eq(capacity_bytes(set), 4 << 20);
	set_option("magazine_bytes", "2M");
}
END_TEST

/* More ids than CPUs to be used at a time: what those may have is shared. */
START_TEST(more_sets_than_cpus_share_the_budget)
{
	size_t limit = 2 << 20, cpus = hk_os_cpus(), total = 0, n = 3 * cpus;

	if (n > 24)
		n = 24;
	for (uint32_t id = 0; id < n; id++) {
		struct hk_set *set;

		chosen_id = 50 * id;
		set = own_set();
		ck_assert_uint_eq(hk_sets_limit(),
				  sets_now() > cpus ? limit / sets_now() * cpus : limit);
		ck_assert_uint_eq(capacity_bytes(set), hk_sets_limit());
	}
	hk_magazine_resize();
	for (struct hk_set *set = hk_sets; set; set = set->next)
		total += capacity_bytes(set);
	ck_assert_uint_le(total, limit * cpus);
	ck_assert_uint_ge(total, limit * cpus - n * cpus);
	for (uint32_t id = 0; id < n; id++) {
		chosen_id = 50 * id;
		fill(5, 2000);
	}
	check_all();
	ck_assert_uint_eq(flush().unreached, 0);
	ck_assert_uint_eq(hk_classes[5].used, 0);
}
END_TEST

/* ---- ageing ---- */

/* Time is only looked at on slow paths: the first request of a class is one. */
static void pass_interval(void)
{
	static unsigned untouched = 50;

	usleep((INTERVAL_MS + 20) * 1000);
	put(untouched, get(untouched));
	untouched++;
}

START_TEST(what_lies_idle_goes_home)
{
	struct hk_set *set = own_set();
	unsigned idle = hk_size_class_exact(80), busy = hk_size_class_exact(112);
	uint32_t start = hk_set_capacity(set, idle);
	size_t limit = capacity_bytes(set);

	fill(idle, 3000);
	fill(busy, 3000);
	ck_assert_uint_gt(hk_set_capacity(set, idle), start);
	pass_interval();
	/* All of this was used in the interval that ends here. */
	ck_assert_uint_gt(hk_set_count(set, idle), 100);
	ck_assert_uint_gt(hk_classes[idle].depot.count, 100);
	fill(busy, 3000);
	pass_interval();
	ck_assert_uint_eq(hk_set_count(set, idle), 0);
	ck_assert_uint_eq(hk_classes[idle].depot.count, 0);
	ck_assert_uint_eq(hk_classes[idle].used, 0);
	ck_assert_uint_eq(hk_set_capacity(set, idle), start);
	ck_assert_uint_gt(hk_set_count(set, busy), 50);
	ck_assert_uint_gt(hk_set_capacity(set, busy), start);
	ck_assert_uint_eq(capacity_bytes(set), limit);
	pass_interval();
	pass_interval();
	ck_assert_uint_eq(hk_set_count(set, busy), 0);
	ck_assert_uint_eq(hk_classes[busy].used, 0);
	ck_assert_uint_eq(capacity_bytes(set), limit);
	check_all();
}
END_TEST

/* Fill or drain alone would have had the same misses with more room. */
START_TEST(the_most_room_is_for_those_that_run_empty_and_full)
{
	struct hk_set *set = own_set();
	unsigned i = hk_size_class_exact(1024);
	const struct hk_size_class *info = hk_class_info(i);

	ck_assert_uint_lt(info->capacity_one_way, info->capacity);
	for (unsigned misses = 0; misses < 20; misses++)
		ck_assert_uint_le(hk_set_grow(i, HK_RAN_EMPTY), info->capacity_one_way);
	ck_assert_uint_eq(hk_set_capacity(set, i), info->capacity_one_way);
	ck_assert_uint_gt(hk_set_grow(i, HK_RAN_FULL), info->capacity_one_way);
	for (unsigned misses = 0; misses < 20; misses++) {
		hk_set_grow(i, HK_RAN_EMPTY);
		hk_set_grow(i, HK_RAN_FULL);
	}
	ck_assert_uint_eq(hk_set_capacity(set, i), info->capacity);
	/* What is there stays, whichever comes next. */
	ck_assert_uint_eq(hk_set_grow(i, HK_RAN_FULL), info->capacity);
	ck_assert_uint_eq(capacity_bytes(set), hk_sets_limit());
	/* An interval ago is as if never. */
	pass_interval();
	pass_interval();
	for (unsigned misses = 0; misses < 20; misses++)
		hk_set_grow(i, HK_RAN_FULL);
	ck_assert_uint_eq(hk_set_capacity(set, i), info->capacity_one_way);
}
END_TEST

/* Hits alone do not take a slow path, but they change the count. */
START_TEST(what_hits_have_touched_stays)
{
	struct hk_set *set = own_set();
	unsigned i = hk_size_class_exact(64);

	for (unsigned k = 0; k < 20; k++)
		blocks[k] = get(i);
	pass_interval();
	pass_interval();
	ck_assert_uint_eq(hk_set_capacity(set, i), 32);
	for (unsigned k = 0; k < 20; k++)
		put(i, blocks[k]);
	ck_assert(!set->use[i].miss);
	pass_interval();
	ck_assert_uint_eq(hk_set_count(set, i), 20);
	pass_interval();
	ck_assert_uint_eq(hk_set_count(set, i), 0);
	check_all();
}
END_TEST

/* But the room that a peak made is not kept for a few of them. */
START_TEST(what_has_grown_is_not_kept_for_hits)
{
	struct hk_set *set = own_set();
	unsigned i = hk_size_class_exact(64);

	fill(i, 3000);
	pass_interval();
	ck_assert_uint_gt(hk_set_count(set, i), 50);
	ck_assert_uint_gt(hk_set_capacity(set, i), 32);
	blocks[0] = get(i);
	ck_assert(!set->use[i].miss);
	pass_interval();
	ck_assert_uint_eq(hk_set_capacity(set, i), 32);
	ck_assert_uint_eq(hk_set_count(set, i), 0);
	put(i, blocks[0]);
	check_all();
}
END_TEST

/* ---- fork ---- */

static struct hk_set *parents;

static void have_only_ones_own(void)
{
	ck_assert_uint_eq(sets_now(), 1);
	ck_assert_ptr_eq(hk_sets_current(), parents);
	ck_assert_uint_eq(flush().unreached, 0);
	ck_assert_uint_eq(hk_classes[5].used, 0);
	check_all();
}

START_TEST(a_child_drops_the_sets_of_others)
{
	struct hk_set *set;
	pthread_t thread = start_cacher(&set);

	parents = own_set();
	ck_assert_uint_eq(sets_now(), 2);
	in_a_child(have_only_ones_own);
	ck_assert_uint_eq(sets_now(), 2);
	let_answer();
	end_cacher(thread);
}
END_TEST

/* ---- what HAKMEM_CHECK finds ---- */

static void check_with_a_doubled_block(void *argument)
{
	unsigned i = hk_size_class_exact(64);
	struct hk_set *set = own_set();

	(void)argument;
	hk_set_blocks(set, i)[hk_set_count(set, i)] = hk_set_blocks(set, i)[0];
	hk_set_put_count(set, i, hk_set_count(set, i) + 1);
	hakmem_ctl(HAKMEM_CHECK, NULL, 0);
}

static void check_with_an_interior_pointer(void *argument)
{
	unsigned i = hk_size_class_exact(64);
	struct hk_set *set = own_set();

	(void)argument;
	hk_set_blocks(set, i)[0] = (char *)hk_set_blocks(set, i)[0] + 8;
	hakmem_ctl(HAKMEM_CHECK, NULL, 0);
}

static void check_with_a_free_block(void *argument)
{
	unsigned i = hk_size_class_exact(64);

	(void)argument;
	hk_slab_give_locked(i, hk_set_blocks(own_set(), i), 1, "test");
	hakmem_ctl(HAKMEM_CHECK, NULL, 0);
}

START_TEST(a_check_sees_what_is_wrong_in_a_magazine)
{
	unsigned i = hk_size_class_exact(64);
	void *block;

	fill(i, 20);
	block = hk_set_blocks(own_set(), i)[0];
	ck_death(check_with_a_doubled_block, NULL,
		 "hakmem_ctl(): double free of %p (64-byte block, in a magazine)", block);
	ck_death(check_with_an_interior_pointer, NULL,
		 "hakmem_ctl(): interior pointer %p (in a magazine of 64-byte blocks)",
		 (void *)((char *)block + 8));
	ck_death(check_with_a_free_block, NULL,
		 "hakmem_ctl(): double free of %p (64-byte block, in a magazine)", block);
}
END_TEST

static void add_common(TCase *tcase)
{
	tcase_add_test(tcase, stopped_it_is_left_alone);
	tcase_add_test(tcase, a_drain_empties_one_set);
	tcase_add_test(tcase, capacities_grow_on_misses_within_the_budget);
	tcase_add_test(tcase, the_most_room_is_for_those_that_run_empty_and_full);
	tcase_add_test(tcase, a_hot_class_reaches_its_full_capacity);
	tcase_add_test(tcase, when_the_budget_is_spent_nothing_grows);
	tcase_add_test(tcase, a_resize_empties_and_lays_out);
	tcase_add_test(tcase, disabled_they_stay_empty);
	tcase_add_test(tcase, what_lies_idle_goes_home);
	tcase_add_test(tcase, what_hits_have_touched_stays);
	tcase_add_test(tcase, what_has_grown_is_not_kept_for_hits);
	tcase_add_test(tcase, a_check_sees_what_is_wrong_in_a_magazine);
}

static void add_of_cpus(TCase *tcase)
{
	add_common(tcase);
	tcase_add_test(tcase, one_is_made_when_it_is_first_used);
	tcase_add_test(tcase, without_memory_for_one);
	tcase_add_test(tcase, every_set_is_stopped);
	tcase_add_test(tcase, more_sets_than_cpus_share_the_budget);
	tcase_add_test(tcase, without_a_fence_magazines_are_per_thread);
	tcase_add_test(tcase, a_fence_that_is_refused);
}

static void add_of_threads(TCase *tcase)
{
	add_common(tcase);
	tcase_add_test(tcase, a_thread_has_one_from_its_first_slow_path_to_its_end);
	tcase_add_test(tcase, no_second_set_after_the_exit_hook);
	tcase_add_test(tcase, a_thread_held_inside_is_not_reached);
	tcase_add_test(tcase, an_empty_set_is_not_counted);
	tcase_add_test(tcase, without_a_fence_others_are_asked);
	tcase_add_test(tcase, a_child_drops_the_sets_of_others);
}

int main(void)
{
	Suite *suite = suite_create("sets");

	add_per_cpu(suite, setup, teardown, add_of_cpus);
	add_per_thread(suite, setup, teardown, add_of_threads);
	return run_suite(suite);
}
