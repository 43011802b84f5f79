# SPDX-License-Identifier: MIT
#
# What the scripts share; read by them, not run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cores=$(nproc)

as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# Quiet about progress, loud about errors; waits for another apt to finish.
apt()
{
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
		-o Dpkg::Use-Pty=0 --no-install-recommends "$@" </dev/null
}

# What debian/control names under Build-Depends, and the packages given.
install_packages()
{
	apt update
	apt build-dep "$top"
	[ $# -eq 0 ] || apt install "$@"
}

# The tree as a clone would have it, without what was built in it.
copy_tree()
{
	local to=$1 name

	mkdir -p "$to"
	if [ -e "$top/.git" ] && command -v git >/dev/null; then
		git -c safe.directory="$top" -C "$top" ls-files -z --cached --others \
			--exclude-standard |
			while IFS= read -r -d '' name; do
				[ ! -e "$top/$name" ] || printf '%s\0' "$name"
			done |
			tar -C "$top" --create --null --files-from=- |
			tar -C "$to" --extract
	else
		tar -C "$top" --create --exclude=./.git . | tar -C "$to" --extract
	fi
}

version()
{
	sed -n 's/^AC_INIT(\[libhakmem\], \[\(.*\)\]).*/\1/p' "$top/configure.ac"
}
