/* SPDX-License-Identifier: MIT
 *
 * Programs that do nothing wrong with processes, threads, modules and libc.
 */
#include "libabuse.h"

#include <dirent.h>
#include <iconv.h>
#include <limits.h>
#include <link.h>
#include <locale.h>
#include <netdb.h>
#include <regex.h>
#include <signal.h>
#include <spawn.h>
#include <time.h>
#include <wchar.h>

extern char **environ;

STEP void work(void)
{
	void *blocks[200];

	for (size_t i = 0; i < 200; i++) {
		blocks[i] = make(i * 13);
		memset(opaque(blocks[i]), 'x', i * 13);
	}
	for (size_t i = 0; i < 200; i++)
		free(opaque(blocks[i]));
}

static void ends_well(pid_t child, const char *what)
{
	int status = -1;

	if (waitpid(child, &status, 0) != child || status)
		printf("not ok - %s: status 0x%x\n", what, status);
}

/* ---- processes ---- */

static void *volatile kept;

/* Parent and child both go on, to the end, with what was there before. */
STEP void forks(void)
{
	kept = make(100);
	for (size_t i = 0; i < 10; i++) {
		void *shared = make(50);
		pid_t child = fork();

		work();
		free(opaque(shared));
		if (!child)
			exit(0);
		ends_well(child, "a child");
	}
}

static volatile bool stop;

STEP void *work_on(void *unused)
{
	(void)unused;
	while (!stop)
		work();
	return NULL;
}

STEP void forks_beside_threads(void)
{
	pthread_t threads[3];

	for (size_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, work_on, NULL);
	for (size_t i = 0; i < 10; i++) {
		pid_t child = fork();

		if (!child) {
			work();
			_exit(0);
		}
		ends_well(child, "a child");
	}
	stop = true;
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

STEP void spawns(void)
{
	static char *const arguments[] = { (char *)"true", NULL };
	char line[100];
	FILE *pipe;
	pid_t child;

	if (system("exit 0"))
		puts("not ok - system()");
	pipe = popen("echo piped", "r");
	if (!pipe || !fgets(line, sizeof(line), pipe) || strcmp(line, "piped\n") != 0)
		puts("not ok - popen()");
	if (pipe)
		pclose(pipe);
	if (posix_spawnp(&child, "true", NULL, NULL, arguments, environ) == 0)
		ends_well(child, "true");
}

/* ---- threads ---- */

STEP void *work_once(void *unused)
{
	(void)unused;
	work();
	return make(30);
}

STEP void come_and_go(void)
{
	for (size_t i = 0; i < 100; i++) {
		pthread_t threads[4];

		for (size_t k = 0; k < 4; k++)
			pthread_create(&threads[k], NULL, work_once, NULL);
		for (size_t k = 0; k < 4; k++) {
			void *result;

			pthread_join(threads[k], &result);
			free(opaque(result));
		}
	}
}

STEP void *work_little(void *unused)
{
	(void)unused;
	for (size_t i = 0; i < 300; i++)
		free(opaque(malloc(opaque_size(i * 50))));
	return NULL;
}

/* 16 KiB, of which the library may take but little. */
STEP void on_least_stack(void)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 16384);
	for (size_t i = 0; i < 5; i++) {
		if (pthread_create(&thread, &attributes, work_little, NULL))
			puts("not ok - a thread of 16 KiB");
		else
			pthread_join(thread, NULL);
	}
	pthread_attr_destroy(&attributes);
}

static void clean_up(void *block)
{
	free(opaque(block));
}

STEP void *wait_for_cancel(void *barrier)
{
	void *block = make(40);

	pthread_cleanup_push(clean_up, block);
	pthread_barrier_wait((pthread_barrier_t *)barrier);
	for (;;)
		pause();
	pthread_cleanup_pop(1);
	return NULL;
}

STEP void cancelled(void)
{
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, 2);
	for (size_t i = 0; i < 20; i++) {
		pthread_t thread;

		pthread_create(&thread, NULL, wait_for_cancel, &barrier);
		pthread_barrier_wait(&barrier);
		pthread_cancel(thread);
		pthread_join(thread, NULL);
	}
	pthread_barrier_destroy(&barrier);
}

static pthread_key_t key;

STEP void *leave_to_destructor(void *unused)
{
	(void)unused;
	pthread_setspecific(key, make(60));
	return NULL;
}

STEP void thread_destructors(void)
{
	pthread_key_create(&key, free);
	for (size_t i = 0; i < 20; i++)
		run_here(leave_to_destructor, NULL);
}

STEP void *end_detached(void *unused)
{
	(void)unused;
	work();
	return NULL;
}

STEP void detached(void)
{
	for (size_t i = 0; i < 20; i++) {
		pthread_t thread;

		pthread_create(&thread, NULL, end_detached, NULL);
		pthread_detach(thread);
	}
	usleep(50000);
}

/* One makes, another frees. */
static void *_Atomic slots[64];

STEP void *consume(void *unused)
{
	(void)unused;
	for (size_t freed = 0; freed < 20000;) {
		void *block = atomic_exchange(&slots[freed % 64], NULL);

		if (block) {
			free(opaque(block));
			freed++;
		} else {
			sched_yield();
		}
	}
	return NULL;
}

STEP void handed_over(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, consume, NULL);
	for (size_t made = 0; made < 20000; made++) {
		void *block = make(made % 500);

		while (atomic_load(&slots[made % 64]))
			sched_yield();
		atomic_store(&slots[made % 64], block);
	}
	pthread_join(thread, NULL);
}

/* ---- modules ---- */

STEP void modules(void)
{
	const char *path = getenv("TEST_MODULE");

	if (!path) {
		puts("# TEST_MODULE is not set");
		return;
	}
	for (size_t i = 0; i < 20; i++) {
		void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		char *(*allocate)(size_t);
		void *block;

		if (!handle) {
			printf("not ok - %s\n", dlerror());
			return;
		}
		*(void **)&allocate = dlsym(handle, "module_block");
		block = allocate ? allocate(100) : NULL;
		dlclose(handle);
		/* Its stack has frames that are no longer there. */
		free(opaque(block));
	}
	kept = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	/* dlerror() keeps a text for the thread. */
	if (dlopen("/no/such/module", RTLD_NOW) || !dlerror())
		puts("not ok - dlopen() of nothing");
}

static int count_object(struct dl_phdr_info *info, size_t size, void *count)
{
	(void)info;
	(void)size;
	++*(size_t *)count;
	return 0;
}

static volatile bool enough;

STEP void *hold_the_loader(void *unused)
{
	size_t count = 0;
	sigset_t signals;

	(void)unused;
	sigfillset(&signals);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	while (!enough)
		dl_iterate_phdr(count_object, &count);
	return NULL;
}

static volatile size_t handled;
static timer_t timer;

/* Once, at a time that differs; so that something is done between two handlers. */
static void start_timer(void)
{
	struct itimerspec once = { .it_value.tv_nsec = 20000 +
						       (long)(handled * 7919 % 50000) };

	timer_settime(timer, 0, &once, NULL);
}

static void allocate_here(int signal)
{
	(void)signal;
	free(opaque(malloc(24)));
	handled++;
	start_timer();
}

/*
 * The handlers interrupt the loader, also where it takes and gives back its lock, for which
 * another thread waits.  They never interrupt malloc().
 */
STEP void handlers_in_the_loader(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct sigaction action = { 0 };
	size_t count = 0;
	pthread_t thread;

	action.sa_handler = allocate_here;
	sigaction(SIGUSR1, &action, NULL);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer))
		return;
	pthread_create(&thread, NULL, hold_the_loader, NULL);
	start_timer();
	while (handled < 8000)
		dl_iterate_phdr(count_object, &count);
	timer_delete(timer);
	enough = true;
	pthread_join(thread, NULL);
}

/* ---- libc ---- */

static int compare(const void *one, const void *other)
{
	const long *a = (const long *)one, *b = (const long *)other;

	return *a < *b ? -1 : *a > *b;
}

STEP void strings_and_sorting(void)
{
	enum { COUNT = 50000 };
	long *numbers = (long *)make(COUNT * sizeof(*numbers));
	char *text = NULL, *line = NULL;
	wchar_t wide[100];
	size_t size = 0;
	FILE *memory;

	for (size_t i = 0; i < COUNT; i++)
		numbers[i] = (long)(i * 7919 % 100003);
	qsort(numbers, COUNT, sizeof(*numbers), compare);
	free(opaque(numbers));
	if (asprintf(&text, "%5000d %.300f %ls", 1, 2.0, L"wide") > 0)
		free(opaque(text));
	memory = open_memstream(&text, &size);
	for (size_t i = 0; i < 1000; i++)
		fprintf(memory, "line %zu\n", i);
	fclose(memory);
	memory = fmemopen(text, size, "r");
	while (getline(&line, &size, memory) > 0)
		;
	fclose(memory);
	free(opaque(line));
	free(opaque(text));
	swprintf(wide, 100, L"%s", "narrow");
}

STEP void environment_and_locale(void)
{
	struct addrinfo *addresses = NULL;
	char in[] = "gr\xc3\xbc\xc3\x9f", to[20];
	char *from = in, *end = to, path[PATH_MAX];
	size_t left = sizeof(in), room = sizeof(to);
	struct dirent **entries;
	regex_t regex;
	iconv_t convert;
	time_t now = time(NULL);
	int count;

	for (size_t i = 0; i < 200; i++) {
		char name[20];

		snprintf(name, sizeof(name), "NAME_%zu", i);
		setenv(name, "value", 1);
		setenv(name, "another value, longer than the first", 1);
		if (i % 2)
			unsetenv(name);
	}
	setlocale(LC_ALL, "C.UTF-8");
	freelocale(newlocale(LC_ALL_MASK, "C", (locale_t)0));
	convert = iconv_open("ISO-8859-1", "UTF-8");
	if (convert != (iconv_t)-1) {
		iconv(convert, &from, &left, &end, &room);
		iconv_close(convert);
	}
	setenv("TZ", "Europe/Berlin", 1);
	tzset();
	localtime(&now);
	if (getaddrinfo("127.0.0.1", "80", NULL, &addresses) == 0)
		freeaddrinfo(addresses);
	if (regcomp(&regex, "^(a|b)*[[:digit:]]+$", REG_EXTENDED) == 0) {
		regexec(&regex, "ababab1234", 0, NULL, 0);
		regfree(&regex);
	}
	count = scandir("/", &entries, NULL, alphasort);
	for (int i = 0; i < count; i++)
		free(opaque(entries[i]));
	if (count >= 0)
		free(opaque(entries));
	if (!realpath(".", path))
		puts("not ok - realpath()");
	free(opaque(realpath("/", NULL)));
	free(opaque(getcwd(NULL, 0)));
}

/* Streams that are open at the end, one with a buffer of the program's. */
STEP void open_streams(void)
{
	FILE *one = fopen("/dev/null", "w"), *other = fopen("/dev/null", "w");

	setvbuf(one, (char *)make(3000), _IOFBF, 3000);
	fprintf(one, "not yet written\n");
	fprintf(other, "nor this\n");
}

/* ---- */

static const struct crime crimes[] = {
	{ "forks", NULL, forks },
	{ "forks-beside-threads", NULL, forks_beside_threads },
	{ "spawns", NULL, spawns },
	{ "come-and-go", NULL, come_and_go },
	{ "on-least-stack", NULL, on_least_stack },
	{ "cancelled", NULL, cancelled },
	{ "thread-destructors", NULL, thread_destructors },
	{ "detached", NULL, detached },
	{ "handed-over", NULL, handed_over },
	{ "modules", NULL, modules },
	{ "handlers-in-the-loader", NULL, handlers_in_the_loader },
	{ "strings-and-sorting", NULL, strings_and_sorting },
	{ "environment-and-locale", NULL, environment_and_locale },
	{ "open-streams", NULL, open_streams },
};

FAMILY(crimes)
