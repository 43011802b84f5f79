#!/bin/bash
# SPDX-License-Identifier: MIT
#
# sort --parallel on a million lines, in memory and with temporary files.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library
need sort awk

awk 'BEGIN {
	text = "the quick brown fox jumps over"
	for (i = 0; i < 1000000; i++) {
		s = (s * 69069 + 12345) % 4294967296
		printf "%d %x %s\n", s % 100000, s, substr(text, s % 20, s % 11)
	}
}' >"$work/input"
ok "there is input of more than 16 MB" test "$(wc -c <"$work/input")" -gt 16000000

sorts()
{
	start=$1
	"$start" sort --parallel=2 -S 64M -T "$work" "$work/input" | md5sum
	"$start" sort --parallel=4 -S 2M -T "$work" -k2,2 -k1n "$work/input" | md5sum
	"$start" sort --parallel=2 -n -u -T "$work" "$work/input" | tail -n 5
}

plain()
{
	"$@"
}

sorts plain >"$work/plain"
status=0
sorts under >"$work/under" 2>"$work/err" || status=$?
loaded "sort was on the library, three times" 3
is "exit status" "$status" 0
same "the output is the same" "$work/under" "$work/plain"
is "nothing on standard error" "$(cat "$work/err")" ""

finish
