#!/usr/bin/env bash
# Compares the factored solver with --solver adam, and settings of `tangram map` with each other, on real data.
#
#   scripts/factored.sh DATA_DIR [optimum|settings|all] [--only TASK ...] [--settings NAME ...] [--also=FLAGS]
#                       [--splits N] [--work DIR] [--threads N] [--fresh]
#
#   optimum    does --solver mirror reach the loss and the scores of --solver adam, and at what cost?
#   settings   the effect of --goal, --temperature, --transform and --lambda-g2 on held-out genes (N splits, default 3: split s
#              holds out every tenth shared gene, starting with gene s), on placement, on types and on deconvolution
#
# DATA_DIR must hold lymphnode_10x_sc, lymphnode_visium_spatial, pdac_sc, pdac_st_spatial, starmap_v1_cells,
# starmap_v1_spots, mop_10x_sc, visp_merfish_spatial, mop_merfish_spatial, mpoa_10x_sc and mpoa_merfish_spatial as
# .h5ad.
# TASK: lymphnode pdac spots mpoa visp starmap mop (held-out genes), thinned types deconvolution.
# NAME: adam off 2 1 0.5 auto impute place and others, see factored.py. --also='--lambda-g2 3' adds a setting; it can be
# repeated.
#
# The scores of every run are stored in DIR (default target/factored), and a run is skipped if its scores are there. A
# run is known by tangram's command line and version: after a change of the program without a new version, use --fresh
# and select the tasks and settings that it affects. Prints Markdown tables on standard output. A complete run takes
# about two hours. Exit code 0: no run failed, and every row of `optimum` holds.
set -euo pipefail

usage() {
    sed -n '2,21s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

root=$(cd "$(dirname "$0")/.." && pwd)
data='' what=() work='' options=()
while [ $# -gt 0 ]; do
    case "$1" in
    optimum | settings | all) what=("$1") ;;
    --work) work=${2:?--work needs a folder}; shift ;;
    --splits | --threads) options+=("$1" "${2:?$1 needs a number}"); shift ;;
    --fresh | --also=*) options+=("$1") ;;
    --only | --settings)
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
[ -d "$data" ] || { echo "factored: $data is not a folder" >&2; exit 2; }
data=$(cd "$data" && pwd)
[ -z "$work" ] || work=$(realpath -m "$work")

cd "$root"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
cargo build --release --quiet
python=$(bash scripts/python-env.sh tests)
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
exec "$python" scripts/factored.py "${what[@]:-all}" --tangram "$target/release/tangram" --data "$data" \
    --work "${work:-$target/factored}" "${options[@]}"
