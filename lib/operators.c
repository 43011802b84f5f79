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
#include "front.h"

#define EXPORT HK_ENTRY

typedef void (*new_handler)(void);

__attribute__((weak)) new_handler
_ZSt15get_new_handlerv(void); /* std::get_new_handler() */
__attribute__((weak)) _Noreturn void _ZSt17__throw_bad_allocv(void);

struct nothrow;

static inline const char *name_of(enum hk_family family)
{
	return family == HK_BY_NEW_ARRAY ? "operator new[]" : "operator new";
}

HK_COLD static void *new_failed(size_t size, size_t alignment, enum hk_family family)
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
			hk_fatal(HK_OUT_OF_MEMORY, name_of(family),
				 __builtin_return_address(0), "%lu bytes",
				 (unsigned long)size);
		block = hk_front_allocate_aligned(alignment, size, family,
						  name_of(family));
	}
	return block;
}

static inline void *new_plain(size_t size, enum hk_family family)
{
	void *block = hk_front_allocate(size, family, name_of(family));

	return HK_LIKELY(block != NULL) ? block : new_failed(size, 1, family);
}

static inline void *new_aligned(size_t size, size_t alignment, enum hk_family family)
{
	void *block = hk_front_allocate_aligned(alignment, size, family, name_of(family));

	return HK_LIKELY(block != NULL) ? block : new_failed(size, alignment, family);
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
	return new_plain(size, HK_BY_NEW);
}

OPERATOR(void *, _Znam, size_t size)
{
	return new_plain(size, HK_BY_NEW_ARRAY);
}

OPERATOR(void *, _ZnwmSt11align_val_t, size_t size, size_t alignment)
{
	return new_aligned(size, alignment, HK_BY_NEW);
}

OPERATOR(void *, _ZnamSt11align_val_t, size_t size, size_t alignment)
{
	return new_aligned(size, alignment, HK_BY_NEW_ARRAY);
}

OPERATOR(void *, _ZnwmRKSt9nothrow_t, size_t size, const struct nothrow *tag)
{
	void *block = hk_front_allocate(size, HK_BY_NEW, name_of(HK_BY_NEW));

	return HK_LIKELY(block != NULL) ? block : nothrow_failed(__func__, size, tag);
}

OPERATOR(void *, _ZnamRKSt9nothrow_t, size_t size, const struct nothrow *tag)
{
	void *block = hk_front_allocate(size, HK_BY_NEW_ARRAY, name_of(HK_BY_NEW_ARRAY));

	return HK_LIKELY(block != NULL) ? block : nothrow_failed(__func__, size, tag);
}

OPERATOR(void *, _ZnwmSt11align_val_tRKSt9nothrow_t, size_t size, size_t alignment,
	 const struct nothrow *tag)
{
	void *block = hk_front_allocate_aligned(alignment, size, HK_BY_NEW,
						name_of(HK_BY_NEW));

	return HK_LIKELY(block != NULL)
		       ? block
		       : aligned_nothrow_failed(__func__, size, alignment, tag);
}

OPERATOR(void *, _ZnamSt11align_val_tRKSt9nothrow_t, size_t size, size_t alignment,
	 const struct nothrow *tag)
{
	void *block = hk_front_allocate_aligned(alignment, size, HK_BY_NEW_ARRAY,
						name_of(HK_BY_NEW_ARRAY));

	return HK_LIKELY(block != NULL)
		       ? block
		       : aligned_nothrow_failed(__func__, size, alignment, tag);
}

static inline const char *delete_name(enum hk_family family)
{
	return family == HK_BY_NEW_ARRAY ? "operator delete[]" : "operator delete";
}

#define DELETE(name, family, ...)                                  \
	OPERATOR(void, name, void *block, ##__VA_ARGS__)           \
	{                                                          \
		hk_front_free(block, family, delete_name(family)); \
	}

#define DELETE_SIZED(name, family)                                                \
	OPERATOR(void, name, void *block, size_t size)                            \
	{                                                                         \
		hk_front_free_sized(block, 1, size, family, delete_name(family)); \
	}

#define DELETE_SIZED_ALIGNED(name, family)                               \
	OPERATOR(void, name, void *block, size_t size, size_t alignment) \
	{                                                                \
		hk_front_free_sized(block, alignment, size, family,      \
				    delete_name(family));                \
	}

#define UNUSED __attribute__((unused))

DELETE(_ZdlPv, HK_BY_NEW)
DELETE(_ZdaPv, HK_BY_NEW_ARRAY)
DELETE(_ZdlPvRKSt9nothrow_t, HK_BY_NEW, UNUSED const struct nothrow *tag)
DELETE(_ZdaPvRKSt9nothrow_t, HK_BY_NEW_ARRAY, UNUSED const struct nothrow *tag)
DELETE(_ZdlPvSt11align_val_t, HK_BY_NEW, UNUSED size_t alignment)
DELETE(_ZdaPvSt11align_val_t, HK_BY_NEW_ARRAY, UNUSED size_t alignment)
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, HK_BY_NEW, UNUSED size_t alignment,
       UNUSED const struct nothrow *tag)
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, HK_BY_NEW_ARRAY, UNUSED size_t alignment,
       UNUSED const struct nothrow *tag)
DELETE_SIZED(_ZdlPvm, HK_BY_NEW)
DELETE_SIZED(_ZdaPvm, HK_BY_NEW_ARRAY)
DELETE_SIZED_ALIGNED(_ZdlPvmSt11align_val_t, HK_BY_NEW)
DELETE_SIZED_ALIGNED(_ZdaPvmSt11align_val_t, HK_BY_NEW_ARRAY)
