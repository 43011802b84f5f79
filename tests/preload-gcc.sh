#!/bin/bash
# SPDX-License-Identifier: MIT
#
# gcc compiles the library's own sources: the objects must be the same, byte by byte.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library
need gcc

compile()
{
	start=$1
	out=$2
	mkdir "$out"
	for source in "$abs_top_srcdir"/lib/*.c; do
		"$start" gcc -std=gnu17 -O2 -fPIC -I"$include" -I"$abs_top_srcdir/lib" \
			-DHK_VERSION='"0.1.0"' -c -o "$out/$(basename "$source" .c).o" \
			"$source"
	done
}

plain()
{
	"$@"
}

compile plain "$work/plain" >"$work/plain.log" 2>&1 || {
	comment_file "$work/plain.log"
	bail_out "the library does not compile"
}
status=0
compile under "$work/under" >"$work/under.log" 2>&1 || status=$?
# For each object gcc, cc1 and as.
sources=$(find "$work/plain" -name '*.o' | wc -l)
loaded "gcc, cc1 and as were on the library" $((sources * 3))
is "exit status" "$status" 0
is "the messages are the same" "$(cat "$work/under.log")" "$(cat "$work/plain.log")"
[ "$sources" -ge 10 ] || fail "there are sources to compile ($sources)"
for object in "$work/plain"/*.o; do
	name=$(basename "$object")
	same "$name is the same" "$work/under/$name" "$object"
done

finish
