#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The library where memory is not overcommitted: vm.overcommit_memory=2.
#
# That is the whole machine's, so it is tried only where TEST_OVERCOMMIT=1 asks for it, for
# seconds, and in such a way that others do not notice: root's processes may have 100 TiB,
# others 64 GiB more than there are; what the program under test may have less is what it
# itself reserves (interpose-overcommit.c).

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
. "$tests/interpose.sh"
require_library

[ "${TEST_OVERCOMMIT:-0}" = 1 ] || skip_all "changes the machine: only with TEST_OVERCOMMIT=1"
[ "$(id -u)" -eq 0 ] || skip_all "only root may change how memory is overcommitted"
need setpriv
vm=/proc/sys/vm
[ "$(cat $vm/overcommit_memory)" != 2 ] || skip_all "memory is not overcommitted already"

# In the order in which they can be set back: kbytes, if it was not 0, takes ratio's place.
settings="overcommit_memory user_reserve_kbytes admin_reserve_kbytes overcommit_ratio
	overcommit_kbytes"
declare -A before
for name in $settings; do
	before[$name]=$(cat "$vm/$name")
done

restore()
{
	for name in $settings; do
		[ "$name${before[$name]}" = overcommit_kbytes0 ] ||
			echo "${before[$name]}" >"$vm/$name" || :
	done
}
at_exit=restore

committed=$(sed -n 's/^Committed_AS: *\([0-9]*\) kB/\1/p' /proc/meminfo)
all=$((100 << 30)) others=$((64 << 20)) room=$((1 << 20))
{
	echo "$all" >$vm/overcommit_kbytes &&
		echo $((all - committed - others)) >$vm/admin_reserve_kbytes &&
		echo "$all" >$vm/user_reserve_kbytes &&
		echo 2 >$vm/overcommit_memory
} 2>/dev/null || skip_all "the settings cannot be changed here"

# Whoever is not root may be able to read neither the build tree nor the scratch directory.
program interpose-overcommit
cp "$program" "$work/copied"
cat >"$work/unprivileged" <<-RUN
	#!/bin/sh
	exec setpriv --reuid=65534 --regid=65534 --clear-groups env \\
		LD_PRELOAD="\$copy" "$work/copied" "\$@"
RUN
chmod 755 "$work" "$work/copied" "$work/unprivileged"
library=
export copy

# try LIBRARY SUFFIX
try()
{
	copy=$work/$(basename "$1")
	cp -L "$1" "$copy"
	chmod 644 "$copy"
	run "overcommit$2" unprivileged $((others - room))
}

try "$testlib" ""
HAKMEM_RSEQ=0 try "$testlib" ", per thread"
[ ! -r "$testlib_debug" ] || try "$testlib_debug" ", debug library"

status=0
LD_PRELOAD="$testlib" sh -c 'echo "$(echo starts)"' >"$work/out" 2>&1 || status=$?
is "a shell and its children start" "$status $(cat "$work/out")" "0 starts"
restore
at_exit=:
is "the settings are as they were" "$(for name in $settings; do cat "$vm/$name"; done)" \
	"$(for name in $settings; do echo "${before[$name]}"; done)"

finish
