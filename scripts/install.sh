#!/usr/bin/env bash
# Installs the program for every user of a machine.
#
#   bash scripts/install.sh PREFIX [PROGRAM]     such as /usr/local; PROGRAM is target/release/tangram unless it is given
#
# Copies the program to PREFIX/bin and libtorch, which the program was built with, to PREFIX/lib/tangram, where the program looks for it.
# Nothing has to be set by those who use it. Build first: . scripts/setup.sh && cargo build --release
set -euo pipefail
say() { printf 'install: %s\n' "$*" >&2; }
cd "$(dirname "${BASH_SOURCE[0]}")/.."
prefix=${1:-}
program=${2:-target/release/tangram}
if [ -z "$prefix" ]; then
    say "usage: install.sh PREFIX [PROGRAM]"
    exit 2
fi
if [ ! -x "$program" ]; then
    say "$program is not there; build it first: . scripts/setup.sh && cargo build --release"
    exit 1
fi
# The folder that the program's libtorch is loaded from now.
torch=$(ldd "$program" | sed -n 's/.*libtorch_cpu\.so => \(\/.*\) (0x.*/\1/p')
# Folders that are made here, everyone may enter, whatever the umask; those that are there stay as they are.
umask 022
mkdir -p "$prefix/bin" "$prefix/lib/tangram"
if [ -n "$torch" ]; then
    cp -aL "$(dirname "$torch")"/*.so* "$prefix/lib/tangram/"
elif ldd "$program" | grep -q 'libtorch.*not found'; then
    say "libtorch is not where $program was built with it: set LD_LIBRARY_PATH to its folder for this installation"
    exit 1
fi
install -m 755 "$program" "$prefix/bin/tangram"
chmod -R a+rX "$prefix/lib/tangram"
folder=$(realpath "$prefix/bin")
while [ "$folder" != / ]; do
    if [ -z "$(find "$folder" -maxdepth 0 -perm -o=x)" ]; then
        say "other users may not enter $folder: the program is for those who may (chmod a+x $folder lets all in)"
    fi
    folder=$(dirname "$folder")
done
# As a user without any settings would start it.
if ! env -i PATH=/usr/bin:/bin "$prefix/bin/tangram" --version; then
    say "$prefix/bin/tangram does not start"
    exit 1
fi
