#!/usr/bin/env bash
# Builds the program and puts it, with libtorch, into the package.
set -euo pipefail
export HDF5_DIR="$PREFIX" TANGRAM_CACHE="$SRC_DIR/cache"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
cargo build --release --locked
bash scripts/install.sh "$PREFIX"
mkdir -p "$PREFIX/share/bash-completion/completions"
target/release/tangram completions bash >"$PREFIX/share/bash-completion/completions/tangram"
