#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The forms of a report of the debug library, by the words of HAKMEM_DEBUG: json, log, symbols
# and unwind; what is in them is abuse.sh's to compare.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library
[ -r "$testlib_debug" ] || skip_all "no debug library at $testlib_debug"
. "$tests/crimes.sh"
library=$testlib_debug

# run_crime WORDS NAME ARGUMENT...: one of a family, into $work/out, $work/err and $status.
run_crime()
{
	words=$1
	crime_program "$2"
	shift 2
	status=0
	{ timeout 60 env HAKMEM_DEBUG="$words" LD_PRELOAD="$library" "$program" "$@" \
		>"$work/out" 2>"$work/err"; } 2>/dev/null || status=$?
}

# ---- json ----

# Each line is an object of its own, to a parser that is not ours.
json_lines()
{
	lines=0
	while IFS= read -r line; do
		printf '%s\n' "$line" | python3 -m json.tool >/dev/null || return 1
		lines=$((lines + 1))
	done <"$1"
	[ "$lines" -eq "$2" ]
}

# The report's fields: those of the message, and for each party who, when, where.
json_report()
{
	python3 - "$1" "$2" "$3" "$4" <<'PROGRAM'
import json, re, sys
report = json.loads(open(sys.argv[1]).readline())
expected = re.match(r"hakmem: (.*)\[(\d+)\]: (.*)\(\): (.*) (0x[0-9a-f]+) \((.*)\)$", sys.argv[2])
fields = ("program", "pid", "function", "what", "address", "details")
assert [str(report[f]) for f in fields] == list(expected.groups()), report
wanted = [line.split(": ") for line in sys.argv[3].splitlines()]
assert len(wanted) == len(report["parties"]), report["parties"]
for (who, functions), party in zip(wanted, report["parties"]):
    did, _, thread = who.partition(" by thread ")
    assert party["did"] == did and party["thread"] == int(thread) and party["ms"] >= 0, party
    assert party["frames"], party
    for frame in party["frames"]:
        assert re.match("0x[0-9a-f]+$", frame["pc"]), frame
    if sys.argv[4]:
        names = [frame.get("function") for frame in party["frames"]]
        assert names[:functions.count(";") + 1] == functions.split("; "), names
PROGRAM
}

json_leaks()
{
	python3 - "$1" "$2" <<'PROGRAM'
import json, sys
lost, summary = [json.loads(line) for line in open(sys.argv[1])]
assert lost["category"] == "lost" and lost["function"] == "leaks", lost
assert (lost["blocks"], lost["bytes"], lost["largest"]) == (1, 48, 48), lost
assert lost["frames"] and lost["thread"] > 0 and lost["oldest_ms"] >= 0, lost
assert summary["category"] == "summary" and summary["pid"] == lost["pid"], summary
assert summary["lost"] == {"blocks": 1, "bytes": 48, "stacks": 1}, summary
assert summary["indirectly_lost"] == {"blocks": 4, "bytes": 192}, summary
assert summary["suppressed"] == {"blocks": 0, "bytes": 0, "stacks": 0}, summary
assert summary["missed_threads"] == 0, summary
if sys.argv[2]:
    assert [f.get("function") for f in lost["frames"]][:2] == ["make_link", "make_and_lose_list"]
PROGRAM
}

if command -v python3 >/dev/null 2>&1; then
	run_crime json abuse-double-free small
	is "json: ended by SIGABRT" "$status" 134
	ok "json: one line, which parses" json_lines "$work/err" 1
	ok "json: the report has what was announced" json_report "$work/err" \
		"$(sed -n 's/^expect //p' "$work/out")" \
		"$(sed -n 's/^party //p' "$work/out")" "$symbolizer"
	run_crime json,continue abuse-go-on three
	is "json: three crimes: came to its end" "$status $(tail -n 1 "$work/out")" "0 # end"
	ok "json: three lines, which parse" json_lines "$work/err" 3
	run_crime json,leaks,exitcode:23 abuse-leaks list
	is "json: leaks: exit status" "$status" 23
	ok "json: leaks: two lines, which parse" json_lines "$work/err" 2
	ok "json: leaks: the numbers are there" json_leaks "$work/err" "$symbolizer"
	run_crime json,guard:1 abuse-guard read-freed
	is "json: guarded: ended by SIGSEGV" "$status" 139
	ok "json: guarded: one line, which parses" json_lines "$work/err" 1
	run_crime json,unwind:no abuse-double-free small
	ok "json: without stacks: one line, which parses" json_lines "$work/err" 1
	# A name that JSON has to quote.
	crime_program abuse-double-free
	mkdir "$work/odd"
	odd=$(printf '%s/odd/a "b" \\c \001d' "$work")
	cp "$program" "$odd"
	{ HAKMEM_DEBUG=json LD_PRELOAD="$library" "$odd" small >"$work/out" \
		2>"$work/err"; } 2>/dev/null || :
	ok "json: an odd name of the program: one line, which parses" \
		json_lines "$work/err" 1
else
	skip "json" "python3 is not installed"
fi

# ---- log ----

run_crime "log:$work/log.%p" abuse-double-free small
is "log: ended by SIGABRT" "$status" 134
is "log: nothing on standard error" "$(cat "$work/err")" ""
pid=$(sed -n 's/^expect hakmem: [^[]*\[\([0-9]*\)\].*/\1/p' "$work/out")
is "log: the file has the process's id in its name" "$(ls "$work"/log.*)" "$work/log.$pid"
cp "$work/log.$pid" "$work/err"
judge "log"

run_crime "continue,log:$work/log" abuse-go-on three
cp "$work/log" "$work/err"
judge "log, three reports in one"

run_crime "log:$work/no/such/directory/log" abuse-double-free small
judge "log, a file that cannot be made: standard error"

# ---- stacks ----

# By frame pointers, which the program must have.
${CC:-cc} -std=gnu17 -O2 -fno-omit-frame-pointer -I"$include" -I"$tests" \
	-o "$work/framed" "$tests/abuse-double-free.c" -pthread -ldl
status=0
{ HAKMEM_DEBUG=unwind:fp LD_PRELOAD="$library" "$work/framed" small >"$work/out" \
	2>"$work/err"; } 2>/dev/null || status=$?
judge "unwind:fp"

run_crime unwind:no abuse-double-free small
is "unwind:no: the message" "$(head -n 1 "$work/err")" \
	"$(sed -n 's/^expect //p' "$work/out")"
is "unwind:no: the parties are told, without a frame" \
	"$(sed -e 1d -e 's/[0-9][0-9.]*/N/g' "$work/err")" \
	"  freed again by thread N, no stack known
  freed first by thread N, N s before, no stack known
  allocated by thread N, N s before, no stack known"

# With no program to ask, each frame still has its object and the offset there.
run_crime symbols:no abuse-double-free small
is "symbols:no: the message" "$(head -n 1 "$work/err")" \
	"$(sed -n 's/^expect //p' "$work/out")"
ok "symbols:no: frames with object and offset" \
	grep -q "^    #0  ?? ($(readlink -f "$program") 0x[0-9a-f]*)\$" "$work/err"

# A descriptor 2 that is closed, or a full device, is no reason to die in another way.
crime_program abuse-double-free
status=0
{ LD_PRELOAD="$library" "$program" small >"$work/out" 2>&-; } 2>/dev/null || status=$?
is "standard error is closed: ended by SIGABRT" "$status" 134
if [ -c /dev/full ]; then
	status=0
	{ LD_PRELOAD="$library" "$program" small >"$work/out" 2>/dev/full; } 2>/dev/null ||
		status=$?
	is "standard error is full: ended by SIGABRT" "$status" 134
fi

# ---- suppressions ----

printf '# nothing\nrace:made_up\n' >"$work/other.supp"
run_crime "leaks,exitcode:23,suppressions:$work/other.supp" abuse-leaks one
is "suppressions, not one of ours: told, by file and line" "$(head -n 1 "$work/err")" \
	"$(sed -n '1s/^expect \(hakmem: [^ ]*\) .*/\1/p' "$work/out") bad suppression $work/other.supp:2: not leak:PATTERN: race:made_up"
is "suppressions, not one of ours: the leak is told of" "$status" 23
run_crime "leaks,exitcode:23,suppressions:$work/none.supp" abuse-leaks one
is "suppressions, no such file: told" "$(head -n 1 "$work/err")" \
	"$(sed -n '1s/^expect \(hakmem: [^ ]*\) .*/\1/p' "$work/out") bad suppression $work/none.supp: cannot be opened: No such file or directory"

finish
