/* SPDX-License-Identifier: MIT
 *
 * rseq: each sequence on a magazine of known contents, under ids of the test's choosing.
 *
 * The sequences never touch what a block's address points to, so these blocks are
 * numbers.  Any preemption aborts a sequence, which then returns as if there had been
 * nothing to do: what must succeed is tried until it does, and what must not is known
 * by its effects.
 */
#include "libcheck.h"

#include <linux/membarrier.h>
#include <signal.h>
#include <sys/syscall.h>
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

enum { ROOM = 2048, KIND = 7, OTHER_KIND = 8, TRIES = 1000 };

#define EMPTY ((void *)(uintptr_t)0xeeee)
#define BLOCK(k) ((void *)(uintptr_t)(0x10000 + 16 * (k)))

/*
 * A batch so long that at almost any moment one has been begun, and would be committed only
 * when the caller of the fence is back from the kernel, and looks.
 */
enum { LONG = 60000 };

/* A set, and the arrays of KIND and OTHER_KIND, and one that is long. */
static struct record {
	struct hk_set set;
	void *bottom, *slots[ROOM + 1];
	void *other_bottom, *other_slots[ROOM + 1];
	void *long_bottom, *long_slots[2 * LONG];
} mine, other;
static void *batch[ROOM + 2];

#define WORD(member) (offsetof(struct record, member) / sizeof(void *))

static void put_in_table(unsigned id, struct hk_set *of_id)
{
	atomic_store(&hk_cpu_sets.table[id],
		     of_id ? (uintptr_t)of_id - (uintptr_t)&hk_cpu_sets.none : 0);
}

/* A magazine of this capacity with count blocks in it; everything beyond is EMPTY. */
static void fill(uint32_t count, uint32_t capacity)
{
	for (size_t i = 0; i <= ROOM; i++) {
		mine.slots[i] = i < count ? BLOCK(i) : EMPTY;
		mine.other_slots[i] = other.slots[i] = EMPTY;
	}
	for (size_t i = 0; i < ROOM + 2; i++)
		batch[i] = EMPTY;
	mine.set.bottom[KIND] = other.set.bottom[KIND] = WORD(bottom);
	hk_set_put_count(&mine.set, KIND, count);
	hk_set_put_capacity(&mine.set, KIND, capacity);
	hk_set_put_count(&other.set, KIND, 0);
	hk_set_put_capacity(&other.set, KIND, 0);
}

static void ck_magazine(uint32_t count, uint32_t capacity)
{
	ck_assert_uint_eq(hk_set_count(&mine.set, KIND), count);
	ck_assert_uint_eq(hk_set_capacity(&mine.set, KIND), capacity);
	ck_assert_ptr_null(mine.bottom);
}

static void setup(void)
{
	choose_ids();
	chosen_id = 3;
	memset(&mine, 0, sizeof(mine));
	memset(&other, 0, sizeof(other));
	put_in_table(3, &mine.set);
	put_in_table(4, NULL);
}

static void teardown(void)
{
	put_in_table(3, NULL);
	chosen_id = 0;
}

static bool pop(void **block)
{
	for (unsigned i = 0; i < TRIES; i++)
		if (hk_rseq_pop(KIND, block))
			return true;
	return false;
}

static bool push(void *block)
{
	for (unsigned i = 0; i < TRIES; i++)
		if (hk_rseq_push(KIND, block) == HK_PUSHED)
			return true;
	return false;
}

static uint32_t pop_batch(void **out, uint32_t n)
{
	uint32_t popped = 0;

	for (unsigned i = 0; i < TRIES && !popped; i++)
		popped = hk_rseq_pop_batch(KIND, out, n);
	return popped;
}

static uint32_t push_batch(void *const *in, uint32_t n)
{
	uint32_t pushed = 0;

	for (unsigned i = 0; i < TRIES && !pushed; i++)
		pushed = hk_rseq_push_batch(KIND, in, n);
	return pushed;
}

START_TEST(pop_takes_the_last)
{
	void *block;

	fill(3, 10);
	for (uint32_t left = 3; left--;) {
		block = NULL;
		ck_assert(pop(&block));
		ck_assert_ptr_eq(block, BLOCK(left));
		ck_magazine(left, 10);
	}
	block = EMPTY;
	ck_assert(!pop(&block));
	ck_assert_ptr_eq(block, EMPTY);
	ck_magazine(0, 10);
	ck_assert_ptr_eq(mine.slots[0], BLOCK(0));
	ck_assert_ptr_eq(mine.slots[3], EMPTY);
}
END_TEST

START_TEST(push_fills_to_the_capacity)
{
	fill(0, 4);
	for (uint32_t i = 0; i < 4; i++) {
		ck_assert(push(BLOCK(100 + i)));
		ck_magazine(i + 1, 4);
		ck_assert_ptr_eq(mine.slots[i], BLOCK(100 + i));
		ck_assert_ptr_eq(mine.slots[i + 1], EMPTY);
	}
	ck_assert(!push(BLOCK(200)));
	ck_magazine(4, 4);
	ck_assert_ptr_eq(mine.slots[3], BLOCK(103));
	ck_assert_ptr_eq(mine.slots[4], EMPTY);
}
END_TEST

static enum hk_pushed try_push(size_t kind, void *block)
{
	enum hk_pushed pushed = HK_NOT_PUSHED;

	for (unsigned i = 0; i < TRIES && pushed == HK_NOT_PUSHED; i++)
		pushed = hk_rseq_push(kind, block);
	return pushed;
}

START_TEST(push_tells_of_what_lies_on_top)
{
	void *block;

	fill(3, 5);
	ck_assert_int_eq(try_push(KIND, BLOCK(2)), HK_LIES_ON_TOP);
	ck_magazine(3, 5);
	ck_assert_ptr_eq(mine.slots[3], EMPTY);
	/* Of no other. */
	ck_assert_int_eq(try_push(KIND, BLOCK(1)), HK_PUSHED);
	ck_assert_int_eq(try_push(KIND, BLOCK(2)), HK_PUSHED);
	ck_magazine(5, 5);
	/* Where there is no room, too. */
	ck_assert_int_eq(try_push(KIND, BLOCK(1)), HK_NOT_PUSHED);
	ck_assert_int_eq(try_push(KIND, BLOCK(2)), HK_LIES_ON_TOP);
	ck_magazine(5, 5);

	/* What was popped may come back. */
	ck_assert(pop(&block));
	ck_assert_int_eq(try_push(KIND, block), HK_PUSHED);
	ck_assert_int_eq(try_push(KIND, block), HK_LIES_ON_TOP);
	fill(1, 5);
	ck_assert(pop(&block));
	ck_assert_int_eq(try_push(KIND, block), HK_PUSHED);
	ck_magazine(1, 5);

	ck_assert_int_eq(try_push(HK_KIND_NONE, NULL), HK_LIES_ON_TOP);
}
END_TEST

START_TEST(a_magazine_without_room_keeps_its_contents)
{
	void *block;

	fill(0, 0);
	ck_assert(!push(BLOCK(0)));
	ck_assert(!pop(&block));
	ck_assert_uint_eq(push_batch(batch, 5), 0);
	ck_assert_uint_eq(pop_batch(batch, 5), 0);
	ck_magazine(0, 0);
	ck_assert_ptr_eq(mine.slots[0], EMPTY);

	/* Its capacity was taken back below its count. */
	fill(9, 4);
	ck_assert(!push(BLOCK(50)));
	ck_assert_uint_eq(push_batch(batch, 1), 0);
	ck_assert_uint_eq(push_batch(batch, 64), 0);
	ck_magazine(9, 4);
	ck_assert_ptr_eq(mine.slots[9], EMPTY);
	ck_assert(pop(&block));
	ck_assert_ptr_eq(block, BLOCK(8));
	ck_magazine(8, 4);
}
END_TEST

static void try_pop_batch(uint32_t count, uint32_t n)
{
	uint32_t most = n < count ? n : count;

	fill(count, ROOM);
	ck_assert_uint_eq(pop_batch(batch + 1, n), most);
	ck_magazine(count - most, ROOM);
	for (uint32_t i = 0; i < most; i++)
		ck_assert_ptr_eq(batch[1 + i], BLOCK(count - most + i));
	ck_assert_ptr_eq(batch[0], EMPTY);
	ck_assert_ptr_eq(batch[1 + most], EMPTY);
	for (uint32_t i = 0; i < count; i++)
		ck_assert_ptr_eq(mine.slots[i], BLOCK(i));
}

static const uint32_t lengths[] = { 0, 1, 2, 3, 5, 31, 32, 33, 63, 64, 65, 700, ROOM };

enum { LENGTHS = sizeof(lengths) / sizeof(lengths[0]) };

START_TEST(pop_batch_takes_the_last_in_order)
{
	for (size_t c = 0; c < LENGTHS; c++)
		for (size_t n = 1; n < LENGTHS; n++)
			try_pop_batch(lengths[c], lengths[n]);
}
END_TEST

static void try_push_batch(uint32_t count, uint32_t capacity, uint32_t n)
{
	uint32_t most = n < capacity - count ? n : capacity - count;

	fill(count, capacity);
	for (uint32_t i = 0; i < n; i++)
		batch[i] = BLOCK(5000 + i);
	ck_assert_uint_eq(push_batch(batch, n), most);
	ck_magazine(count + most, capacity);
	for (uint32_t i = 0; i < count; i++)
		ck_assert_ptr_eq(mine.slots[i], BLOCK(i));
	for (uint32_t i = 0; i < most; i++)
		ck_assert_ptr_eq(mine.slots[count + i], BLOCK(5000 + i));
	ck_assert_ptr_eq(mine.slots[count + most], EMPTY);
	for (uint32_t i = 0; i < n; i++)
		ck_assert_ptr_eq(batch[i], BLOCK(5000 + i));
}

START_TEST(push_batch_puts_the_first_in_order)
{
	for (size_t c = 0; c < LENGTHS; c++)
		for (size_t room = c; room < LENGTHS; room++)
			for (size_t n = 1; n < LENGTHS; n++)
				try_push_batch(lengths[c], lengths[room], lengths[n]);
}
END_TEST

/* ---- runs of neighbours ---- */

/* How many blocks a sequence of this machine looks at in one go as it takes a run. */
#if defined(__x86_64__)
enum { AT_A_TIME = 4 };
#else
enum { AT_A_TIME = 1 };
#endif

static char *at(uintptr_t first, ptrdiff_t step, uint32_t k)
{
	return (char *)(first + (uintptr_t)step * k);
}

/* What the magazine holds below count and beyond it, in one answer: there are many cases. */
static bool holds(uint32_t count, uint32_t capacity)
{
	return hk_set_count(&mine.set, KIND) == count &&
	       hk_set_capacity(&mine.set, KIND) == capacity && !mine.bottom;
}

static uint32_t push_run(const char *first, ptrdiff_t step, uint32_t n)
{
	uint32_t pushed = 0;

	for (unsigned i = 0; i < TRIES && !pushed; i++)
		pushed = hk_rseq_push_run(KIND, first, step, n);
	return pushed;
}

static void try_push_run(uint32_t count, uint32_t capacity, uintptr_t first,
			 ptrdiff_t step, uint32_t n)
{
	uint32_t room = capacity > count ? capacity - count : 0,
		 most = n < room ? n : room;
	uint32_t pushed, i = 0;
	bool good;

	fill(count, capacity);
	pushed = push_run(at(first, 0, 0), step, n);
	good = pushed == most && holds(count + most, capacity);
	for (; i < count; i++)
		good &= mine.slots[i] == BLOCK(i);
	for (; i < count + most; i++)
		good &= mine.slots[i] == at(first, step, i - count);
	for (; i <= ROOM; i++)
		good &= mine.slots[i] == EMPTY;
	ck_assert_msg(good, "%u of %u pushed at %u of %u, from %#lx by %ld", pushed, n,
		      count, capacity, first, step);
}

/* Of sizes, of none, and across 32 bits in every way. */
static const ptrdiff_t steps[] = { 16, -16, 80,         -65536,       1,
				   -7, 0,   0xffffffff, -0x100000000, 0x123456789ab };
static const uintptr_t firsts[] = { 0x7f0012345670, 0x7f00ffffffd0, 0x30 };

enum {
	STEPS = sizeof(steps) / sizeof(steps[0]),
	FIRSTS = sizeof(firsts) / sizeof(firsts[0])
};

START_TEST(push_run_puts_neighbours_in_order)
{
	static const uint32_t counts[] = { 0, 1, 2, 3, 4, 31, 33 };
	static const uint32_t rooms[] = { 0, 1, 2, 3, 4, 5, 7, 8 };

	for (uint32_t n = 1; n <= 41; n++)
		for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++)
			for (size_t s = 0; s < STEPS; s++) {
				uintptr_t first = firsts[(n + s) % FIRSTS];
				uint32_t count = counts[c];

				for (size_t r = 0; r < sizeof(rooms) / sizeof(rooms[0]);
				     r++)
					try_push_run(count, count + rooms[r], first,
						     steps[s], n);
				for (uint32_t room = n > 3 ? n - 3 : 0; room < n + 4;
				     room++)
					try_push_run(count, count + room, first, steps[s],
						     n);
			}
	for (size_t c = 0; c < LENGTHS; c++)
		for (size_t room = c; room < LENGTHS; room++)
			for (size_t n = 1; n < LENGTHS; n++)
				try_push_run(lengths[c], lengths[room],
					     firsts[(c + n) % FIRSTS],
					     steps[(room + n) % STEPS], lengths[n]);
	/* Its capacity was taken back below its count. */
	for (uint32_t n = 1; n < 9; n++)
		try_push_run(9, 4, firsts[0], 16, n);
}
END_TEST

/* The answer there must be, found in the plainest way. */
static uint32_t run_at_end(uint32_t count, uint32_t n, uint32_t least, ptrdiff_t size)
{
	uint32_t most = (n < count ? n : count) / AT_A_TIME * AT_A_TIME, run = 1;
	ptrdiff_t step;

	if (most < 2)
		return 0;
	step = (ptrdiff_t)((uintptr_t)mine.slots[count - 1] -
			   (uintptr_t)mine.slots[count - 2]);
	if (step != size && step != -size)
		return 0;
	while (run < most && (uintptr_t)mine.slots[count - run] - (uintptr_t)step ==
				     (uintptr_t)mine.slots[count - run - 1])
		run++;
	return run < least ? 0 : run;
}

/* Of a magazine that is filled already. */
static void try_pop_run(uint32_t count, uint32_t n, uint32_t least, ptrdiff_t size)
{
	static void *before[ROOM + 1];
	uint32_t wanted = run_at_end(count, n, least, size), popped = 0;
	char *last = EMPTY;
	ptrdiff_t step = 12345;
	bool good;

	memcpy(before, mine.slots, sizeof(mine.slots));
	hk_set_put_count(&mine.set, KIND, count);
	for (unsigned i = 0; i < (wanted ? TRIES : 3) && !popped; i++)
		popped = hk_rseq_pop_run(KIND, n, least, size, &last, &step);
	good = popped == wanted && holds(count - wanted, ROOM) &&
	       !memcmp(before, mine.slots, sizeof(mine.slots));
	if (wanted)
		good &= last == mine.slots[count - 1] &&
			last - step == mine.slots[count - 2];
	else
		good &= last == EMPTY && step == 12345;
	ck_assert_msg(good,
		      "%u instead of %u of %u popped, up to %u, %u at least, of %ld",
		      popped, wanted, count, n, least, size);
}

/* The upper run of them unbroken; those below are as far from where they should be. */
static void fill_run(uint32_t count, uint32_t run, ptrdiff_t step, uintptr_t off)
{
	fill(count, ROOM);
	for (uint32_t i = 0; i < count; i++)
		mine.slots[i] = at(0x7f00fffffd00 + (i < count - run ? off : 0), step, i);
}

static void try_pop_runs(uint32_t count, uint32_t run, ptrdiff_t step, uintptr_t off)
{
	const uint32_t n[] = { 1,     2,         3,         4,         5,
			       6,     7,         8,         11,        run - 1,
			       run,   run + 1,   run + 2,   run + 3,   run + 4,
			       count, count + 1, count + 4, UINT32_MAX };
	ptrdiff_t size = step < 0 ? -step : step;

	fill_run(count, run, step, off);
	for (size_t i = 0; i < sizeof(n) / sizeof(n[0]); i++) {
		uint32_t most;

		if (!n[i])
			continue;
		most = run_at_end(count, n[i], 2, size);
		try_pop_run(count, n[i], 2, size);
		try_pop_run(count, n[i], 16, size);
		try_pop_run(count, n[i], most > 2 ? most : 2, size);
		try_pop_run(count, n[i], most + 2, size);
		try_pop_run(count, n[i], UINT32_MAX, size);
	}
	/* Not of this size, or of none. */
	try_pop_run(count, count, 2, 2 * size);
	try_pop_run(count, count, 2, size / 2);
	try_pop_run(count, count, 2, size + 1);
	try_pop_run(count, count, 2, size + ((ptrdiff_t)1 << 32));
	try_pop_run(count, count, 2, 0);
}

START_TEST(pop_run_takes_what_is_unbroken)
{
	static const ptrdiff_t ways[] = { 16, -16, 48, -4096, 65536, -8 };

	/* Off by little, in either half of an address, and by whole blocks. */
	for (uint32_t count = 1; count <= 26; count++)
		for (uint32_t run = 1; run <= count; run++)
			for (size_t w = 0; w < 6; w++) {
				const uintptr_t off[] = { 1,
							  (uintptr_t)1 << 32,
							  (uintptr_t)ways[w],
							  -(uintptr_t)ways[w],
							  2 * (uintptr_t)ways[w],
							  (uintptr_t)1 << 63 };

				for (size_t k = 0; k < 6; k++)
					try_pop_runs(count, run, ways[w], off[k]);
			}
	for (size_t c = 1; c < LENGTHS; c++)
		for (size_t r = 1; r <= c; r++) {
			try_pop_runs(lengths[c], lengths[r], 16, 1);
			try_pop_runs(lengths[c], lengths[r], -80, (uintptr_t)1 << 32);
		}
}
END_TEST

/* Exactly one block that is elsewhere, by either half, with the run going on below it. */
START_TEST(pop_run_stops_at_one_that_is_elsewhere)
{
	for (uint32_t count = 2; count <= 40; count++)
		for (uint32_t odd = 0; odd < count; odd++)
			for (unsigned way = 0; way < 4; way++) {
				ptrdiff_t off = way & 1 ? 4 : (ptrdiff_t)1 << 40;

				fill_run(count, count, way & 2 ? 32 : -32, 0);
				mine.slots[odd] = (char *)mine.slots[odd] + off;
				try_pop_run(count, count, 2, 32);
				try_pop_run(count, count - 1, 2, 32);
			}
}
END_TEST

START_TEST(runs_under_one_id_leave_the_others)
{
	ptrdiff_t step;
	char *last;

	fill(0, 64);
	hk_set_put_capacity(&other.set, KIND, 64);
	put_in_table(5, &other.set);
	ck_assert_uint_eq(push_run(BLOCK(0), 16, 40), 40);
	ck_assert_uint_eq(hk_set_count(&other.set, KIND), 0);
	ck_assert_ptr_eq(other.slots[0], EMPTY);
	chosen_id = 5;
	ck_assert_uint_eq(push_run(BLOCK(90), -16, 20), 20);
	ck_assert_uint_eq(hk_set_count(&other.set, KIND), 20);
	ck_assert_ptr_eq(other.slots[19], BLOCK(71));
	ck_assert_ptr_eq(other.slots[20], EMPTY);
	ck_magazine(40, 64);
	ck_assert_ptr_eq(mine.slots[0], BLOCK(0));
	while (!hk_rseq_pop_run(KIND, 16, 2, 16, &last, &step))
		;
	ck_assert_uint_eq(hk_set_count(&other.set, KIND), 4);
	ck_assert_ptr_eq(last, BLOCK(71));
	ck_assert_int_eq(step, -16);
	ck_magazine(40, 64);
	put_in_table(5, NULL);
}
END_TEST

/* ---- runs that are interrupted ---- */

enum { PERIOD_NS = 20000, INTERRUPTED = 500 };

static volatile sig_atomic_t signals, stolen;

/*
 * On the same magazine: what a sequence had written, and what it had read, is not there any
 * more; so it must begin again.
 */
static void put_and_take(int number)
{
	void *junk[24], *popped[24];
	uint32_t left;

	(void)number;
	for (size_t i = 0; i < 24; i++)
		junk[i] = (void *)(uintptr_t)(0xbad000 + i);
	left = hk_rseq_push_batch(KIND, junk, 24);
	while (left)
		left -= hk_rseq_pop_batch(KIND, popped, left);
	stolen += (sig_atomic_t)hk_rseq_pop_batch(KIND, popped, 3);
	signals++;
}

static timer_t start_timer(void)
{
	struct itimerspec every = { { 0, PERIOD_NS }, { 0, PERIOD_NS } };
	struct sigaction action = { .sa_handler = put_and_take };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
	timer_t timer;

	ck_assert_int_eq(sigaction(SIGRTMIN, &action, NULL), 0);
	ck_assert_int_eq(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	ck_assert_int_eq(timer_settime(timer, 0, &every, NULL), 0);
	return timer;
}

/* How many blocks there are, as of one moment, and how many were stolen by then. */
static uint32_t count_now(uint32_t *gone)
{
	uint32_t count;

	do {
		*gone = (uint32_t)stolen;
		count = hk_set_count(&mine.set, KIND);
	} while (*gone != (uint32_t)stolen);
	return count;
}

/* Either it has happened whole or not at all, and what it says is what has happened. */
START_TEST(runs_are_interrupted)
{
	uint64_t end = hk_os_now_ms() + 10000, seed = new_seed(), random = seed;
	static void *model[ROOM];
	uint32_t count = 0, gone = 0, put = 0, aborted[2] = { 0, 0 };
	unsigned bad = 0;
	timer_t timer;

	fill(0, ROOM);
	timer = start_timer();
	while ((aborted[0] < INTERRUPTED || aborted[1] < INTERRUPTED) && !bad &&
	       hk_os_now_ms() < end) {
		ptrdiff_t step = random_below(&random, 2) ? 64 : -64, found = 0;
		uint32_t n = (uint32_t)random_below(&random, ROOM) + 1, moved;
		uint32_t wanted = run_at_end(count, ROOM, 8, 64), seen = gone;
		char *first = (char *)(0x7f0000000000 + random_below(&random, 1 << 30));
		char *last = NULL;
		bool same;

		if (n > ROOM - count)
			n = ROOM - count;
		if (n && (!wanted || random_below(&random, 2))) {
			moved = hk_rseq_push_run(KIND, first, step, n);
			aborted[0] += !moved;
			bad += moved && moved != n;
			put += moved;
			count = count_now(&gone);
			for (uint32_t i = 0; i < moved && gone == seen; i++)
				model[count - moved + i] = at((uintptr_t)first, step, i);
		} else {
			moved = hk_rseq_pop_run(KIND, ROOM, 8, 64, &last, &found);
			aborted[1] += wanted && !moved;
			put -= moved;
			count = count_now(&gone);
			if (moved && gone == seen)
				bad += moved != wanted ||
				       last != model[count + moved - 1];
			/* Less than a run may be in the way of the next. */
			if (!wanted && !moved)
				put -= hk_rseq_pop_batch(KIND, batch, ROOM);
			count = count_now(&gone);
		}
		/* When some were stolen meanwhile, it is only certain how many there are. */
		same = gone == seen &&
		       !memcmp(mine.slots, model, count * sizeof(model[0]));
		bad += count != put - gone ||
		       (gone == seen && !same && seen == (uint32_t)stolen);
		if (!same)
			memcpy(model, mine.slots, sizeof(model));
	}
	timer_delete(timer);
	ck_assert_msg(!bad, "after %d signals, TEST_SEED=%lu", (int)signals, seed);
	/* Else none was interrupted, and this has shown nothing. */
	ck_assert_uint_gt(aborted[0], 10);
	ck_assert_uint_gt(aborted[1], 10);
}
END_TEST

static bool set_capacity(const struct hk_set *of, uint32_t old, uint32_t new)
{
	for (unsigned i = 0; i < TRIES; i++)
		if (hk_rseq_set_limit(KIND, of, WORD(bottom) + old, WORD(bottom) + new))
			return true;
	return false;
}

START_TEST(capacity_changes_if_it_is_what_was_seen)
{
	fill(5, 10);
	ck_assert(set_capacity(&mine.set, 10, 20));
	ck_magazine(5, 20);
	ck_assert(!set_capacity(&mine.set, 10, 40));
	ck_assert(!set_capacity(&other.set, 20, 40));
	ck_magazine(5, 20);
	ck_assert_uint_eq(hk_set_capacity(&other.set, KIND), 0);
	ck_assert(set_capacity(&mine.set, 20, 5));
	ck_magazine(5, 5);
	ck_assert_ptr_eq(mine.slots[5], EMPTY);
	/* The thread has gone to another id meanwhile. */
	chosen_id = 4;
	ck_assert(!set_capacity(&mine.set, 5, 6));
	ck_magazine(5, 5);
}
END_TEST

START_TEST(only_the_kind_that_was_meant)
{
	ptrdiff_t step;
	void *block;
	char *last;

	fill(8, 10);
	for (size_t kind = 0; kind < HK_KINDS; kind++) {
		if (kind == KIND)
			continue;
		for (unsigned i = 0; i < 3; i++) {
			ck_assert(!hk_rseq_pop(kind, &block));
			ck_assert_int_eq(hk_rseq_push(kind, BLOCK(19)), HK_NOT_PUSHED);
			ck_assert_uint_eq(hk_rseq_pop_batch(kind, batch, 3), 0);
			ck_assert_uint_eq(hk_rseq_push_batch(kind, batch, 3), 0);
			ck_assert_uint_eq(hk_rseq_push_run(kind, BLOCK(19), 16, 3), 0);
			ck_assert_uint_eq(hk_rseq_pop_run(kind, 8, 2, 16, &last, &step),
					  0);
		}
	}
	ck_magazine(8, 10);
	mine.set.bottom[OTHER_KIND] = WORD(other_bottom);
	hk_set_put_count(&mine.set, OTHER_KIND, 8);
	hk_set_put_capacity(&mine.set, OTHER_KIND, 10);
	ck_assert(push(BLOCK(19)));
	ck_assert_ptr_eq(mine.other_slots[8], EMPTY);
	ck_assert_uint_eq(hk_set_count(&mine.set, OTHER_KIND), 8);
}
END_TEST

/* Where there is no set, magazines have neither blocks nor room, and none is invented. */
START_TEST(without_a_set_there_is_nothing)
{
	void *block = EMPTY;
	char *last = EMPTY;
	ptrdiff_t step;

	fill(8, 10);
	chosen_id = 4;
	for (size_t kind = 0; kind < HK_KINDS; kind++) {
		for (unsigned i = 0; i < 3; i++) {
			ck_assert(!hk_rseq_pop(kind, &block));
			ck_assert_int_eq(hk_rseq_push(kind, BLOCK(9)), HK_NOT_PUSHED);
			ck_assert_uint_eq(hk_rseq_pop_batch(kind, batch, 3), 0);
			ck_assert_uint_eq(hk_rseq_push_batch(kind, batch, 3), 0);
			ck_assert_uint_eq(hk_rseq_push_run(kind, BLOCK(9), 16, 3), 0);
			ck_assert_uint_eq(hk_rseq_pop_run(kind, 8, 2, 16, &last, &step),
					  0);
			ck_assert(!hk_rseq_set_limit(kind, &mine.set, 10, 20));
			ck_assert(!hk_rseq_set_limit(kind, &mine.set, 0, 20));
		}
	}
	ck_assert_ptr_eq(block, EMPTY);
	ck_assert_ptr_eq(last, EMPTY);
	ck_assert_ptr_eq(batch[0], EMPTY);
	ck_assert_uint_eq(hk_cpu_sets.table[4], 0);
	ck_assert(all_bytes(&hk_cpu_sets.none, 0, sizeof(hk_cpu_sets.none)));
	ck_magazine(8, 10);
}
END_TEST

/* Whatever number the kernel says; of the word, 16 bits are the id. */
START_TEST(every_id_has_a_set_of_its_own)
{
	static const uint32_t ids[] = { 0, 1, 63, 255, 256, 4095, 32768, 65535 };
	void *block;

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		uintptr_t kept = hk_cpu_sets.table[ids[i]];

		fill(2, 10);
		chosen_id = ids[i];
		put_in_table(ids[i], NULL);
		ck_assert_uint_eq(hk_rseq_current(), ids[i]);
		ck_assert(!hk_rseq_pop(KIND, &block));
		put_in_table(ids[i], &mine.set);
		ck_assert(pop(&block));
		ck_assert_ptr_eq(block, BLOCK(1));
		ck_magazine(1, 10);
		chosen_id |= 0xabcd0000;
		ck_assert_uint_eq(hk_rseq_current(), ids[i]);
		ck_assert(pop(&block));
		ck_magazine(0, 10);
		hk_cpu_sets.table[ids[i]] = kept;
	}
}
END_TEST

/* ---- the fence ---- */

static void *long_batch[LONG];
static _Atomic bool stop;
static _Atomic unsigned long rounds;

static void *push_and_pop(void *argument)
{
	(void)argument;
	chosen_id = 3;
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		hk_rseq_push_batch(KIND, long_batch, LONG);
		hk_rseq_pop_batch(KIND, long_batch, LONG - 1);
		hk_rseq_pop_batch(KIND, long_batch, LONG / 2);
		atomic_fetch_add_explicit(&rounds, 1, memory_order_relaxed);
	}
	return NULL;
}

/* Until what the other thread was at is behind it, on a machine of whatever speed. */
static void wait_round(uint64_t end)
{
	unsigned long seen = rounds;

	while (rounds == seen && hk_os_now_ms() < end)
		hk_pause_cpu();
}

/*
 * Once the table's entry is cleared and the fence made, no sequence commits, whatever it
 * had loaded before.
 */
START_TEST(after_the_fence_all_is_still)
{
	uint64_t end = hk_os_now_ms() + 5000;
	pthread_t thread;
	unsigned bad = 0, changed = 0;
	uint32_t last = 0;

	fill(0, ROOM);
	mine.set.bottom[KIND] = WORD(long_bottom);
	hk_set_put_count(&mine.set, KIND, 0);
	hk_set_put_capacity(&mine.set, KIND, 2 * LONG);
	ck_assert_int_eq(pthread_create(&thread, NULL, push_and_pop, NULL), 0);
	while (!rounds)
		sched_yield();
	/* Beside each other, not in turns, as long as it takes. */
	while (changed < 1000 && hk_os_now_ms() < end) {
		uint32_t count;

		put_in_table(3, NULL);
		ck_assert(hk_rseq_fence());
		count = hk_set_count(&mine.set, KIND);
		wait_round(end);
		bad += count != hk_set_count(&mine.set, KIND);
		changed += count != last;
		last = count;
		put_in_table(3, &mine.set);
		wait_round(end);
		/* Not always where a round begins. */
		for (unsigned k = 0; k < changed % 256; k++)
			hk_pause_cpu();
	}
	stop = true;
	pthread_join(thread, NULL);
	ck_assert_uint_eq(bad, 0);
	/* Else the other thread never ran beside this one. */
	ck_assert_uint_gt(changed, 10);
}
END_TEST

/* ---- whether sequences are used ---- */

#ifndef RSEQ_SIG
#define __rseq_size 0
#define __rseq_offset 0
#endif

START_TEST(used_wherever_they_work)
{
	long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	bool works = HK_RSEQ && hk_config_number(HK_OPTION_RSEQ) && __rseq_size &&
		     commands > 0 && commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ;

	hk_init();
	ck_assert_int_eq(hk_rseq_area != 0, works);
	if (!works)
		return;
	ck_assert_int_eq(hk_rseq_area, __rseq_offset);
	/* The id lies inside the area that is registered, of 32 bytes at least. */
	ck_assert_int_gt(hk_rseq_id, hk_rseq_area);
	ck_assert_int_le(hk_rseq_id + 4, hk_rseq_area + 32);
	for (unsigned i = 0; i < 100; i++) {
		ck_assert_uint_lt(hk_rseq_current(), sysconf(_SC_NPROCESSORS_CONF));
		sched_yield();
	}
}
END_TEST

START_TEST(not_used_when_not_wanted)
{
	forget_form();
	hk_rseq_init(false);
	ck_assert_int_eq(hk_rseq_area, 0);
	ck_assert_uint_eq(hk_hit_sizes, 0);
	ck_assert_uint_eq(hk_hit_tops, 0);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, pop_takes_the_last);
	tcase_add_test(tcase, push_fills_to_the_capacity);
	tcase_add_test(tcase, push_tells_of_what_lies_on_top);
	tcase_add_test(tcase, a_magazine_without_room_keeps_its_contents);
	tcase_add_test(tcase, pop_batch_takes_the_last_in_order);
	tcase_add_test(tcase, push_batch_puts_the_first_in_order);
	tcase_add_test(tcase, push_run_puts_neighbours_in_order);
	tcase_add_test(tcase, pop_run_takes_what_is_unbroken);
	tcase_add_test(tcase, pop_run_stops_at_one_that_is_elsewhere);
	tcase_add_test(tcase, runs_under_one_id_leave_the_others);
	tcase_add_test(tcase, runs_are_interrupted);
	tcase_add_test(tcase, capacity_changes_if_it_is_what_was_seen);
	tcase_add_test(tcase, only_the_kind_that_was_meant);
	tcase_add_test(tcase, without_a_set_there_is_nothing);
	tcase_add_test(tcase, every_id_has_a_set_of_its_own);
	tcase_add_test(tcase, after_the_fence_all_is_still);
}

int main(void)
{
	Suite *suite = suite_create("rseq");
	TCase *tcase = add_case(suite, "choice");

	tcase_add_test(tcase, used_wherever_they_work);
	tcase_add_test(tcase, not_used_when_not_wanted);
	add_per_cpu(suite, setup, teardown, add_tests);
	return run_suite(suite);
}
