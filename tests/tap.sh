# SPDX-License-Identifier: MIT
#
# Shared by the TAP scripts, which read it as
#
#	. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
#
# It finds the library under test, makes a scratch directory ($work, removed at exit), and
# gives the functions below.  HAKMEM_TESTLIB and HAKMEM_TESTLIB_DEBUG name the libraries
# when they are not those of the build tree, for instance the installed ones.
#
# The plan is printed by `finish`, as the last line: a script that dies on its way leaves
# no plan, which a TAP reader takes for an error.

set -eu

abs_top_srcdir=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
abs_top_builddir=${abs_top_builddir:-$PWD}
testlib=${HAKMEM_TESTLIB:-$abs_top_builddir/.libs/libhakmem.so.0}
testlib_debug=${HAKMEM_TESTLIB_DEBUG:-$abs_top_builddir/.libs/libhakmem_debug.so.0}
include=$abs_top_srcdir/include
tests=$abs_top_srcdir/tests

# The run of the tests may itself be steered by these; the programs under test are not.
# And the library would tell of any name it does not know.
unset HAKMEM_TESTLIB HAKMEM_TESTLIB_DEBUG LD_PRELOAD
unset HAKMEM_TINY_PROFILE HAKMEM_STATS HAKMEM_RSEQ HAKMEM_MAGAZINE_BYTES \
	HAKMEM_LRU_SUPERSLABS HAKMEM_PURGE_DELAY_MS HAKMEM_THP HAKMEM_SOFT_LIMIT \
	HAKMEM_HARD_LIMIT HAKMEM_BACKGROUND HAKMEM_TIMING HAKMEM_DEBUG
# What make passes on for itself would reach the programs' own runs of make.
unset MAKEFLAGS MFLAGS MAKELEVEL
LC_ALL=C
export LC_ALL

count=0
failures=0

work=$(mktemp -d "${TMPDIR:-/tmp}/hakmem-test.XXXXXX")
mkdir "$work/stats"
# Run by the shell's exit, whatever its reason; `at_exit` may be set to a command.
at_exit=:
trap 'status=$?; eval "$at_exit"; rm -rf "$work"; exit $status' EXIT
trap 'exit 1' HUP INT TERM

bail_out()
{
	echo "Bail out! $*"
	exit 1
}

skip_all()
{
	echo "1..0 # SKIP $*"
	exit 0
}

comment()
{
	printf '# %s\n' "$*"
}

# The file, as comments, so that a failure's reason is in the log.
comment_file()
{
	sed -e 's/^/#   /' "$1" | head -n 60
}

pass()
{
	count=$((count + 1))
	echo "ok $count - $*"
}

fail()
{
	count=$((count + 1))
	failures=$((failures + 1))
	echo "not ok $count - $*"
}

skip()
{
	count=$((count + 1))
	echo "ok $count - $1 # SKIP $2"
}

# ok DESCRIPTION COMMAND...: the command's exit status decides.
ok()
{
	description=$1
	shift
	if "$@" >"$work/ok.log" 2>&1; then
		pass "$description"
	else
		fail "$description"
		comment "failed: $*"
		comment_file "$work/ok.log"
	fi
}

# is DESCRIPTION GOT WANTED
is()
{
	if [ "$2" = "$3" ]; then
		pass "$1"
	else
		fail "$1"
		comment "   got: $2"
		comment "wanted: $3"
	fi
}

# same DESCRIPTION FILE FILE: equal, byte by byte, and not both empty.
same()
{
	if [ ! -s "$2" ]; then
		fail "$1"
		comment "$2 is missing or empty: nothing was compared"
	elif cmp -s "$2" "$3"; then
		pass "$1"
	else
		fail "$1"
		diff "$2" "$3" >"$work/same.diff" 2>&1 || :
		comment_file "$work/same.diff"
	fi
}

finish()
{
	echo "1..$count"
	[ "$failures" -eq 0 ]
	exit
}

need()
{
	for tool do
		command -v "$tool" >/dev/null 2>&1 || skip_all "$tool is not installed"
	done
}

require_library()
{
	case $testlib in
	/*) ;;
	*) testlib=$PWD/$testlib ;;
	esac
	[ -r "$testlib" ] || bail_out "no library at $testlib"
}

# The process runs on the library, and so do its children; each leaves its statistics at
# exit in $work/stats, which is what `loaded` looks for.
under()
{
	env LD_PRELOAD="$testlib" HAKMEM_STATS="exit:$work/stats/%p" "$@"
}

# loaded DESCRIPTION [AT-LEAST]: the processes run with `under` since the last call had
# the library, at least so many of them.  Without that, equal output proves nothing.
loaded()
{
	found=$(find "$work/stats" -type f -size +0 | wc -l)
	if [ "$found" -ge "${2:-1}" ]; then
		pass "$1"
	else
		fail "$1"
		comment "$found processes left statistics, ${2:-1} expected"
	fi
	rm -rf "$work/stats"
	mkdir "$work/stats"
}

# Does the process have the library mapped?
maps_library()
{
	grep -q -F "$(readlink -f "$testlib")" "/proc/$1/maps"
}

# program NAME: sets $program to the test program built from tests/NAME.c, by automake if
# it did, else here.
program()
{
	program=$abs_top_builddir/tests/$1
	[ ! -x "$program" ] || return 0
	program=$work/$1
	[ ! -x "$program" ] || return 0
	${CC:-cc} -std=gnu17 -O2 -Wall -I"$include" -I"$tests" -o "$program" \
		"$tests/$1.c" -pthread -ldl >"$work/cc.log" 2>&1 || {
		comment_file "$work/cc.log"
		bail_out "tests/$1.c does not compile"
	}
}
