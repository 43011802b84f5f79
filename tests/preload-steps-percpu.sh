#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Fifty million random steps at each size of the working set, per CPU.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
. "$tests/interpose.sh"
require_library

export HAKMEM_RSEQ=1
run "steps, per CPU" interpose-steps

finish
