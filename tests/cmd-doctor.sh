#!/bin/sh
# SPDX-License-Identifier: MIT
#
# hakmem doctor PROGRAM | PID, on programs that are made here to be what it should find.

installed=${HAKMEM_TESTLIB:+yes}
. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library
CC=${CC:-cc}
need "${CC%% *}"

if [ "$installed" ]; then
	need hakmem
	hakmem=$(command -v hakmem)
else
	hakmem=$abs_top_builddir/hakmem
fi
[ -x "$hakmem" ] || bail_out "no command at $hakmem"

case $(dirname "$testlib") in
/lib* | /usr/lib*) ;;
*)
	LD_LIBRARY_PATH=$(dirname "$testlib")
	export LD_LIBRARY_PATH
	;;
esac
unset PYTHONMALLOC

cd "$work"
chmod 755 .
pids=
at_exit='for pid in $pids; do kill "$pid" || :; done 2>/dev/null'

# says WHAT STATUS ARG... [-- REGEX...]: the exit status, the form of the output,
# the verdict as its last line, and a line for each regular expression.
says()
{
	what=$1 wanted=$2 status=0
	shift 2
	arguments=
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		arguments="$arguments $1"
		shift
	done
	[ $# -eq 0 ] || shift
	# shellcheck disable=SC2086 # no argument here has a blank
	"$hakmem" doctor $arguments >out 2>err || status=$?
	is "$what: exit status" "$status" "$wanted"
	is "$what: nothing on stderr" "$(cat err)" ""
	is "$what: every line has its three columns" \
		"$(grep -v -E '^(ok  |note|no  )  [a-z3]+ +[^ ]' out || :)" ""
	case $status in
	0) verdict='ok    verdict      interposition (will take|has taken)' ;;
	*) verdict='no    verdict      interposition (will not take|has not taken)' ;;
	esac
	ok "$what: the verdict is last" sh -c 'tail -n 1 out | grep -q -E -x "$1"' \
		sh "$verdict"
	for regex do
		ok "$what: $regex" grep -q -E -e "$regex" out
	done
	[ "$failures" = "${seen:-0}" ] || comment_file out
	seen=$failures
}

compile()
{
	$CC -O1 "$@" >cc.log 2>&1
}

# start COMMAND...: in the background; sets $pid once it has become the command.
start()
{
	"$@" &
	pid=$!
	pids="$pids $pid"
	tries=0
	until [ "$(tr '\0' '\n' <"/proc/$pid/cmdline" | tail -n 1)" = "stay" ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 100 ] || bail_out "$* does not start"
		sleep 0.05
	done
	# It says so itself, since its loader has its work to do before.
	until [ -e ready ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 200 ] || bail_out "$* does not get to main()"
		sleep 0.05
	done
	rm -f ready
}

cat >plain.c <<'END'
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	free(malloc(argc * 10));
	if (argc > 1) {
		close(open("ready", O_CREAT | O_WRONLY, 0666));
		pause();
	}
	return 0;
}
END
cat >other.c <<'END'
#include <stddef.h>
#include <string.h>
static char memory[1 << 24];
static size_t used;
void *malloc(size_t n)
{
	size_t *block = (size_t *)(memory + used);
	used += (n + 31) & ~(size_t)15;
	*block = n;
	return block + 2;
}
void free(void *p) { (void)p; }
void *calloc(size_t n, size_t m) { return malloc(n * m); }
void *realloc(void *p, size_t n)
{
	void *q = malloc(n);
	if (p)
		memcpy(q, p, ((size_t *)p)[-2] < n ? ((size_t *)p)[-2] : n);
	return q;
}
END
compile -o plain plain.c || bail_out "the compiler does not work: $(cat cc.log)"
compile -shared -fPIC -Wl,-soname,libother.so.1 -o libother.so.1 other.c ||
	bail_out "the compiler does not work: $(cat cc.log)"

for arguments in "" "a b" --no-such-option; do
	status=0
	# shellcheck disable=SC2086 # none, two, one
	"$hakmem" doctor $arguments >out 2>err || status=$?
	is "doctor '$arguments': exit status" "$status" 2
	ok "doctor '$arguments': said on stderr only" \
		sh -c '! test -s out && grep -q "hakmem doctor --help" err'
done
ok "doctor --help" "$hakmem" doctor --help

# ---- A program ----------------------------------------------------------------------

says "a plain program" 0 ./plain -- '^ok    program .*/plain$' '^ok    privileges  ' \
	'^ok    linkage .* dynamic, by /' '^ok    malloc  '
is "a plain program: the library is the one that the loader takes" \
	"$(sed -n 's/^ok    library  *\([^,]*\).*/\1/p' out | xargs readlink -f)" \
	"$(readlink -f "$testlib")"
# A library that states its version in a note states the right one.
if readelf -n "$testlib" 2>/dev/null | grep -q '^ *hakmem  '; then
	printf '%s\n' '#include <hakmem.h>' '#include <stdio.h>' \
		'int main(void) { return puts(hakmem_version()) < 0; }' >version.c
	compile -I"$include" -o version version.c "$testlib" || bail_out "$(cat cc.log)"
	is "a plain program: the library's version" \
		"$(sed -n 's/^ok    library .*, version //p' out)" "$(./version)"
else
	skip "a plain program: the library's version" "the library has no note of it"
fi
says "found through PATH" 0 sh -- "^ok    program  .*$(command -v sh)"
says "not found in PATH" 1 no-such-program -- '^no    program  .*: not found in PATH$'
says "no such file" 1 ./no-such-file -- '^no    program  .*: not found$'
: >file
says "not executable" 1 ./file -- '^no    program  .*: not executable$'
says "a directory" 1 ./ -- '^no    program  .*: is a directory$'
head -c 300 /dev/zero >zeros
chmod +x zeros
says "neither ELF nor script" 1 ./zeros -- '^no    program  .*neither an ELF file nor'
head -c 100 plain >torn
chmod +x torn
says "a torn ELF file" 1 ./torn -- '^no    linkage '

printf '#!%s -x\n' "$work/plain" >script
printf '#!/usr/bin/env plain\n' >by-env
printf '#!/usr/bin/env -S -i plain\n' >by-env-i
printf '#!%s\n' "$work/loop" >loop
echo echo >text
printf '#!%s\n' "$work/no-such-interpreter" >orphan
chmod +x script by-env by-env-i loop text orphan
says "a script" 0 ./script -- '^ok    script  .*run by .*/plain$' '^ok    program  .*/plain$'
(
	PATH=$work:$PATH
	says "a script by env" 0 ./by-env -- 'run by .*env plain$' '^ok    program  .*/plain$'
	echo "$count $failures" >counts
)
read -r count failures <counts
says "a script by env -i" 1 ./by-env-i -- '^no    script .*env -i'
says "a script of itself" 1 ./loop -- '^no    script .*too many interpreters'
says "a script without #!" 0 ./text -- 'run by /bin/sh$'
says "a script of nothing" 1 ./orphan -- '^no    program .*no-such-interpreter: not found$'

for kind in static static-pie; do
	if compile "-$kind" -o "$kind" plain.c && [ -x "$kind" ]; then
		says "$kind" 1 "./$kind" -- '^no    linkage .*static'
	else
		skip "$kind" "no libc for -$kind"
	fi
done
if compile -Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1 -o musl plain.c; then
	says "musl" 1 ./musl -- '^no    linkage .*musl'
else
	skip "musl" "the linker takes no --dynamic-linker"
fi
if compile -Wl,--dynamic-linker=/nonexistent/ld.so -o no-loader plain.c; then
	says "no such loader" 1 ./no-loader -- '^no    library .*/nonexistent/ld.so is missing'
else
	skip "no such loader" "the linker takes no --dynamic-linker"
fi
cp plain foreign
# e_machine, at offset 18: EM_SPARCV9, which glibc has left behind.
printf '\053\000' | dd of=foreign bs=1 seek=18 conv=notrunc 2>/dev/null
says "another architecture" 1 ./foreign -- "^no    linkage .*machine 43: not this machine's"

compile -rdynamic -o exports plain.c other.c || bail_out "own malloc: $(cat cc.log)"
says "exports its own malloc" 1 ./exports -- '^no    malloc  .*exports its own'
if compile -fvisibility=hidden -o hides plain.c other.c; then
	says "hides its own malloc" 1 ./hides -- '^no    malloc  .*has its own'
else
	skip "hides its own malloc" "does not link"
fi
compile -o links plain.c -L. -Wl,--no-as-needed -l:libother.so.1 -Wl,-rpath,"$work" ||
	bail_out "linking another allocator: $(cat cc.log)"
says "links another allocator" 0 ./links -- '^note  malloc  .*libother.so.1.*wins$'
if compile -fsanitize=address -o asan plain.c && ldd asan | grep -q libasan; then
	says "AddressSanitizer" 1 ./asan -- '^no    malloc  .*libasan'
else
	skip "AddressSanitizer" "no shared runtime of it"
fi
if compile -o linked plain.c -L"$(dirname "$testlib")" -Wl,--no-as-needed \
	-l:libhakmem.so.0; then
	says "links the library" 0 ./linked -- '^ok    linkage .*links libhakmem itself'
else
	skip "links the library" "does not link: $(head -n 1 cc.log)"
fi
archive=$(dirname "$testlib")/libhakmem.a
sed 's/argc \* 10/hakmem_version()[0]/' plain.c >contains.c
if [ -r "$archive" ] && compile -static -include "$include/hakmem.h" -o contains contains.c \
	"$archive" -pthread; then
	says "holds the library, statically" 0 ./contains -- \
		'^ok    linkage .*libhakmem.*linked in statically$'
	contains=yes
else
	skip "holds the library, statically" "no libhakmem.a, or no static libc"
	contains=
fi
mkdir -p bin
cp plain bin/python3.0
says "python3" 0 bin/python3.0 -- '^note  python3 .*PYTHONMALLOC=malloc$'
PYTHONMALLOC=malloc "$hakmem" doctor bin/python3.0 >out
ok "python3 with PYTHONMALLOC=malloc: no note" sh -c '! grep -q PYTHONMALLOC out'

if [ "$(id -u)" = 0 ] && id nobody >/dev/null 2>&1; then
	cp plain as-nobody
	cp plain as-root
	cp plain group
	chown nobody as-nobody
	chgrp "$(id -g nobody)" group
	chmod 4755 as-nobody as-root
	chmod 2755 group
	case $(findmnt -n -o OPTIONS -T . 2>/dev/null) in
	*nosuid*)
		skip "set-user-ID, set-group-ID" "nosuid mount"
		;;
	*)
		says "set-user-ID" 1 ./as-nobody -- '^no    privileges .*set-user-ID nobody'
		says "set-group-ID" 1 ./group -- '^no    privileges .*set-group-ID '
		says "set-user-ID of the caller" 0 ./as-root -- \
			'^note  privileges .*set-user-ID .*not for you, root$'
		;;
	esac
	chmod 2745 group
	says "the bit of mandatory locking" 0 ./group -- '^ok    privileges '
	cp plain capable
	if command -v setcap >/dev/null && command -v setpriv >/dev/null &&
		setcap cap_net_raw+ep capable 2>/dev/null; then
		says "file capabilities, as root" 0 ./capable -- \
			'^note  privileges .*file capabilities for others'
		status=0
		setpriv --reuid nobody --regid nogroup --clear-groups \
			"$hakmem" doctor ./capable >out 2>err || status=$?
		is "file capabilities, as nobody: exit status" "$status" 1
		ok "file capabilities, as nobody: said" \
			grep -q '^no    privileges .*file capabilities: secure' out
		ok "no_new_privs: takes" setpriv --no-new-privs "$hakmem" doctor ./as-nobody
	else
		skip "file capabilities" "setcap or setpriv does not work here"
	fi
else
	skip "set-user-ID, set-group-ID, file capabilities" "not root"
fi

# The loader finds something else under that name, or nothing.
mkdir -p fake
compile -shared -fPIC -Wl,-soname,libhakmem.so.0 -o fake/libhakmem.so.0 other.c ||
	bail_out "$(cat cc.log)"
(
	LD_LIBRARY_PATH=$work/fake
	export LD_LIBRARY_PATH
	says "a stranger of that name" 1 ./plain -- '^no    library .*fake.*: not a libhakmem$'
	echo "$count $failures" >counts
)
read -r count failures <counts
cat >>other.c <<'END'
#ifdef VERSION
int hakmem_ctl(int op, void *arg, size_t size) { return op && arg && size; }
static const struct {
	unsigned name_size, size, type;
	char name[8], text[8];
} note __attribute__((section(".note.hakmem"), aligned(4), used)) = {
	7, sizeof(VERSION), 1, "hakmem", VERSION
};
#endif
END
compile -shared -fPIC -DVERSION='"9.8.7"' -Wl,-soname,libhakmem.so.0 \
	-o fake/libhakmem.so.0 other.c || bail_out "$(cat cc.log)"
(
	LD_LIBRARY_PATH=$work/fake
	export LD_LIBRARY_PATH
	says "the version is read from the file" 0 ./plain -- '^ok    library .*, version 9.8.7$'
	echo "$count $failures" >counts
)
read -r count failures <counts
if [ -r "$testlib_debug" ]; then
	says "the debug library" 0 --debug ./plain -- '^ok    library .*libhakmem_debug\.so\.0'
else
	skip "the debug library" "there is none"
fi

# ---- A process ----------------------------------------------------------------------

start env LD_PRELOAD="$testlib" ./plain stay
says "a process on the library" 0 "$pid" -- "^ok    process  .*$pid, .*/plain$" \
	"^ok    library  .*$(basename "$(readlink -f "$testlib")")$" \
	'^(ok    malloc  .*served by the library|note  malloc  .*mappings alone)$'
start ./plain stay
says "a process without" 1 "$pid" -- '^no    library .*not in the process' \
	'^no    reason .*LD_PRELOAD did not name it'
start env LD_PRELOAD="$work/nowhere/libhakmem.so.0" ./plain stay 2>/dev/null
says "a process whose loader did not find it" 1 "$pid" -- '^no    reason .*did not find it'
start env LD_PRELOAD="$testlib" ./exports stay
says "a process with its own malloc" 1 "$pid" -- '^no    malloc  '
start env LD_PRELOAD="$work/libother.so.1:$testlib" ./plain stay
if [ -r "/proc/$pid/mem" ] && dd if="/proc/$pid/mem" bs=1 count=0 2>/dev/null; then
	says "another preload came first" 1 "$pid" -- '^no    malloc  .*libother.so.1$'
else
	skip "another preload came first" "the memory of a process is not readable here"
fi
cp fake/libhakmem.so.0 fake/copy
start env LD_PRELOAD="$work/fake/libhakmem.so.0" ./plain stay
says "the version in a process" 0 "$pid" -- '^ok    version .* 9\.8\.7$'
mv fake/copy fake/libhakmem.so.0
says "the file was replaced" 0 "$pid" -- '^note  library .*replaced or removed'
if [ -x static ]; then
	start env LD_PRELOAD="$testlib" ./static stay
	says "a static process" 1 "$pid" -- '^no    reason .*static'
fi
if [ "$contains" ]; then
	start ./contains stay
	says "a process that holds the library" 0 "$pid" -- '^ok    library .*statically'
fi
if [ "$(id -u)" = 0 ] && [ -x as-nobody ] && command -v setpriv >/dev/null; then
	chmod 777 .
	start env LD_PRELOAD=libhakmem.so.0 ./as-nobody stay 2>/dev/null
	says "a process under secure execution" 1 "$pid" -- '^no    reason .*secure execution'
	start ./plain stay
	status=0
	setpriv --reuid nobody --regid nogroup --clear-groups \
		"$hakmem" doctor "$pid" >out 2>err || status=$?
	is "another user's process: exit status" "$status" 1
	ok "another user's process: said" grep -q '^no    process .*Permission denied' out
else
	skip "secure execution, another user's process" "not root"
fi
kill "$pid"
wait "$pid" 2>/dev/null || :
says "no such process" 1 "$pid" -- '^no    process .*: no such process$'

finish
