/* SPDX-License-Identifier: MIT
 *
 * Goes on, whatever the environment says: allocates, and prints its process id and the
 * value of each option, for abuse.sh to compare.
 *
 * Under secure execution LD_PRELOAD is ignored too, so abuse.sh links a copy of this
 * program with the library and makes that set-user-ID.
 */
#include "libabuse.h"

#include <ctype.h>
#include <sys/auxv.h>

static const char *const options[] = {
#define HK_OPTION(name, type, text, number, when, words, help) #name,
#include "../lib/options.def"
#undef HK_OPTION
};

int main(void)
{
	require_library();
	for (size_t i = 0; i < 1000; i++)
		free(opaque(malloc(opaque_size(i * 37))));
	printf("pid=%d\nsecure=%lu\n", (int)getpid(), getauxval(AT_SECURE));
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		char name[64] = { 0 };
		struct hakmem_option option = { .name = name };

		for (size_t j = 0; options[i][j]; j++)
			name[j] = (char)tolower((unsigned char)options[i][j]);
		if (ctl(HAKMEM_GET, &option, sizeof(option)))
			printf("%s: %s\n", name, strerror(errno));
		else
			printf("%s=%s\n", name, option.value);
	}
	return tap_end();
}
