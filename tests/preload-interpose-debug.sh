#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Every program of tests/interpose-*.c on the debug library.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
. "$tests/interpose.sh"

[ -r "$testlib_debug" ] || skip_all "no debug library at $testlib_debug"
# shellcheck disable=SC2034 # read by interpose.sh
library=$testlib_debug
run_all ", debug library"

finish
