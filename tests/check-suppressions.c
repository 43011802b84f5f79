/* SPDX-License-Identifier: MIT
 *
 * suppressions: patterns against names, lines of a file, what is wrong with one.
 */
#include "libcheck.h"

#include "debug/suppressions.h"

/* The file as it was read, and what was said about it. */
static char path[64], said[4096];

static void read_file(const char *text, size_t length)
{
	int file = memfd_create("suppressions", 0), error = memfd_create("error", 0);
	int stderr_was = dup(STDERR_FILENO);
	ssize_t got;

	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(write(file, text, length), (ssize_t)length);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	dup2(error, STDERR_FILENO);
	errno = EXDEV;
	hk_suppressions_read(path);
	ck_assert_int_eq(errno, EXDEV);
	dup2(stderr_was, STDERR_FILENO);
	got = pread(error, said, sizeof(said) - 1, 0);
	ck_assert_int_ge(got, 0);
	said[got] = '\0';
	close(stderr_was);
	close(error);
	close(file);
}

static void read_text(const char *text)
{
	read_file(text, strlen(text));
}

static bool hides(const char *function, const char *file, const char *object)
{
	return hk_suppressions_match(&(struct hk_symbol){
		.function = function, .file = file, .object = object });
}

/* A file of this one pattern. */
static bool one(const char *pattern, const char *function)
{
	char text[256];

	snprintf(text, sizeof(text), "leak:%s\n", pattern);
	read_text(text);
	ck_assert_str_eq(said, "");
	return hides(function, NULL, NULL);
}

START_TEST(anywhere_in_a_name)
{
	ck_assert(one("make", "make"));
	ck_assert(one("make", "remake_it"));
	ck_assert(one("make", "mamake"));
	ck_assert(!one("make", "mak"));
	ck_assert(!one("make", ""));
	ck_assert(!one("make", "Make"));
}
END_TEST

START_TEST(stars)
{
	ck_assert(one("*", ""));
	ck_assert(one("*", "any"));
	ck_assert(one("a*c", "abc"));
	ck_assert(one("a*c", "xacx"));
	ck_assert(!one("a*c", "cba"));
	ck_assert(one("*b*", "abc"));
	ck_assert(!one("*b*", "ac"));
	ck_assert(one("a**c", "abbc"));
	ck_assert(one("one*two*three", "one, two and three"));
	ck_assert(!one("one*two*three", "one, three and two"));
	ck_assert(!one("aa*aa", "aaa"));
	ck_assert(one("aa*aa", "aaaa"));
}
END_TEST

START_TEST(ends)
{
	ck_assert(one("^make", "make_it"));
	ck_assert(!one("^make", "remake"));
	ck_assert(one("make$", "remake"));
	ck_assert(!one("make$", "make_it"));
	ck_assert(one("^make$", "make"));
	ck_assert(!one("^make$", "makemake"));
	ck_assert(!one("^make$", "mak"));
	ck_assert(one("^a*z$", "abcz"));
	ck_assert(one("^a*z$", "azz"));
	ck_assert(!one("^a*z$", "abc"));
	ck_assert(!one("^a*z$", "xaz"));
	ck_assert(!one("^ab*bc$", "abc"));
	ck_assert(one("^ab*bc$", "abbc"));
	ck_assert(one("^*make", "remake"));
	ck_assert(one("make*$", "makes"));
	ck_assert(one("^$", ""));
	ck_assert(!one("^$", "a"));
}
END_TEST

START_TEST(other_characters_are_themselves)
{
	ck_assert(one("std::vector<int", "std::vector<int, std::allocator<int> >::f"));
	ck_assert(one("a.c", "a.c"));
	ck_assert(!one("a.c", "abc"));
	ck_assert(one("a^b$c", "a^b$c"));
	ck_assert(one("f[abc]?", "f[abc]?"));
	ck_assert(one("a#b", "a#b"));
	ck_assert(one("leak:", "a leak: b"));
}
END_TEST

START_TEST(function_file_or_object)
{
	read_text("leak:known\n");
	ck_assert(hides("known", NULL, NULL));
	ck_assert(hides(NULL, "src/known.c", NULL));
	ck_assert(hides(NULL, NULL, "/usr/lib/libknown.so"));
	ck_assert(hides("f", "g.c", "known"));
	ck_assert(!hides(NULL, NULL, NULL));
	ck_assert(!hides("f", "g.c", "/lib/libc.so.6"));
	/* The ends are those of one name, not of all together. */
	read_text("leak:^known$\n");
	ck_assert(!hides("f", "known.c", "libknown.so"));
}
END_TEST

START_TEST(lines)
{
	read_text("# a comment\n"
		  "\n"
		  "leak:first\r\n"
		  "   \t  \n"
		  "  leak:second  \n"
		  "#leak:not this\n"
		  "  # leak:nor this\n"
		  "leak:third one");
	ck_assert_str_eq(said, "");
	ck_assert(hk_suppressions_any());
	ck_assert(hides("first", NULL, NULL));
	ck_assert(hides("second", NULL, NULL));
	ck_assert(hides("the third one", NULL, NULL));
	ck_assert(!hides("third", NULL, NULL));
	ck_assert(!hides("not this", NULL, NULL));
	ck_assert(!hides("nor this", NULL, NULL));
}
END_TEST

START_TEST(nothing_in_it)
{
	read_text("");
	ck_assert(!hk_suppressions_any());
	ck_assert(!hides("any", "any", "any"));
	read_text("# nothing\n\n");
	ck_assert_str_eq(said, "");
	ck_assert(!hk_suppressions_any());
	ck_assert(!hides("any", "any", "any"));
}
END_TEST

static void ck_said(const char *rest)
{
	char wanted[1024];

	snprintf(wanted, sizeof(wanted), "hakmem: %s[%d]: bad suppression %s%s\n",
		 program_invocation_short_name, (int)getpid(), path, rest);
	ck_assert_str_eq(said, wanted);
}

START_TEST(the_first_bad_line_is_told)
{
	read_text("leak:good\nrace:other\nthread:too\nleak:better\n");
	ck_said(":2: not leak:PATTERN: race:other");
	ck_assert(hides("good", NULL, NULL));
	ck_assert(hides("better", NULL, NULL));
	ck_assert(!hides("other", NULL, NULL));
	/* It would hide everything. */
	read_text("# comment\n\n  leak: \n");
	ck_said(":3: not leak:PATTERN: leak:");
	ck_assert(!hk_suppressions_any());
	read_text("Leak:x");
	ck_said(":1: not leak:PATTERN: Leak:x");
}
END_TEST

START_TEST(unreadable_files)
{
	int error = memfd_create("error", 0), stderr_was = dup(STDERR_FILENO);
	const char *const files[] = { "/nowhere/at/all", "/proc/self" };
	const char *const wanted[] = {
		"cannot be opened: No such file or directory",
		"cannot be read: Is a directory",
	};

	read_text("");
	for (size_t i = 0; i < 2; i++) {
		ssize_t got;

		dup2(error, STDERR_FILENO);
		ck_assert_int_eq(ftruncate(error, 0), 0);
		lseek(error, 0, SEEK_SET);
		hk_suppressions_read(files[i]);
		dup2(stderr_was, STDERR_FILENO);
		got = pread(error, said, sizeof(said) - 1, 0);
		ck_assert_int_gt(got, 0);
		said[got] = '\0';
		ck_assert_ptr_nonnull(strstr(said, files[i]));
		ck_assert_ptr_nonnull(strstr(said, wanted[i]));
	}
	ck_assert(!hk_suppressions_any());
	close(error);
	close(stderr_was);
}
END_TEST

/* Around the sizes that the file is read by. */
START_TEST(long_files)
{
	static char text[300000];
	const size_t sizes[] = { 65534, 65535, 65536, 65537, 131071, 131072, 299999 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(text, '#', sizeof(text));
		memcpy(text, "leak:first\n", 11);
		memcpy(text + sizes[i] - 10, "\nleak:last", 10);
		read_file(text, sizes[i]);
		ck_assert_str_eq(said, "");
		ck_assert(hides("first", NULL, NULL));
		ck_assert(hides("last", NULL, NULL));
		ck_assert(!hides("#", NULL, NULL));
	}
}
END_TEST

START_TEST(without_memory)
{
	read_text("");
	fail_after(HK_OS_MAP, 0);
	read_text("leak:x\n");
	fail_no_more();
	ck_said(": cannot be read: Cannot allocate memory");
	ck_assert(!hk_suppressions_any());
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("suppressions");
	TCase *tcase = add_case(suite, "suppressions");

	tcase_add_checked_fixture(tcase, NULL, fail_no_more);
	tcase_add_test(tcase, anywhere_in_a_name);
	tcase_add_test(tcase, stars);
	tcase_add_test(tcase, ends);
	tcase_add_test(tcase, other_characters_are_themselves);
	tcase_add_test(tcase, function_file_or_object);
	tcase_add_test(tcase, lines);
	tcase_add_test(tcase, nothing_in_it);
	tcase_add_test(tcase, the_first_bad_line_is_told);
	tcase_add_test(tcase, unreadable_files);
	tcase_add_test(tcase, long_files);
	tcase_add_test(tcase, without_memory);
	return run_suite(suite);
}
