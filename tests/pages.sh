#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The manual pages: both linters are silent; what the source knows is on the pages, and
# what is on the pages the source knows; the examples do what they are said to do.

installed=${HAKMEM_TESTLIB:+yes}
. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
CC=${CC:-cc}
need "${CC%% *}"

man=$abs_top_srcdir/man
lib=$abs_top_srcdir/lib
header=$include/hakmem.h
if [ "$installed" ]; then
	hakmem=$(command -v hakmem || :)
else
	hakmem=$abs_top_builddir/hakmem
fi

cd "$work"

# A table of the library, one line for each entry: macro_lines FILE MACRO ARGUMENTS BODY
table()
{
	{
		echo "#define $2($3) $2 $4"
		echo "#include \"$lib/$1\""
	} | $CC -E -P - | tr '\n' ' ' | sed "s/ *$2 */\\
/g" | sed -e '/^ *$/d' -e 's/ *$//'
	echo
}

# section FILE NAME: the lines of a section of a page.
section()
{
	awk -v name="$2" '/^\.SH / { gsub(/"/, ""); on = substr($0, 5) == name; next } on' "$1"
}

# The text of a page as one line: macros and quotes dropped, fonts too.
running()
{
	sed -e '/^\.\\"/d' -e 's/^\.[A-Z][A-Z]* *//' -e 's/\\f.//g' -e 's/"//g' \
		-e 's/\\-/-/g' "$@" | tr -s '\n\t ' '   '
}

# between FILE MARK: an example's lines, as they are meant.
between()
{
	sed -n "/^\\.\\\\\" $2 BEGIN/,/^\\.\\\\\" $2 END/p" "$1" |
		sed -e '/^\./d' -e 's/\\&//g' -e 's/\\-/-/g' -e 's/\\e/\\/g'
}

# The shape of an output: numbers, and the blanks that align them, do not matter.
shape()
{
	sed -e 's/0x[0-9a-f]*/N/g' -e 's/[0-9][0-9]*/N/g' | tr -s ' '
}

# ---- Linters and the title line -----------------------------------------------------

version=$(sed -n 's/^AC_INIT(\[libhakmem\], \[\([^]]*\)\].*/\1/p' "$abs_top_srcdir/configure.ac")
ok "configure.ac has a version" test -n "$version"
for page in hakmem.1 hakmem.3 hakmem_ctl.3 hakmem_debug.7; do
	if command -v man >/dev/null && command -v groff >/dev/null; then
		LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z \
			"$man/$page" 2>&1 >/dev/null | head -n 20 >lint
		is "$page: man --warnings is silent" "$(cat lint)" ""
	else
		skip "$page: man --warnings" "no man or groff"
	fi
	if command -v mandoc >/dev/null; then
		mandoc -Tlint -Wwarning "$man/$page" 2>&1 |
			grep -v 'referenced manual not found' >lint || :
		is "$page: mandoc -Tlint is silent" "$(cat lint)" ""
	else
		skip "$page: mandoc -Tlint" "no mandoc"
	fi
	ok "$page: name, section, date and version in the title" grep -q -x \
		"\\.TH ${page%.*} ${page#*.} 20[0-9][0-9]-[01][0-9]-[0-3][0-9] \"libhakmem $version\"" \
		"$man/$page"
	# A reference to a page of ours leads to one.
	sed -n 's/^\.BR \(hakmem[a-z_]*\) (\([0-9]\)).*/\1.\2/p' "$man/$page" | sort -u >refers
	missing=
	while read -r other; do
		[ -e "$man/$other" ] || missing="$missing $other"
	done <refers
	is "$page: refers to pages that exist" "$missing" ""
	section "$man/$page" "SEE ALSO" >see
	missing=
	for other in "$man"/*.[1-8]; do
		other=${other##*/}
		[ "$other" = "$page" ] || grep -q "^\.BR ${other%.*} (${other#*.})" see ||
			missing="$missing $other"
	done
	is "$page: SEE ALSO names the other pages" "$missing" ""
done

# ---- Options: hakmem(3) -------------------------------------------------------------

table options.def HK_OPTION 'name, type, value, number, when, words, help' \
	'#name #type value #when words' | sed -e 's/"//g' -e '/^$/d' >options
ok "options.def has options" grep -q '^TINY_PROFILE WORD conservative RUNTIME' options
section "$man/hakmem.3" ENVIRONMENT >environment

while read -r name type value when words; do
	case $type in
	WORD | STATS | DEBUG) noun=word ;;
	*) noun=$(echo "$type" | tr '[:upper:]' '[:lower:]') ;;
	esac
	case $when in
	RUNTIME) moment="run time" ;;
	*) moment=start ;;
	esac
	tag=".BR HAKMEM_$name \" ($noun, default \" $value \", $moment)\""
	ok "HAKMEM_$name: type, default and moment" grep -q -F -x -e "$tag" environment
	awk -v name="HAKMEM_$name" '/^\.BR HAKMEM_[A-Z_]+ " \(/ { on = $2 == name } on' \
		environment >entry
	case $words in
	*..*)
		ok "HAKMEM_$name: range" grep -q -x "Range $(echo "$words" | sed 's/\./\\./g')\\." entry
		;;
	*)
		echo "$words" | tr '|' '\n' | sort >known
		# The words are items of the entry's inner list.
		awk '/^\.RS/ { on = 1 } /^\.RE/ { on = 0 }
			on && tag { print $2; tag = 0 } /^\.TP/ { tag = 1 }' entry |
			sed 's/:$//' | sort -u >found
		same "HAKMEM_$name: words" known found
		;;
	esac
	ok "HAKMEM_$name: cost" grep -q '^Cost' entry
done <options
sed 's/^\([A-Z_]*\) .*/HAKMEM_\1/' options | sort >known
sed -n 's/^\.BR \(HAKMEM_[A-Z_]*\) " (.*/\1/p' environment | sort >found
same "hakmem(3) has the options of options.def and no others" known found

# ---- Messages: hakmem_debug(7) ------------------------------------------------------

table messages.def HK_MESSAGE 'name, text' text | sed -e 's/"//g' -e '/^$/d' >messages
ok "messages.def has messages" grep -q -x 'double free of' messages
section "$man/hakmem_debug.7" DIAGNOSTICS >diagnostics
awk '/^\.TP/ { getline; gsub(/^\.[A-Z]+ +|"/, ""); print }' diagnostics >tags
while read -r message; do
	ok "message: $message" grep -q "^$message" tags
	awk -v message="$message" '
		/^\.TP/ { getline; tag = $0; gsub(/^\.[A-Z]+ +|"/, "", tag)
			  on = index(tag, message) == 1 } on' diagnostics >entry
	ok "message: $message: a cause, or what to do" grep -q -E '^(Causes?:|What to do:)' entry
done <messages
unknown=
while read -r tag; do
	while read -r message; do
		case $tag in "$message"*) continue 2 ;; esac
	done <messages
	unknown="$unknown $tag"
done <tags
is "hakmem_debug(7) has no message that the library has not" "$unknown" ""

# ---- The header: hakmem_ctl(3) ------------------------------------------------------

page=$man/hakmem_ctl.3
running "$page" >text

# Constants, with their values.
tr -s '\n\t ' '   ' <"$header" | grep -o 'HAKMEM_[A-Z]* = [0-9]*' | sed 's/ = / /' >constants
ok "hakmem.h has constants" grep -q -x 'HAKMEM_FLUSH 1' constants
while read -r name value; do
	ok "$name ($value)" grep -q -F "$name ($value)" text
done <constants

# Every name that looks like ours, on every page, is an option, a constant or the version.
{
	sed 's/ .*//' constants
	sed 's/^\([A-Z_]*\) .*/HAKMEM_\1/' options
	printf '%s\n' HAKMEM_ HAKMEM_1
} | sort -u >known
cat "$man"/*.[1-8] | grep -o 'HAKMEM_[A-Z0-9_]*' | sort -u >found
is "no page has a name that the source has not" "$(comm -13 known found | xargs)" ""

# The structs, member by member, with in and out where both say so.
structs()
{
	awk '/^struct hakmem_[a-z]+ \{/ { on = 1 } on { print } /^\};/ { on = 0 }' "$@"
}
members()
{
	tr -s '\n\t ' '   ' | sed 's,/\*[^*]*\*/,,g' | tr '{;' '\n\n' | tr -s ' ' |
		sed -e 's/^[} ]*//' -e 's/ $//' -e '/^$/d'
}
directions()
{
	tr -s '\n\t ' '   ' | grep -o -E '[a-z_]+(\[[0-9]+\])?; /\* (in|out)(:| \*)' |
		sed 's,^\([a-z_]*\).*/\* \([a-z]*\).*,\1 \2,'
}
structs "$header" | members >known
structs "$page" | members >found
same "the structs are those of hakmem.h" known found
structs "$header" | directions >known
structs "$page" | directions >found
same "and so is what goes in and out" known found
structs "$header" | members | sed -n 's/^.*[ *]\([a-z_]*\)[][0-9]*$/\1/p' | grep -v '^hakmem_' | sort -u >known
awk '/^\.T[PQ]/ { getline; if ($1 == ".I") print $2 }' "$page" | sort -u >found
same "each field is described, and no other" known found

# The prototypes and the errors.
sed -n 's/^HAKMEM_API //p' "$header" | sort >known
section "$page" SYNOPSIS | grep 'hakmem_[a-z]*(' |
	sed -e 's/^\.[A-Z]* *//' -e 's/" *\([a-z]*\) *"/\1/g' -e 's/" */ /g' -e 's/ );/);/' -e 's/^ *//' |
	tr -s ' ' | sort >found
same "the prototypes are those of hakmem.h" known found
sed -n '/Returns 0, or -1 with errno/,/\*\//p' "$header" | grep -o '\<E[A-Z0-9][A-Z0-9]*\>' |
	sort -u >known
section "$page" ERRORS | awk '/^\.TP/ { getline; print $2 }' | sort -u >found
same "the errors are those of hakmem.h" known found

# ---- The functions that are replaced: hakmem(3) -------------------------------------

grep -v -e '^#' -e '^_Z' -e '^hakmem_' -e '^HAKMEM_' "$abs_top_srcdir/tests/symbols.list" |
	sort >known
sed -n '/^These functions are replaced/,/^\.fi/p' "$man/hakmem.3" |
	sed -n 's/^\.BR \([a-z_0-9]*\) (.*/\1/p' | sort >found
same "hakmem(3) names the functions of tests/symbols.list" known found

# ---- The command: hakmem(1) ---------------------------------------------------------

if [ -x "$hakmem" ]; then
	{
		"$hakmem" --help
		"$hakmem" doctor --help
	} | grep -o -e '--*[a-z][a-z]*' | grep -x -e '--[a-z]*' -e '-o' | sort -u >known
	section "$man/hakmem.1" DESCRIPTION |
		awk '/^\.TP/ { getline; print $2 }' | sed 's/\\-/-/g' |
		grep -x -e '--[a-z][a-z]*' -e '-[a-z]' | sort -u >found
	same "hakmem(1) has the options of the command" known found
else
	bail_out "no command at $hakmem"
fi
sed -n '/^\.SS hakmem doctor/,/^\.SH/p' "$man/hakmem.1" |
	awk '/^\.TP/ { getline; print $2 }' | sort -u >found
cat "$abs_top_srcdir"/cmd/*.c | tr -s '\n\t ' '   ' |
	grep -o 'report_add( *[a-z&]*, REPORT_[A-Z]*, "[a-z0-9]*"' |
	sed 's/.*"\(.*\)"/\1/' | grep -v -x verdict | sort -u >known
same "hakmem(1) has the subjects of hakmem doctor" known found

# ---- The examples -------------------------------------------------------------------

if [ ! -r "$testlib" ] && [ -r "$abs_top_builddir/.libs/libhakmem.a" ]; then
	skip "the examples" "configured without a shared library"
	finish
fi
require_library

LD_LIBRARY_PATH=$(dirname "$testlib")
export LD_LIBRARY_PATH

between "$man/hakmem_ctl.3" SRC >list.c
# shellcheck disable=SC2086 # $CC may carry options
ok "hakmem_ctl(3): the program compiles" $CC -std=c99 -pedantic -Wall -Wextra -Werror \
	-I"$include" -o list list.c -Wl,--no-as-needed "$testlib"
ok "hakmem_ctl(3): the program runs" sh -c './list >output'
between "$man/hakmem_ctl.3" OUTPUT | shape >known
shape <output >found
same "hakmem_ctl(3): its output has the shape of the page's" known found
ok "hakmem_ctl(3): its release unmaps and purges" awk '
	/^released [0-9]+ KiB/ { if ($2 > 0) n++ } END { exit n != 2 }' output

between "$man/hakmem.3" OUTPUT | shape >known
env HAKMEM_TINY_PROFILE=hto LD_PRELOAD="$testlib" true 2>output
shape <output >found
same "hakmem(3): the misspelt option" known found

if [ -r "$testlib_debug" ]; then
	between "$man/hakmem_debug.7" CODE | sed 's/^ *[0-9]* \{0,2\}//' >twice.c
	ok "hakmem_debug(7): the program compiles" \
		$CC -g -fno-builtin -w -o twice twice.c
	ok "hakmem_debug(7): by itself it ends in peace" env LD_PRELOAD="$testlib" ./twice
	between "$man/hakmem_debug.7" OUTPUT | shape >known
	status=0
	env LD_PRELOAD="$testlib_debug" ./twice 2>output || status=$?
	# Some shells tell of the abort, too, and to the same file.
	sed -i '/^Aborted/d' output
	is "hakmem_debug(7): without magazines it is aborted" "$status" 134
	head -n 1 output | shape >found
	same "hakmem_debug(7): the message" known found
	ok "hakmem_debug(7): the lines of the stack" sh -c '
		tail -n +2 output | grep -q . &&
		! tail -n +2 output |
			grep -v -E "^  #[0-9]+ +/?[^ ]+ 0x[0-9a-f]+( [^ ]+\+0x[0-9a-f]+)?$"'
	if command -v addr2line >/dev/null; then
		# The call returns to the line of the second free(), or to the next.
		sed -n 's/^  #[0-9]* *[^ ]*twice \(0x[0-9a-f]*\).*/\1/p' output | head -n 1 |
			xargs addr2line -f -i -e ./twice >found 2>&1 || :
		ok "hakmem_debug(7): addr2line finds the line" \
			grep -q -E '/twice\.c:1[01]( .*)?$' found
	else
		skip "hakmem_debug(7): addr2line finds the line" "no addr2line"
	fi
else
	skip "hakmem_debug(7): the example" "no debug library"
fi

finish
