#!/usr/bin/env bash
# Makes a Python environment in the cache and prints the path of its interpreter.
#
#   TANGRAM_PYTHON=$(bash scripts/python-env.sh tests)     anndata, scanpy, zarr, h5py, tangram-sc without torch: for tests and pictures
#   bash scripts/python-env.sh tests-next                  the same with anndata 0.13, which needs Python 3.12
#   bash scripts/python-env.sh browser                     playwright, which drives a Chromium that is there: for tests of the report
#   bash scripts/python-env.sh reference                   tangram-sc 1.0.4 with torch (5 GB): for bench.sh and validate.sh only
#
# requirements-NAME.txt pins every package, those that others need included, by its SHA-256; it is made from requirements-NAME.in by
#
#   uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate requirements-NAME.in -o requirements-NAME.txt
#
# The folder's name carries a sum over it, so a changed pin makes a new environment. An
# environment that was interrupted while being made is made again; a finished one is used as it is.
set -euo pipefail

say() { printf 'python-env: %s\n' "$*" >&2; }

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache="${TANGRAM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tangram}"
name=${1:-}
case "$name" in
tests | tests-next | browser | reference) ;;
*)
    say "usage: python-env.sh tests|tests-next|browser|reference"
    exit 2
    ;;
esac

requirements="$scripts/requirements-$name.txt"
package="$scripts/requirements-reference-package.txt"
[ "$name" != browser ] || package=/dev/null
sum=$(cat "$requirements" "$package" | cksum | cut -d ' ' -f 1)
env="$cache/python-$name-$sum"
if [ -e "$env/complete" ] && "$env/bin/python" -c '' 2>/dev/null; then
    echo "$env/bin/python"
    exit 0
fi

# anndata 0.12 needs Python 3.11, anndata 0.13 Python 3.12.
least=11
[ "$name" != tests-next ] || least=12
base=
for candidate in python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, $least))" >/dev/null 2>&1; then
        base=$candidate
        break
    fi
done
if [ -z "$base" ]; then
    say "no Python 3.$least or newer with venv; install python3.$least and python3.$least-venv (Debian, Ubuntu), or: module load python"
    exit 1
fi

mkdir -p "$cache"
exec 9>"$env.lock"
flock 9
if [ ! -e "$env/complete" ]; then
    say "making $env (once)"
    rm -rf "$env"
    "$base" -m venv "$env"
    pip() { "$env/bin/python" -m pip --disable-pip-version-check -q "$@" >&2; }
    pip install --require-hashes --only-binary=:all: -r "$requirements"
    # The published package without what it asks for: in `tests` only functions of it run that need no torch.
    [ "$name" = browser ] || pip install --require-hashes --no-deps -r "$package"
    touch "$env/complete"
fi
echo "$env/bin/python"
