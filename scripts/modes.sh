#!/usr/bin/env bash
# Compares the modes of `tangram map` on real data: every cell, the cells that the learned filter keeps, and as many chosen at random.
#
#   scripts/modes.sh DATA_DIR [quality|cost|size|absent|solvers|visium|all] [--only PAIR ...] [--work DIR] [--threads N] [--seed N]
#
#   quality    cosine of training genes and of every tenth gene, held out: cells mode, the filter, random subsets (3), and how far two
#              filters agree that begin from different random logits
#   cost       seconds of a pass of constrained mode and of the neighbourhood term, as a ratio to cells mode; measured in turn
#   size       seconds and peak memory of the paper's MERFISH size, 58,022 x 4,951 x 253, simulated
#   absent     share of the cells that belong which a filter keeps, on simulated tissue without half of the types
#   solvers    the loss that mirror and 1,000 epochs of adam end with, for every loss and mode that both have
#   visium     the paper's deconvolution, 58,022 x 162 x 1,408, simulated: seconds, and the cells that the filter keeps
#
# DATA_DIR must hold lymphnode_10x_sc, lymphnode_visium_spatial, pdac_sc, pdac_st_spatial, starmap_v1_cells, starmap_v1_spots,
# mop_10x_sc, visp_merfish_spatial, mpoa_10x_sc and mpoa_merfish_spatial as .h5ad; large ones are subsampled with a fixed seed.
# PAIR: lymphnode pdac spots visp mpoa. Prints Markdown tables on standard output. `quality` and `cost` take about five minutes on two
# idle cores, `size` ten, `absent` two, `solvers` fifteen, `visium` five. Exit code 0: no run failed; what the numbers say is for the reader.
set -euo pipefail

usage() {
    sed -n '2,20s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

root=$(cd "$(dirname "$0")/.." && pwd)
data='' what=() work='' options=()
while [ $# -gt 0 ]; do
    case "$1" in
    quality | cost | size | absent | solvers | visium | all) what=("$1") ;;
    --work) work=${2:?--work needs a folder}; shift ;;
    --threads | --seed) options+=("$1" "${2:?$1 needs a number}"); shift ;;
    --only)
        options+=("$1")
        [ $# -gt 1 ] || usage
        while [ $# -gt 1 ] && [[ "$2" != --* ]]; do
            options+=("$2")
            shift
        done
        ;;
    -*) usage ;;
    *) [ -z "$data" ] || usage; data=$1 ;;
    esac
    shift
done
[ -n "$data" ] || usage
[ -d "$data" ] || { echo "modes: $data is not a folder" >&2; exit 2; }
data=$(cd "$data" && pwd)
[ -z "$work" ] || work=$(realpath -m "$work")

cd "$root"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
cargo build --release --quiet
python=$(bash scripts/python-env.sh tests)
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
exec "$python" scripts/modes.py "${what[@]:-all}" --tangram "$target/release/tangram" --data "$data" \
    --work "${work:-$target/modes}" "${options[@]}"
