# SPDX-License-Identifier: MIT
# The project's own configure checks.

# HKM_CHECK_PLATFORM
# ------------------
# SuperSlabs, the registry's root and the mangled names of the C++ operators are laid out
# for 64-bit Linux; elsewhere the build would succeed and the library would not work.
AC_DEFUN([HKM_CHECK_PLATFORM], [
AC_CACHE_CHECK([for 64-bit Linux with C17 atomics], [hkm_cv_platform],
	[AC_COMPILE_IFELSE([AC_LANG_SOURCE([[
#include <stdatomic.h>
#include <stdint.h>
#ifndef __linux__
#error "not Linux"
#endif
_Static_assert(__STDC_VERSION__ >= 201710L, "C17");
_Static_assert(sizeof(void *) == 8 && sizeof(long) == 8, "LP64");
_Static_assert(ATOMIC_POINTER_LOCK_FREE == 2, "lock-free atomics");
]])],
		[hkm_cv_platform=yes],
		[hkm_cv_platform=no])])
AS_IF([test "x$hkm_cv_platform" = xno],
	[AC_MSG_ERROR([libhakmem needs 64-bit Linux and a C17 compiler with lock-free atomics])])
])

# HKM_CHECK_TOOLCHAIN
# -------------------
# The flags without which the library would be wrong, not merely slower.  They are
# settled here rather than probed one by one: a compiler that lacks one of them cannot
# build a malloc.
AC_DEFUN([HKM_CHECK_TOOLCHAIN], [
# A compiler that knows malloc may turn malloc and memset into a call of calloc, inside
# calloc; and in a test or a benchmark it may leave calls out.
NO_BUILTIN_CFLAGS=
for hkm_function in malloc calloc realloc reallocarray free aligned_alloc posix_memalign \
	memalign valloc pvalloc
do
	AS_VAR_APPEND([NO_BUILTIN_CFLAGS], [" -fno-builtin-$hkm_function"])
done
# Hidden visibility hides all that no attribute exports.  An exception that the program's
# new_handler throws passes through operator new.
HAKMEM_CFLAGS="-fvisibility=hidden -ftls-model=initial-exec -fexceptions"
# Handlers registered with pthread_atfork(3) must stay mapped: hence nodelete.  The kernel maps
# up to 64 KiB of a segment around what is touched: with noseparate-code there is one less, and
# a process that does nothing has 16 KiB less.
HAKMEM_LDFLAGS="-Wl,-z,defs -Wl,-z,relro -Wl,-z,now -Wl,-z,nodelete"
HAKMEM_LDFLAGS="$HAKMEM_LDFLAGS -Wl,-z,noseparate-code -Wl,--exclude-libs,ALL"
AC_CACHE_CHECK([whether $CC and its linker take the library's flags], [hkm_cv_toolchain],
	[hkm_cflags=$CFLAGS
	hkm_ldflags=$LDFLAGS
	CFLAGS="$CFLAGS $HAKMEM_CFLAGS $NO_BUILTIN_CFLAGS -Werror"
	LDFLAGS="$LDFLAGS $HAKMEM_LDFLAGS"
	AC_LINK_IFELSE([AC_LANG_PROGRAM([[static _Thread_local int word;]], [[return word;]])],
		[hkm_cv_toolchain=yes],
		[hkm_cv_toolchain=no])
	CFLAGS=$hkm_cflags
	LDFLAGS=$hkm_ldflags])
AS_IF([test "x$hkm_cv_toolchain" = xno],
	[AC_MSG_ERROR([$CC does not take $HAKMEM_CFLAGS $NO_BUILTIN_CFLAGS $HAKMEM_LDFLAGS])])
AC_SUBST([NO_BUILTIN_CFLAGS])
AC_SUBST([HAKMEM_CFLAGS])
AC_SUBST([HAKMEM_LDFLAGS])
])

# HKM_WITH_SANITIZER
# ------------------
# --with-sanitizer=LIST, for the unit tests alone: a sanitizer's run time brings a malloc
# of its own, which a library that replaces malloc cannot share a process with.
AC_DEFUN([HKM_WITH_SANITIZER], [
AC_ARG_WITH([sanitizer],
	[AS_HELP_STRING([--with-sanitizer=LIST],
		[build the unit tests with address, undefined, thread or
		address,undefined @<:@no@:>@])],
	[],
	[with_sanitizer=no])
AS_CASE([$with_sanitizer],
	[no], [SANITIZER_CFLAGS=],
	[address|undefined|thread|address,undefined|undefined,address],
	[SANITIZER_CFLAGS="-fsanitize=$with_sanitizer -fno-sanitize-recover=all"
	AS_VAR_APPEND([SANITIZER_CFLAGS], [" -fno-omit-frame-pointer"])
	AC_MSG_CHECKING([whether $CC can build with $SANITIZER_CFLAGS])
	hkm_cflags=$CFLAGS
	CFLAGS="$CFLAGS $SANITIZER_CFLAGS"
	AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
		[AC_MSG_RESULT([yes])],
		[AC_MSG_RESULT([no])
		AC_MSG_ERROR([--with-sanitizer=$with_sanitizer does not work here])])
	CFLAGS=$hkm_cflags],
	[AC_MSG_ERROR([--with-sanitizer does not take $with_sanitizer])])
AC_SUBST([SANITIZER_CFLAGS])
])
