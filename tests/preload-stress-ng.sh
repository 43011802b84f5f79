#!/bin/bash
# SPDX-License-Identifier: MIT
#
# stress-ng's malloc stressor, which verifies what it wrote.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library
need stress-ng

status=0
under stress-ng --malloc 2 --malloc-bytes 64M --malloc-ops 60000 --malloc-pthreads 2 \
	--verify --timeout 15 --metrics-brief --temp-path "$work" >"$work/out" 2>&1 &
stress=$!
at_exit='kill $stress 2>/dev/null || :'
# The stressors themselves, not only their parent.
mapped=0
for _ in $(seq 100); do
	for child in $(cat "/proc/$stress/task/$stress/children" 2>/dev/null); do
		if maps_library "$child" 2>/dev/null; then
			mapped=$((mapped + 1))
		fi
	done
	[ "$mapped" -lt 2 ] || break
	sleep 0.1
done
ok "the stressors have the library mapped" test "$mapped" -ge 2
wait "$stress" || status=$?
at_exit=:
is "exit status" "$status" 0
ok "the run was successful" grep -q 'successful run completed' "$work/out"
if grep -q -i -E 'fail|corrupt|hakmem:' "$work/out"; then
	fail "nothing failed"
	comment_file "$work/out"
else
	pass "nothing failed"
fi
ok "some thousand operations were done" awk '
	/malloc/ && $5 ~ /^[0-9]+$/ && $5 >= 1000 { done = 1 }
	END { exit !done }' "$work/out"
loaded "stress-ng left its statistics"

finish
