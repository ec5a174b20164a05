#!/usr/bin/env bash
# Compares the factored solver with --solver adam, and the settings of `tangram map` with each other, on real data.
#
#   scripts/factored.sh DATA_DIR [optimum|settings|all] [--only TASK ...] [--settings NAME ...] [--also=FLAGS]
#                       [--splits N] [--work DIR] [--threads N] [--fresh]
#
#   optimum    does --solver mirror reach what --solver adam reaches, and at what cost
#   settings   what --goal, --temperature, --transform and --lambda-g2 do to genes held out (N splits, default 3: split s
#              holds out every tenth shared gene from the s-th on), to placement, to types and to deconvolution
#
# DATA_DIR holds lymphnode_10x_sc, lymphnode_visium_spatial, pdac_sc, pdac_st_spatial, starmap_v1_cells,
# starmap_v1_spots, mop_10x_sc, visp_merfish_spatial, mop_merfish_spatial, mpoa_10x_sc and mpoa_merfish_spatial as .h5ad.
# TASK: lymphnode pdac spots mpoa visp starmap mop (genes held out), thinned types deconvolution. NAME: adam off 2 1 0.5
# auto impute place and others, see factored.py. --also='--lambda-g2 3' adds a setting (can be repeated). Every run's
# scores are kept in DIR (default target/factored), so that only what is missing is run; what counts is tangram's
# command line and version, so after a change of the program name what it touches and say --fresh. Tables in Markdown
# go to standard output. From scratch about two hours. Ends with 0 if no run failed and every row of `optimum` holds.
set -euo pipefail

usage() {
    sed -n '2,20s/^# \{0,1\}//p' "$0" >&2
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
