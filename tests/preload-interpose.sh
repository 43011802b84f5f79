#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Every program of tests/interpose-*.c on the library: what each of its functions owes to
# those who call it.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
. "$tests/interpose.sh"
require_library

# Without the library the programs must notice: else nothing they say is about it.
program interpose-semantics
if "$program" >"$work/out" 2>&1; then
	fail "a program that is not on the library says so"
else
	is "a program that is not on the library says so" "$(cat "$work/out")" \
		"not ok - malloc is libhakmem's"
fi

run_all ""

finish
