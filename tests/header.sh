#!/bin/sh
# SPDX-License-Identifier: MIT
#
# hakmem.h compiles alone, twice, in every language it promises, puts nothing but its own
# names into the program, and keeps the layout of its structs.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"

header=$include/hakmem.h
CC=${CC:-cc}
CXX=${CXX:-c++}
warnings='-pedantic-errors -Wall -Wextra -Wshadow -Wundef -Werror'

printf '#include <hakmem.h>\n#include <hakmem.h>\nint unit;\n' >"$work/twice.c"
cp "$work/twice.c" "$work/twice.cc"

# The openat2(2) rule rests on sizes that never shrink and offsets that never move.
cat >"$work/layout.c" <<'EOF'
#include <stddef.h>
#include <hakmem.h>
#ifdef __cplusplus
#define ASSERT(x) static_assert(x, #x)
#else
#define ASSERT(x) _Static_assert(x, #x)
#endif
#define FIELD(type, field, offset, size) \
	ASSERT(offsetof(struct type, field) == (offset)); \
	ASSERT(sizeof(((struct type *)0)->field) == (size))
ASSERT(sizeof(struct hakmem_flush) == 32);
FIELD(hakmem_flush, scope, 0, 4);
FIELD(hakmem_flush, blocks, 8, 8);
FIELD(hakmem_flush, bytes, 16, 8);
FIELD(hakmem_flush, unreached, 24, 8);
ASSERT(sizeof(struct hakmem_release) == 48);
FIELD(hakmem_release, flags, 0, 4);
FIELD(hakmem_release, superslabs, 8, 8);
FIELD(hakmem_release, bytes, 16, 8);
FIELD(hakmem_release, pinned_superslabs, 24, 8);
FIELD(hakmem_release, pinned_blocks, 32, 8);
FIELD(hakmem_release, pinned_bytes, 40, 8);
ASSERT(sizeof(struct hakmem_stats) == 28 * 8);
FIELD(hakmem_stats, superslabs_live, 7 * 8, 8);
FIELD(hakmem_stats, failed_total, 23 * 8, 8);
ASSERT(sizeof(struct hakmem_dump) == 8);
FIELD(hakmem_dump, fd, 0, 4);
FIELD(hakmem_dump, format, 4, 4);
ASSERT(sizeof(struct hakmem_option) == 72);
FIELD(hakmem_option, name, 0, 8);
FIELD(hakmem_option, value, 8, 64);
ASSERT(sizeof(struct hakmem_query) == 80 + 32 * 8);
FIELD(hakmem_query, address, 0, 8);
FIELD(hakmem_query, kind, 8, 4);
FIELD(hakmem_query, state, 12, 4);
FIELD(hakmem_query, superslab, 56, 8);
FIELD(hakmem_query, stack, 80, 32 * 8);
ASSERT(sizeof(struct hakmem_leaks) == 40);
FIELD(hakmem_leaks, since, 8, 8);
FIELD(hakmem_leaks, bytes, 32, 8);
ASSERT(HAKMEM_FLUSH == 1 && HAKMEM_RELEASE == 2 && HAKMEM_STATS == 3 && HAKMEM_DUMP == 4);
ASSERT(HAKMEM_GET == 5 && HAKMEM_SET == 6 && HAKMEM_QUERY == 7 && HAKMEM_CHECK == 8);
ASSERT(HAKMEM_LEAKS == 9);
EOF
cp "$work/layout.c" "$work/layout.cc"

# From C++ the functions must be C's.
cat >"$work/linkage.cc" <<'EOF'
#include <hakmem.h>
const char *call();
const char *call() { return hakmem_ctl(HAKMEM_FLUSH, nullptr, 0) ? nullptr : hakmem_version(); }
EOF

tried=" "
for compiler in "$CC" gcc clang; do
	command -v ${compiler%% *} >/dev/null 2>&1 || continue
	case $tried in *" $compiler "*) continue ;; esac
	tried="$tried$compiler "
	for std in c99 c11 c17 gnu17; do
		ok "$compiler -std=$std" $compiler -std=$std $warnings -Wstrict-prototypes \
			-I"$include" -fsyntax-only "$work/twice.c"
	done
	ok "$compiler: layout" $compiler -std=c11 -I"$include" -fsyntax-only "$work/layout.c"
done

tried=" "
for compiler in "$CXX" g++ clang++; do
	command -v ${compiler%% *} >/dev/null 2>&1 || continue
	case $tried in *" $compiler "*) continue ;; esac
	tried="$tried$compiler "
	for std in c++11 c++17 c++20; do
		ok "$compiler -std=$std" $compiler -std=$std $warnings -I"$include" \
			-fsyntax-only "$work/twice.cc"
	done
	ok "$compiler: layout" $compiler -std=c++17 -I"$include" -fsyntax-only "$work/layout.cc"
	ok "$compiler: compiles a caller" $compiler -std=c++17 -I"$include" -c \
		-o "$work/linkage.o" "$work/linkage.cc"
	is "$compiler: C linkage" \
		"$(${NM:-nm} -u "$work/linkage.o" | sed -n 's/.* U \(.*hakmem.*\)/\1/p' |
			LC_ALL=C sort | xargs)" "hakmem_ctl hakmem_version"
done

# What including it adds, beyond the two standard headers it includes itself.
printf '#include <stddef.h>\n#include <stdint.h>\n' >"$work/without.c"
for file in without twice; do
	$CC -std=c99 -I"$include" -E -dM "$work/$file.c" | LC_ALL=C sort >"$work/$file.macros"
done
LC_ALL=C comm -13 "$work/without.macros" "$work/twice.macros" >"$work/added"
ok "it defines macros at all" test -s "$work/added"
is "its macros begin with HAKMEM_" "$(grep -v '^#define HAKMEM_' "$work/added" || :)" ""

# Every public function and struct says since which version it is there.
is "every struct says Since" \
	"$(awk '/^\/\*|^ \*/ { comment = comment $0; next }
		/^struct hakmem_[a-z]+ \{/ && comment !~ /Since [0-9]+\.[0-9]+\.[0-9]+\./ { print $2 }
		/^HAKMEM_API / && comment !~ /Since [0-9]+\.[0-9]+\.[0-9]+\./ { print }
		{ comment = "" }' "$header")" ""
is "every field says what it is" \
	"$(awk '/^struct hakmem_stats/ { stats = 1 } /^};/ { inside = 0; stats = 0 }
		inside && /;/ && !/\/\*/ && !stats { print }
		/^struct hakmem_[a-z]+ \{/ { inside = 1 }' "$header")" ""
finish
