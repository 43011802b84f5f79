#!/bin/sh
# SPDX-License-Identifier: MIT
# Make configure and what it needs.  Only a git clone needs this; a release has them.
set -eu
cd "$(dirname "$0")"
exec autoreconf --force --install --warnings=all
