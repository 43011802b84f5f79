#!/bin/sh
# SPDX-License-Identifier: MIT
#
# make install puts exactly these files under DESTDIR, and make uninstall takes them away.

. "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/tap.sh"

# Bail out rather than pass on nothing when the tree is not configured.
[ -x "$abs_top_builddir/config.status" ] || bail_out "$abs_top_builddir is not configured"

# How configure was told, from itself.
cat >"$work/settings.in" <<'EOF'
prefix="@prefix@"
exec_prefix="@exec_prefix@"
bindir="@bindir@"
includedir="@includedir@"
libdir="@libdir@"
datarootdir="@datarootdir@"
mandir="@mandir@"
pkgconfigdir="@pkgconfigdir@"
no_shared='@BUILD_SHARED_TRUE@'
no_static='@BUILD_STATIC_TRUE@'
no_debug='@BUILD_DEBUG_TRUE@'
EOF
(cd "$abs_top_builddir" && ./config.status --silent --file="-:$work/settings.in") >"$work/settings"
. "$work/settings"

{
	echo "$bindir/hakmem"
	echo "$includedir/hakmem.h"
	echo "$libdir/libhakmem.la"
	echo "$mandir/man1/hakmem.1"
	echo "$mandir/man3/hakmem.3"
	echo "$mandir/man3/hakmem_ctl.3"
	echo "$mandir/man7/hakmem_debug.7"
	echo "$pkgconfigdir/hakmem.pc"
	[ -n "$no_static" ] || echo "$libdir/libhakmem.a"
	[ -n "$no_shared" ] || printf '%s\n' "$libdir/libhakmem.so" "$libdir/libhakmem.so.0" \
		"$libdir/libhakmem.so.0.0.0"
	[ -n "$no_debug" ] || printf '%s\n' "$libdir/libhakmem_debug.la" \
		"$libdir/libhakmem_debug.so" "$libdir/libhakmem_debug.so.0" \
		"$libdir/libhakmem_debug.so.0.0.0" "$pkgconfigdir/hakmem-debug.pc"
} | LC_ALL=C sort >"$work/wanted"

files()
{
	(cd "$work/root" && find . ! -type d) | sed 's/^\.//' | LC_ALL=C sort
}

ok "make install" "${MAKE:-make}" -s -C "$abs_top_builddir" install DESTDIR="$work/root"
files >"$work/found"
same "it installs the files it should, and no other" "$work/found" "$work/wanted"
same "the header is installed as it is" "$work/root$includedir/hakmem.h" "$include/hakmem.h"
is "no file tells where it was built" \
	"$(cd "$work/root" && grep -r -l -F -e "$abs_top_builddir/" -e "$work" . |
		grep -v -E '\.(a|so[.0-9]*)$|/bin/hakmem$' || :)" ""
ok "make uninstall" "${MAKE:-make}" -s -C "$abs_top_builddir" uninstall DESTDIR="$work/root"
is "it leaves nothing behind" "$(files)" ""
finish
