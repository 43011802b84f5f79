#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What the debug library must have nothing to say about: the programs of tests/innocent-*, and
# some of everybody's.  Each must come to its end, with its own exit status, and standard error
# must be empty.
#
# TEST_CRIMES: a pattern; only the programs with such names.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library
[ -r "$testlib_debug" ] || skip_all "no debug library at $testlib_debug"
. "$tests/crimes.sh"
library=$testlib_debug

# innocents WORDS: all of them, with these in HAKMEM_DEBUG.
innocents()
{
	for source in "$tests"/innocent-*.c "$tests"/innocent-*.cc; do
		name=$(basename "${source%.*}")
		can_be_made "$source" "$name" || continue
		crime_program "$name"
		"$program" >"$work/crimes"
		while read -r _ which words; do
			crime "$1: $name $which" "$library" "$1${words:+,$words}" \
				"$name" "$which"
		done <"$work/crimes"
	done
}

innocents leaks,exitcode:23
innocents leaks,exitcode:23,guard:10
innocents quarantine:0,unwind:fp,leaks,exitcode:23
innocents quarantine:64K,quarantine_ms:20,unwind:no

# innocent WORDS PROGRAM ARGUMENT...: the output is that without the library.
innocent()
{
	words=$1
	shift
	command -v "$1" >/dev/null 2>&1 || {
		skip "$words: $1" "it is not installed"
		return
	}
	case $1 in
	*${TEST_CRIMES:-}*) ;;
	*) return ;;
	esac
	"$@" >"$work/plain" 2>&1 </dev/null
	status=0
	timeout 120 env HAKMEM_DEBUG="$words" LD_PRELOAD="$library" "$@" >"$work/out" \
		2>"$work/err" </dev/null || status=$?
	is "$words: $1: exit status" "$status" 0
	same "$words: $1: the same output" "$work/out" "$work/plain"
	is "$words: $1: nothing on standard error" "$(cat "$work/err")" ""
}

# Programs that leave their memory to the kernel at the end: not with leaks.
for words in exitcode:23 guard:50,exitcode:23; do
	innocent "$words" ls -lR "$abs_top_srcdir/lib"
	innocent "$words" sort "$tests"/abuse-*.c
	innocent "$words" awk '{ n[$1]++ } END { for (w in n) s += n[w]; print s }' \
		"$abs_top_srcdir/README"
	# shellcheck disable=SC2016 # of the shell that is tried
	innocent "$words" bash -c 'a=(); for i in {1..2000}; do a+=("x$i"); done; echo ${#a[@]}'
	innocent "$words" perl -e '%h = map { $_ => [1 .. 10] } 1 .. 2000; print scalar(keys %h)'
	innocent "$words" grep -rn 'hk_' "$abs_top_srcdir/lib" --include=text.c
	innocent "$words" xz --stdout --keep "$abs_top_srcdir/README"
done

innocent leaks,exitcode:23 sqlite3 :memory: '
	CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, weight INTEGER, note BLOB);
	WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
		INSERT INTO item SELECT i, printf("item %d", i * 7919 % 100003),
			i * 31 % 1009, zeroblob(i % 50) FROM n;
	CREATE INDEX by_name ON item (name);
	UPDATE item SET name = name || " changed" WHERE weight BETWEEN 100 AND 200;
	DELETE FROM item WHERE id % 3 = 0;
	SELECT weight, count(*), group_concat(id % 10, "") FROM item WHERE weight < 20
		GROUP BY weight;
	PRAGMA integrity_check;'

# Wrappers of version managers are shell scripts; the interpreter itself is wanted.
python=$(python3 -c 'import sys; print(sys.executable)' 2>/dev/null || echo python3)
export PYTHONMALLOC=malloc PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
for words in exitcode:23 guard:100,exitcode:23; do
	innocent "$words" "$python" -c '
import collections, json, re, threading
data = {str(i): list(range(i % 30)) for i in range(3000)}
assert json.loads(json.dumps(data)) == data
words = collections.Counter(re.findall(r"[a-z]+", "the quick brown fox " * 500))
results = []
threads = [threading.Thread(target=lambda: results.append(sorted(data))) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
try:
    raise ValueError("x" * 1000)
except ValueError as error:
    print(len(str(error)), words["fox"], len(results))'
done

finish
