#!/usr/bin/env bash
# Runs every grid of two ranks with one thread each, and one rank, with both solvers. Prints seconds, the share of them
# spent in sums over ranks, and peak memory compared with the prediction of `tangram plan`.
#
#   scripts/grids.sh [--cells N] [--voxels N] [--genes N] [--epochs N] [--rounds N]
#
# Prints the tables of docs/ranks.md (default 20,000 x 2,000 x 250), minimum of the rounds. Times need an idle machine.
set -euo pipefail
case "${1:-}" in
-h | --help)
    sed -n '2,7s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
cargo build --release --quiet
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
python=$(bash scripts/python-env.sh tests)
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
exec "$python" scripts/grids.py --tangram "$target/release/tangram" --work "$target/grids" "$@"
