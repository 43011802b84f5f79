#!/bin/bash
# SPDX-License-Identifier: MIT
#
# sqlite3: a table of 100,000 rows, indices, updates, joins, a vacuum, an integrity check.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library
need sqlite3

cat >"$work/program.sql" <<'PROGRAM'
PRAGMA journal_mode = MEMORY;
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, weight INTEGER, note BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
	INSERT INTO item SELECT i, printf('item %d of %d', i * 7919 % 100003, i % 97),
		i * 31 % 1009, zeroblob(i % 50) FROM n;
CREATE INDEX by_name ON item (name);
CREATE INDEX by_weight ON item (weight, name);
SELECT count(*), sum(weight), min(name), max(name) FROM item;
SELECT weight, count(*), group_concat(id % 10, '') FROM item WHERE weight < 20
	GROUP BY weight;
UPDATE item SET name = name || ' changed' WHERE weight BETWEEN 100 AND 200;
DELETE FROM item WHERE id % 3 = 0;
SELECT a.weight, count(*) FROM item a JOIN item b ON a.weight = b.weight AND a.id < b.id
	WHERE a.weight < 30 GROUP BY a.weight ORDER BY 2 DESC, 1;
SELECT name FROM item WHERE name LIKE '%9999%' ORDER BY name LIMIT 50;
VACUUM;
PRAGMA integrity_check;
SELECT count(*), total(length(note)), count(DISTINCT name) FROM item;
PROGRAM

sqlite3 "$work/plain.db" <"$work/program.sql" >"$work/plain"
status=0
under sqlite3 "$work/under.db" <"$work/program.sql" >"$work/under" 2>"$work/err" ||
	status=$?
loaded "sqlite3 was on the library"
is "exit status" "$status" 0
same "the output is the same" "$work/under" "$work/plain"
is "nothing on standard error" "$(cat "$work/err")" ""
same "the database is the same, byte by byte" "$work/under.db" "$work/plain.db"

finish
