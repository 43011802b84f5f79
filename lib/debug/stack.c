/* SPDX-License-Identifier: MIT
 *
 * stack.c - raw program counters by libunwind, told by object and offset.
 *
 * Called last of all, before abort(): dladdr() takes the loader's lock, and if this thread
 * holds it already, it may take it again, as that lock is recursive.
 */
#define _GNU_SOURCE
#define UNW_LOCAL_ONLY
#include "debug/stack.h"

#include <dlfcn.h>
#include <libunwind.h>

#include "text.h"

#define FRAMES_MAX 32

void hk_stack_write(int fd)
{
	void *frames[FRAMES_MAX];
	int count = unw_backtrace(frames, FRAMES_MAX);
	struct hk_text text;

	hk_text_open(&text, fd);
	for (int i = 0; i < count; i++) {
		Dl_info info;

		if (dladdr(frames[i], &info) && info.dli_fname) {
			hk_text(&text, "  #%-2d %s 0x%lx", i, info.dli_fname,
				(unsigned long)((char *)frames[i] -
						(char *)info.dli_fbase));
			if (info.dli_sname)
				hk_text(&text, " %s+0x%lx", info.dli_sname,
					(unsigned long)((char *)frames[i] -
							(char *)info.dli_saddr));
			hk_text(&text, "\n");
		} else {
			hk_text(&text, "  #%-2d %p\n", i, frames[i]);
		}
	}
	hk_text_close(&text);
}
