#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The protocol of lib/sets.c as Promela models (README, here): each holds in every state
# that it can reach, and each fails when a part of the protocol is left out.

abs_top_srcdir=${abs_top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$abs_top_srcdir/tests/tap.sh"
CC=${CC:-cc}
need spin "${CC%% *}"

# verifier MODEL VARIANT FLAGS...: builds $work/VARIANT/pan from the model.
verifier()
{
	model=$1
	variant=$2
	shift 2
	mkdir "$work/$variant"
	(
		cd "$work/$variant"
		cp "$tests/model/$model.pml" .
		case $variant in
		*:*) spin -a "-D${variant#*:}" "$model.pml" ;;
		*) spin -a "$model.pml" ;;
		esac
		$CC -w -O2 -DSAFETY -DMEMLIM=2048 "$@" -o pan pan.c
	) >"$work/$variant.log" 2>&1
}

# Every state, depth first; the search is refused where it would have to leave some out.
holds()
{
	if ! verifier "$1" "$1"; then
		fail "$1: no verifier"
		comment_file "$work/$1.log"
		return
	fi
	(cd "$work/$1" && ./pan -b -m5000000) >"$work/$1.log" 2>&1 || :
	if grep -q 'errors: 0$' "$work/$1.log" &&
		! grep -q -i -e 'not completed' -e 'depth too small' "$work/$1.log"; then
		pass "$1: no error in any state"
		comment "$(sed -n 's/^ *\([0-9]* states\), stored.*/\1/p' "$work/$1.log")"
	else
		fail "$1: no error in any state"
		comment_file "$work/$1.log"
	fi
	# What no run reaches is not verified.  All processes run for ever.
	is "$1: every statement is reached" \
		"$(sed -n -e '/^unreached in/s/ .*//p' -e '/, state .*"-end-"/d' \
			-e '/, state /p' "$work/$1.log" | sort -u)" "unreached"
}

# Breadth first: the trail is a shortest one.
fails()
{
	if ! verifier "$1" "$1:$2" -DBFS; then
		fail "$1 with $2: no verifier"
		comment_file "$work/$1:$2.log"
		return
	fi
	(cd "$work/$1:$2" && ./pan) >"$work/$1:$2.log" 2>&1 || :
	if grep -q 'assertion violated' "$work/$1:$2.log" &&
		[ -s "$work/$1:$2/$1.pml.trail" ]; then
		pass "$1 with $2: found out, $3"
		comment "$(sed -n 's/^pan:1: //p' "$work/$1:$2.log")"
	else
		fail "$1 with $2: is to be found out, $3"
		comment_file "$work/$1:$2.log"
	fi
}

holds percpu
fails percpu NO_FENCE "a sequence commits to a drained magazine"
fails percpu FENCE_FIRST "a sequence that began behind the fence has the old distance"
fails percpu LOAD_EARLY "a restart does not forget the old distance"
holds perthread
fails perthread NO_FENCE "the mark and the store of inside pass each other"
fails perthread FENCE_FIRST "the owner enters behind the fence and sees no mark"
fails perthread NO_HANDSHAKE "the owner is inside"

finish
