/* SPDX-License-Identifier: MIT
 *
 * report.c - reports as text and as JSON.  Owns hk_report_lock, which orders them; allocates
 * nothing.
 */
#define _GNU_SOURCE
#include "debug/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "debug/options.h"
#include "debug/symbols.h"
#include "debug/unwind.h"
#include "os.h"

struct hk_lock hk_report_lock;

static _Atomic unsigned reports;
static _Atomic uint64_t start_ms;
static int log_fd = -1;
static int log_process; /* whose it is: a child has a log of its own */

/* Who has the lock: an abort() in a report, or a fault, may come back here. */
static _Atomic uint64_t owner;

uint32_t hk_debug_now(void)
{
	uint64_t now = hk_os_now_ms(),
		 start = atomic_load_explicit(&start_ms, memory_order_relaxed);

	if (HK_UNLIKELY(!start)) {
		atomic_compare_exchange_strong_explicit(&start_ms, &start, now,
							memory_order_relaxed,
							memory_order_relaxed);
		start = atomic_load_explicit(&start_ms, memory_order_relaxed);
	}
	return (uint32_t)((now - start) / 10) + 1;
}

/* HAKMEM_DEBUG=log:FILE, with the process's id for %p; stderr where it cannot be opened. */
static int open_log(void)
{
	char path[sizeof(hk_debug_options.log) + 32], *out = path;
	const char *in = hk_debug_options.log;

	if (!*in)
		return hk_config_stderr();
	if (log_fd >= 0 && log_process == getpid())
		return log_fd;
	for (; *in && out < path + sizeof(hk_debug_options.log); in++) {
		if (in[0] == '%' && in[1] == 'p') {
			char digits[16], *digit = digits + sizeof(digits);
			unsigned id = (unsigned)getpid();

			do
				*--digit = (char)('0' + id % 10);
			while (id /= 10);
			memcpy(out, digit, (size_t)(digits + sizeof(digits) - digit));
			out += digits + sizeof(digits) - digit;
			in++;
		} else {
			*out++ = *in;
		}
	}
	*out = '\0';
	log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	log_process = getpid();
	return log_fd >= 0 ? log_fd : hk_config_stderr();
}

int hk_report_begin(void)
{
	uint64_t self = hk_os_thread_id();

	if (atomic_load_explicit(&owner, memory_order_relaxed) != self) {
		hk_lock(&hk_report_lock);
		atomic_store_explicit(&owner, self, memory_order_relaxed);
	}
	return open_log();
}

void hk_report_end(void)
{
	atomic_store_explicit(&owner, 0, memory_order_relaxed);
	hk_unlock(&hk_report_lock);
}

unsigned hk_report_count(void)
{
	return atomic_load_explicit(&reports, memory_order_relaxed);
}

void hk_report_counted(void)
{
	atomic_fetch_add_explicit(&reports, 1, memory_order_relaxed);
}

void hk_report_age(struct hk_text *text, uint32_t then, uint32_t now)
{
	uint32_t age = now > then ? now - then : 0;

	hk_text(text, "%u.%c%c s", age / 100, (char)('0' + age / 10 % 10),
		(char)('0' + age % 10));
}

/* ---- text ---- */

struct stacks {
	struct hk_text *text;
	void (*heading)(void *context, struct hk_text *text, size_t stack);
	void *context;
	size_t told; /* headings so far */
	unsigned line;
};

static void catch_up(struct stacks *stacks, size_t stack)
{
	for (; stacks->told <= stack; stacks->told++) {
		stacks->heading(stacks->context, stacks->text, stacks->told);
		stacks->line = 0;
	}
}

static void tell_frame(void *context, size_t stack, unsigned frame,
		       const struct hk_symbol *symbol)
{
	struct stacks *stacks = context;
	struct hk_text *text = stacks->text;

	(void)frame;
	catch_up(stacks, stack);
	hk_text(text, "    #%-2u %s", stacks->line++,
		symbol->function ? symbol->function : "??");
	if (symbol->file)
		hk_text(text, " %s:%u", symbol->file, symbol->line);
	else if (symbol->function && symbol->distance)
		hk_text(text, "+0x%lx", (unsigned long)symbol->distance);
	if (symbol->inlined)
		hk_text(text, " (inlined)\n");
	else if (symbol->object)
		hk_text(text, " (%s 0x%lx)\n", symbol->object,
			(unsigned long)symbol->offset);
	else
		hk_text(text, " (%p)\n", (void *)symbol->pc);
}

void hk_report_stacks(struct hk_text *text, const hk_stack *stacks, size_t count,
		      void (*heading)(void *context, struct hk_text *text, size_t stack),
		      void *context)
{
	struct stacks all = { .text = text, .heading = heading, .context = context };

	hk_symbols_tell(stacks, count, tell_frame, &all);
	if (count)
		catch_up(&all, count - 1);
}

/* ---- JSON ---- */

struct json {
	struct hk_text *text;
	bool any;
};

static void tell_json_frame(void *context, size_t stack, unsigned frame,
			    const struct hk_symbol *symbol)
{
	struct json *json = context;
	struct hk_text *text = json->text;

	(void)stack;
	(void)frame;
	hk_text(text, "%s{\"pc\":\"%p\"", json->any ? "," : "", (void *)symbol->pc);
	json->any = true;
	if (symbol->object) {
		hk_text(text, ",\"object\":");
		hk_text_json(text, symbol->object);
		hk_text(text, ",\"offset\":\"0x%lx\"", (unsigned long)symbol->offset);
	}
	if (symbol->function) {
		hk_text(text, ",\"function\":");
		hk_text_json(text, symbol->function);
	}
	if (symbol->file) {
		hk_text(text, ",\"file\":");
		hk_text_json(text, symbol->file);
		hk_text(text, ",\"line\":%u", symbol->line);
	}
	if (symbol->inlined)
		hk_text(text, ",\"inlined\":true");
	hk_text(text, "}");
}

void hk_report_json_frames(struct hk_text *text, hk_stack stack)
{
	struct json json = { .text = text };

	hk_text(text, "[");
	hk_symbols_tell(&stack, 1, tell_json_frame, &json);
	hk_text(text, "]");
}

/* ---- a crime ---- */

struct crime {
	enum hk_message message;
	const char *function;
	const void *address;
	const struct hk_party *parties;
	size_t count;
	char details[320];
};

static const char *program(void)
{
	return program_invocation_short_name ? program_invocation_short_name : "?";
}

static void tell_party(void *context, struct hk_text *text, size_t index)
{
	const struct crime *crime = context;
	const struct hk_party *party = &crime->parties[index];

	hk_text(text, "  %s", party->did);
	if (party->thread)
		hk_text(text, " by thread %u", party->thread);
	if (index && party->time) {
		hk_text(text, ", ");
		hk_report_age(text, party->time, crime->parties[0].time);
		hk_text(text, " before");
	}
	hk_text(text, party->stack ? ":\n" : ", no stack known\n");
}

static void tell_text(struct hk_text *text, struct crime *crime)
{
	hk_stack stacks[HK_PARTIES];

	hk_text(text, "hakmem: %s[%d]: %s(): %s %p (%s)\n", program(), (int)getpid(),
		crime->function, hk_message_text(crime->message), crime->address,
		crime->details);
	for (size_t i = 0; i < crime->count; i++)
		stacks[i] = crime->parties[i].stack;
	hk_report_stacks(text, stacks, crime->count, tell_party, crime);
}

static void tell_json(struct hk_text *text, const struct crime *crime)
{
	hk_text(text, "{\"program\":");
	hk_text_json(text, program());
	hk_text(text, ",\"pid\":%d,\"function\":", (int)getpid());
	hk_text_json(text, crime->function);
	hk_text(text, ",\"what\":");
	hk_text_json(text, hk_message_text(crime->message));
	hk_text(text, ",\"address\":\"%p\",\"details\":", crime->address);
	hk_text_json(text, crime->details);
	hk_text(text, ",\"parties\":[");
	for (size_t i = 0; i < crime->count; i++) {
		const struct hk_party *party = &crime->parties[i];

		hk_text(text, "%s{\"did\":", i ? "," : "");
		hk_text_json(text, party->did);
		if (party->thread)
			hk_text(text, ",\"thread\":%u", party->thread);
		if (party->time)
			hk_text(text, ",\"ms\":%lu", (unsigned long)party->time * 10);
		hk_text(text, ",\"frames\":");
		hk_report_json_frames(text, party->stack);
		hk_text(text, "}");
	}
	hk_text(text, "]}\n");
}

void hk_report(enum hk_message message, const char *function, const void *address,
	       const struct hk_party *parties, size_t count, enum hk_after after,
	       const char *details, ...)
{
	struct crime crime = { message, function, address, parties, count, "" };
	int kept = errno;
	struct hk_text text;
	va_list list;

	va_start(list, details);
	hk_text_format(crime.details, sizeof(crime.details), details, list);
	va_end(list);
	hk_report_counted();
	hk_text_open(&text, hk_report_begin());
	if (hk_debug_options.json)
		tell_json(&text, &crime);
	else
		tell_text(&text, &crime);
	hk_text_close(&text);
	/* The lock is kept where this is the end: nobody else's report is cut off by it. */
	if (after == HK_THE_END || (after == HK_MAY_GO_ON && !hk_debug_options.go_on))
		abort();
	hk_report_end();
	errno = kept;
}

static void tell_here(void *context, struct hk_text *text, size_t index)
{
	(void)context;
	(void)text;
	(void)index;
}

void hk_report_here(void)
{
	hk_stack stack = hk_unwind_here();
	struct hk_text text;

	hk_text_open(&text, hk_config_stderr());
	hk_report_stacks(&text, &stack, 1, tell_here, NULL);
	hk_text_close(&text);
}
