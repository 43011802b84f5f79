#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The background thread, with magazines per CPU.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
. "$tests/interpose.sh"
. "$tests/background.sh"
require_library

export HAKMEM_RSEQ=1
run_background ", per CPU"

finish
