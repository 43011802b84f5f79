#!/bin/bash
# SPDX-License-Identifier: MIT
#
# python3 with PYTHONMALLOC=malloc, else it keeps requests of up to 512 bytes to itself: a
# program of our own, and python's own tests of json, re, sqlite3 and threading, where its
# test suite is installed (libpython3-testsuite or the like).

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library

# Wrappers of version managers are shell scripts; the interpreters themselves are wanted.
pythons=
for candidate in /usr/bin/python3 python3; do
	if command -v "$candidate" >/dev/null; then
		pythons="$pythons $("$candidate" -c 'import sys; print(sys.executable)')"
	fi
done
[ -n "$pythons" ] || skip_all "python3 is not installed"
python=${pythons# }
python=${python%% *}

export PYTHONMALLOC=malloc PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP

program=$tests/preload-python3.py
"$python" "$program" work "$work/proof.plain" >"$work/plain"
is "without the library it is not in the maps" "$(cat "$work/proof.plain")" ""
status=0
under "$python" "$program" work "$work/proof" >"$work/under" 2>"$work/err" || status=$?
ok "python found the library in its own maps" \
	grep -q "$(readlink -f "$testlib")" "$work/proof"
# The interpreter and echo leave statistics; pool workers are ended by a signal.
loaded "python and its child were on the library" 2
is "exit status" "$status" 0
same "the output is the same" "$work/under" "$work/plain"
is "nothing on standard error" "$(cat "$work/err")" ""

# suite MODULE: the same tests run, and end the same, with and without the library.
suite()
{
	python=
	for candidate in $pythons; do
		if "$candidate" -c "import test.libregrtest, test.$1" >/dev/null 2>&1; then
			python=$candidate
			break
		fi
	done
	if [ -z "$python" ]; then
		skip "python's own $1" "no python3 here has test.$1"
		return
	fi
	mkdir -p "$work/tests"
	"$python" -m test -W --tempdir "$work/tests" --junit-xml "$work/plain.xml" "$1" \
		>"$work/plain.log" 2>&1 || :
	status=0
	under "$python" -m test -W --tempdir "$work/tests" --junit-xml "$work/under.xml" \
		"$1" >"$work/under.log" 2>&1 || status=$?
	loaded "$1 ran on the library"
	if ! grep -q 'result: SUCCESS$' "$work/plain.log"; then
		comment "$1 does not succeed without the library either; compared anyway"
	else
		is "$1: exit status" "$status" 0
	fi
	"$python" "$program" results "$work/plain.xml" >"$work/plain.results"
	"$python" "$program" results "$work/under.xml" >"$work/under.results"
	same "$1: $(wc -l <"$work/plain.results") tests, the same results" \
		"$work/under.results" "$work/plain.results"
	if grep -q 'hakmem:' "$work/under.log"; then
		fail "$1: no message of the library"
		comment_file "$work/under.log"
	else
		pass "$1: no message of the library"
	fi
}

suite test_json
suite test_re
# Debian's package leaves this one out.
suite test_sqlite3
suite test_threading

finish
