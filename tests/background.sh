# SPDX-License-Identifier: MIT
#
# Shared by preload-background-percpu.sh and -perthread.sh, after interpose.sh:
# HAKMEM_BACKGROUND in the form of the magazines that HAKMEM_RSEQ asks for.

constructor()
{
	constructor=$work/constructor.so
	${CC:-cc} -std=gnu17 -O2 -shared -fPIC -o "$constructor" "$tests/constructor.c" \
		>"$work/cc.log" 2>&1
}

run_background()
{
	suffix=$1
	export HAKMEM_BACKGROUND=0
	run "without$suffix" interpose-background without
	run "at run time$suffix" interpose-background set
	export HAKMEM_BACKGROUND=1
	run "idle$suffix" interpose-background idle
	export HAKMEM_PURGE_DELAY_MS=4000
	run "late purge$suffix" interpose-background late
	unset HAKMEM_PURGE_DELAY_MS
	run "signals$suffix" interpose-background signals
	run "fork, exec$suffix" interpose-background fork
	run "exit$suffix" interpose-background exit
	run "constructor$suffix" interpose-constructor
	run "threads$suffix" interpose-threads
	run "fork of threads$suffix" interpose-fork
	if ! constructor; then
		skip "constructors$suffix" "no compiler to make a shared object"
		return
	fi
	# The loader takes the last first.
	for order in "$testlib $constructor" "$constructor $testlib"; do
		library=$order
		run "constructors$suffix" interpose-background constructors
	done
	export NO_THREADS=1
	run "refused$suffix" interpose-background refused
	unset NO_THREADS
	library=$testlib
}
