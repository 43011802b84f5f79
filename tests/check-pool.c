/* SPDX-License-Identifier: MIT
 *
 * pool: runs of slots, the states of a slot, what goes back to the kernel and when.
 */
#include "libcheck.h"

#include "init.h"
#include "pool.h"
#include "pulse.h"

static void setup(void)
{
	hk_init();
	set_option("lru_superslabs", "2");
	set_option("purge_delay_ms", "3600000");
	release_all();
}

static void teardown(void)
{
	fail_no_more();
	set_option("hard_limit", "0");
	set_option("soft_limit", "0");
}

static void check_pool(void)
{
	hk_lock(&hk_pool_lock);
	hk_pool_check();
	hk_unlock(&hk_pool_lock);
}

static struct hk_slab *take(unsigned slots, unsigned align, bool *zero)
{
	struct hk_slab *slab = hk_pool_take(HK_KIND_MEDIUM, slots, align, false, zero);

	ck_assert_ptr_nonnull(slab);
	check_pool();
	return slab;
}

static void give(struct hk_slab *slab)
{
	if (hk_pool_give(slab))
		hk_pool_tidy();
	check_pool();
}

static unsigned superslabs(void)
{
	unsigned count = 0;

	hk_lock(&hk_pool_lock);
	for (struct hk_superslab *s = hk_pool_superslabs; s; s = s->all_next)
		count++;
	hk_unlock(&hk_pool_lock);
	return count;
}

START_TEST(a_run_is_the_takers)
{
	bool zero;
	struct hk_slab *slab = take(3, 1, &zero);
	char *base = hk_slab_base(slab);

	ck_assert(zero);
	ck_assert_uint_eq(slab->slots, 3);
	ck_assert_uint_eq(slab->kind, HK_KIND_MEDIUM);
	for (size_t i = 0; i < 3; i++) {
		ck_assert_uint_eq(hk_registry_kind(base + i * HK_SLOT_BYTES),
				  HK_KIND_MEDIUM);
		ck_assert_ptr_eq(hk_slab_of(base + i * HK_SLOT_BYTES + 5), slab);
	}
	ck_assert_uint_eq(hk_registry_kind(base + 3 * HK_SLOT_BYTES), 0);
	ck_assert(all_bytes(base, 0, 3 * HK_SLOT_BYTES));
	memset(base, 1, 3 * HK_SLOT_BYTES);
	give(slab);
	for (size_t i = 0; i < 3; i++)
		ck_assert_uint_eq(hk_registry_kind(base + i * HK_SLOT_BYTES), 0);
}
END_TEST

/* The states of superslab.h: UNUSED, ACTIVE, EMPTY, and by purging UNUSED again. */
START_TEST(a_slot_goes_through_its_states)
{
	struct hk_pool_released released;
	bool zero;
	struct hk_slab *keeper = take(1, 1, &zero), *slab = take(1, 1, &zero), *again;
	struct hk_superslab *superslab = hk_slab_superslab(slab);
	uint32_t slot = (uint32_t)1 << hk_slab_slot(slab);

	ck_assert(zero);
	ck_assert_ptr_eq(hk_slab_superslab(keeper), superslab);
	ck_assert(superslab->active & slot);
	memset(hk_slab_base(slab), 1, HK_SLOT_BYTES);
	give(slab);
	ck_assert(superslab->empty & slot);
	ck_assert(!(superslab->active & slot));

	/*
	 * EMPTY: its pages are there, and so is what was in them.  It is the first
	 * choice.
	 */
	again = take(1, 1, &zero);
	ck_assert_ptr_eq(again, slab);
	ck_assert(!zero);
	ck_assert(all_bytes(hk_slab_base(slab), 1, HK_SLOT_BYTES));
	give(again);

	hk_pool_release(&released);
	check_pool();
	ck_assert_uint_eq(released.superslabs, 0);
	ck_assert_uint_ge(released.bytes, HK_SLOT_BYTES);
	ck_assert(superslab->unused & slot);
	again = take(1, 1, &zero);
	ck_assert_ptr_eq(again, slab);
	ck_assert(zero);
	ck_assert(all_bytes(hk_slab_base(slab), 0, HK_SLOT_BYTES));
	give(again);
	give(keeper);
}
END_TEST

/* Just these slots, by who has others there. */
START_TEST(slots_are_claimed)
{
	bool zero;
	struct hk_slab *keeper = take(1, 1, &zero);
	struct hk_superslab *superslab = hk_slab_superslab(keeper);
	unsigned slot = hk_slab_slot(keeper) + 1;
	uint32_t dirty = 1, run = (uint32_t)7 << slot;

	ck_assert(hk_pool_claim(superslab, slot, 2, HK_KIND_MEDIUM, &dirty));
	check_pool();
	ck_assert_uint_eq(dirty, 0);
	ck_assert_uint_eq(superslab->slab[slot].slots, 2);
	ck_assert(all_bytes(hk_slab_base(&superslab->slab[slot]), 0, 2 * HK_SLOT_BYTES));
	/* Others have one of these; and nothing has changed. */
	ck_assert(!hk_pool_claim(superslab, slot - 1, 1, HK_KIND_MEDIUM, &dirty));
	ck_assert(!hk_pool_claim(superslab, slot + 1, 2, HK_KIND_MEDIUM, &dirty));
	check_pool();
	ck_assert(superslab->unused >> (slot + 2) & 1);
	/* EMPTY and UNUSED ones in one run. */
	give(&superslab->slab[slot]);
	ck_assert(hk_pool_claim(superslab, slot, 3, HK_KIND_MEDIUM, &dirty));
	check_pool();
	ck_assert_uint_eq(dirty, (uint32_t)3 << slot);
	ck_assert_uint_eq(superslab->active & run, run);
	give(&superslab->slab[slot]);
	give(keeper);
}
END_TEST

START_TEST(runs_are_aligned_as_asked)
{
	static struct hk_slab *slabs[200];
	size_t count = 0;
	bool zero;

	for (unsigned align = 1; align <= HK_SLOTS; align *= 2) {
		for (unsigned slots = 1; slots <= HK_SLOTS; slots = slots * 2 + 1) {
			slabs[count] = take(slots, align, &zero);
			ck_assert_aligned(hk_slab_base(slabs[count]),
					  align * HK_SLOT_BYTES);
			count++;
		}
		slabs[count] = take(HK_SLOTS, align, &zero);
		ck_assert_aligned(hk_slab_base(slabs[count]), align * HK_SLOT_BYTES);
		count++;
	}
	while (count)
		give(slabs[--count]);
	release_all();
	ck_assert_uint_eq(superslabs(), 0);
}
END_TEST

START_TEST(the_fullest_superslab_serves_first)
{
	static struct hk_slab *slabs[3 * HK_SLOTS];
	struct hk_superslab *first, *second;
	struct hk_pool_released released;
	struct hk_slab *slab;
	bool zero;

	for (size_t i = 0; i < 3 * HK_SLOTS; i++)
		slabs[i] = take(1, 1, &zero);
	ck_assert_uint_eq(superslabs(), 3);
	/*
	 * Half of the first, two slots of the second, almost all of the third are
	 * freed.
	 */
	first = hk_slab_superslab(slabs[0]);
	second = hk_slab_superslab(slabs[HK_SLOTS]);
	for (size_t i = 0; i < HK_SLOTS / 2; i++)
		hk_pool_give(slabs[i]);
	hk_pool_give(slabs[HK_SLOTS + 3]);
	hk_pool_give(slabs[HK_SLOTS + 9]);
	for (size_t i = 2 * HK_SLOTS + 1; i < 3 * HK_SLOTS; i++)
		hk_pool_give(slabs[i]);
	slab = take(1, 1, &zero);
	ck_assert_ptr_eq(hk_slab_superslab(slab), second);
	hk_pool_give(slab);
	/* Two slots side by side it does not have: the next fullest does. */
	slab = take(2, 1, &zero);
	ck_assert_ptr_eq(hk_slab_superslab(slab), first);
	hk_pool_give(slab);
	/* But slots whose pages are there come first, and the others of the fullest then. */
	hk_pool_release(&released);
	slab = take(1, 1, &zero);
	ck_assert_ptr_eq(hk_slab_superslab(slab), second);
	hk_pool_give(slabs[HK_SLOTS / 2]);
	slabs[HK_SLOTS / 2] = take(1, 1, &zero);
	ck_assert(!zero);
	ck_assert_ptr_eq(hk_slab_superslab(slabs[HK_SLOTS / 2]), first);
	slabs[0] = take(1, 1, &zero);
	ck_assert(zero);
	ck_assert_ptr_eq(hk_slab_superslab(slabs[0]), second);
	give(slab);
	give(slabs[0]);
	for (size_t i = 0; i < 3 * HK_SLOTS; i++) {
		bool given = i < HK_SLOTS / 2 || i == HK_SLOTS + 3 || i == HK_SLOTS + 9 ||
			     i > 2 * HK_SLOTS;

		if (!given)
			give(slabs[i]);
	}
}
END_TEST

/* ---- tiers ---- */

static struct hk_slab *slots_of[5][HK_SLOTS];

static struct hk_superslab *fill_superslab(size_t i)
{
	bool zero;

	for (size_t k = 0; k < HK_SLOTS; k++)
		slots_of[i][k] = take(1, 1, &zero);
	return hk_slab_superslab(slots_of[i][0]);
}

/* Of a full SuperSlab, all but the first so many slots. */
static void thin(size_t i, size_t left)
{
	for (size_t k = left; k < HK_SLOTS; k++)
		give(slots_of[i][k]);
}

/* What thin() has left. */
static void give_rest(size_t i, size_t left)
{
	for (size_t k = 0; k < left; k++)
		give(slots_of[i][k]);
}

static void none_is_left(void)
{
	release_all();
	ck_assert_uint_eq(superslabs(), 0);
}

/* Each arrow of the diagram in superslab.h; a quarter is 8 slots, three eighths are 12. */
START_TEST(a_superslab_goes_through_its_tiers)
{
	struct hk_superslab *superslab = NULL;
	bool zero;

	for (size_t k = 0; k < HK_SLOTS; k++) {
		slots_of[0][k] = take(1, 1, &zero);
		superslab = hk_slab_superslab(slots_of[0][k]);
		ck_assert_uint_eq(superslab->use, 8 * (k + 1));
		ck_assert_uint_eq(superslab->tier, k < 8 ? HK_TIER_FRESH : HK_TIER_HOT);
	}
	ck_assert_uint_eq(superslabs(), 1);
	for (size_t k = HK_SLOTS; k-- > 2;) {
		give(slots_of[0][k]);
		ck_assert_uint_eq(superslab->tier,
				  k > 8 ? HK_TIER_HOT : HK_TIER_DRAINING);
	}
	for (size_t k = 2; k < 20; k++) {
		slots_of[0][k] = take(1, 1, &zero);
		ck_assert_ptr_eq(hk_slab_superslab(slots_of[0][k]), superslab);
		ck_assert_uint_eq(superslab->tier,
				  k < 12 ? HK_TIER_DRAINING : HK_TIER_HOT);
	}
	give_rest(0, 20);
	ck_assert_uint_eq(superslab->tier, HK_TIER_FREE);
	ck_assert_uint_eq(superslab->use, 0);
	slots_of[0][0] = take(2, 1, &zero);
	ck_assert_ptr_eq(hk_slab_superslab(slots_of[0][0]), superslab);
	ck_assert_uint_eq(superslab->tier, HK_TIER_FRESH);
	ck_assert_uint_eq(superslab->use, 16);
	/* It has not been above a quarter, so it does not drain below it. */
	give(slots_of[0][0]);
	none_is_left();
}
END_TEST

START_TEST(around_a_quarter_nothing_changes)
{
	struct hk_superslab *superslab = fill_superslab(0);
	struct hakmem_stats stats;
	bool zero;

	thin(0, 8);
	ck_assert_uint_eq(superslab->tier, HK_TIER_DRAINING);
	for (unsigned round = 0; round < 10; round++) {
		for (size_t k = 8; k < 12; k++) {
			slots_of[0][k] = take(1, 1, &zero);
			ck_assert_uint_eq(superslab->tier, HK_TIER_DRAINING);
		}
		for (size_t k = 12; k-- > 8;)
			give(slots_of[0][k]);
	}
	stats = stats_now();
	ck_assert_uint_eq(stats.superslabs_draining, 1);
	ck_assert_uint_eq(stats.superslabs_hot, 0);
	for (size_t k = 8; k < 13; k++)
		slots_of[0][k] = take(1, 1, &zero);
	for (unsigned round = 0; round < 10; round++) {
		for (size_t k = 13; k-- > 9;) {
			give(slots_of[0][k]);
			ck_assert_uint_eq(superslab->tier, HK_TIER_HOT);
		}
		for (size_t k = 9; k < 13; k++)
			slots_of[0][k] = take(1, 1, &zero);
	}
	stats = stats_now();
	ck_assert_uint_eq(stats.superslabs_draining, 0);
	ck_assert_uint_eq(stats.superslabs_hot, 1);
	give_rest(0, 13);
	none_is_left();
}
END_TEST

/*
 * Pages of EMPTY slots go back, and the SuperSlabs with them stay as they are.  What is taken
 * after this is too late to be a pulse.
 */
static void purge_all(void)
{
	struct hk_pool_released released;

	hk_pool_release(&released);
	check_pool();
	usleep(150000);
}

static struct hk_slab *take_from(struct hk_superslab *superslab, bool zero)
{
	bool is_zero;
	struct hk_slab *slab = take(1, 1, &is_zero);

	ck_assert_ptr_eq(hk_slab_superslab(slab), superslab);
	ck_assert(is_zero == zero);
	return slab;
}

START_TEST(the_order_of_choice)
{
	struct hk_superslab *drained = fill_superslab(0), *fuller = fill_superslab(1),
			    *emptier = fill_superslab(2), *cached = fill_superslab(3);

	thin(0, 8);
	thin(1, 20);
	thin(2, 17);
	thin(3, 2);
	purge_all();
	give(slots_of[0][7]);
	give(slots_of[2][16]);
	give_rest(3, 2);
	ck_assert_uint_eq(drained->tier, HK_TIER_DRAINING);
	ck_assert_uint_eq(fuller->tier, HK_TIER_HOT);
	ck_assert_uint_eq(emptier->tier, HK_TIER_HOT);
	ck_assert_uint_eq(cached->tier, HK_TIER_FREE);

	/* EMPTY slots of HOT ones, and of FREE ones. */
	slots_of[2][16] = take_from(emptier, false);
	for (size_t k = 0; k < 2; k++)
		slots_of[3][k] = take_from(cached, false);
	/* UNUSED slots of HOT ones: of the fullest first, and what was FREE is HOT now. */
	for (size_t k = 20; k < HK_SLOTS; k++)
		slots_of[1][k] = take_from(fuller, true);
	for (size_t k = 17; k < HK_SLOTS; k++)
		slots_of[2][k] = take_from(emptier, true);
	for (size_t k = 2; k < HK_SLOTS; k++)
		slots_of[3][k] = take_from(cached, true);
	/* Of DRAINING ones, and then of a new one. */
	slots_of[0][7] = take_from(drained, false);
	for (size_t k = 8; k < HK_SLOTS; k++)
		slots_of[0][k] = take_from(drained, true);
	ck_assert_uint_eq(superslabs(), 4);
	fill_superslab(4);
	ck_assert_uint_eq(superslabs(), 5);
	for (size_t i = 0; i < 5; i++)
		give_rest(i, HK_SLOTS);
	none_is_left();
}
END_TEST

/* A FREE SuperSlab without pages serves before one that drains with them. */
START_TEST(the_cache_before_those_that_drain)
{
	struct hk_superslab *drained = fill_superslab(0), *cached = fill_superslab(1);
	struct hk_slab *slab;

	thin(0, 8);
	give_rest(1, HK_SLOTS);
	set_option("purge_delay_ms", "0");
	hk_pool_tidy();
	set_option("purge_delay_ms", "3600000");
	ck_assert_uint_eq(cached->empty, 0);
	ck_assert_uint_eq(cached->tier, HK_TIER_FREE);
	give(slots_of[0][7]);
	ck_assert_uint_ne(drained->empty, 0);
	ck_assert_uint_eq(drained->tier, HK_TIER_DRAINING);
	slab = take_from(cached, true);
	give(slab);
	give_rest(0, 7);
	none_is_left();
}
END_TEST

/* ---- the pulse ---- */

enum { PEAK = 40 };

/* Without a check at each step: what takes too long is no pulse. */
static void make_pulse(void)
{
	static struct hk_slab *peak[PEAK];
	bool zero;

	for (unsigned round = 0; round < 6; round++) {
		for (size_t i = 0; i < PEAK; i++)
			peak[i] = hk_pool_take(HK_KIND_MEDIUM, HK_SLOTS, 1, false, &zero);
		for (size_t i = 0; i < PEAK; i++) {
			if (hk_pool_give(peak[i]))
				hk_pool_tidy();
		}
	}
	check_pool();
	ck_assert_uint_gt(superslabs(), 3);
}

/* Then what is resident serves, wherever it is, before anything becomes so. */
START_TEST(while_demand_swings_pages_of_draining_ones_serve)
{
	struct hk_superslab *drained = fill_superslab(0), *hot = fill_superslab(1);

	thin(0, 8);
	thin(1, 20);
	purge_all();
	give(slots_of[0][7]);
	ck_assert_uint_eq(drained->tier, HK_TIER_DRAINING);
	ck_assert_uint_eq(hot->tier, HK_TIER_HOT);
	give(take_from(hot, true));
	purge_all();
	give(slots_of[0][6]);
	hk_lock(&hk_pool_lock);
	hk_pulse_give(1);
	hk_pulse_take(1, 0);
	hk_unlock(&hk_pool_lock);
	slots_of[0][6] = take_from(drained, false);
	slots_of[1][20] = take_from(hot, true);
	give_rest(0, 7);
	give_rest(1, 21);
	none_is_left();
}
END_TEST

START_TEST(a_peak_long_gone_leaves_nothing)
{
	make_pulse();
	usleep(1200000);
	hk_pool_tidy();
	check_pool();
	ck_assert_uint_le(superslabs(), 2);
	none_is_left();
}
END_TEST

START_TEST(small_work_does_not_keep_a_peak)
{
	bool zero;

	make_pulse();
	for (unsigned i = 0; i < 20; i++) {
		usleep(100000);
		give(take(1, 1, &zero));
	}
	ck_assert_uint_le(superslabs(), 3);
	none_is_left();
}
END_TEST

/* Nobody looks: whoever asks is told when to. */
START_TEST(silence_is_due)
{
	uint64_t due;

	set_option("purge_delay_ms", "10");
	make_pulse();
	for (unsigned i = 0; superslabs() > 2 && i < 10; i++) {
		due = hk_pool_due_ms();
		ck_assert_uint_le(due, 1000);
		usleep((unsigned)due * 1000 + 20000);
		hk_pool_tidy();
	}
	ck_assert_uint_le(superslabs(), 2);
	none_is_left();
}
END_TEST

START_TEST(the_cache_keeps_as_many_as_it_may)
{
	static struct hk_slab *slabs[10];
	static const char *const limits[] = { "0", "1", "3" };
	bool zero;

	for (size_t k = 0; k < 3; k++) {
		uint64_t unmapped = hk_pool_counters.superslabs_unmapped;

		release_all();
		/*
		 * What was given back a moment ago and is wanted again may stay for a
		 * while.
		 */
		usleep(1200000);
		set_option("lru_superslabs", limits[k]);
		ck_assert_uint_eq(superslabs(), 0);
		for (size_t i = 0; i < 10; i++)
			slabs[i] = take(HK_SLOTS, 1, &zero);
		ck_assert_uint_eq(superslabs(), 10);
		for (size_t i = 0; i < 10; i++)
			give(slabs[i]);
		ck_assert_uint_eq(superslabs(), (unsigned)(limits[k][0] - '0'));
		ck_assert_uint_ge(hk_pool_counters.superslabs_unmapped,
				  unmapped + 10 - superslabs());
	}
	release_all();
	ck_assert_uint_eq(superslabs(), 0);
}
END_TEST

START_TEST(empty_slots_are_purged_after_their_time)
{
	struct hk_superslab *superslab;
	struct hk_slab *keeper, *slab;
	uint64_t purged;
	bool zero;

	release_all();
	usleep(1200000);
	set_option("purge_delay_ms", "50");
	keeper = take(1, 1, &zero);
	slab = take(2, 1, &zero);
	superslab = hk_slab_superslab(slab);
	purged = hk_pool_counters.purged_bytes;
	give(slab);
	ck_assert_uint_ne(superslab->empty, 0);
	usleep(100000);
	/* The next time that anything is given back. */
	slab = take(HK_SLOTS, 1, &zero);
	give(slab);
	ck_assert_uint_eq(superslab->empty, 0);
	ck_assert_uint_ge(hk_pool_counters.purged_bytes, purged + 2 * HK_SLOT_BYTES);
	give(keeper);
}
END_TEST

START_TEST(limits_are_kept)
{
	struct hk_slab *first, *second;
	char limit[32];
	bool zero;

	release_all();
	/* The cache's record chunk and leaf are mapped by now, or will be with this. */
	first = take(HK_SLOTS, 1, &zero);
	snprintf(limit, sizeof(limit), "%zu", hk_os_mapped() + HK_SUPERSLAB_BYTES / 2);
	set_option("hard_limit", limit);
	ck_assert(!hk_pool_limits_allow(HK_SUPERSLAB_BYTES, false));
	ck_assert(!hk_pool_limits_allow(HK_SUPERSLAB_BYTES, true));
	ck_assert(hk_pool_limits_allow(HK_SUPERSLAB_BYTES / 2, false));
	ck_assert_ptr_null(hk_pool_take(HK_KIND_MEDIUM, 1, 1, true, &zero));
	set_option("hard_limit", "0");
	set_option("soft_limit", limit);
	ck_assert(!hk_pool_limits_allow(HK_SUPERSLAB_BYTES, false));
	ck_assert(hk_pool_limits_allow(HK_SUPERSLAB_BYTES, true));
	ck_assert_ptr_null(hk_pool_take(HK_KIND_MEDIUM, 1, 1, false, &zero));
	second = hk_pool_take(HK_KIND_MEDIUM, 1, 1, true, &zero);
	ck_assert_ptr_nonnull(second);
	give(second);
	give(first);
}
END_TEST

START_TEST(a_kernel_that_refuses_to_map)
{
	bool zero;
	struct hk_slab *slab;

	fail_after(HK_OS_MAP, 0);
	ck_assert_ptr_null(hk_pool_take(HK_KIND_MEDIUM, 1, 1, true, &zero));
	check_pool();
	fail_no_more();
	slab = take(1, 1, &zero);
	give(slab);
}
END_TEST

START_TEST(a_kernel_that_refuses_to_unmap)
{
	static struct hk_slab *slabs[6];
	struct hk_pool_released released;
	bool zero;

	for (size_t i = 0; i < 6; i++) {
		slabs[i] = take(HK_SLOTS, 1, &zero);
		memset(hk_slab_base(slabs[i]), 1, HK_SUPERSLAB_BYTES);
	}
	fail_after(HK_OS_UNMAP, 0);
	for (size_t i = 0; i < 6; i++)
		give(slabs[i]);
	hk_pool_release(&released);
	check_pool();
	ck_assert_uint_eq(released.superslabs, 0);
	ck_assert_uint_eq(superslabs(), 6);
	/* They are kept, and served again, as zeros where they say so. */
	for (size_t i = 0; i < 6; i++) {
		slabs[i] = take(HK_SLOTS, 1, &zero);
		ck_assert(!zero ||
			  all_bytes(hk_slab_base(slabs[i]), 0, HK_SUPERSLAB_BYTES));
	}
	ck_assert_uint_eq(superslabs(), 6);
	for (size_t i = 0; i < 6; i++)
		give(slabs[i]);
	fail_no_more();
	hk_pool_release(&released);
	check_pool();
	ck_assert_uint_eq(superslabs(), 0);
}
END_TEST

START_TEST(a_kernel_that_refuses_to_purge)
{
	struct hk_pool_released released;
	bool zero;
	struct hk_slab *keeper = take(1, 1, &zero), *slab = take(4, 1, &zero);
	struct hk_superslab *superslab = hk_slab_superslab(slab);

	memset(hk_slab_base(slab), 1, 4 * HK_SLOT_BYTES);
	give(slab);
	fail_after(HK_OS_PURGE, 0);
	hk_pool_release(&released);
	check_pool();
	ck_assert_uint_eq(released.bytes, 0);
	ck_assert_uint_eq((unsigned)__builtin_popcount(superslab->empty), 4);
	slab = take(4, 1, &zero);
	ck_assert(!zero);
	give(slab);
	fail_no_more();
	hk_pool_release(&released);
	ck_assert_uint_ge(released.bytes, 4 * HK_SLOT_BYTES);
	ck_assert_uint_eq(superslab->empty, 0);
	give(keeper);
}
END_TEST

/*
 * Random runs beside a model: what is taken is nobody else's, and zero when it says so.
 */
START_TEST(random_runs)
{
	enum { RUNS = 120, STEPS = 6000 };
	static struct {
		struct hk_slab *slab;
		unsigned slots;
		int mark;
	} runs[RUNS];
	uint64_t seed = new_seed(), random = seed;

	set_option("purge_delay_ms", "1");
	for (unsigned step = 0; step < STEPS; step++) {
		size_t i = random_below(&random, RUNS);
		bool zero;
		char *base;

		if (runs[i].slab) {
			base = hk_slab_base(runs[i].slab);
			for (unsigned k = 0; k < runs[i].slots; k++)
				ck_assert_msg(all_bytes(base + k * HK_SLOT_BYTES,
							runs[i].mark, 64),
					      "TEST_SEED=%lu: step %u", seed, step);
			ck_assert_uint_eq(runs[i].slab->slots, runs[i].slots);
			if (hk_pool_give(runs[i].slab))
				hk_pool_tidy();
			runs[i].slab = NULL;
		} else {
			unsigned align = 1u << random_below(&random, 6);

			runs[i].slots = (unsigned)random_below(
						&random,
						random_below(&random, 4) ? 4 : 32) +
					1;
			runs[i].slab = hk_pool_take(HK_KIND_MEDIUM, runs[i].slots, align,
						    false, &zero);
			ck_assert_ptr_nonnull(runs[i].slab);
			runs[i].mark = (int)(step % 255) + 1;
			base = hk_slab_base(runs[i].slab);
			ck_assert_aligned(base, align * HK_SLOT_BYTES);
			for (unsigned k = 0; k < runs[i].slots; k++) {
				ck_assert_msg(!zero || all_bytes(base + k * HK_SLOT_BYTES,
								 0, 64),
					      "TEST_SEED=%lu: step %u", seed, step);
				memset(base + k * HK_SLOT_BYTES, runs[i].mark, 64);
			}
		}
		if (step % 16 == 0)
			check_pool();
		if (step % 1000 == 0) {
			struct hk_pool_released released;

			hk_pool_release(&released);
			check_pool();
		}
	}
	for (size_t i = 0; i < RUNS; i++)
		if (runs[i].slab)
			give(runs[i].slab);
	release_all();
	ck_assert_uint_eq(superslabs(), 0);
}
END_TEST

static _Atomic int bad;

static void *churn(void *argument)
{
	uint64_t random = (uintptr_t)argument;
	struct hk_slab *slabs[16] = { NULL };

	for (unsigned step = 0; step < 4000; step++) {
		size_t i = random_below(&random, 16);
		bool zero;

		if (slabs[i]) {
			char *base = hk_slab_base(slabs[i]);

			bad += !all_bytes(base, (int)(uintptr_t)argument, 64);
			if (hk_pool_give(slabs[i]))
				hk_pool_tidy();
			slabs[i] = NULL;
		} else {
			slabs[i] = hk_pool_take(HK_KIND_MEDIUM,
						(unsigned)random_below(&random, 6) + 1, 1,
						false, &zero);
			bad += !slabs[i] ||
			       (zero && !all_bytes(hk_slab_base(slabs[i]), 0, 64));
			memset(hk_slab_base(slabs[i]), (int)(uintptr_t)argument, 64);
		}
		if (step % 500 == 0) {
			struct hk_pool_released released;

			hk_pool_release(&released);
		}
	}
	for (size_t i = 0; i < 16; i++)
		if (slabs[i] && hk_pool_give(slabs[i]))
			hk_pool_tidy();
	return NULL;
}

START_TEST(threads_take_and_give)
{
	pthread_t threads[4];

	set_option("purge_delay_ms", "0");
	for (uintptr_t i = 0; i < 4; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(bad, 0);
	check_pool();
	release_all();
	ck_assert_uint_eq(superslabs(), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pool");
	TCase *tcase = add_case(suite, "pool");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_run_is_the_takers);
	tcase_add_test(tcase, a_slot_goes_through_its_states);
	tcase_add_test(tcase, slots_are_claimed);
	tcase_add_test(tcase, runs_are_aligned_as_asked);
	tcase_add_test(tcase, the_fullest_superslab_serves_first);
	tcase_add_test(tcase, a_superslab_goes_through_its_tiers);
	tcase_add_test(tcase, around_a_quarter_nothing_changes);
	tcase_add_test(tcase, the_order_of_choice);
	tcase_add_test(tcase, the_cache_before_those_that_drain);
	tcase_add_test(tcase, while_demand_swings_pages_of_draining_ones_serve);
	tcase_add_test(tcase, a_peak_long_gone_leaves_nothing);
	tcase_add_test(tcase, small_work_does_not_keep_a_peak);
	tcase_add_test(tcase, silence_is_due);
	tcase_add_test(tcase, the_cache_keeps_as_many_as_it_may);
	tcase_add_test(tcase, empty_slots_are_purged_after_their_time);
	tcase_add_test(tcase, limits_are_kept);
	tcase_add_test(tcase, a_kernel_that_refuses_to_map);
	tcase_add_test(tcase, a_kernel_that_refuses_to_unmap);
	tcase_add_test(tcase, a_kernel_that_refuses_to_purge);
	tcase_add_test(tcase, random_runs);
	tcase_add_test(tcase, threads_take_and_give);
	return run_suite(suite);
}
