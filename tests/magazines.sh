# SPDX-License-Identifier: MIT
#
# Shared by preload-percpu.sh and preload-perthread.sh, after interpose.sh: the programs of
# tests/interpose-*.c that are about the magazines, in the form that HAKMEM_RSEQ asks for.

run_magazines()
{
	suffix=$1
	run "16 sleepers$suffix" interpose-sleepers 16 4 1024
	run "200 sleepers$suffix" interpose-sleepers 200 1 4096
	run "CPUs$suffix" interpose-cpus
	TEST_TIMEOUT=400 run "step$suffix" interpose-step
	run "signals$suffix" interpose-signals
	run "children$suffix" interpose-children
	run "exits$suffix" interpose-exits
	run "sparse$suffix" interpose-sparse
}
