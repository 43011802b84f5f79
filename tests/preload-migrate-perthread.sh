#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Flushes beside threads that allocate and migrate, per thread: for TEST_SECONDS, or 10.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
. "$tests/interpose.sh"
require_library

export HAKMEM_RSEQ=0
run "migrate, per thread" interpose-migrate

finish
