/* SPDX-License-Identifier: MIT
 *
 * pretend.c - test builds only: between the library and the kernel's calls on memory.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HK_PRETEND_ITSELF
#include "pretend.h"

#include "os.h"

static size_t real_size = 4096;

/* Not by getenv(): the first call of malloc may come before libc has an environment. */
static const char *find_variable(const char *name)
{
	static char text[(size_t)1 << 18];
	size_t length = strlen(name), used = 0;
	int fd = open("/proc/self/environ", O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return NULL;
	while ((got = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)got;
	close(fd);
	hk_assert(used < sizeof(text) - 1);
	text[used] = '\0';
	for (const char *at = text; at < text + used; at += strlen(at) + 1) {
		if (!strncmp(at, name, length) && at[length] == '=')
			return at + length + 1;
	}
	return NULL;
}

static void read_refusals(void)
{
	static const char *const calls[HK_OS_CALLS] = {
		[HK_OS_MAP] = "map:",     [HK_OS_UNMAP] = "unmap:",
		[HK_OS_PURGE] = "purge:", [HK_OS_REMAP] = "remap:",
		[HK_OS_GIVE] = "give:",   [HK_OS_REACH] = "reach:"
	};
	const char *given = find_variable("TEST_REFUSE");

	while (given) {
		bool known = false;

		for (int i = 0; i < HK_OS_CALLS; i++) {
			size_t length = strlen(calls[i]);

			if (strncmp(given, calls[i], length) != 0)
				continue;
			atomic_store(&hk_os_fail[i], atoi(given + length));
			known = true;
		}
		hk_assert(known);
		given = strchr(given, ',');
		if (given)
			given++;
	}
}

size_t hk_pretend_init(size_t real)
{
	const char *given = find_variable("TEST_PAGE_SIZE");
	size_t size = given ? strtoul(given, NULL, 10) : real;

	read_refusals();
	real_size = real;
	hk_assert(size >= real && size <= HK_SLOT_BYTES && !(size & (size - 1)));
	return size;
}

/* A kernel with such pages would say EINVAL, or do more than it was asked for. */
static void verify(const void *base, size_t size)
{
	hk_assert(((uintptr_t)base & (hk_os_page_size - 1)) == 0);
	hk_assert((size & (hk_os_page_size - 1)) == 0);
}

void *hk_pretend_mmap(void *hint, size_t size, int protection, int flags, int fd,
		      off_t offset)
{
	size_t page = hk_os_page_size, ahead;
	char *base;

	verify(flags & MAP_FIXED ? hint : NULL, size);
	base = mmap(hint, size, protection, flags, fd, offset);
	if (base == MAP_FAILED || ((uintptr_t)base & (page - 1)) == 0 ||
	    flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))
		return base;
	munmap(base, size);
	base = mmap(NULL, size + page - real_size, protection, flags, fd, offset);
	if (base == MAP_FAILED)
		return base;
	ahead = (page - ((uintptr_t)base & (page - 1))) & (page - 1);
	if (ahead)
		munmap(base, ahead);
	if (ahead < page - real_size)
		munmap(base + ahead + size, page - real_size - ahead);
	return base + ahead;
}

int hk_pretend_munmap(void *base, size_t size)
{
	verify(base, size);
	return munmap(base, size);
}

int hk_pretend_mprotect(void *base, size_t size, int protection)
{
	verify(base, size);
	return mprotect(base, size, protection);
}

int hk_pretend_madvise(void *base, size_t size, int advice)
{
	verify(base, size);
	return madvise(base, size, advice);
}

void *hk_pretend_mremap(void *base, size_t old_size, size_t size, int flags, ...)
{
	va_list list;
	void *target;

	verify(base, old_size);
	verify(NULL, size);
	if (!(flags & MREMAP_FIXED)) {
		hk_assert(!(flags & MREMAP_MAYMOVE));
		return mremap(base, old_size, size, flags);
	}
	va_start(list, flags);
	target = va_arg(list, void *);
	va_end(list);
	verify(target, size);
	return mremap(base, old_size, size, flags, target);
}
