#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What the magazines owe to a program, per thread.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
. "$tests/interpose.sh"
. "$tests/magazines.sh"
require_library

export HAKMEM_RSEQ=0
run_magazines ", per thread"

finish
