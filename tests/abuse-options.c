/* SPDX-License-Identifier: MIT
 *
 * HAKMEM_GET and HAKMEM_SET with names and values that are none: the errno of
 * hakmem_ctl(3), no message, and no option changes.
 */
#include "libabuse.h"

struct option {
	const char *name;
	const char *text;
	bool at_start;
};

static const struct option options[] = {
#define RUNTIME false
#define START true
#define HK_OPTION(name, type, text, number, when, words, help) { #name, text, when },
#include "../lib/options.def"
#undef HK_OPTION
};

enum { OPTIONS = sizeof(options) / sizeof(options[0]) };

static char seen[OPTIONS][64];

static int transfer(enum hakmem_op op, const char *name, char value[64])
{
	struct hakmem_option option = { .name = name };
	int answer;

	memcpy(option.value, value, 64);
	answer = ctl(op, &option, sizeof(option));
	memcpy(value, option.value, 64);
	return answer;
}

static void lower_case(char *name, const char *environment_name)
{
	while (*environment_name) {
		char c = *environment_name++;

		*name++ = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
	}
	*name = '\0';
}

/* If one did, it is told and set back: what follows is not about it. */
static bool nothing_changed(void)
{
	char name[64], value[64];
	bool same = true;

	for (size_t i = 0; i < OPTIONS; i++) {
		lower_case(name, options[i].name);
		memset(value, 0, sizeof(value));
		if (transfer(HAKMEM_GET, name, value) ? seen[i][0]
						      : strcmp(value, seen[i])) {
			printf("# %s was \"%s\", is \"%s\"\n", name, seen[i], value);
			transfer(HAKMEM_SET, name, seen[i]);
			same = false;
		}
	}
	return same;
}

static void refused(const char *name, const char *text, int wanted)
{
	char value[64] = { 0 };
	int answer, error;
	bool same;

	strncpy(value, text, sizeof(value) - 1);
	errno = 0;
	answer = transfer(HAKMEM_SET, name, value);
	error = errno;
	same = nothing_changed();
	ok(answer == -1 && error == wanted && same,
	   "SET %s to \"%s\": -1 and %s (%d, %s), nothing changed", name, text,
	   strerrorname_np(wanted), answer, error ? strerrorname_np(error) : "0");
}

static void accepted(const char *name, const char *text, const char *then)
{
	char old[64] = { 0 }, value[64] = { 0 };

	strncpy(value, text, sizeof(value) - 1);
	if (transfer(HAKMEM_GET, name, old))
		printf("# GET %s: %s\n", name, strerrorname_np(errno));
	if (transfer(HAKMEM_SET, name, value))
		printf("# SET %s: %s\n", name, strerrorname_np(errno));
	memset(value, 0, sizeof(value));
	ok(transfer(HAKMEM_GET, name, value) == 0 && !strcmp(value, then),
	   "SET %s to \"%s\" gives \"%s\" (\"%s\")", name, text, then, value);
	if (transfer(HAKMEM_SET, name, old))
		printf("# SET %s back to %s: %s\n", name, old, strerrorname_np(errno));
	ok(nothing_changed(), "SET %s back", name);
}

int main(void)
{
	struct hakmem_option unterminated = { .name = "tiny_profile" };
	struct hakmem_option nameless = { .name = NULL };
	char name[64];

	require_library();
	for (size_t i = 0; i < OPTIONS; i++) {
		lower_case(name, options[i].name);
		if (!strcmp(name, "debug")) {
			ok(transfer(HAKMEM_GET, name, seen[i]) == 0 || errno == ENOTSUP,
			   "GET debug: a value, or ENOTSUP where there is no debugging");
			continue;
		}
		ok(transfer(HAKMEM_GET, name, seen[i]) == 0 &&
			   !strcmp(seen[i], options[i].text),
		   "GET %s: its default, \"%s\" (\"%s\")", name, options[i].text,
		   seen[i]);
	}
	for (size_t i = 0; i < OPTIONS; i++) {
		lower_case(name, options[i].name);
		if (options[i].at_start)
			refused(name, options[i].text, EACCES);
	}

	refused("", "1", ENOENT);
	refused("tiny_profil", "hot", ENOENT);
	refused("tiny_profiles", "hot", ENOENT);
	refused("TINY_PROFILE", "hot", ENOENT);
	refused("HAKMEM_TINY_PROFILE", "hot", ENOENT);
	refused("hakmem_tiny_profile", "hot", ENOENT);
	errno = 0;
	ok(transfer(HAKMEM_GET, "no_such_option", name) == -1 && errno == ENOENT,
	   "GET no_such_option: ENOENT");
	errno = 0;
	ok(ctl(HAKMEM_GET, &nameless, sizeof(nameless)) == -1 && errno == EFAULT,
	   "GET, name NULL: EFAULT");
	errno = 0;
	ok(ctl(HAKMEM_SET, &nameless, sizeof(nameless)) == -1 && errno == EFAULT,
	   "SET, name NULL: EFAULT");

	refused("tiny_profile", "", EINVAL);
	refused("tiny_profile", "warm", EINVAL);
	refused("tiny_profile", "hot ", EINVAL);
	refused("tiny_profile", "Hot", EINVAL);
	refused("tiny_profile", "hot|full", EINVAL);
	refused("tiny_profile", "conservative|hot|full|off", EINVAL);
	refused("thp", "sometimes", EINVAL);
	refused("lru_superslabs", "", EINVAL);
	refused("lru_superslabs", "-1", EINVAL);
	refused("lru_superslabs", "4097", EINVAL);
	refused("lru_superslabs", "18446744073709551616", EINVAL);
	refused("lru_superslabs", "18446744073709551618", EINVAL);
	refused("lru_superslabs", "2x", EINVAL);
	refused("lru_superslabs", " 2", EINVAL);
	refused("lru_superslabs", "0x10", EINVAL);
	refused("purge_delay_ms", "3600001", EINVAL);
	refused("purge_delay_ms", "1.5", EINVAL);
	refused("magazine_bytes", "2G", EINVAL);
	refused("magazine_bytes", "1KK", EINVAL);
	refused("magazine_bytes", "K", EINVAL);
	refused("magazine_bytes", "1 ", EINVAL);
	refused("magazine_bytes", "1@", EINVAL);
	refused("magazine_bytes", "1KB", EINVAL);
	refused("magazine_bytes", "-1K", EINVAL);
	refused("magazine_bytes", "17179869184G", EINVAL);
	refused("hard_limit", "99999999999999999999", EINVAL);
	refused("soft_limit", "lots", EINVAL);
	refused("stats", "exit:", EINVAL);
	refused("stats", "exits", EINVAL);
	refused("stats", "never", EINVAL);

	/* 64 characters and no end: not a text at all. */
	memset(unterminated.value, 'h', sizeof(unterminated.value));
	errno = 0;
	ok(ctl(HAKMEM_SET, &unterminated, sizeof(unterminated)) == -1 &&
		   errno == EINVAL && nothing_changed(),
	   "SET, a value without its end: EINVAL, nothing changed");

	accepted("tiny_profile", "hot", "hot");
	accepted("tiny_profile", "full", "full");
	accepted("tiny_profile", "off", "off");
	accepted("thp", "dense", "dense");
	accepted("thp", "always", "always");
	accepted("lru_superslabs", "0", "0");
	accepted("lru_superslabs", "4096", "4096");
	accepted("purge_delay_ms", "0", "0");
	accepted("magazine_bytes", "64K", "64K");
	accepted("hard_limit", "3G", "3G");
	accepted("soft_limit", "512M", "512M");
	accepted("stats", "none", "none");
	return tap_end();
}
