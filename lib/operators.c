/* SPDX-License-Identifier: MIT
 *
 * operators.c - every C++ operator new and delete, by its name in the Itanium ABI, so that
 * the library needs no C++ runtime.  Built with -fexceptions: an exception passes through.
 *
 * std::get_new_handler and libstdc++'s function that throws std::bad_alloc are weak: they
 * are there whenever the program was started with libstdc++.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "fatal.h"
#include "heap.h"

#define EXPORT HK_ENTRY

typedef void (*new_handler)(void);

__attribute__((weak)) new_handler
_ZSt15get_new_handlerv(void); /* std::get_new_handler() */
__attribute__((weak)) _Noreturn void _ZSt17__throw_bad_allocv(void);

struct nothrow;

HK_COLD static void *new_failed(size_t size, size_t alignment)
{
	void *block = NULL;

	while (!block) {
		new_handler handler = _ZSt15get_new_handlerv ? _ZSt15get_new_handlerv()
							     : NULL;

		if (handler)
			handler();
		else if (_ZSt17__throw_bad_allocv)
			_ZSt17__throw_bad_allocv();
		else
			hk_fatal(HK_OUT_OF_MEMORY, "operator new",
				 __builtin_return_address(0), "%lu bytes",
				 (unsigned long)size);
		block = hk_heap_allocate_aligned(alignment, size, "operator new");
	}
	return block;
}

static inline void *new_plain(size_t size)
{
	void *block = hk_heap_allocate(size, "operator new");

	return HK_LIKELY(block != NULL) ? block : new_failed(size, 1);
}

static inline void *new_aligned(size_t size, size_t alignment)
{
	void *block = hk_heap_allocate_aligned(alignment, size, "operator new");

	return HK_LIKELY(block != NULL) ? block : new_failed(size, alignment);
}

/*
 * A new handler may throw, and the nothrow forms must catch that, which C cannot: the
 * runtime's own form can.  It calls our operator new once more, in its try block.
 */
HK_COLD static void *nothrow_failed(const char *name, size_t size,
				    const struct nothrow *tag)
{
	void *(*next)(size_t, const struct nothrow *);

	*(void **)&next = dlsym(RTLD_NEXT, name);
	return next ? next(size, tag) : NULL;
}

HK_COLD static void *aligned_nothrow_failed(const char *name, size_t size,
					    size_t alignment, const struct nothrow *tag)
{
	void *(*next)(size_t, size_t, const struct nothrow *);

	*(void **)&next = dlsym(RTLD_NEXT, name);
	return next ? next(size, alignment, tag) : NULL;
}

/* Declares and opens the definition of an operator; the declarations are nobody else's. */
#define OPERATOR(type, name, ...)      \
	EXPORT type name(__VA_ARGS__); \
	type name(__VA_ARGS__)

OPERATOR(void *, _Znwm, size_t size)
{
	return new_plain(size);
}

OPERATOR(void *, _Znam, size_t size)
{
	return new_plain(size);
}

OPERATOR(void *, _ZnwmSt11align_val_t, size_t size, size_t alignment)
{
	return new_aligned(size, alignment);
}

OPERATOR(void *, _ZnamSt11align_val_t, size_t size, size_t alignment)
{
	return new_aligned(size, alignment);
}

OPERATOR(void *, _ZnwmRKSt9nothrow_t, size_t size, const struct nothrow *tag)
{
	void *block = hk_heap_allocate(size, "operator new");

	return HK_LIKELY(block != NULL) ? block : nothrow_failed(__func__, size, tag);
}

OPERATOR(void *, _ZnamRKSt9nothrow_t, size_t size, const struct nothrow *tag)
{
	void *block = hk_heap_allocate(size, "operator new");

	return HK_LIKELY(block != NULL) ? block : nothrow_failed(__func__, size, tag);
}

OPERATOR(void *, _ZnwmSt11align_val_tRKSt9nothrow_t, size_t size, size_t alignment,
	 const struct nothrow *tag)
{
	void *block = hk_heap_allocate_aligned(alignment, size, "operator new");

	return HK_LIKELY(block != NULL)
		       ? block
		       : aligned_nothrow_failed(__func__, size, alignment, tag);
}

OPERATOR(void *, _ZnamSt11align_val_tRKSt9nothrow_t, size_t size, size_t alignment,
	 const struct nothrow *tag)
{
	void *block = hk_heap_allocate_aligned(alignment, size, "operator new");

	return HK_LIKELY(block != NULL)
		       ? block
		       : aligned_nothrow_failed(__func__, size, alignment, tag);
}

#define DELETE(name, ...)                                \
	OPERATOR(void, name, void *block, ##__VA_ARGS__) \
	{                                                \
		hk_heap_free(block, "operator delete");  \
	}

#define DELETE_SIZED(name)                                             \
	OPERATOR(void, name, void *block, size_t size)                 \
	{                                                              \
		hk_heap_free_sized(block, 1, size, "operator delete"); \
	}

#define DELETE_SIZED_ALIGNED(name)                                             \
	OPERATOR(void, name, void *block, size_t size, size_t alignment)       \
	{                                                                      \
		hk_heap_free_sized(block, alignment, size, "operator delete"); \
	}

DELETE(_ZdlPv)
DELETE(_ZdaPv)
DELETE(_ZdlPvRKSt9nothrow_t, __attribute__((unused)) const struct nothrow *tag)
DELETE(_ZdaPvRKSt9nothrow_t, __attribute__((unused)) const struct nothrow *tag)
DELETE(_ZdlPvSt11align_val_t, __attribute__((unused)) size_t alignment)
DELETE(_ZdaPvSt11align_val_t, __attribute__((unused)) size_t alignment)
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, __attribute__((unused)) size_t alignment,
       __attribute__((unused)) const struct nothrow *tag)
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, __attribute__((unused)) size_t alignment,
       __attribute__((unused)) const struct nothrow *tag)
DELETE_SIZED(_ZdlPvm)
DELETE_SIZED(_ZdaPvm)
DELETE_SIZED_ALIGNED(_ZdlPvmSt11align_val_t)
DELETE_SIZED_ALIGNED(_ZdaPvmSt11align_val_t)
