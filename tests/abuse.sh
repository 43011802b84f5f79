#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Bad input: the crimes of tests/abuse-*, one a run, and the environment.
#
# A program that announces what will be said ("expect hakmem: ...", libabuse.h) must have just
# those lines on standard error, byte by byte, and end by SIGABRT or as it announced.  The
# debug library adds the stacks: who is in a report, and the functions of his innermost
# frames, are announced too, and compared.  All other programs must come to their end with
# nothing on standard error; their TAP lines are passed on.
#
# TEST_CRIMES: a pattern; only the crimes with such names.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library
. "$tests/crimes.sh"

for source in "$tests"/abuse-*.c; do
	name=$(basename "$source" .c)
	[ "$name" != abuse-environment ] || continue
	! is_family "$source" || continue
	crime "$name" "$testlib" "" "$name"
done

# The magazines of threads look by themselves.
HAKMEM_RSEQ=0 crime "abuse-double-free-top, per thread" "$testlib" "" abuse-double-free-top

if [ -r "$testlib_debug" ]; then
	for source in "$tests"/abuse-*.c "$tests"/abuse-*.cc; do
		name=$(basename "${source%.*}")
		[ "$name" != abuse-environment ] || continue
		crimes "$source" "$name" "debug library, $name"
	done
else
	skip "the crimes on the debug library" "no debug library at $testlib_debug"
fi

[ -z "${TEST_CRIMES:-}" ] || finish

# environment DESCRIPTION MESSAGE OPTION=VALUE-NOW ASSIGNMENT...: with these in its
# environment the program goes on, has that value for the option, and has said just
# MESSAGE (one line, or none where MESSAGE is empty).
environment()
{
	description=$1
	message=$2
	wanted=$3
	shift 3
	status=0
	env "$@" LD_PRELOAD="$library" "$program" >"$work/out" 2>"$work/err" || status=$?
	pid=$(sed -n 's/^pid=//p' "$work/out")
	[ -z "$message" ] || message="hakmem: abuse-environment[$pid]: $message"
	is "$description: the program goes on" "$status" 0
	is "$description: the message" "$(cat "$work/err")" "$message"
	is "$description: the value" "$(grep "^${wanted%%=*}=" "$work/out")" "$wanted"
}

program abuse-environment
library=$testlib
magazine_bytes=$(sed -n 's/^HK_OPTION(MAGAZINE_BYTES, SIZE, "\([^"]*\)".*/\1/p' \
	"$abs_top_srcdir/lib/options.def")

environment "nothing set" "" tiny_profile=conservative
environment "a good value" "" tiny_profile=hot HAKMEM_TINY_PROFILE=hot
environment "a good number" "" lru_superslabs=7 HAKMEM_LRU_SUPERSLABS=7
environment "a size with its unit" "" magazine_bytes=256K HAKMEM_MAGAZINE_BYTES=256K
environment "an option for the start only" "" rseq=0 HAKMEM_RSEQ=0
environment "misspelt name, a letter missing" \
	"unknown option HAKMEM_TINY_PROFIL (did you mean HAKMEM_TINY_PROFILE?)" \
	tiny_profile=conservative HAKMEM_TINY_PROFIL=hot
environment "misspelt name, letters exchanged" \
	"unknown option HAKMEM_PRUGE_DELAY_MS (did you mean HAKMEM_PURGE_DELAY_MS?)" \
	purge_delay_ms=50 HAKMEM_PRUGE_DELAY_MS=1
environment "misspelt name, a letter too many" \
	"unknown option HAKMEM_STATSS (did you mean HAKMEM_STATS?)" \
	stats=none HAKMEM_STATSS=exit
environment "misspelt name, lower case" \
	"unknown option HAKMEM_thp (did you mean HAKMEM_THP?)" \
	thp=never HAKMEM_thp=always
environment "misspelt word" \
	"$(printf '%s' 'bad value "hto" for HAKMEM_TINY_PROFILE (did you mean "hot"?), ' \
		'using "conservative"')" \
	tiny_profile=conservative HAKMEM_TINY_PROFILE=hto
environment "misspelt word, another" \
	'bad value "alwyas" for HAKMEM_THP (did you mean "always"?), using "never"' \
	thp=never HAKMEM_THP=alwyas
environment "no number" \
	"bad value \"x\" for HAKMEM_LRU_SUPERSLABS (want 0..4096), using \"2\"" \
	lru_superslabs=2 HAKMEM_LRU_SUPERSLABS=x
environment "an empty value" \
	"bad value \"\" for HAKMEM_LRU_SUPERSLABS (want 0..4096), using \"2\"" \
	lru_superslabs=2 HAKMEM_LRU_SUPERSLABS=
environment "out of range" \
	"bad value \"4097\" for HAKMEM_LRU_SUPERSLABS (want 0..4096), using \"2\"" \
	lru_superslabs=2 HAKMEM_LRU_SUPERSLABS=4097
environment "negative" \
	"bad value \"-1\" for HAKMEM_PURGE_DELAY_MS (want 0..3600000), using \"50\"" \
	purge_delay_ms=50 HAKMEM_PURGE_DELAY_MS=-1
environment "a unit there is not" \
	"bad value \"1T2\" for HAKMEM_MAGAZINE_BYTES (want 0..1G), using \"$magazine_bytes\"" \
	"magazine_bytes=$magazine_bytes" HAKMEM_MAGAZINE_BYTES=1T2
environment "beyond 64 bits" \
	'bad value "99999999999999999999" for HAKMEM_HARD_LIMIT (want 0..16E), using "0"' \
	hard_limit=0 HAKMEM_HARD_LIMIT=99999999999999999999
environment "one bad, one good" \
	"bad value \"7\" for HAKMEM_RSEQ (want 0..1), using \"1\"" \
	lru_superslabs=5 HAKMEM_RSEQ=7 HAKMEM_LRU_SUPERSLABS=5
environment "HAKMEM without an underscore is no name of ours" "" stats=none \
	HAKMEM=1 HAKMEMORY=2

if [ -r "$testlib_debug" ]; then
	library=$testlib_debug
	environment "debug library: a good list" "" debug=quarantine:1M,leaks,exitcode:0 \
		HAKMEM_DEBUG=quarantine:1M,leaks,exitcode:0
	environment "debug library: misspelt word" \
		'bad value "gard:1" for HAKMEM_DEBUG (did you mean "guard:NUMBER"?), using "poison"' \
		debug=poison HAKMEM_DEBUG=gard:1
	environment "debug library: misspelt word in a list" \
		'bad value "leeks" for HAKMEM_DEBUG (did you mean "leaks"?), using "poison"' \
		debug=poison HAKMEM_DEBUG=quarantine:1M,leeks,json
	# HAKMEM_DEBUG, the word of it that is not understood, and what is offered.
	while read -r list word nearest; do
		environment "debug library: $list" "$(printf '%s' "bad value \"$word\" for " \
			"HAKMEM_DEBUG (did you mean \"$nearest\"?), using \"poison\"")" \
			debug=poison HAKMEM_DEBUG="$list"
	done <<-LISTS
		guard:x guard:x guard:NUMBER
		guard: guard: guard:NUMBER
		guard guard guard:NUMBER
		guard:1:2 guard:1:2 guard:NUMBER
		json,guard:1x,leaks guard:1x guard:NUMBER
		quarantine:-1 quarantine:-1 quarantine:NUMBER
		quarantine:99999999999999999999 quarantine:99999999999999999999 quarantine:NUMBER
		quarantine_ms:1s quarantine_ms:1s quarantine_ms:NUMBER
		exitcode:x exitcode:x exitcode:0..255
		exitcode:256 exitcode:256 exitcode:0..255
		unwind:none unwind:none unwind:libunwind|fp|no
		unwind unwind unwind:libunwind|fp|no
		leaks:lots leaks:lots leaks:no|lost|all
		leak leak leaks
		leak:all leak:all leaks:no|lost|all
		json:1 json:1 json
		none:x none:x none
		log: log: log:TEXT
		suppressions suppressions suppressions:TEXT
		symbol:no symbol:no symbols:TEXT
	LISTS
	library=$testlib
fi
environment "production library: HAKMEM_DEBUG says nothing to it" "" stats=none \
	HAKMEM_DEBUG=gard:1

# Very long names and values: a message of one line, or several kilobytes, and no crash.
long=$(printf '%05000d' 0)
for assignment in "HAKMEM_$long=1" "HAKMEM_TINY_PROFILE=$long" "HAKMEM_STATS=$long" \
	"HAKMEM_SOFT_LIMIT=$long"; do
	status=0
	env "$assignment" LD_PRELOAD="$testlib" "$program" >"$work/out" 2>"$work/err" ||
		status=$?
	is "${assignment%%=*} of 5,000 characters at most: goes on" \
		"$status $(grep -c '^# end$' "$work/out")" "0 1"
done

# Under secure execution the environment of whoever calls is not ours to obey.
secure()
{
	if [ "$(id -u)" -ne 0 ]; then
		skip "secure execution" "only root can make such a program of another"
		return
	fi
	for tool in setpriv "${CC:-cc}"; do
		if ! command -v "${tool%% *}" >/dev/null; then
			skip "secure execution" "$tool is not installed"
			return
		fi
	done
	chmod 755 "$work"
	copy=$work/$(basename "$testlib")
	cp "$testlib" "$copy"
	chmod 644 "$copy"
	${CC:-cc} -std=gnu17 -O2 -I"$include" -I"$tests" -o "$work/abuse-secure" \
		"$tests/abuse-environment.c" -Wl,--no-as-needed "$copy" \
		-Wl,-rpath,"$work" -pthread -ldl
	# As a plain program the same binary obeys: what is ignored below could be read.
	HAKMEM_TINY_PROFILE=full "$work/abuse-secure" >"$work/out" 2>"$work/err"
	is "linked, not set-user-ID: the environment counts" \
		"$(grep '^tiny_profile' "$work/out")" "tiny_profile=full"
	chmod 4755 "$work/abuse-secure"
	status=0
	rm -f /tmp/hakmem-secure.$$
	setpriv --reuid=65534 --regid=65534 --clear-groups env HAKMEM_TINY_PROFILE=full \
		HAKMEM_TINY_PROFIL=full HAKMEM_LRU_SUPERSLABS=x HAKMEM_HARD_LIMIT=1 \
		HAKMEM_STATS="exit:/tmp/hakmem-secure.$$" \
		"$work/abuse-secure" >"$work/out" 2>"$work/err" || status=$?
	if ! grep -q '^secure=1$' "$work/out"; then
		skip "secure execution" "set-user-ID has no effect in $work"
		return
	fi
	is "set-user-ID: goes on" "$status" 0
	is "set-user-ID: no message" "$(cat "$work/err")" ""
	is "set-user-ID: options have their defaults" \
		"$(grep -E '^(tiny_profile|lru_superslabs|hard_limit|stats)=' \
			"$work/out" | sort)" \
		"$(printf '%s\n' hard_limit=0 lru_superslabs=2 stats=none \
			tiny_profile=conservative)"
	if [ -e /tmp/hakmem-secure.$$ ]; then
		fail "set-user-ID: no file is written where the caller says"
		rm -f /tmp/hakmem-secure.$$
	else
		pass "set-user-ID: no file is written where the caller says"
	fi
}
secure

finish
