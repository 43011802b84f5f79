/* SPDX-License-Identifier: MIT
 *
 * calls.c - finds the functions under test.
 */
#define _GNU_SOURCE
#include "calls.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

struct calls calls;

#if HK_TEST

/* tests/rename.h has the declarations.  The unit tests' build has no C++ operators. */
void calls_find(void)
{
	calls = (struct calls){
		.allocate = hkt_malloc,
		.allocate_zeroed = hkt_calloc,
		.resize = hkt_realloc,
		.resize_array = hkt_reallocarray,
		.allocate_aligned = hkt_aligned_alloc,
		.allocate_posix = hkt_posix_memalign,
		.allocate_memalign = hkt_memalign,
		.allocate_page = hkt_valloc,
		.allocate_pages = hkt_pvalloc,
		.end = hkt_free,
		.end_c = hkt_cfree,
		.end_sized = hkt_free_sized,
		.end_aligned_sized = hkt_free_aligned_sized,
		.usable_size = hkt_malloc_usable_size,
		.trim = hkt_malloc_trim,
		.info = hkt_mallinfo2,
		.write_info = hkt_malloc_info,
		.set_parameter = hkt_mallopt,
		.ctl = hakmem_ctl,
		.page = (size_t)sysconf(_SC_PAGESIZE),
		.hakmem = true,
	};
}

#else

#define FIND(member, name) (*(void **)&(member) = dlsym(RTLD_DEFAULT, name))

static void find_cxx(struct cxx_calls *cxx, bool array)
{
	FIND(cxx->make, array ? "_Znam" : "_Znwm");
	FIND(cxx->make_nothrow, array ? "_ZnamRKSt9nothrow_t" : "_ZnwmRKSt9nothrow_t");
	FIND(cxx->make_aligned, array ? "_ZnamSt11align_val_t" : "_ZnwmSt11align_val_t");
	FIND(cxx->make_aligned_nothrow, array ? "_ZnamSt11align_val_tRKSt9nothrow_t"
					      : "_ZnwmSt11align_val_tRKSt9nothrow_t");
	FIND(cxx->end, array ? "_ZdaPv" : "_ZdlPv");
	FIND(cxx->end_nothrow, array ? "_ZdaPvRKSt9nothrow_t" : "_ZdlPvRKSt9nothrow_t");
	FIND(cxx->end_sized, array ? "_ZdaPvm" : "_ZdlPvm");
	FIND(cxx->end_aligned, array ? "_ZdaPvSt11align_val_t" : "_ZdlPvSt11align_val_t");
	FIND(cxx->end_aligned_nothrow, array ? "_ZdaPvSt11align_val_tRKSt9nothrow_t"
					     : "_ZdlPvSt11align_val_tRKSt9nothrow_t");
	FIND(cxx->end_sized_aligned,
	     array ? "_ZdaPvmSt11align_val_t" : "_ZdlPvmSt11align_val_t");
}

void calls_find(void)
{
	struct hakmem_option option = { .name = "debug" };

	calls = (struct calls){
		.allocate = malloc,
		.allocate_zeroed = calloc,
		.resize = realloc,
		.resize_array = reallocarray,
		.allocate_aligned = aligned_alloc,
		.allocate_posix = posix_memalign,
		.allocate_memalign = memalign,
		.allocate_page = valloc,
		.allocate_pages = pvalloc,
		.end = free,
		.usable_size = malloc_usable_size,
		.trim = malloc_trim,
		.info = mallinfo2,
		.write_info = malloc_info,
		.set_parameter = mallopt,
		.page = (size_t)sysconf(_SC_PAGESIZE),
	};
	/* Not in every libc's headers. */
	FIND(calls.end_c, "cfree");
	FIND(calls.end_sized, "free_sized");
	FIND(calls.end_aligned_sized, "free_aligned_sized");
	FIND(calls.ctl, "hakmem_ctl");
	calls.hakmem = calls.ctl != NULL;
	calls.debug = calls.hakmem && !calls.ctl(HAKMEM_GET, &option, sizeof(option));
	/* Without libstdc++ only this library has them. */
	if (dlsym(RTLD_DEFAULT, "_Znwm")) {
		find_cxx(&calls.cxx[0], false);
		find_cxx(&calls.cxx[1], true);
	}
}

#endif
