#!/bin/bash
# SPDX-License-Identifier: MIT
#
# perl: hashes, regular expressions, sorting, string building, forked children.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library
need perl

cat >"$work/program.pl" <<'PROGRAM'
use strict;
use warnings;

if (my $proof = $ENV{PROOF}) {
	open(my $maps, '<', '/proc/self/maps') or die;
	open(my $out, '>', $proof) or die;
	print $out grep { /libhakmem/ } <$maps>;
}
my (%count, @words, $seed);
$seed = 12345;
sub draw { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed >> 8; }
for my $i (1 .. 150000) {
	my $word = join('', map { chr(97 + draw() % 7) } 1 .. 1 + draw() % 6);
	$count{$word}++;
	push @words, $word if $i % 10 == 0;
}
my $text = join(' ', @words);
(my $upper = $text) =~ s/\b([a-c]+)\b/\U$1/g;
print length($text), ' ', length($upper), ' ', scalar(() = $upper =~ /[A-C]+/g), "\n";
my @order = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
print "$_ $count{$_}\n" for @order[0 .. 200];
my @tree;
sub grow {
	my $depth = shift;
	return [ 1 .. 3 ] unless $depth;
	return { l => grow($depth - 1), r => grow($depth - 1), s => 'x' x $depth };
}
sub weigh {
	my $t = shift;
	return scalar @$t if ref $t eq 'ARRAY';
	return length($t->{s}) + weigh($t->{l}) + weigh($t->{r});
}
push @tree, grow(10) for 1 .. 10;
print weigh($_), "\n" for @tree;
$| = 1;
for my $child (1 .. 5) {
	my $pid = fork();
	die unless defined $pid;
	if (!$pid) {
		print "child $child: ", weigh(grow(8)), "\n";
		exit 0;
	}
	waitpid($pid, 0);
	print "status $?\n";
}
PROGRAM

perl "$work/program.pl" >"$work/plain"
status=0
PROOF=$work/proof under perl "$work/program.pl" >"$work/under" 2>"$work/err" || status=$?
loaded "perl and its five children were on the library" 6
ok "perl found it in its own maps" grep -q "$(readlink -f "$testlib")" "$work/proof"
is "exit status" "$status" 0
same "the output is the same" "$work/under" "$work/plain"
is "nothing on standard error" "$(cat "$work/err")" ""

finish
