#!/bin/sh
# SPDX-License-Identifier: MIT
#
# hakmem [--debug] [--stats] [-o FILE] [--] PROGRAM [ARG...]

installed=${HAKMEM_TESTLIB:+yes}
. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library
need perl

if [ "$installed" ]; then
	need hakmem
	hakmem=$(command -v hakmem)
else
	hakmem=$abs_top_builddir/hakmem
fi
[ -x "$hakmem" ] || bail_out "no command at $hakmem"

# What a library outside the loader's own directories needs to be found by its bare name.
case $(dirname "$testlib") in
/lib* | /usr/lib*) ;;
*)
	LD_LIBRARY_PATH=$(dirname "$testlib")
	export LD_LIBRARY_PATH
	;;
esac

cd "$work"

# run ARG...: runs the command; sets $status, fills the files out and err.
run()
{
	status=0
	"$hakmem" "$@" >out 2>err </dev/null || status=$?
}

lines()
{
	wc -l <"$1" | tr -d ' '
}

# A usage error: status 2, nothing on stdout, the way to --help on stderr.
misuse()
{
	description=$1
	shift
	run "$@"
	is "$description: exit status" "$status" 2
	ok "$description: said on stderr only" sh -c '! test -s out && grep -q -e --help err'
}

run --version
is "--version: exit status" "$status" 0
ok "--version: name and version" grep -q -x 'hakmem [0-9]*\.[0-9]*\.[0-9]*' out
run --help
is "--help: exit status" "$status" 0
for word in --debug --stats '-o FILE' doctor 125 126 127; do
	ok "--help: tells of $word" grep -q -F -e "$word" out
done

misuse "no program"
misuse "no program after --" --
misuse "unknown option" --no-such-option true
misuse "unknown letter" -x true
misuse "-o without FILE" --stats -o
misuse "-o without --stats" -o file true
misuse "-o with an empty name" --stats -o '' true
ok "a refused -o leaves no file" test ! -e file

# LD_PRELOAD, as the program finds it.
preload()
{
	run "$@" sh -c 'echo "$LD_PRELOAD"'
	cat out
}

unset LD_PRELOAD
is "LD_PRELOAD is the bare SONAME" "$(preload)" libhakmem.so.0
LD_PRELOAD=libm.so.6
export LD_PRELOAD
is "LD_PRELOAD: what was there comes after" "$(preload)" libhakmem.so.0:libm.so.6
LD_PRELOAD="libm.so.6 libhakmem.so.0:/x/libhakmem_debug.so.0 libdl.so.2"
is "LD_PRELOAD: no other libhakmem stays" "$(preload 2>/dev/null)" \
	libhakmem.so.0:libm.so.6:libdl.so.2
unset LD_PRELOAD

# The program itself.
run cat /proc/self/maps
is "a program runs: exit status" "$status" 0
ok "a program runs: the library is mapped" grep -q -F "$(readlink -f "$testlib")" out
is "a program runs: nothing is said" "$(lines err)" 0
run sh -c 'exit 42'
is "the program's exit status is passed on" "$status" 42
run sh -c 'kill -TERM $$'
is "so is its signal" "$status" 143
run printf '<%s>' 'a b' '' '*' -- --stats
is "arguments are passed as they are" "$(cat out)" '<a b><><*><--><--stats>'
run -- sh -c 'echo "$0"'
is "-- ends the options" "$(cat out)" sh
is "standard input is the program's" "$(echo through | "$hakmem" cat)" through
run sh -c 'echo "${HAKMEM_STATS-none}"'
is "without --stats there is no HAKMEM_STATS" "$(cat out)" none

# --stats and -o.  Not every program will do: some shells end by _exit(2), and coreutils
# close standard error on their way out.
run --stats perl -e 'print $ENV{HAKMEM_STATS}, "\n"'
is "--stats sets HAKMEM_STATS" "$(cat out)" exit
ok "--stats: the counters are on stderr" grep -q blocks_live err
run --stats -o figures env -C / env
ok "-o: the name is made absolute" grep -q -F -x "HAKMEM_STATS=exit:$(pwd -P)/figures" out
ok "-o: the counters are in the file" grep -q blocks_live figures
is "-o: nothing on stderr" "$(lines err)" 0
run --stats -o "$work/figures" true
is "-o: a second run appends" "$(grep -c blocks_live figures)" 2
run --stats -o 'of-%p' sh -c 'echo $$; exec true'
ok "-o: %p is the process ID" grep -q blocks_live "of-$(cat out)"
is "-o: no file is named %p" "$(ls of-%p 2>/dev/null || :)" ""
for name in none/figures none/%p; do
	run --stats -o "$name" touch was-run
	is "-o $name, no such directory: exit status" "$status" 125
	ok "-o $name, no such directory: said" grep -q 'none/.*: No such file' err
done
ok "no such directory: the program is not run" test ! -e was-run

# What cannot be run.
run ./nowhere
is "no such file: exit status" "$status" 127
is "no such file: one line" "$(cat err)" "hakmem: ./nowhere: No such file or directory"
path=$PATH
# No directory that may not be searched: that would be another error, as for execvp(3).
PATH=/usr/bin:/bin
run no-such-program-in-path
PATH=$path
is "not in PATH: exit status" "$status" 127
mkdir directory
run ./directory
is "a directory: exit status" "$status" 126
echo 'echo script "$1"' >script
run ./script
is "not executable: exit status" "$status" 126
is "not executable: one line" "$(cat err)" "hakmem: ./script: Permission denied"
chmod +x script
run ./script argument
is "a script without #! is the shell's" "$(cat out)" "script argument"

# What can be run, but not on the library.
echo 'int puts(const char *); int main(void) { return puts("static") < 0; }' >static.c
if ${CC:-cc} -static -o static static.c 2>cc.log; then
	run ./static
	is "a static program is run" "$status $(cat out)" "0 static"
	is "a static program: one line of warning" "$(lines err)" 1
	ok "a static program: it says so" \
		grep -q '^hakmem: warning: interposition will not take in ./static: .*static' err
else
	skip "a static program" "no static libc, or no compiler"
fi
if [ "$(id -u)" = 0 ] && id nobody >/dev/null 2>&1; then
	cp "$(command -v id)" id-as-nobody
	chown nobody id-as-nobody
	chmod 4755 id-as-nobody
	run ./id-as-nobody
	if grep -q euid out; then
		is "a set-user-ID program is run" "$status" 0
		ok "a set-user-ID program: it says so" \
			grep -q '^hakmem: warning: .*: set-user-ID nobody: secure execution' err
	else
		skip "a set-user-ID program" "set-user-ID is not honoured here"
	fi
else
	skip "a set-user-ID program" "not root"
fi

# The library is not to be found: so says the program's loader, which is a script here,
# since the real one may well find an installed library.
cat >loader <<'END'
#!/bin/sh
printf '\tlinux-vdso.so.1 (0x00007ffd0cafe000)\n\tlibc.so.6 => /nowhere/libc.so.6 (0x00007f0000000000)\n'
END
chmod 755 loader
if ${CC:-cc} -Wl,--dynamic-linker="$work/loader" -o lost static.c 2>cc.log; then
	run ./lost
	is "no library: exit status" "$status" 125
	is "no library: one line" "$(cat err)" \
		"hakmem: libhakmem.so.0: not where the loader of ./lost looks (is it installed?)"
	is "no library: the program is not run" "$(cat out)" ""
else
	skip "no library" "no compiler"
fi

# --debug.
if [ -r "$testlib_debug" ] && [ "$(dirname "$testlib_debug")" = "$(dirname "$testlib")" ]; then
	is "--debug: the debug library's SONAME" "$(preload --debug)" libhakmem_debug.so.0
	LD_PRELOAD=libhakmem.so.0
	export LD_PRELOAD
	is "--debug: no production library behind it" "$(preload --debug)" libhakmem_debug.so.0
	unset LD_PRELOAD
	run --debug cat /proc/self/maps
	ok "--debug: the debug library is mapped" \
		grep -q -F "$(readlink -f "$testlib_debug")" out
	ok "--debug: the production library is not" \
		sh -c '! grep -q -F "$1" out' sh "$(readlink -f "$testlib")"
	run --debug --stats perl -e 1
	ok "--debug --stats: the counters are on stderr" grep -q blocks_live err
else
	skip "--debug" "no debug library"
fi

finish
