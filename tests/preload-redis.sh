#!/bin/bash
# SPDX-License-Identifier: MIT
#
# redis-server under redis-benchmark.  Debian's is linked with libjemalloc: the preload
# wins.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"
require_library
need redis-server redis-cli redis-benchmark

socket=$work/redis.sock

ask()
{
	redis-cli -s "$socket" "$@"
}

# serve COMMAND: a server started through COMMAND, kept to memory and to its socket.
serve()
{
	start=$1
	mkdir -p "$work/redis"
	"$start" redis-server --port 0 --unixsocket "$socket" --dir "$work/redis" \
		--save '' --appendonly no --daemonize no >"$work/server.log" 2>&1 &
	server=$!
	# shellcheck disable=SC2034 # read by tap.sh
	at_exit='kill $server 2>/dev/null || :'
	for _ in $(seq 100); do
		[ "$(ask PING 2>/dev/null)" != PONG ] || return 0
		sleep 0.1
	done
	comment_file "$work/server.log"
	bail_out "redis-server does not answer"
}

# The same data for both; a digest of it all by the server itself.
fill()
{
	{
		for i in $(seq 3000); do
			echo "SET string:$i value-$((i * 7919 % 10007))-$i"
			echo "RPUSH list:$((i % 50)) element-$i"
			echo "HSET hash:$((i % 70)) field-$i $i"
			echo "ZADD sorted:$((i % 30)) $((i * 31 % 1009)) member-$i"
			echo "SADD set:$((i % 40)) $i"
			echo "APPEND text:$((i % 20)) some-more-text-$i"
		done
	} | ask >/dev/null
	ask DBSIZE
	ask EVAL "
local keys = redis.call('KEYS', '*')
table.sort(keys)
local sum = ''
for _, key in ipairs(keys) do
	local kind, value = redis.call('TYPE', key).ok, {}
	if kind == 'zset' then
		value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
	elseif kind == 'string' then
		value = { redis.call('GET', key) }
	elseif kind == 'list' then
		value = redis.call('LRANGE', key, 0, -1)
	end
	sum = redis.sha1hex(sum .. key .. kind .. table.concat(value, ' '))
end
return sum" 0
	ask LRANGE list:7 0 10
	ask ZRANGE sorted:3 0 10 WITHSCORES
	ask GET text:5 | md5sum
}

stop()
{
	ask SHUTDOWN NOSAVE >/dev/null 2>&1 || :
	status=0
	wait "$server" || status=$?
	at_exit=:
}

plain()
{
	exec "$@"
}

# In its own process, so that the server's id is the shell's job.
under_exec()
{
	exec env LD_PRELOAD="$testlib" HAKMEM_STATS="exit:$work/stats/%p" "$@"
}

serve plain
ok "without the library the server has no part of it" eval '! maps_library "$server"'
fill >"$work/plain"
stop

serve under_exec
ok "the server has the library mapped" maps_library "$server"
if grep -q libjemalloc "/proc/$server/maps"; then
	comment "libjemalloc is mapped as well"
fi
fill >"$work/under"
same "the data is the same" "$work/under" "$work/plain"

# Its live blocks are the library's, not jemalloc's: the count is at exit, below.
status=0
redis-benchmark -s "$socket" -q -n 20000 -r 5000 -d 100 -P 8 \
	-t set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100,mset >"$work/bench" 2>&1 ||
	status=$?
is "redis-benchmark: exit status" "$status" 0
ok "redis-benchmark came through" grep -q 'LRANGE_100.*requests per second' "$work/bench"
is "the server still answers" "$(ask PING)" PONG
ask FLUSHALL >/dev/null
stop
is "the server ends with status 0" "$status" 0
if grep -q -E 'crash|BUG REPORT|hakmem:' "$work/server.log"; then
	fail "nothing in the server's log"
	comment_file "$work/server.log"
else
	pass "nothing in the server's log"
fi
refills=$(sed -n 's/^refills_total *\([0-9]*\) .*/\1/p' "$work/stats/$server" \
	2>/dev/null) || :
ok "the server allocated from the library, jemalloc or not (${refills:-0} refills)" \
	test "${refills:-0}" -gt 1000
loaded "the server left its statistics"

finish
