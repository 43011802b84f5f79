#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The dynamic sections of the libraries: what they export, need and promise the loader.
# Each line here is a mistake that builds without a warning and shows up in a user's
# program, or, as with a versioned malloc, does not show up at all.

installed=${HAKMEM_TESTLIB:+yes}

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"

READELF=${READELF:-readelf}
need "$READELF"

# symbols LIBRARY defined|undefined: names of global symbols, with the versions of our own.
symbols()
{
	"$READELF" --wide --dyn-syms "$1" | awk -v want="$2" '
		$5 != "GLOBAL" && $5 != "WEAK" && $5 != "UNIQUE" { next }
		($7 == "UND") != (want == "undefined") { next }
		{ name = $8; if (want == "undefined") sub(/@.*/, "", name); print name }' |
		LC_ALL=C sort -u
}

# What the dynamic section says under a tag, one value a line.
dynamic()
{
	"$READELF" --wide --dynamic "$1" | sed -n "s/^.*($2) *//p" |
		sed -e 's/^[A-Za-z ]*: *//' -e 's/^\[\(.*\)\]$/\1/'
}

# A call from here could come back into malloc, or take a lock that the caller holds.
# Two objects may make one each, off every path of malloc's: see `callers` below.
forbidden='dl_iterate_phdr|dlerror|dlopen|dlvsym|exit|fopen|perror|printf|
	puts|qsort|setlocale|snprintf|sprintf|strdup|strerror|syslog|vfprintf|vsnprintf|
	__(v|s|vs|vf)*n*printf_chk|__tls_get_addr'
forbidden=$(printf '%s' "$forbidden" | tr -d ' \t\n')

# The debug library notes what is unloaded, answers libunwind in the loader's place, and loads
# libunwind outside of malloc.
grep -v '^#' "$abs_top_srcdir/tests/symbols.list" >"$work/libhakmem"
printf '%s\n' dl_iterate_phdr dlclose | LC_ALL=C sort -m - "$work/libhakmem" >"$work/libhakmem_debug"
allowed='dlopen'

# allow LIBRARY: without those that the debug library may call.
allow()
{
	if [ "$1" = libhakmem_debug ]; then
		grep -E -v -x "$allowed" || :
	else
		cat
	fi
}

check()
{
	library=$1
	soname=$2
	name=${soname%.so.*}
	shift 2

	symbols "$library" defined >"$work/exported"
	same "$name: exports tests/symbols.list and nothing else" "$work/$name" "$work/exported"
	is "$name: no version on the names of malloc's family" \
		"$(grep '@' "$work/exported" | grep -v -E '^(hakmem_|HAKMEM_)' || :)" ""
	is "$name: nothing that can come back into malloc is called" \
		"$(symbols "$library" undefined | grep -E -x "$forbidden" | allow "$name")" ""
	is "$name: SONAME" "$(dynamic "$library" SONAME)" "$soname"
	is "$name: NEEDED" "$(dynamic "$library" NEEDED | LC_ALL=C sort | xargs)" "$*"
	is "$name: no RPATH" "$(dynamic "$library" 'R[UN]*PATH')" ""
	is "$name: no relocation in the text" "$(dynamic "$library" TEXTREL)" ""

	flags="$(dynamic "$library" FLAGS) $(dynamic "$library" FLAGS_1)"
	for flag in BIND_NOW NODELETE STATIC_TLS; do
		case " $flags " in
		*" $flag "*) pass "$name: $flag" ;;
		*) fail "$name: $flag is not in:$flags" ;;
		esac
	done

	"$READELF" --wide --program-headers "$library" >"$work/segments"
	ok "$name: RELRO" grep -q GNU_RELRO "$work/segments"
	is "$name: no segment both writable and executable" \
		"$(awk '/^ +[A-Z_]+ +0x/ && / RWE /' "$work/segments")" ""
	is "$name: the stack stays non-executable" \
		"$(awk '$1 == "GNU_STACK" { print $7 }' "$work/segments")" RW
}

require_library
check "$testlib" libhakmem.so.0 libc.so.6
if [ -e "$testlib_debug" ]; then
	check "$testlib_debug" libhakmem_debug.so.0 libc.so.6
else
	skip "libhakmem_debug" "the debug library is not built"
fi

# callers FUNCTION: the objects of the build tree that call it, fortified or not.
callers()
{
	for object in "$abs_top_builddir"/lib/.libs/libhakmem_la-*.o; do
		"$READELF" --wide --symbols "$object" |
			awk -v name="$1" '
				$7 == "UND" && ($8 == name || $8 == "__" name "_chk") { found = 1 }
				END { exit !found }' &&
			basename "$object" .o | sed 's/^libhakmem_la-//'
	done
}

if [ -z "$installed" ]; then
	is "fprintf: malloc_info's alone, which is given a stream" "$(callers fprintf)" glibc
	is "dlsym: a failing nothrow new's alone" "$(callers dlsym)" operators
fi

# The packages' own lists must say the same, or the next program's dependency is wrong.
for package in libhakmem0 libhakmem-debug0; do
	name=$(printf '%s' "${package%0}" | tr - _)
	sed -n -e 's/^ \([^ ]*\)@\1 .*/\1/p' -e 's/^ \([^ ]*\)@Base .*/\1/p' \
		-e 's/^ \([a-z][^ ]*\)@\(HAKMEM_[0-9.]*\) .*/\1@@\2/p' \
		"$abs_top_srcdir/debian/$package.symbols" | LC_ALL=C sort >"$work/packaged"
	same "debian/$package.symbols has the same names" "$work/$name" "$work/packaged"
done
finish
