/* SPDX-License-Identifier: MIT
 *
 * config: every option of options.def, its values and its bounds, by GET and SET.  What
 * the environment does, and the messages, are seen from outside: abuse.sh.
 */
#include "libcheck.h"

#include <ctype.h>
#include <sys/stat.h>

#include "config.h"
#include "init.h"

struct option {
	const char *name, *type, *value, *when, *words;
};

static const struct option options[] = {
#define HK_OPTION(name, type, value, number, when, words, help) \
	{ #name, #type, value, #when, words },
#include "options.def"
#undef HK_OPTION
};

static void setup(void)
{
	hk_init();
}

static const char *lower(const char *name)
{
	static char text[HK_OPTION_NAME_MAX];
	size_t i;

	for (i = 0; name[i]; i++)
		text[i] = (char)tolower((unsigned char)name[i]);
	text[i] = '\0';
	return text;
}

static const char *get(const char *name)
{
	static char value[64];

	memset(value, 0x7f, sizeof(value));
	ck_assert_int_eq(hk_config_get(name, value, sizeof(value)), 0);
	ck_assert_ptr_nonnull(memchr(value, '\0', sizeof(value)));
	return value;
}

static void accepts(const char *name, const char *value, const char *then,
		    uint64_t number, enum hk_option option)
{
	ck_assert_msg(hk_config_set(name, value) == 0, "%s=%s is refused", name, value);
	ck_assert_str_eq(get(name), then);
	ck_assert_uint_eq(hk_config_number(option), number);
}

static void refuses(const char *name, const char *value)
{
	char before[64];

	strcpy(before, get(name));
	ck_assert_msg(hk_config_set(name, value) == EINVAL, "%s=\"%s\" is accepted", name,
		      value);
	ck_assert_str_eq(get(name), before);
}

START_TEST(defaults_are_those_of_the_table)
{
	for (unsigned i = 0; i < HK_OPTIONS; i++) {
		char name[HK_OPTION_NAME_MAX];

		hk_config_name((enum hk_option)i, name);
		ck_assert_str_eq(name, lower(options[i].name));
		if (strcmp(options[i].type, "DEBUG") != 0)
			ck_assert_str_eq(get(name), options[i].value);
	}
}
END_TEST

START_TEST(names_are_exact)
{
	char value[64];

	ck_assert_int_eq(hk_config_get("", value, sizeof(value)), ENOENT);
	ck_assert_int_eq(hk_config_get("tiny", value, sizeof(value)), ENOENT);
	ck_assert_int_eq(hk_config_get("tiny_profilee", value, sizeof(value)), ENOENT);
	ck_assert_int_eq(hk_config_get("TINY_PROFILE", value, sizeof(value)), ENOENT);
	ck_assert_int_eq(hk_config_get("tiny profile", value, sizeof(value)), ENOENT);
	ck_assert_int_eq(hk_config_set("no_such", "1"), ENOENT);
}
END_TEST

START_TEST(what_only_the_start_decides)
{
	for (unsigned i = 0; i < HK_OPTIONS; i++)
		if (!strcmp(options[i].when, "START"))
			ck_assert_int_eq(hk_config_set(lower(options[i].name),
						       options[i].value),
					 EACCES);
}
END_TEST

START_TEST(every_word_of_every_list)
{
	for (unsigned i = 0; i < HK_OPTIONS; i++) {
		char words[128], *next = words, *word;
		uint64_t number = 0;

		if (strcmp(options[i].type, "WORD") || strcmp(options[i].when, "RUNTIME"))
			continue;
		strcpy(words, options[i].words);
		while ((word = strsep(&next, "|")) != NULL)
			accepts(lower(options[i].name), word, word, number++,
				(enum hk_option)i);
		refuses(lower(options[i].name), "");
		refuses(lower(options[i].name), "|");
		refuses(lower(options[i].name), options[i].words);
		refuses(lower(options[i].name), "none of them");
		ck_assert_int_eq(hk_config_set(lower(options[i].name), options[i].value),
				 0);
	}
}
END_TEST

START_TEST(numbers_and_their_bounds)
{
	accepts("lru_superslabs", "0", "0", 0, HK_OPTION_LRU_SUPERSLABS);
	accepts("lru_superslabs", "4096", "4096", 4096, HK_OPTION_LRU_SUPERSLABS);
	accepts("lru_superslabs", "0007", "7", 7, HK_OPTION_LRU_SUPERSLABS);
	refuses("lru_superslabs", "4097");
	refuses("lru_superslabs", "18446744073709551616");
	refuses("lru_superslabs", "18446744073709551617");
	refuses("lru_superslabs", "");
	refuses("lru_superslabs", "-1");
	refuses("lru_superslabs", "+1");
	refuses("lru_superslabs", " 1");
	refuses("lru_superslabs", "1 ");
	refuses("lru_superslabs", "1K");
	refuses("lru_superslabs", "one");
	accepts("purge_delay_ms", "3600000", "3600000", 3600000,
		HK_OPTION_PURGE_DELAY_MS);
	refuses("purge_delay_ms", "3600001");
	accepts("lru_superslabs", "2", "2", 2, HK_OPTION_LRU_SUPERSLABS);
	accepts("purge_delay_ms", "10", "10", 10, HK_OPTION_PURGE_DELAY_MS);
}
END_TEST

START_TEST(sizes_and_their_units)
{
	const uint64_t k = 1024;

	accepts("hard_limit", "1", "1", 1, HK_OPTION_HARD_LIMIT);
	accepts("hard_limit", "1000", "1000", 1000, HK_OPTION_HARD_LIMIT);
	accepts("hard_limit", "1K", "1K", k, HK_OPTION_HARD_LIMIT);
	accepts("hard_limit", "3m", "3M", 3 * k * k, HK_OPTION_HARD_LIMIT);
	accepts("hard_limit", "1024M", "1G", k * k * k, HK_OPTION_HARD_LIMIT);
	accepts("hard_limit", "1025K", "1025K", 1025 * k, HK_OPTION_HARD_LIMIT);
	accepts("hard_limit", "2T", "2T", 2 * k * k * k * k, HK_OPTION_HARD_LIMIT);
	accepts("hard_limit", "15E", "15E", (uint64_t)15 << 60, HK_OPTION_HARD_LIMIT);
	refuses("hard_limit", "17E");
	refuses("hard_limit", "18446744073709551615K");
	refuses("hard_limit", "18446744073709551616");
	refuses("hard_limit", "K");
	refuses("hard_limit", "");
	refuses("hard_limit", "1KB");
	refuses("hard_limit", "1KK");
	refuses("hard_limit", "1 ");
	refuses("hard_limit", "1 K");
	refuses("hard_limit", "1Z");
	refuses("hard_limit", "1@");
	refuses("hard_limit", "1\xff");
	accepts("hard_limit", "0", "0", 0, HK_OPTION_HARD_LIMIT);
	refuses("magazine_bytes", "1025M");
}
END_TEST

static bool is_standard_error(int fd)
{
	struct stat one, other;

	return fstat(fd, &one) == 0 && fstat(STDERR_FILENO, &other) == 0 &&
	       one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

START_TEST(statistics_may_name_a_file)
{
	char path[64], long_value[64];
	int fd;

	accepts("stats", "exit", "exit", HK_STATS_EXIT, HK_OPTION_STATS);
	fd = hk_config_open_stats();
	ck_assert(is_standard_error(fd));
	if (fd != STDERR_FILENO)
		close(fd);
	refuses("stats", "exit:");
	refuses("stats", "none:file");
	refuses("stats", "exits");
	snprintf(path, sizeof(path), "/tmp/hakmem-config.%d", (int)getpid());
	accepts("stats", "exit:/tmp/hakmem-config.%p", "exit:/tmp/hakmem-config.%p",
		HK_STATS_EXIT, HK_OPTION_STATS);
	fd = hk_config_open_stats();
	ck_assert_int_gt(fd, STDERR_FILENO);
	ck_assert_int_eq(write(fd, "one", 3), 3);
	close(fd);
	/* What is there stays: the file may be others' too. */
	fd = hk_config_open_stats();
	ck_assert_int_eq(write(fd, "two", 3), 3);
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 6);
	close(fd);
	ck_assert_int_eq(unlink(path), 0);
	/* The longest that SET can carry. */
	memset(long_value, 'x', sizeof(long_value));
	memcpy(long_value, "exit:/", 6);
	long_value[63] = '\0';
	accepts("stats", long_value, long_value, HK_STATS_EXIT, HK_OPTION_STATS);
	accepts("stats", "none", "none", HK_STATS_NONE, HK_OPTION_STATS);
}
END_TEST

static _Atomic int bad;

static void *set_often(void *argument)
{
	const char *const *pair = argument;

	for (unsigned i = 0; i < 5000; i++) {
		char value[64];

		bad += hk_config_set("tiny_profile", pair[i % 2]) != 0;
		bad += hk_config_get("tiny_profile", value, sizeof(value)) != 0;
		bad += strcmp(value, "hot") && strcmp(value, "full") &&
		       strcmp(value, "off") && strcmp(value, "conservative");
	}
	return NULL;
}

START_TEST(threads_set_and_get)
{
	static const char *const pairs[2][2] = { { "hot", "full" },
						 { "off", "conservative" } };
	pthread_t threads[2];

	for (size_t i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, set_often,
						(void *)pairs[i]),
				 0);
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(bad, 0);
	ck_assert_int_eq(hk_config_set("tiny_profile", "conservative"), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *tcase = add_case(suite, "config");

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, defaults_are_those_of_the_table);
	tcase_add_test(tcase, names_are_exact);
	tcase_add_test(tcase, what_only_the_start_decides);
	tcase_add_test(tcase, every_word_of_every_list);
	tcase_add_test(tcase, numbers_and_their_bounds);
	tcase_add_test(tcase, sizes_and_their_units);
	tcase_add_test(tcase, statistics_may_name_a_file);
	tcase_add_test(tcase, threads_set_and_get);
	return run_suite(suite);
}
