#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What the magazines owe to a program, per CPU.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
. "$tests/interpose.sh"
. "$tests/magazines.sh"
require_library

export HAKMEM_RSEQ=1
run_magazines ", per CPU"

finish
