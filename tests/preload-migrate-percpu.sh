#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Flushes beside threads that allocate and migrate, per CPU: for TEST_SECONDS, or 10.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
. "$tests/interpose.sh"
require_library

export HAKMEM_RSEQ=1
run "migrate, per CPU" interpose-migrate

finish
