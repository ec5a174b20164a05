#!/usr/bin/env bash
# Demonstrates tangram.
#
#   scripts/demo.sh                         on a simulated piece of cortex with known truth; writes demo/
#   scripts/demo.sh CELLS VOXELS [COLUMN]   on your own files; COLUMN of the cells' obs holds the cell types
#
# Installs what is missing (see setup.sh) and builds. Then it simulates a tissue, maps the cells, transfers types and
# genes to the voxels, scores the result, and registers a section of a synthetic brain. The first run takes about a
# quarter of an hour on two cores, later runs a minute. Results on your own files go to a new directory demo-1, demo-2,
# ... in each run; none of your files is overwritten.
set -euo pipefail

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0"; }

case "${1:-}" in -h | --help) usage; exit 0 ;; esac
case $# in
0) ;;
2 | 3)
    for file in "$1" "$2"; do
        [ -e "$file" ] || { echo "demo: $file does not exist" >&2; exit 3; }
    done
    cells=$(realpath "$1") voxels=$(realpath "$2") column=${3:-}
    ;;
*) usage >&2; exit 2 ;;
esac

here=$PWD
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
python=$(bash scripts/python-env.sh tests)
echo "demo: building tangram" >&2
cargo build --release --quiet
tangram=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/tangram

step() { printf '\n== %s\n' "$*"; }

on_simulated_tissue() {
    # --force is safe: demo/ belongs to this script, and tangram never replaces a directory that it did not write.
    mkdir -p demo
    step "a simulated piece of cortex"
    "$tangram" simulate --out demo/tissue --force
    "$python" scripts/demo.py hold-out demo/tissue/voxels.h5ad demo/held_out_genes.txt

    step "cells onto voxels, every tenth gene held out"
    "$tangram" map --cells demo/tissue/cells.h5ad --voxels demo/tissue/voxels.h5ad \
        --hold-out demo/held_out_genes.txt --no-report --out demo/run --force
    step "types and layers, transferred to the voxels"
    "$tangram" project --mapping demo/run --types obs:cell_type --types obs:layer --out demo/types.h5ad --force
    step "genes, including those that were not measured in the voxels"
    "$tangram" project --mapping demo/run --genes all --out demo/genes.h5ad --force
    step "scores"
    "$tangram" score --mapping demo/run --out demo/scores.tsv --force --json >demo/scores.json

    step "the same cells onto spots that hold several cells each"
    "$tangram" map --cells demo/tissue/cells.h5ad --voxels demo/tissue/spots.h5ad --no-report --out demo/spots_run --force
    "$tangram" project --mapping demo/spots_run --types obs:cell_type --types obs:layer --out demo/spot_types.h5ad --force

    step "the report"
    "$tangram" report demo/run --types obs:cell_type --out demo/report.html --force

    "$python" scripts/picture.py demo demo/picture.png

    step "a brain section registered to an atlas, its place known"
    "$tangram" atlas demo --out demo/atlas --force

    printf '\n'
    "$python" scripts/demo.py truth demo
    cat <<FILES

Files in $PWD/demo:
  tissue/          the simulated files
  run/             the mapping (mapping.zarr), its history and settings
  types.h5ad       expected number of cells of each type and layer in every voxel
  genes.h5ad       every gene of the cells in every voxel
  spots_run/, spot_types.h5ad   the same for the spots
  scores.tsv       how well each gene is predicted
  report.html      maps, scores, tables and warnings in one file: open it in a browser
  atlas/           a synthetic brain as an atlas, and a section registered to it: section.svg
  picture.png      cell types, true and recovered; a held-out gene, measured and predicted
All .h5ad and .zarr files open in scanpy.
FILES
}

on_own_files() {
    local out=$here/demo- n=1
    while [ -e "$out$n" ]; do n=$((n + 1)); done
    out=$out$n
    if [ -z "$column" ]; then
        column=$("$tangram" inspect --json "$cells" 2>/dev/null | "$python" scripts/demo.py column) || column=
        if [ -z "$column" ]; then
            echo "demo: $cells has no obs column with categories; give the column that holds the cell types:" >&2
            echo "demo:   scripts/demo.sh CELLS VOXELS COLUMN   (tangram inspect CELLS shows the columns)" >&2
            exit 3
        fi
    fi
    mkdir "$out"
    step "cells onto voxels"
    "$tangram" map --cells "$cells" --voxels "$voxels" --no-report --out "$out/run" || { rmdir "$out"; exit 3; }
    step "types (obs column $column), transferred to the voxels"
    "$tangram" project --mapping "$out/run" --types "obs:$column" --out "$out/types.h5ad"
    step "genes, transferred to the voxels"
    "$tangram" project --mapping "$out/run" --genes all --out "$out/genes.zarr"
    step "scores"
    "$tangram" score --mapping "$out/run" --out "$out/scores.tsv"
    step "the report"
    "$tangram" report "$out/run" --types "obs:$column" --out "$out/report.html"
    cat <<FILES

Files in $out:
  run/         the mapping (mapping.zarr), its history and settings
  types.h5ad   expected number of cells of each value of $column in every voxel
  genes.zarr   every gene of the cells in every voxel
  report.html  maps, scores, tables and warnings in one file: open it in a browser
  scores.tsv   how well each gene is reproduced (all genes were trained on; map again with --hold-out for a test)
FILES
}

if [ $# -eq 0 ]; then on_simulated_tissue; else on_own_files; fi
