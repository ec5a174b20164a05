#!/usr/bin/env bash
# Takes spots of known composition apart with every method and prints the table of docs/deconvolution.md.
#
#   scripts/deconvolve.sh DATA_DIR
#
# DATA_DIR must hold starmap_v1_cells and starmap_v1_spots as .h5ad: cells of two replicates of mouse visual cortex, and spots that are
# sums of these cells. Cells of one replicate are mapped onto spots of the other. TANGRAM names the program, if not the release build.
set -euo pipefail

if [ $# -ne 1 ] || [ ! -d "$1" ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
data=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
python=${TANGRAM_PYTHON:-$(bash scripts/python-env.sh tests)}
if [ -z "${TANGRAM:-}" ]; then
    cargo build --release --quiet
    TANGRAM=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/tangram
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" scripts/deconvolve.py prepare "$data" "$work"

run() {
    local pair=$1 name=$2
    shift 2
    "$TANGRAM" deconvolve --quiet --cells "$work/$pair/cells.h5ad" --voxels "$work/$pair/spots.h5ad" \
        --annotation obs:cell_type --truth obsm:true_prop --counts obs:n_cells "$@" --out "$work/$pair/$name"
}

for pair in 1to2 2to1; do
    for goal in compose impute package; do
        # Replicate 2 has fewer cells than the spots of replicate 1 hold: nothing for a filter to leave out.
        [ "$pair" = 2to1 ] || run "$pair" "constrained-$goal" --method mapping --goal "$goal"
        run "$pair" "cells-$goal" --method mapping --mode cells --goal "$goal"
    done
    for platform in fit none; do
        run "$pair" "nnls-$platform" --method nnls --platform "$platform"
        run "$pair" "poisson-$platform" --method poisson --platform "$platform"
    done
done
"$python" scripts/deconvolve.py table "$work"
