#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tests/fuzz/random on the library, in both forms of the magazines, on the debug library, and
# on libc's malloc, which shows that the driver asks for nothing that a malloc does not owe.
# TEST_STEPS is the length of the longest runs.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
. "$tests/interpose.sh"
require_library

steps=${TEST_STEPS:-100000}

random()
{
	label=$1
	shift
	run "$label" fuzz/random "$@"
}

# refused LABEL THREADS: what goes wrong where there is no memory does so most often while there
# is little, so there are many short runs; not so short that a seed might refuse nothing.
refused()
{
	left=$((steps / 2))
	while [ "$left" -gt 0 ]; do
		random "$1, refused" --threads "$2" --steps 25000 --refuse
		left=$((left - 25000))
	done
}

library=
for threads in 1 8; do
	random "libc, $threads" --libc --threads "$threads" --steps $((steps / 4))
done

library=$testlib
for rseq in 1 0; do
	export HAKMEM_RSEQ=$rseq
	for threads in 1 8; do
		how="HAKMEM_RSEQ=$rseq, $threads"
		random "$how" --threads "$threads" --steps "$steps"
		random "$how, seed 1" --threads "$threads" --steps 50000 --seed 1
		refused "$how" "$threads"
	done
done
unset HAKMEM_RSEQ

if [ -r "$testlib_debug" ]; then
	library=$testlib_debug
	for threads in 1 8; do
		how="debug, $threads"
		random "$how" --threads "$threads" --steps $((steps / 4))
		refused "$how" "$threads"
	done
fi

finish
