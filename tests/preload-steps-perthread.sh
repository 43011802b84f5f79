#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Ten million random steps at each size of the working set, or TEST_STEPS, per thread.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
. "$tests/interpose.sh"
require_library

export HAKMEM_RSEQ=0 TEST_STEPS="${TEST_STEPS:-10000000}"
run "steps, per thread" interpose-steps

finish
