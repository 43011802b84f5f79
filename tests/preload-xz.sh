#!/bin/bash
# SPDX-License-Identifier: MIT
#
# xz -T2: compresses and decompresses in threads, with large blocks of memory.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library
need xz awk

awk 'BEGIN {
	text = "the quick brown fox jumps over"
	for (i = 0; i < 200000; i++) {
		s = (s * 69069 + 12345) % 4294967296
		printf "%d %x %s\n", i, s, substr(text, s % 20, s % 11)
	}
}' >"$work/input"

xz -T2 -3 --block-size=1MiB -c "$work/input" >"$work/plain.xz"
status=0
under xz -T2 -3 --block-size=1MiB -c "$work/input" >"$work/under.xz" 2>"$work/err" ||
	status=$?
is "compressing: exit status" "$status" 0
loaded "xz was on the library, compressing"
same "the compressed file is the same" "$work/under.xz" "$work/plain.xz"
is "nothing on standard error" "$(cat "$work/err")" ""
status=0
under xz -T2 -d -c "$work/under.xz" >"$work/output" 2>"$work/err" || status=$?
is "decompressing: exit status" "$status" 0
loaded "xz was on the library, decompressing"
same "what comes out is what went in" "$work/output" "$work/input"
is "nothing on standard error" "$(cat "$work/err")" ""
status=0
under xz -t "$work/under.xz" || status=$?
is "xz -t is content" "$status" 0

finish
