/* SPDX-License-Identifier: MIT
 *
 * Programs that do nothing wrong, each in its own unusual way: the debug library has nothing to
 * say, not even about leaks.  innocent.sh runs them.
 */
#include "libabuse.h"

#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

struct item {
	struct item *next;
	char text[40];
};

STEP struct item *make_items(size_t count)
{
	struct item *first = NULL;

	for (size_t i = 0; i < count; i++) {
		struct item *item = (struct item *)make(sizeof(*item));

		item->next = first;
		snprintf(item->text, sizeof(item->text), "item %zu", i);
		first = item;
	}
	return (struct item *)opaque(first);
}

STEP void drop_items(struct item *first)
{
	while (first) {
		struct item *next = first->next;

		free(opaque(first));
		first = next;
	}
}

/* ---- reachable, by all ways that there are ---- */

static struct item *volatile cache;

/* Kept until the end on purpose. */
STEP void cached(void)
{
	cache = make_items(1000);
}

static char *volatile inside;

STEP void interior_only(void)
{
	inside = (char *)make(5000) + 4999;
}

static char *volatile inside_large;

STEP void interior_of_large(void)
{
	inside_large = (char *)make(3 << 20) + (2 << 20);
}

static _Thread_local struct item *volatile own;

STEP void in_thread_local(void)
{
	own = make_items(10);
}

static pthread_barrier_t barrier;

STEP void *keep_local(void *unused)
{
	(void)unused;
	own = make_items(10);
	pthread_barrier_wait(&barrier);
	for (;;)
		pause();
	return NULL;
}

/* The thread lives when the process ends. */
STEP void in_other_thread_local(void)
{
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, keep_local, NULL);
	pthread_barrier_wait(&barrier);
}

STEP void *keep_on_stack(void *unused)
{
	struct item *volatile first = make_items(10);

	(void)unused;
	pthread_barrier_wait(&barrier);
	for (;;) {
		pause();
		opaque(first);
	}
	return NULL;
}

STEP void on_other_stack(void)
{
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, keep_on_stack, NULL);
	pthread_barrier_wait(&barrier);
}

static volatile long turns;

/* The loop has the pointer in a register, and nobody has it in memory. */
STEP void *keep_in_register(void *unused)
{
	struct item *first = make_items(1);

	(void)unused;
	for (;;) {
		__asm__ volatile("" : "+r"(first));
		turns++;
	}
	return NULL;
}

STEP void in_register(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, keep_in_register, NULL);
	while (turns < 1000)
		usleep(100);
}

/* pthread_setspecific() keeps it where only libc knows. */
STEP void in_thread_specific(void)
{
	pthread_key_t keys[40];

	for (size_t i = 0; i < 40; i++) {
		pthread_key_create(&keys[i], NULL);
		pthread_setspecific(keys[i], make(20));
	}
}

STEP void on_mains_stack_and_exit(void)
{
	struct item *volatile first = make_items(10);

	tap_end();
	exit(first ? 0 : 1);
}

/* ---- used right, to the last byte ---- */

STEP void use(void *block, size_t size)
{
	memset(opaque(block), 'x', size);
	STAY();
}

STEP void every_size(void)
{
	for (size_t size = 0; size < 3000; size++) {
		void *block = make(size);

		use(block, size);
		free(opaque(block));
	}
	for (size_t size = 4096; size < (size_t)4 << 20; size += size / 3) {
		void *block = make(size);

		use(block, size);
		free(opaque(block));
	}
}

STEP void usable_size(void)
{
	for (size_t size = 0; size < 2000; size += 7) {
		void *block = make(size);

		use(block, malloc_usable_size(opaque(block)));
		free(opaque(block));
	}
}

STEP void growing(void)
{
	char *text = NULL;
	size_t size = 0;

	for (; size < 200000; size += 1 + size / 50) {
		text = (char *)realloc(opaque(text), size + 1);
		memset(text, 'x', size + 1);
	}
	for (; size; size /= 2)
		text = (char *)realloc(opaque(text), size);
	free(opaque(text));
}

static size_t peak_kib(void)
{
	char line[200];
	size_t kib = 0;
	FILE *status = fopen("/proc/self/status", "r");

	while (status && fgets(line, sizeof(line), status))
		if (sscanf(line, "VmHWM: %zu", &kib) == 1)
			break;
	if (status)
		fclose(status);
	return kib;
}

/* A vector of which hardly a page is touched is not copied whole. */
STEP void growing_untouched(void)
{
	enum { SIZE = 256 << 20 };
	char *vector = (char *)make(SIZE);
	size_t before = peak_kib();

	vector[0] = vector[SIZE / 2] = vector[SIZE - 1] = 'x';
	vector = (char *)realloc(opaque(vector), SIZE / 2 * 3);
	vector = (char *)realloc(opaque(vector), SIZE);
	if (vector[0] != 'x' || vector[SIZE / 2] != 'x' || vector[SIZE - 1] != 'x')
		puts("not ok - the contents are there");
	if (peak_kib() - before > 32 << 10)
		puts("not ok - what was not touched is not resident");
	free(opaque(vector));
}

STEP void zeroed(void)
{
	for (size_t size = 1; size < (size_t)2 << 20; size += size / 2 + 1) {
		char *block = (char *)calloc(1, opaque_size(size));

		if (!all_bytes(block, 0, size))
			puts("not ok - calloc() gives zeros");
		use(block, size);
		free(opaque(block));
	}
}

STEP void aligned(void)
{
	void (*free_aligned_sized_)(void *, size_t, size_t);
	void (*free_sized_)(void *, size_t);
	void *block = NULL;

	*(void **)&free_aligned_sized_ = dlsym(RTLD_DEFAULT, "free_aligned_sized");
	*(void **)&free_sized_ = dlsym(RTLD_DEFAULT, "free_sized");
	for (size_t alignment = 8; alignment <= (size_t)1 << 21; alignment *= 2) {
		if (posix_memalign(&block, alignment, opaque_size(100)))
			puts("not ok - posix_memalign()");
		ok((uintptr_t)block % alignment == 0, "posix_memalign(%zu)", alignment);
		use(block, 100);
		free(opaque(block));
		block = aligned_alloc(alignment, opaque_size(3 * alignment));
		use(block, 3 * alignment);
		free_aligned_sized_(opaque(block), alignment, 3 * alignment);
		block = memalign(alignment, opaque_size(17));
		use(block, 17);
		block = realloc(opaque(block), opaque_size(1000));
		use(block, 1000);
		free(opaque(block));
	}
	block = valloc(opaque_size(5000));
	use(block, 5000);
	free(opaque(block));
	block = make(77);
	free_sized_(opaque(block), 77);
	free_sized_(NULL, 5);
	free_aligned_sized_(NULL, 64, 5);
	free(NULL);
}

STEP void perturbed(void)
{
	mallopt(M_PERTURB, 0x55);
	every_size();
	mallopt(M_PERTURB, 0);
	every_size();
}

STEP void flushed_and_checked(void)
{
	for (size_t i = 0; i < 20; i++) {
		struct item *first = make_items(300);
		void *medium = make(100000), *large = make(2 << 20);

		use(medium, 100000);
		use(large, 2 << 20);
		ctl(HAKMEM_FLUSH, NULL, 0);
		drop_items(first);
		free(opaque(medium));
		ctl(HAKMEM_CHECK, NULL, 0);
		ctl(HAKMEM_RELEASE, NULL, 0);
		malloc_trim(0);
		free(opaque(large));
	}
}

/* ---- unusual ways of control ---- */

static jmp_buf back;

STEP void jump_back(struct item *first)
{
	drop_items(first);
	longjmp(back, 1);
}

STEP void deep_down(struct item *first, size_t depth)
{
	if (depth)
		deep_down(first, depth - 1);
	else
		jump_back(first);
	STAY();
}

STEP void long_jumps(void)
{
	for (volatile size_t i = 0; i < 100; i++) {
		struct item *first = make_items(10);

		if (!setjmp(back))
			deep_down(first, 20);
	}
}

static sigjmp_buf out;

static void jump_out(int signal)
{
	(void)signal;
	siglongjmp(out, 1);
}

STEP void jumps_out_of_handlers(void)
{
	struct sigaction action = { 0 };

	action.sa_handler = jump_out;
	sigaction(SIGUSR1, &action, NULL);
	for (volatile size_t i = 0; i < 100; i++) {
		struct item *first = make_items(10);

		if (!sigsetjmp(out, 1))
			raise(SIGUSR1);
		drop_items(first);
	}
}

/*
 * Not while malloc() runs, so it may: raise() is called by the program, and the handler returns
 * before it does.
 */
static void allocate_here(int signal)
{
	(void)signal;
	drop_items(make_items(20));
}

STEP void handler_on_own_stack(void)
{
	struct sigaction action = { 0 };
	stack_t stack = { 0 };

	stack.ss_size = 16384;
	stack.ss_sp = tap_map(stack.ss_size);
	sigaltstack(&stack, NULL);
	action.sa_handler = allocate_here;
	action.sa_flags = SA_ONSTACK;
	sigaction(SIGUSR2, &action, NULL);
	for (size_t i = 0; i < 100; i++)
		raise(SIGUSR2);
}

static ucontext_t main_context, contexts[4];
static struct item *lists[4];

static void coroutine(int number)
{
	for (size_t i = 0; i < 20; i++) {
		struct item *first = make_items(5);

		swapcontext(&contexts[number], &main_context);
		drop_items(lists[number]);
		lists[number] = first;
	}
	drop_items(lists[number]);
	lists[number] = NULL;
}

STEP void run_coroutines(void *(*make_stack)(size_t))
{
	enum { STACK = 32768 };

	for (int i = 0; i < 4; i++) {
		getcontext(&contexts[i]);
		contexts[i].uc_stack.ss_sp = make_stack(STACK);
		contexts[i].uc_stack.ss_size = STACK;
		contexts[i].uc_link = &main_context;
		makecontext(&contexts[i], (void (*)(void))(uintptr_t)coroutine, 1, i);
	}
	for (size_t turn = 0; turn <= 20; turn++)
		for (int i = 0; i < 4; i++)
			swapcontext(&main_context, &contexts[i]);
}

STEP void coroutines(void)
{
	run_coroutines(tap_map);
}

STEP void coroutines_in_blocks(void)
{
	run_coroutines(make);
	for (int i = 0; i < 4; i++)
		free(opaque(contexts[i].uc_stack.ss_sp));
}

/* ---- before main, and after ---- */

static struct item *volatile early;

__attribute__((constructor)) static void at_start(void)
{
	early = make_items(50);
}

static void drop_early(void)
{
	drop_items(early);
	early = NULL;
}

STEP void around_main(void)
{
	atexit(drop_early);
}

static const struct crime crimes[] = {
	{ "cached", NULL, cached },
	{ "interior-only", NULL, interior_only },
	{ "interior-of-large", NULL, interior_of_large },
	{ "in-thread-local", NULL, in_thread_local },
	{ "in-other-thread-local", NULL, in_other_thread_local },
	{ "on-other-stack", NULL, on_other_stack },
	{ "in-register", NULL, in_register },
	{ "in-thread-specific", NULL, in_thread_specific },
	{ "on-mains-stack-and-exit", NULL, on_mains_stack_and_exit },
	{ "every-size", NULL, every_size },
	{ "usable-size", NULL, usable_size },
	{ "growing", NULL, growing },
	{ "growing-untouched", NULL, growing_untouched },
	{ "zeroed", NULL, zeroed },
	{ "aligned", NULL, aligned },
	{ "perturbed", NULL, perturbed },
	{ "flushed-and-checked", NULL, flushed_and_checked },
	{ "long-jumps", NULL, long_jumps },
	{ "jumps-out-of-handlers", NULL, jumps_out_of_handlers },
	{ "handler-on-own-stack", NULL, handler_on_own_stack },
	{ "coroutines", NULL, coroutines },
	{ "coroutines-in-blocks", NULL, coroutines_in_blocks },
	{ "around-main", NULL, around_main },
};

FAMILY(crimes)
