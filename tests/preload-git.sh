#!/bin/bash
# SPDX-License-Identifier: MIT
#
# git: init, 500 commits, a merge, gc, fsck, log and blame.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library
need git

# Nothing of the machine's or the user's in it, and the same hashes each time.
export HOME="$work" XDG_CONFIG_HOME="$work" GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_AUTHOR_DATE='1700000000 +0000'
export GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org
export GIT_COMMITTER_DATE='1700000000 +0000' GIT_PAGER=cat
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

cat >"$work/stream.awk" <<'PROGRAM'
# 500 commits for git fast-import: each changes one of 20 files, and adds a line to
# another.
BEGIN {
	for (i = 1; i <= 500; i++) {
		body[i % 20] = body[i % 20] "line " i " " i * 7919 % 10007 "\n"
		text = "commit number " i "\n"
		printf "commit refs/heads/main\nmark :%d\n", i
		printf "committer C <c@example.org> %d +0000\n", 1700000000 + i
		printf "data %d\n%s", length(text), text
		printf "M 100644 inline dir%d/file%d\n", i % 4, i % 20
		printf "data %d\n%s\n", length(body[i % 20]), body[i % 20]
	}
}
PROGRAM
awk -f "$work/stream.awk" >"$work/stream"

# life COMMAND: the life of a repository, every git of it started through COMMAND.
life()
{
	start=$1
	"$start" git init -q -b main repository
	cd repository
	"$start" git fast-import --quiet <"$work/stream"
	"$start" git reset -q --hard main
	i=0
	while [ "$i" -lt 40 ]; do
		i=$((i + 1))
		echo "change $i" >>"dir1/file$((i % 5 * 4 + 1))"
		"$start" git add -A
		"$start" git commit -q -m "work $i"
	done
	"$start" git checkout -q -b side HEAD~20
	echo side >side
	"$start" git add side
	"$start" git commit -q -m side
	"$start" git checkout -q main
	"$start" git merge -q --no-edit side
	"$start" git -c gc.pruneExpire=now gc -q --aggressive
	"$start" git fsck --full --strict
	"$start" git log --stat --format='%H %s'
	"$start" git blame dir1/file1
	"$start" git diff HEAD~100
	"$start" git count-objects -v | sed '/size/d'
	cd ..
}

plain()
{
	"$@"
}

mkdir "$work/plain.d" "$work/under.d"
cd "$work/plain.d"
life plain >"$work/plain" 2>&1
cd "$work/under.d"
status=0
life under >"$work/under" 2>"$work/err" || status=$?
loaded "git, and what git started, were on the library" 90
cd "$work"
is "exit status" "$status" 0
same "the output is the same" "$work/under" "$work/plain"
is "nothing on standard error" "$(cat "$work/err")" ""
is "there are more than 500 commits" \
	"$(git -C under.d/repository rev-list --count HEAD)" 542

finish
