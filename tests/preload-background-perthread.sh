#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The background thread, with magazines per thread.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
. "$tests/interpose.sh"
. "$tests/background.sh"
require_library

export HAKMEM_RSEQ=0
run_background ", per thread"

finish
