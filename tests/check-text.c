/* SPDX-License-Identifier: MIT
 *
 * text: every conversion against printf(3), output longer than the buffer, errors of
 * write.
 */
#include "libcheck.h"

#include <limits.h>

#include "text.h"

/* What was written, and what printf makes of the same. */
static char got[65536], wanted[65536];

static int open_file(void)
{
	int fd = memfd_create("text", 0);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static size_t read_back(int fd)
{
	ssize_t length = pread(fd, got, sizeof(got) - 1, 0);

	ck_assert_int_ge(length, 0);
	got[length] = '\0';
	close(fd);
	return (size_t)length;
}

#define SAME(...)                                              \
	do {                                                   \
		struct hk_text text_;                          \
		int fd_ = open_file();                         \
                                                               \
		hk_text_open(&text_, fd_);                     \
		hk_text(&text_, __VA_ARGS__);                  \
		ck_assert_int_eq(hk_text_close(&text_), 0);    \
		read_back(fd_);                                \
		snprintf(wanted, sizeof(wanted), __VA_ARGS__); \
		ck_assert_str_eq(got, wanted);                 \
	} while (0)

START_TEST(as_printf_does)
{
	SAME("nothing to convert");
	SAME("%s and %s", "this", "");
	SAME("%d %d %d %d", 0, -1, INT_MAX, INT_MIN);
	SAME("%u %u", 0u, UINT_MAX);
	SAME("%ld %ld %ld", 0L, LONG_MAX, LONG_MIN);
	SAME("%lu %lu %lu", 0UL, 1234567890123UL, ULONG_MAX);
	SAME("%x %x %lx", 0u, 0xabcdef01u, 0xfedcba9876543210UL);
	SAME("%c%c%c", 'a', ' ', 'z');
	SAME("100%% of it");
	SAME("%p", (void *)(uintptr_t)0x7f12345678a0);
	SAME("[%8s] [%-8s] [%2s]", "abc", "abc", "abc");
	SAME("[%8d] [%-8d] [%1d]", -12, -12, -12);
	SAME("[%20lu] [%-20lu]", 99UL, 99UL);
	SAME("[%*d] [%*s] [%-*s]", 6, 42, 10, "right", 10, "left");
	SAME("[%16lx] [%12u]", 255UL, 7u);
}
END_TEST

START_TEST(longer_than_the_buffer)
{
	struct hk_text text;
	int fd = open_file();
	size_t length = 0;

	hk_text_open(&text, fd);
	for (int i = 0; i < 3000; i++) {
		hk_text(&text, "line %d of many;", i);
		length += (size_t)sprintf(wanted + length, "line %d of many;", i);
	}
	ck_assert_int_eq(hk_text_close(&text), 0);
	ck_assert_uint_eq(read_back(fd), length);
	ck_assert_str_eq(got, wanted);
}
END_TEST

START_TEST(exactly_the_buffer)
{
	static char line[sizeof(((struct hk_text *)0)->buffer) + 2];

	for (size_t length = sizeof(line) - 4; length < sizeof(line); length++) {
		struct hk_text text;
		int fd = open_file();

		memset(line, 'x', length);
		line[length] = '\0';
		hk_text_open(&text, fd);
		hk_text(&text, "%s", line);
		ck_assert_int_eq(hk_text_close(&text), 0);
		ck_assert_uint_eq(read_back(fd), length);
		ck_assert_str_eq(got, line);
	}
}
END_TEST

static int error_of(int fd, int lines)
{
	struct hk_text text;
	int error;

	errno = EXDEV;
	hk_text_open(&text, fd);
	for (int i = 0; i < lines; i++)
		hk_text(&text, "some words, line %d\n", i);
	error = hk_text_close(&text);
	ck_assert_int_eq(errno, EXDEV);
	return error;
}

START_TEST(errors_of_write)
{
	int full = open("/dev/full", O_WRONLY);

	ck_assert_int_eq(error_of(-1, 1), EBADF);
	ck_assert_int_eq(error_of(-1, 1000), EBADF);
	ck_assert_int_eq(error_of(full, 1), ENOSPC);
	ck_assert_int_eq(error_of(full, 1000), ENOSPC);
	close(full);
}
END_TEST

START_TEST(nothing_is_written_before_it_must)
{
	struct hk_text text;
	int fd = open_file();

	hk_text_open(&text, fd);
	hk_text(&text, "one line");
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 0);
	ck_assert_int_eq(hk_text_close(&text), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 8);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("text");
	TCase *tcase = add_case(suite, "text");

	tcase_add_test(tcase, as_printf_does);
	tcase_add_test(tcase, longer_than_the_buffer);
	tcase_add_test(tcase, exactly_the_buffer);
	tcase_add_test(tcase, errors_of_write);
	tcase_add_test(tcase, nothing_is_written_before_it_must);
	return run_suite(suite);
}
