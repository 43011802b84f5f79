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
	WORD | STATS) noun=word ;;
	DEBUG) noun=list ;;
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
	list)
		ok "HAKMEM_$name: where its words are" grep -q '^\.BR hakmem_debug (7)' entry
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

# ---- The words of HAKMEM_DEBUG: hakmem_debug(7) -------------------------------------

# The library's own table and parser.  Without arguments: each word with its type, the words
# that its value may be, its default, and what it means alone.  Else: is each of these lists
# understood?
cat >words.c <<EOF
#include "debug/options.c"

#include <stdio.h>
#include <stdlib.h>

#include "fatal.h"

_Noreturn void hk_assert_failed(const char *file, unsigned line, const char *what)
{
	fprintf(stderr, "%s:%u: %s\\n", file, line, what);
	abort();
}

static void print_default(const struct option *option)
{
	const char *field = (const char *)&hk_debug_options + option->offset, *word = "";
	uint64_t number = 0;
	size_t unit = 0;

	if (option->value == TEXT) {
		printf("%s", *field ? field : "-");
		return;
	}
	memcpy(&number, field, option->size);
	if (option->value == FLAG) {
		printf("%s", number == (option->words[0] == '1') ? "yes" : "no");
	} else if (option->value == WORD) {
		size_t length = hk_word_at(option->words, (unsigned)number, &word);

		printf("%.*s", (int)length, word);
	} else {
		while (number && number % 1024 == 0 && unit < 6) {
			number /= 1024;
			unit++;
		}
		printf("%lu%.*s", (unsigned long)number, unit > 0, &" KMGTPE"[unit]);
	}
}

int main(int argc, char **argv)
{
	static const char *const types[] = { "flag", "word", "number", "text" };
	const char *word, *nearest;
	size_t length;
	int status = 0;

	for (int i = 1; i < argc; i++) {
		if (hk_debug_options_parse(argv[i], &word, &length, &nearest))
			continue;
		printf("%s: %.*s\\n", argv[i], (int)length, word);
		status = 1;
	}
	for (size_t i = 0; argc == 1 && i < OPTIONS; i++) {
		const struct option *option = &options[i];

		printf("%s %s %s ", option->name, types[option->value],
		       option->value == WORD ? option->words : "-");
		print_default(option);
		printf(" %s\\n", option->alone ? option->alone : "-");
	}
	return status;
}
EOF
# shellcheck disable=SC2086 # $CC may carry options
ok "the table of HAKMEM_DEBUG's words compiles" $CC -std=gnu17 -DHK_DEBUG=1 -I"$include" \
	-I"$lib" -o words words.c "$lib/parse.c"
./words >known_words
ok "it has words, their values and defaults" grep -q -x \
	'leaks word no|lost|all no lost' known_words

# Entries are those before the inner lists of values, on the level of the section.
section "$man/hakmem_debug.7" ENVIRONMENT >environment
awk '/^\.RS/ { deep++ } /^\.RE/ { deep-- }
	/^\.TP/ && !deep { getline; print }' environment >tags
while read -r name type words value alone; do
	case $type in
	flag)
		tag=".BR $name \" ($type)\""
		[ "$value" = no ] || tag=".BR $name \" ($type, default)\""
		;;
	text)
		# What stands for the empty text is the page's business.
		[ "$value" != - ] || value=$(sed -n "s/^\\.BR $name: .*default \\(.*\\))\"\$/\\1/p" tags)
		tag=".BR $name: \" ($type, default $value)\""
		;;
	*)
		tag=".BR $name: \" ($type, default \" $value )"
		;;
	esac
	ok "HAKMEM_DEBUG=$name: type and default" grep -q -F -x -e "$tag" tags
	awk -v name="$name" '/^\.RS/ { deep++ } /^\.RE/ { deep-- }
		/^\.TP/ && !deep { getline; tag = $2; sub(/:$/, "", tag); on = tag == name }
		on' environment >entry
	ok "HAKMEM_DEBUG=$name: cost" grep -q '^Cost' entry
	if [ "$type" = word ]; then
		echo "$words" | tr '|' '\n' | sort >known
		awk '/^\.RS/ { on = 1 } /^\.RE/ { on = 0 }
			on && tag { print $2; tag = 0 } /^\.TP/ { tag = 1 }' entry |
			sort -u >found
		same "HAKMEM_DEBUG=$name: words" known found
	fi
	if [ "$alone" != - ]; then
		running entry >text
		ok "HAKMEM_DEBUG=$name: what it means alone" \
			grep -q "The word $name alone means $alone" text
	else
		is "HAKMEM_DEBUG=$name: means nothing alone" "$(grep -c '^alone means' entry)" 0
	fi
done <known_words
sed 's/ .*//' known_words | sort >known
sed -n 's/^\.BR \([a-z_]*\):\{0,1\} .*/\1/p' tags | sort >found
same "hakmem_debug(7) has the words of options.c and no others" known found
is "each entry of HAKMEM_DEBUG is one of a word" "$(grep -c . tags)" "$(grep -c . found)"

# What the pages and the README tell to put there.
cat "$man"/*.[1-8] "$abs_top_srcdir/bench/README" |
	sed -e 's/\\f.//g' -e 's/\\-/-/g' -e 's/\\.*//' |
	grep -o 'HAKMEM_DEBUG=[a-z][^ ]*' | sed 's/^[^=]*=//' | sort -u >lists
ok "the pages have values for HAKMEM_DEBUG" test -s lists
is "and the library understands them" "$(xargs ./words <lists)" ""

# The members of reports in JSON; a function writes some of leaks.c's.
section "$man/hakmem_debug.7" DESCRIPTION | sed -n '/^\.SS Form of a report/,/^\.SS [^F]/p' |
	awk '/^\.T[PQ]/ { getline; print $2 }' | sort -u >found
cat "$lib/debug/report.c" "$lib/debug/leaks.c" | sed -e '/^ \*/d' -e 's/\\//g' |
	grep -o -e '"[a-z_]*":' -e 'write_member(text, "[a-z_]*"' | sed 's/^[^"]*"\([a-z_]*\)".*/\1/' |
	sort -u >known
same "hakmem_debug(7) has the members of JSON reports and no others" known found

# What the parties of a report did.
cat "$lib/debug/watch.c" "$lib/debug/guard.c" | tr -s '\n\t ' '   ' | grep -o -E \
	-e '&?(block|NULL), "[a-z ]+", *(here|hk_unwind_here)' -e '\.did = (write \? )?"[a-z]+"( : "[a-z]+")?' \
	-e '\{ "[a-z ]+", record->' -e 'party\)\{ "[a-z ]+",' | grep -o '"[a-z ]*"' | sort -u >did
ok "the parties of reports have done something" grep -q -x '"freed again"' did
section "$man/hakmem_debug.7" DESCRIPTION |
	sed -n '/^The first party is/,/^\.PP/p' | sed -e 's/^\.RI //' -e 's/"\([a-z ]*\)"/\1/' \
		-e 's/ *\\\[dq\] */"/g' | grep -o '^"[a-z ]*"' | grep -v -x '"no stack known"' | sort -u >found
same "hakmem_debug(7) has what they did, and nothing else" did found

# ---- Messages: hakmem_debug(7) ------------------------------------------------------

table messages.def HK_MESSAGE 'name, text' text | sed -e 's/"//g' -e '/^$/d' >messages
ok "messages.def has messages" grep -q -x 'double free of' messages
# Those of a leak report follow under a heading of their own.
section "$man/hakmem_debug.7" DIAGNOSTICS >all_diagnostics
sed '/^\.SS/,$d' all_diagnostics >diagnostics
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

# A leak report: what leaks.c writes, in pieces, is in the text of the part, and each entry
# of the part begins as one of the pieces does.
sed -n '/^\.SS Leak reports/,$p' all_diagnostics >diagnostics
running diagnostics >text
sed '/^ \*/d' "$lib/debug/leaks.c" | sed -n '/---- text ----/,/---- JSON ----/p' >pieces.c
sed -n '/^static void tell_why_not/,/^}/p' "$lib/debug/leaks.c" >>pieces.c
grep -o '"[^"]*"' pieces.c | sed -e 's/^"//' -e 's/"$//' -e 's/\\n//' -e 's/^[,; ]*//' \
	-e 's/ *$//' | grep '[a-z][a-z]' | grep -v '%' | sort -u >pieces
ok "leaks.c has pieces" grep -q -x 'in all: lost' pieces
while read -r piece; do
	ok "leak report: $piece" grep -q -F -e "$piece" text
done <pieces
awk '/^\.TP/ { getline; gsub(/^\.[A-Z]+ +|"/, ""); print }' diagnostics >tags
unknown=
while read -r tag; do
	while read -r piece; do
		case $tag in "$piece"*) continue 2 ;; esac
	done <pieces
	unknown="$unknown $tag"
done <tags
is "hakmem_debug(7) has no line of a leak report that the library has not" "$unknown" ""

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
	between "$man/hakmem_debug.7" CODE | sed 's/^ *[0-9]* \{0,2\}//' >names.c
	ok "hakmem_debug(7): the program compiles" \
		$CC -g -fno-builtin -w -o names names.c
	status=0
	{ env LD_PRELOAD="$testlib" ./names 2>output; } 2>/dev/null || status=$?
	is "hakmem_debug(7): the exit status on the production library" "$status" 134
	grep -F ' (8\-byte block)' "$man/hakmem_debug.7" | sed 's/\\-/-/g' | shape >known
	grep "^hakmem: " output | shape >found
	same "hakmem_debug(7): what the production library says" known found
	ok "hakmem_debug(7): the settings are the page's" \
		grep -q 'HAKMEM_DEBUG=continue,leaks,exitcode:9' "$man/hakmem_debug.7"
	status=0
	env HAKMEM_DEBUG=continue,leaks,exitcode:9 LD_PRELOAD="$testlib_debug" ./names \
		2>output || status=$?
	is "hakmem_debug(7): the exit status" "$status" 9
	# What is below main() is the machine's, and so are the directory, what libc holds,
	# and whether one is one.
	story()
	{
		grep -v -e '/libc' -e '/ld-linux' -e '#[0-9]* *_start' "$@" |
			sed -e 's,/[^ ]*/names,names,g' -e 's,\./names,names,g' \
				-e 's/\(block\|byte\|stack\)s/\1/g' | shape
	}
	between "$man/hakmem_debug.7" OUTPUT | story >known
	if command -v addr2line >/dev/null; then
		story output >found
		same "hakmem_debug(7): the reports" known found
		# An offset goes to addr2line as it is, and leads to the line of the call.
		sed -n 's/^ *#0 .*names\.c:18 (\([^ ]*\) \(0x[0-9a-f]*\))$/\1 \2/p' output |
			head -n 1 | xargs addr2line -f -i -e >found 2>&1 || :
		ok "hakmem_debug(7): addr2line finds the line" \
			grep -q -E '/names\.c:18( .*)?$' found
	else
		skip "hakmem_debug(7): the reports" "no addr2line"
	fi
	status=0
	env LD_PRELOAD="$testlib_debug" ./names 2>output || status=$?
	is "hakmem_debug(7): without continue it is aborted" "$status" 134
	is "hakmem_debug(7): after the first report" "$(grep -c '^hakmem:' output)" 1
else
	skip "hakmem_debug(7): the example" "no debug library"
fi

finish
