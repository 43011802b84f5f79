#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What pkg-config says is enough to compile, link and run a program, dynamically and
# statically; each program proves by the statistics it leaves that it ran on libhakmem.
# With HAKMEM_TESTLIB the packages on this system are tried, else a scratch installation.

installed=${HAKMEM_TESTLIB:+yes}

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"

PKG_CONFIG=${PKG_CONFIG:-pkg-config}
READELF=${READELF:-readelf}
CC=${CC:-cc}
CXX=${CXX:-c++}
need "$PKG_CONFIG" "$READELF"

if [ -z "$installed" ]; then
	"${MAKE:-make}" -s -C "$abs_top_builddir" install DESTDIR="$work/root" \
		>"$work/install.log" 2>&1 ||
		{ comment_file "$work/install.log"; bail_out "make install fails"; }
	pc=$(find "$work/root" -name hakmem.pc)
	PKG_CONFIG_PATH=${pc%/*}
	PKG_CONFIG_SYSROOT_DIR=$work/root
	PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1
	PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
	export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_ALLOW_SYSTEM_CFLAGS \
		PKG_CONFIG_ALLOW_SYSTEM_LIBS
	libdir=${PKG_CONFIG_PATH%/pkgconfig}
	LD_LIBRARY_PATH=$libdir
	export LD_LIBRARY_PATH
else
	libdir=$("$PKG_CONFIG" --variable=libdir hakmem)
fi

# proven COMMAND...: runs it, and it must leave the library's statistics behind.
proven()
{
	rm -rf "$work/stats" && mkdir "$work/stats"
	HAKMEM_STATS="exit:$work/stats/%p" "$@" || return
	[ -n "$(find "$work/stats" -type f -size +0)" ] || { echo "not on libhakmem"; return 1; }
}

needed()
{
	"$READELF" --wide --dynamic "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | xargs
}

cat >"$work/steer.c" <<'EOF'
#include <hakmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	struct hakmem_query query;
	char *volatile block = malloc(100);
	void *volatile page = aligned_alloc(4096, 4096);

	memset(&query, 0, sizeof(query));
	query.address = block;
	if (!block || !page || hakmem_ctl(HAKMEM_QUERY, &query, sizeof(query)) != 0 ||
	    query.kind != HAKMEM_SMALL || query.state != HAKMEM_LIVE)
		return 1;
	free(page);
	free(block);
	if (hakmem_ctl(HAKMEM_RELEASE, NULL, 0) != 0)
		return 1;
	return puts(hakmem_version()) < 0;
}
EOF

# Names neither malloc nor the library; only libc's own calls of malloc reach it.
cat >"$work/unaware.c" <<'EOF'
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	return puts(strdup(argv[argc - 1])) < 0;
}
EOF

cat >"$work/words.cc" <<'EOF'
#include <cstdio>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

int main()
{
	std::vector<std::thread> threads;
	int caught = 0;

	for (int t = 0; t < 4; t++)
		threads.emplace_back([] {
			std::map<std::string, std::unique_ptr<int>> words;
			for (int i = 0; i < 1000; i++)
				words[std::to_string(i)] = std::make_unique<int>(i);
		});
	for (auto &thread : threads)
		thread.join();
	try {
		volatile std::size_t size = static_cast<std::size_t>(-1) / 4;
		std::puts(static_cast<char *>(::operator new(size)));
	} catch (const std::bad_alloc &) {
		caught = 1;
	}
	return caught ? 0 : 1;
}
EOF

version=$(sed -n 's/^AC_INIT(\[libhakmem\], \[\(.*\)\]).*/\1/p' "$abs_top_srcdir/configure.ac")
is "hakmem.pc: version" "$("$PKG_CONFIG" --modversion hakmem)" "$version"

cflags=$("$PKG_CONFIG" --cflags hakmem)
libs=$("$PKG_CONFIG" --libs hakmem)
static=$("$PKG_CONFIG" --static --libs hakmem)
if [ -e "$libdir/libhakmem.so" ]; then
	for source in steer unaware; do
		ok "dynamic: $source links" $CC -O2 $cflags -o "$work/$source" "$work/$source.c" $libs
	done
	ok "dynamic: words links" $CXX -O2 -std=c++17 $cflags -o "$work/words" "$work/words.cc" \
		$libs -pthread
	is "dynamic: the program names the SONAME" \
		"$(needed "$work/steer" | xargs -n 1 | grep hakmem)" libhakmem.so.0
	ok "dynamic: steer runs" proven "$work/steer"
	is "dynamic: header, library and hakmem.pc are of one version" "$("$work/steer")" "$version"
	ok "dynamic: unaware runs" proven "$work/unaware" word
	ok "dynamic: words runs" proven "$work/words"
	ok "examples/checkpoint.c links" $CC -O2 -Wall -Wextra -Werror $cflags \
		-o "$work/checkpoint" "$abs_top_srcdir/examples/checkpoint.c" $libs
	ok "examples/checkpoint.c runs" proven "$work/checkpoint" 2 20000
else
	skip "dynamic" "no shared library is installed"
fi

if [ -e "$libdir/libhakmem.a" ]; then
	for source in steer unaware; do
		ok "--static: $source links" $CC -O2 -static $cflags -o "$work/$source" \
			"$work/$source.c" $static
	done
	ok "--static: words links" $CXX -O2 -std=c++17 -static $cflags -o "$work/words" \
		"$work/words.cc" $static -pthread
	is "--static: the program needs no library" "$(needed "$work/steer")" ""
	ok "--static: steer runs" proven "$work/steer"
	ok "--static: unaware runs" proven "$work/unaware" word
	ok "--static: words runs" proven "$work/words"

	# The archive in a program that is dynamic otherwise.
	ok "archive: steer links" $CC -O2 $cflags -o "$work/steer" "$work/steer.c" \
		-Wl,-Bstatic $static -Wl,-Bdynamic
	is "archive: the program needs libc only" "$(needed "$work/steer")" libc.so.6
	ok "archive: steer runs" proven "$work/steer"
else
	skip "--static" "no static library is installed"
fi

if "$PKG_CONFIG" --exists hakmem-debug; then
	is "hakmem-debug.pc: version" "$("$PKG_CONFIG" --modversion hakmem-debug)" "$version"
	debug=$("$PKG_CONFIG" --cflags --libs hakmem-debug)
	ok "debug: steer links" $CC -O2 -o "$work/steer" "$work/steer.c" $debug
	is "debug: the program names the SONAME" \
		"$(needed "$work/steer" | xargs -n 1 | grep hakmem)" libhakmem_debug.so.0
	ok "debug: steer runs" proven "$work/steer"
else
	skip "hakmem-debug" "the debug library is not installed"
fi
finish
