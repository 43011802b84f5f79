#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Some programs of tests/interpose-*.c under other settings, which change the paths taken.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
. "$tests/interpose.sh"
require_library

for setting in HAKMEM_MAGAZINE_BYTES=0 HAKMEM_TINY_PROFILE=off HAKMEM_TINY_PROFILE=full \
	HAKMEM_LRU_SUPERSLABS=0 HAKMEM_PURGE_DELAY_MS=0 HAKMEM_THP=always HAKMEM_RSEQ=0; do
	export "${setting?}"
	run "requests, $setting" interpose-requests
	run "threads, $setting" interpose-threads
	unset "${setting%%=*}"
done

# The other form of the magazines; what is about them is in preload-perthread.sh.
export HAKMEM_RSEQ=0
run "release, HAKMEM_RSEQ=0" interpose-release
run "fork, HAKMEM_RSEQ=0" interpose-fork

finish
