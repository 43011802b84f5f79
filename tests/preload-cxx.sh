#!/bin/bash
# SPDX-License-Identifier: MIT
#
# C++ under the library: every operator new and delete, exceptions, handlers, containers
# and threads, from a program that was built without it; also from one that was linked
# with it.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library
cxx=${CXX:-g++}
need "${cxx%% *}"

source=$tests/preload-operators.cc
$cxx -std=c++17 -O2 -Wall -Wextra -o "$work/operators" "$source" -pthread -ldl \
	>"$work/cxx.log" 2>&1 || {
	comment_file "$work/cxx.log"
	bail_out "$source does not compile"
}

status=0
"$work/operators" "$work/proof.plain" >"$work/plain" || status=$?
is "without the library: exit status" "$status" 0

status=0
under "$work/operators" "$work/proof" >"$work/under" 2>"$work/err" || status=$?
loaded "the program was on the library"
is "every operator was the library's" \
	"$(grep -c " $testlib$" "$work/proof") of $(wc -l <"$work/proof")" "6 of 6"
is "with the library: exit status" "$status" 0
same "the output is the same" "$work/under" "$work/plain"
is "nothing on standard error" "$(cat "$work/err")" ""

if [ -r "$testlib_debug" ]; then
	status=0
	LD_PRELOAD="$testlib_debug" "$work/operators" "$work/proof" >"$work/under" \
		2>"$work/err" || status=$?
	is "debug library: every operator was its own" \
		"$(grep -c " $testlib_debug$" "$work/proof")" 6
	is "debug library: exit status" "$status" 0
	same "debug library: the output is the same" "$work/under" "$work/plain"
	is "debug library: nothing on standard error" "$(cat "$work/err")" ""
else
	skip "debug library" "no debug library at $testlib_debug"
fi

# Linked, as with -lhakmem: found before libstdc++ and libc.
cp "$testlib" "$work/libhakmem.so.0"
$cxx -std=c++17 -O2 -o "$work/linked" "$source" -Wl,--no-as-needed \
	"$work/libhakmem.so.0" -Wl,-rpath,"$work" -pthread -ldl
status=0
"$work/linked" "$work/proof" >"$work/under" 2>"$work/err" || status=$?
is "linked: every operator was the library's" \
	"$(grep -c " $work/libhakmem.so.0$" "$work/proof")" 6
is "linked: exit status" "$status" 0
same "linked: the output is the same" "$work/under" "$work/plain"

# operator new without libstdc++ to throw: C code that calls it ends with a message.
cat >"$work/nothing.c" <<'PROGRAM'
#include <stddef.h>
#include <stdint.h>
void *_Znwm(size_t size);
int main(void)
{
	return _Znwm((size_t)PTRDIFF_MAX - 4096) == NULL;
}
PROGRAM
${CC:-cc} -o "$work/nothing" "$work/nothing.c" "$work/libhakmem.so.0" -Wl,-rpath,"$work"
status=0
{ "$work/nothing" 2>"$work/err"; } 2>/dev/null || status=$?
is "operator new fails without libstdc++: SIGABRT" "$status" 134
message='out of memory, no std::bad_alloc to throw, at ADDRESS (9223372036854771711 bytes)'
is "operator new fails without libstdc++: the message" \
	"$(sed -E 's/\[[0-9]+\]/[PID]/; s/0x[0-9a-f]+/ADDRESS/' "$work/err")" \
	"hakmem: nothing[PID]: operator new(): $message"

finish
