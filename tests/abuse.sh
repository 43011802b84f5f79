#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Bad input, one crime a program: tests/abuse-*.c, and the environment.
#
# A program that announces its end ("expect hakmem: ...") must die by SIGABRT with exactly
# that line on standard error; the debug library may add the stack below it.  All others
# must come to their end with nothing on standard error; their TAP lines are passed on.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library

crime()
{
	name=$1
	label=$2
	library=$3
	program "$name"
	status=0
	{ LD_PRELOAD="$library" "$program" >"$work/out" 2>"$work/err"; } 2>/dev/null ||
		status=$?
	if grep -q '^not ok - malloc is' "$work/out"; then
		fail "$label: on the library"
		return
	fi
	expected=$(sed -n 's/^expect //p' "$work/out")
	grep -E '^(not ok|ok|#) ' "$work/out" |
		grep -v '^ok - malloc is' >"$work/tap" || :
	while read -r line; do
		case $line in
		'ok - '*) pass "$label: ${line#ok - }" ;;
		'not ok - '*) fail "$label: ${line#not ok - }" ;;
		*) echo "$line" ;;
		esac
	done <"$work/tap"
	if [ -n "$expected" ]; then
		got=$(head -n 1 "$work/err")
		is "$label: the message" "$got" "$expected"
		is "$label: ended by SIGABRT" "$status" 134
		[ "$library" != "$testlib" ] ||
			is "$label: one line on standard error" "$(wc -l <"$work/err")" 1
	else
		ok "$label: came to its end" grep -q '^# end$' "$work/out"
		failed=0
		! grep -q '^not ok' "$work/out" || failed=1
		is "$label: exit status" "$status" "$failed"
		is "$label: nothing on standard error" "$(cat "$work/err")" ""
	fi
}

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
	env "$@" LD_PRELOAD="$testlib" "$program" >"$work/out" 2>"$work/err" || status=$?
	pid=$(sed -n 's/^pid=//p' "$work/out")
	[ -z "$message" ] || message="hakmem: abuse-environment[$pid]: $message"
	is "$description: the program goes on" "$status" 0
	is "$description: the message" "$(cat "$work/err")" "$message"
	is "$description: the value" "$(grep "^${wanted%%=*}=" "$work/out")" "$wanted"
}

for source in "$tests"/abuse-*.c; do
	name=$(basename "$source" .c)
	[ "$name" != abuse-environment ] || continue
	crime "$name" "$name" "$testlib"
done

if [ -r "$testlib_debug" ]; then
	for source in "$tests"/abuse-*.c; do
		name=$(basename "$source" .c)
		[ "$name" != abuse-environment ] || continue
		crime "$name" "$name, debug library" "$testlib_debug"
	done
else
	skip "the crimes on the debug library" "no debug library at $testlib_debug"
fi

program abuse-environment
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
	purge_delay_ms=10 HAKMEM_PRUGE_DELAY_MS=1
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
	"bad value \"-1\" for HAKMEM_PURGE_DELAY_MS (want 0..3600000), using \"10\"" \
	purge_delay_ms=10 HAKMEM_PURGE_DELAY_MS=-1
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
	cp "$testlib" "$work/libhakmem.so.0"
	chmod 644 "$work/libhakmem.so.0"
	${CC:-cc} -std=gnu17 -O2 -I"$include" -I"$tests" -o "$work/abuse-secure" \
		"$tests/abuse-environment.c" -Wl,--no-as-needed "$work/libhakmem.so.0" \
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
