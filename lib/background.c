/* SPDX-License-Identifier: MIT
 *
 * background.c - the thread of background.h: when it starts, what it does, how it sleeps.
 *
 * Takes no lock itself; what it calls takes those of the sets, the classes and the pool, one
 * after another.  When to sleep, and for how long, is jemalloc's scheme for its background
 * threads (src/background_thread.c): until the next decay is due, or, with nothing to decay,
 * until someone rings.
 */
#define _GNU_SOURCE
#include "background.h"

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "magazine.h"
#include "os.h"
#include "pool.h"
#include "spans.h"
#include "sparse.h"

/*
 * A static thread-local block of the program lies on the stack, too; where it is larger than
 * the smaller of the two, pthread_create() says EINVAL.  If all other threads have ended, the
 * exit handlers run here.
 */
static const size_t stack_bytes[] = { (size_t)256 << 10, (size_t)8 << 20 };

#define NAP_MIN_MS 10 /* no shorter sleep, however short HAKMEM_PURGE_DELAY_MS is */

enum { NONE, STARTING, RUNNING };
static _Atomic uint32_t state;

/* A futex.  AWAKE: it works.  NAPPING: until a time.  RESTING: a slow path is to wake it. */
enum { AWAKE, NAPPING, RESTING };
static _Atomic uint32_t bell;

/*
 * Not before, in ms; 1: at any time, and no look at the clock; 0: never, as the constructor
 * has not run, or not in the main thread.
 */
static _Atomic uint64_t may_start_at;

/* The main thread has ended alone, by pthread_exit(): the last of the others ends the process. */
static pthread_key_t main_key;
static bool have_main_key;
static _Atomic bool main_ended;

/* ---- before main ---- */

/* Ours; a static program has none. */
extern ElfW(Dyn) _DYNAMIC[] __attribute__((weak, visibility("hidden")));

static const ElfW(Dyn) * dynamic_entry(const ElfW(Dyn) * entry, ElfW(Sxword) tag)
{
	for (; entry->d_tag != DT_NULL; entry++) {
		if (entry->d_tag == tag)
			return entry;
	}
	return NULL;
}

/* Beyond the one that the compiler's crtbegin.o puts into each object. */
static bool has_constructors(const ElfW(Dyn) * dynamic)
{
	const ElfW(Dyn) *size = dynamic_entry(dynamic, DT_INIT_ARRAYSZ);

	return size && size->d_un.d_val > sizeof(void *);
}

/* The loader's list of objects in the order of loading, by the executable's DT_DEBUG. */
static const struct link_map *loaded_objects(void)
{
	const ElfW(Phdr) *header = (const void *)getauxval(AT_PHDR);
	const ElfW(Phdr) *end = header + getauxval(AT_PHNUM), *dynamic = NULL;
	const ElfW(Dyn) * debug;
	uintptr_t bias = 0;
	bool have_bias = false;

	if (!header)
		return NULL;
	for (const ElfW(Phdr) *next = header; next < end; next++) {
		if (next->p_type == PT_PHDR) {
			bias = (uintptr_t)header - next->p_vaddr;
			have_bias = true;
		} else if (next->p_type == PT_DYNAMIC) {
			dynamic = next;
		}
	}
	/* A static program has no list, and need not have the first of these. */
	if (!have_bias || !dynamic)
		return NULL;
	debug = dynamic_entry((const void *)(bias + dynamic->p_vaddr), DT_DEBUG);
	if (!debug || !debug->d_un.d_ptr)
		return NULL;
	return ((const struct r_debug *)debug->d_un.d_ptr)->r_map;
}

/*
 * Asked in our constructor: is there no other between it and main?  The loader initialises
 * objects in the reverse of the order in which it loaded them, but each after those that it
 * needs.  So those listed before us come after us; and the executable, the first in the list,
 * last of all.  libc has nothing that would tell when main begins.
 */
static bool main_is_next(void)
{
	const struct link_map *object = loaded_objects();

	for (; object; object = object->l_next) {
		if (object->l_ld == _DYNAMIC)
			return true;
		if (has_constructors(object->l_ld))
			return false;
	}
	return false;
}

/* ---- the thread ---- */

/*
 * Whoever rings has stored before what the thread is to see: main_ended, the option.  Both
 * exchange the bell, and one of the two comes second: the ringer, who then finds it set and
 * wakes the thread; or the thread, whose exchange has acquired what the ringer's released.
 */
static void ring(void)
{
	if (atomic_exchange_explicit(&bell, AWAKE, memory_order_acq_rel) != AWAKE)
		hk_os_futex_wake(&bell, 1);
}

/* Only the main thread and this one are left, the former as a zombie. */
static bool is_alone(void)
{
	return atomic_load_explicit(&main_ended, memory_order_relaxed) &&
	       hk_os_threads() <= 2;
}

static bool is_wanted(void)
{
	return hk_config_number(HK_OPTION_BACKGROUND) && !is_alone();
}

/* false: it was woken.  UINT64_MAX: however long it takes. */
static bool sleep_for(uint32_t how, uint64_t ms)
{
	atomic_exchange_explicit(&bell, how, memory_order_acq_rel);
	if (atomic_load_explicit(&main_ended, memory_order_relaxed) &&
	    ms > HK_INTERVAL_MS)
		ms = HK_INTERVAL_MS;
	if (is_wanted() && ms == UINT64_MAX)
		hk_os_futex_wait(&bell, how);
	else if (is_wanted())
		hk_os_futex_wait_ms(&bell, how, ms);
	return atomic_exchange_explicit(&bell, AWAKE, memory_order_acq_rel) == how;
}

/* How long until something can be purged; what the kernel refuses can wait. */
static uint64_t time_to_purge(uint64_t due)
{
	uint64_t delay = hk_config_number(HK_OPTION_PURGE_DELAY_MS);

	if (!due)
		return HK_INTERVAL_MS;
	if (due < delay)
		due = delay;
	return due < NAP_MIN_MS ? NAP_MIN_MS : due;
}

/*
 * Two intervals in a row must have left nothing: a slow path that looked at the bell before it
 * was set may add to a magazine after that was seen empty.  What comes into empty magazines
 * while the thread rests is no more than their capacity at the start, without a slow path.
 */
static void serve(void)
{
	uint64_t next = hk_os_now_ms() + HK_INTERVAL_MS;
	unsigned quiet = 0;

	while (is_wanted()) {
		uint64_t now = hk_os_now_ms(), due, due_large, ms;

		if (now >= next) {
			bool left = hk_magazine_age();

			left |= hk_sparse_tick(&hk_sparse_thread);
			quiet = left ? 0 : quiet + 1;
			next = now + HK_INTERVAL_MS;
		}
		hk_pool_tidy();
		due = hk_pool_due_ms();
		due_large = hk_spans_tidy();
		if (due_large < due)
			due = due_large;
		ms = next - now;
		if (due != UINT64_MAX) {
			quiet = 0;
			due = time_to_purge(due);
			ms = due < ms ? due : ms;
		} else if (quiet >= 2) {
			ms = UINT64_MAX;
		}
		if (!sleep_for(quiet ? RESTING : NAPPING, ms)) {
			quiet = 0;
			next = hk_os_now_ms() + HK_INTERVAL_MS;
		}
	}
}

/* The option may be 1 again by the time that this is known to have ended. */
static void *run(void *unused)
{
	uint32_t none;

	(void)unused;
	pthread_setname_np(pthread_self(), "hakmem");
	atomic_store_explicit(&state, RUNNING, memory_order_relaxed);
	do {
		serve();
		atomic_store_explicit(&may_start_at, hk_os_now_ms() + HK_INTERVAL_MS,
				      memory_order_relaxed);
		atomic_store_explicit(&state, NONE, memory_order_seq_cst);
		none = NONE;
	} while (is_wanted() && atomic_compare_exchange_strong(&state, &none, RUNNING));
	return NULL;
}

/* ---- starting ---- */

static int create(void)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int error;

	error = pthread_attr_init(&attributes);
	if (error)
		return error;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	/* Here, not there, so that it never runs without: the program's handlers are not for it. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = EINVAL;
	for (size_t i = 0; error == EINVAL && i < 2; i++) {
		pthread_attr_setstacksize(&attributes, stack_bytes[i]);
		error = pthread_create(&thread, &attributes, run, NULL);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return error;
}

/* pthread_create() allocates, and so comes back to a slow path: which finds STARTING. */
static void start(void)
{
	uint32_t none = NONE;
	int kept = errno;

	if (!atomic_compare_exchange_strong(&state, &none, STARTING))
		return;
	if (create() != 0) {
		atomic_store_explicit(&may_start_at, hk_os_now_ms() + HK_INTERVAL_MS,
				      memory_order_relaxed);
		atomic_store_explicit(&state, NONE, memory_order_relaxed);
	}
	errno = kept;
}

bool hk_background_check(bool may_start)
{
	uint32_t now = atomic_load_explicit(&state, memory_order_relaxed);
	uint64_t at;

	if (HK_LIKELY(now == RUNNING)) {
		if (HK_UNLIKELY(atomic_load_explicit(&bell, memory_order_relaxed) ==
				RESTING))
			ring();
		return true;
	}
	at = atomic_load_explicit(&may_start_at, memory_order_relaxed);
	if (may_start && now == NONE && at && hk_os_now_ms() >= at)
		start();
	return false;
}

void hk_background_changed(void)
{
	if (!hk_config_number(HK_OPTION_BACKGROUND))
		ring();
	else if (atomic_load_explicit(&may_start_at, memory_order_relaxed))
		start();
}

static void tell_main_ended(void *unused)
{
	(void)unused;
	atomic_store_explicit(&main_ended, true, memory_order_relaxed);
	ring();
}

HK_STARTUP void hk_background_init(void)
{
	/* A library that is loaded late is not the allocator, and has nothing to do. */
	if (hk_os_thread_id() != (uint64_t)getpid())
		return;
	have_main_key = pthread_key_create(&main_key, tell_main_ended) == 0 &&
			pthread_setspecific(main_key, &main_key) == 0;
	/* Without it, a program whose main thread ends alone would never end. */
	if (have_main_key)
		atomic_store_explicit(&may_start_at,
				      main_is_next() ? 1
						     : hk_os_now_ms() + HK_INTERVAL_MS,
				      memory_order_relaxed);
}

void hk_background_adopt(void)
{
	atomic_store_explicit(&state, NONE, memory_order_relaxed);
	atomic_store_explicit(&bell, AWAKE, memory_order_relaxed);
	atomic_store_explicit(&main_ended, false, memory_order_relaxed);
	/* The thread that forked is the main one now. */
	if (have_main_key && pthread_setspecific(main_key, &main_key) != 0)
		atomic_store_explicit(&may_start_at, 0, memory_order_relaxed);
}
