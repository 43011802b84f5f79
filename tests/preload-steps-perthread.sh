#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Fifty million random steps at each size of the working set, per thread.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
. "$tests/interpose.sh"
require_library

export HAKMEM_RSEQ=0
run "steps, per thread" interpose-steps

finish
