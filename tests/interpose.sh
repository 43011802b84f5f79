# SPDX-License-Identifier: MIT
#
# Shared by preload-interpose*.sh, after tap.sh: runs the programs of tests/interpose-*.c.
# They print TAP lines; here they are counted and passed on.

# The library that `run` puts under the programs.
library=$testlib

# run LABEL NAME ARGUMENT...: the program's lines become ours; it must come to its end,
# say nothing on standard error, and exit with 0.
run()
{
	label=$1
	program "$2"
	shift 2
	status=0
	{ LD_PRELOAD="$library" timeout "${TEST_TIMEOUT:-120}" "$program" "$@" >"$work/out" \
		2>"$work/err"; } 2>/dev/null || status=$?
	while IFS= read -r line; do
		case $line in
		'ok - '*) pass "$label: ${line#ok - }" ;;
		'not ok - '*) fail "$label: ${line#not ok - }" ;;
		*) printf '%s\n' "$line" ;;
		esac
	done <"$work/out"
	if [ "$status" -eq 0 ] && [ ! -s "$work/err" ] &&
		grep -q '^# end$' "$work/out"; then
		pass "$label: came to its end"
	else
		fail "$label: came to its end (exit status $status)"
		comment_file "$work/err"
	fi
}

# A format's own parser decides, where there is one.
parses()
{
	if command -v "$2" >/dev/null 2>&1; then
		ok "$@"
	else
		skip "$1" "$2 is not installed"
	fi
}

openmetrics_is_well_formed()
{
	# Families come before their samples, counters end in _total, the end is marked.
	awk '
	/^# TYPE / { type[$3] = $4; next }
	/^# HELP / && !($3 in type) { print "no TYPE before: " $0; exit bad = 1 }
	/^# HELP / { next }
	/^# EOF$/ { ended = NR; next }
	{
		name = $1
		sub(/\{.*/, "", name)
		family = name
		sub(/_total$/, "", family)
		if (type[family] == "counter")
			good = name == family "_total"
		else
			good = type[name] == "gauge"
		if (!good) {
			print "no family: " $0
			exit bad = 1
		}
		if ($NF !~ /^[0-9]+$/) { print "no number: " $0; exit bad = 1 }
		samples++
	}
	END { exit bad || ended != NR || samples < 24 }' "$1"
}

json_is_complete()
{
	python3 -c '
import json, sys
dump = json.load(open(sys.argv[1]))
assert dump["version"] == "0.1.0"
assert len(dump["stats"]) >= 24 and all(type(n) is int for n in dump["stats"].values())
assert dump["options"]["tiny_profile"] == "conservative"
assert all(c["size"] > 0 for c in dump["classes"]) and dump["classes"]
' "$1"
}

module()
{
	module=$work/module.so
	${CC:-cc} -std=gnu17 -O2 -shared -fPIC -o "$module" "$tests/module.c" \
		>"$work/cc.log" 2>&1
}

timing_is_in_json()
{
	python3 -c '
import json, sys
dump = json.load(open(sys.argv[1]))
timing, locks = dump["timing"], dump["locks"]
assert set(timing) == {"refill", "spill", "map", "purge", "unmap"}
for path in timing.values():
    assert path["count"] > 0 and 0 < path["longest_ns"] <= path["total_ns"]
assert {"init", "config", "sets", "classes", "pool", "large"} <= set(locks)
for lock in locks.values():
    assert lock["acquired"] > 0 and lock["acquired"] >= lock["contended"]
assert len(locks["classes"]["most_contended"]) <= 3
' "$1"
}

timing_is_in_text()
{
	[ "$(grep -c -E '^(refill|spill|map|purge|unmap) +[1-9]' "$1")" = 5 ] &&
		[ "$(grep -c -E '^(init|config|sets|classes|pool|large) +[1-9]' "$1")" = 6 ]
}

timing_is_in_openmetrics()
{
	[ "$(grep -c -E '^hakmem_timed_calls_total\{path="[a-z]+"\} [1-9]' "$1")" = 5 ] &&
		grep -q '^hakmem_lock_acquisitions_total{lock="classes"} [1-9]' "$1" &&
		grep -q '^hakmem_lock_waited_nanoseconds_total{lock="pool"} ' "$1"
}

# Anything of it but the option.
no_dump_has_timing()
{
	! grep -v -E '^option timing' "$work/dump.text" | grep -i -E 'timing|timed|acquired' &&
		! grep -E '"(timing|locks)":\{' "$work/dump.json" &&
		! grep -E 'hakmem_(timed|lock_[^c]|class_lock)' "$work/dump.openmetrics"
}

run_timing()
{
	suffix=$1
	HAKMEM_TIMING=1
	export HAKMEM_TIMING
	run "ctl with HAKMEM_TIMING$suffix" interpose-ctl "$work"
	unset HAKMEM_TIMING
	if command -v python3 >/dev/null 2>&1; then
		ok "timing$suffix: is in the JSON dump" timing_is_in_json "$work/dump.json"
	else
		skip "timing$suffix: is in the JSON dump" "python3 is not installed"
	fi
	ok "timing$suffix: is in the text dump" timing_is_in_text "$work/dump.text"
	ok "timing$suffix: is in the OpenMetrics dump" timing_is_in_openmetrics \
		"$work/dump.openmetrics"
	ok "timing$suffix: that dump is OpenMetrics" openmetrics_is_well_formed \
		"$work/dump.openmetrics"
}

# run_all SUFFIX: every program, each label with the suffix.
run_all()
{
	suffix=$1
	run "semantics$suffix" interpose-semantics
	run "glibc$suffix" interpose-glibc "$work/info.xml"
	parses "glibc$suffix: malloc_info wrote well-formed XML" \
		xmllint --noout "$work/info.xml"
	run "startup$suffix" interpose-startup
	run "threads$suffix" interpose-threads
	run "fork$suffix" interpose-fork
	run "signals$suffix" interpose-signals
	if module; then
		run "dlopen$suffix" interpose-dlopen "$module"
	else
		skip "dlopen$suffix" "no compiler to make a shared object"
	fi
	run "limits$suffix" interpose-limits
	run "start$suffix" interpose-start
	run "mappings$suffix" interpose-mappings
	run "requests$suffix" interpose-requests
	run "release$suffix" interpose-release
	run "ctl$suffix" interpose-ctl "$work"
	if command -v python3 >/dev/null 2>&1; then
		ok "ctl$suffix: the dump is JSON, and complete" \
			json_is_complete "$work/dump.json"
	else
		skip "ctl$suffix: the dump is JSON" "python3 is not installed"
	fi
	ok "ctl$suffix: the dump is OpenMetrics" openmetrics_is_well_formed \
		"$work/dump.openmetrics"
	ok "ctl$suffix: the text dump has its first line" \
		grep -q '^hakmem 0.1.0 statistics$' "$work/dump.text"
	ok "ctl$suffix: nothing is measured that was not asked for" no_dump_has_timing
	run_timing "$suffix"
}
