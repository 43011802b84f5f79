# SPDX-License-Identifier: MIT
#
# Shared by abuse.sh, abuse-reports.sh and innocent.sh, after tap.sh: runs a crime and compares what the
# library says of it with what the program has announced (libabuse.h).

# Without one of these the debug library knows exported functions only.
symbolizer=
for candidate in addr2line eu-addr2line llvm-symbolizer llvm-symbolizer-14; do
	if command -v "$candidate" >/dev/null 2>&1; then
		symbolizer=$candidate
		break
	fi
done
[ -n "$symbolizer" ] ||
	skip "the functions of the stacks" "no addr2line, nor anything like it, is installed"

# For those that load and unload.
TEST_MODULE=$work/module.so
export TEST_MODULE
${CC:-cc} -std=gnu17 -O2 -shared -fPIC -o "$TEST_MODULE" "$tests/module.c" \
	>"$work/cc.log" 2>&1 || {
	comment_file "$work/cc.log"
	bail_out "tests/module.c does not compile"
}

# What no announcement can know: ages, and what else lives and is kept in the process.
forget='
/ leaks(): /s/oldest [0-9]*\.[0-9][0-9] s ago/oldest N s ago/
/ leaks(): /s/reachable [0-9]* blocks*, [0-9]* bytes*/reachable N/
/ leaks(): /s/in quarantine [0-9]* blocks*, [0-9]* bytes*/in quarantine N/'

# The parties of a report and their frames against those announced; prints what differs.
parties()
{
	awk -v named="$symbolizer" '
	function leave_party() {
		if (known && named && frame < functions)
			print "of " head ": no frame with " name[frame + 1]
	}
	function enter_party(text) {
		leave_party()
		head = text
		frame = functions = known = 0
		if (++party > wanted) {
			print "not announced: " head
			return
		}
		known = 1
		colon = index(want[party], ": ")
		announced = substr(want[party], 1, colon - 1)
		functions = split(substr(want[party], colon + 2), name, "; ")
		if (announced != head)
			print "party " party ": " head ", announced: " announced
	}
	FILENAME == ARGV[1] { want[++wanted] = $0; next }
	/^hakmem: / { message = 1; next }
	/^  [^ ]/ {
		text = substr($0, 3)
		if (sub(/, no stack known$/, "", text))
			print "of " text ": no stack"
		sub(/:$/, "", text)
		sub(/, [0-9]+\.[0-9][0-9] s before$/, "", text)
		enter_party(text)
		message = 0
		next
	}
	/^    #[0-9]+ +[^ ]/ {
		# The stack of a leak has no heading of its own.
		if (message)
			enter_party("of the leak")
		message = 0
		if ($1 != "#" frame)
			print "of " head ": frame " frame " is " $1
		text = $0
		sub(/^    #[0-9]+ +/, "", text)
		if (++frame > functions || !named || name[frame] == "*")
			next
		rest = substr(text, length(name[frame]) + 1, 1)
		if (index(text, name[frame]) != 1 || (rest != " " && rest != "(" && rest != "+"))
			print "of " head ": frame " frame - 1 " is " text ", announced: " name[frame]
		next
	}
	{ print "not a line of a report: " $0 }
	END {
		leave_party()
		for (i = party + 1; i <= wanted; i++)
			print "missing: " want[i]
	}' "$1" "$2"
}

# judge LABEL: $work/out, $work/err and $status against what was announced in $work/out.
judge()
{
	label=$1
	if grep -q '^not ok - malloc is' "$work/out"; then
		fail "$label: on the library"
		return
	fi
	sed -n 's/^expect //p' "$work/out" >"$work/expected"
	sed -n 's/^party //p' "$work/out" >"$work/parties"
	wanted=$(sed -n 's/^status //p' "$work/out")
	grep -E '^(not ok|ok|#) ' "$work/out" |
		grep -v '^ok - malloc is' >"$work/tap" || :
	while IFS= read -r line; do
		case $line in
		'ok - '*) pass "$label: ${line#ok - }" ;;
		'not ok - '*) fail "$label: ${line#not ok - }" ;;
		*) echo "$line" ;;
		esac
	done <"$work/tap"
	if [ -s "$work/expected" ]; then
		is "$label: the first line of standard error is a message" \
			"$(head -c 8 "$work/err")" "hakmem: "
		grep '^hakmem: ' "$work/err" | sed -e "$forget" >"$work/said" || :
		same "$label: the message" "$work/said" "$work/expected"
		is "$label: exit status" "$status" "${wanted:-134}"
		if [ "$library" = "$testlib" ]; then
			is "$label: nothing else" "$(grep -v '^hakmem: ' "$work/err")" ""
		elif ! grep -q '^any stacks$' "$work/out"; then
			is "$label: the stacks" "$(parties "$work/parties" "$work/err")" ""
		fi
	else
		ok "$label: came to its end" grep -q '^# end$' "$work/out"
		failed=0
		! grep -q '^not ok' "$work/out" || failed=1
		is "$label: exit status" "$status" "${wanted:-$failed}"
		is "$label: nothing on standard error" "$(cat "$work/err")" ""
	fi
}

# crime LABEL LIBRARY WORDS NAME [ARGUMENT]: the program, with WORDS as HAKMEM_DEBUG.
crime()
{
	label=$1
	library=$2
	words=$3
	shift 3
	case $label in
	*${TEST_CRIMES:-}*) ;;
	*) return ;;
	esac
	crime_program "$1"
	shift
	status=0
	{ timeout -k 5 "${TEST_TIMEOUT:-60}" env ${words:+HAKMEM_DEBUG="$words"} \
		LD_PRELOAD="$library" "$program" "$@" >"$work/out" 2>"$work/err"; } \
		2>/dev/null || status=$?
	judge "$label"
}

# crime_program NAME: sets $program, as tap.sh's program() does, also if it is of C++.
crime_program()
{
	program=$abs_top_builddir/tests/$1
	[ ! -x "$program" ] || return 0
	program=$work/$1
	[ ! -x "$program" ] || return 0
	if [ -r "$tests/$1.c" ]; then
		set -- "$1" "$1.c" "${CC:-cc} -std=gnu17"
	else
		set -- "$1" "$1.cc" "${CXX:-c++} -std=gnu++17"
	fi
	$3 -O2 -Wall -I"$include" -I"$tests" -o "$program" "$tests/$2" -pthread -ldl \
		>"$work/cc.log" 2>&1 || {
		comment_file "$work/cc.log"
		bail_out "tests/$2 does not compile"
	}
}

is_family()
{
	grep -q '^FAMILY(' "$1"
}

# can_be_made SOURCE LABEL: else it is told as skipped.
can_be_made()
{
	compiler=${CXX:-c++}
	case $1 in
	*.cc)
		if [ ! -x "$abs_top_builddir/tests/$(basename "$1" .cc)" ] &&
			! command -v "${compiler%% *}" >/dev/null 2>&1; then
			skip "$2" "no C++ compiler"
			return 1
		fi
		;;
	esac
}

# crimes SOURCE NAME LABEL: those of a family, or the one of a program, on the debug library.
crimes()
{
	can_be_made "$1" "$3" || return 0
	if ! is_family "$1"; then
		crime "$3" "$testlib_debug" "" "$2"
		return
	fi
	crime_program "$2"
	"$program" >"$work/crimes" || fail "$3: lists its crimes"
	[ -s "$work/crimes" ] || fail "$3: has crimes"
	while read -r _ which words; do
		words=${words/\%suppressions/$tests/abuse.supp}
		crime "$3 $which" "$testlib_debug" "$words" "$2" "$which"
	done <"$work/crimes"
}
