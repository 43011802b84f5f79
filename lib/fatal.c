/* SPDX-License-Identifier: MIT
 *
 * fatal.c - how the library speaks, and how it gives up.
 */
#define _GNU_SOURCE
#include "fatal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#if HK_DEBUG
#include "debug/report.h"
#endif

static const char *const texts[] = {
#define HK_MESSAGE(name, text) text,
#include "messages.def"
#undef HK_MESSAGE
};

const char *hk_message_text(enum hk_message message)
{
	return texts[message];
}

/* "hakmem: PROG[PID]: "; the name is not yet known before libc's own constructor. */
static void open_line(struct hk_text *text)
{
	const char *program = program_invocation_short_name;

	hk_text_open(text, STDERR_FILENO);
	hk_text(text, "hakmem: %s[%d]: ", program ? program : "?", (int)getpid());
}

void hk_message_open(struct hk_text *text, enum hk_message message)
{
	open_line(text);
	hk_text(text, "%s ", texts[message]);
}

void hk_fatal(enum hk_message message, const char *function, const void *address,
	      const char *details, ...)
{
	struct hk_text text;
	va_list list;

	open_line(&text);
	hk_text(&text, "%s(): %s %p (", function, texts[message], address);
	va_start(list, details);
	hk_text_list(&text, details, list);
	va_end(list);
	hk_text(&text, ")\n");
	hk_text_close(&text);
#if HK_DEBUG
	hk_report_here();
#endif
	abort();
}

void hk_assert_failed(const char *file, unsigned line, const char *what)
{
	hk_fatal(HK_BROKEN_INVARIANT, "hakmem", __builtin_return_address(0), "%s:%u: %s",
		 file, line, what);
}
