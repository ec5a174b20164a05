#!/usr/bin/env bash
# Compares the settings that `tangram map --goal` stands for on real data, one table for every goal.
#
#   scripts/goals.sh DATA_DIR [impute|place|compose|all] [--only NAME ...] [--also=FLAGS] [--work DIR] [--threads N] [--seed N]
#                    [--folds N ...] [--thinnings SEED ...]
#
#   impute     genes that were held out, beside baselines that need no mapping: voxel totals, 50 nearest cells, ridge. Fold s holds out
#              every tenth shared gene, starting with gene s; default folds 5, 7 and 9 (0, 1 and 2 were used to choose settings)
#   place      every count of a file is dealt to one of two halves at random; one half is mapped onto the other. Default seeds 1 and 2
#   compose    shares of cell types in spots that are sums of cells, beside `tangram deconvolve --method nnls`
#
# DATA_DIR must hold lymphnode_10x_sc, lymphnode_visium_spatial, pdac_sc, pdac_st_spatial, starmap_v1_cells, starmap_v1_spots,
# mop_10x_sc, mop_patchseq_sc, mop_merfish_spatial, visp_merfish_spatial, mpoa_10x_sc and mpoa_merfish_spatial as .h5ad. At most 1,500
# cells and voxels of each are taken, with a fixed seed.
# NAME: a row of the table. --also='--lambda-h 3' adds a setting to --goal package; it can be repeated. TANGRAM names the program, if not
# the release build. Prints Markdown tables on standard output. Exit code 0: no run failed; what the numbers say is for the reader.
set -euo pipefail

usage() {
    sed -n '2,18s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

root=$(cd "$(dirname "$0")/.." && pwd)
data='' what=() work='' options=()
while [ $# -gt 0 ]; do
    case "$1" in
    impute | place | compose | all) what=("$1") ;;
    --work) work=${2:?--work needs a folder}; shift ;;
    --threads | --seed) options+=("$1" "${2:?$1 needs a number}"); shift ;;
    --also=*) options+=("$1") ;;
    --only | --folds | --thinnings)
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
[ -d "$data" ] || { echo "goals: $data is not a folder" >&2; exit 2; }
data=$(cd "$data" && pwd)
[ -z "$work" ] || work=$(realpath -m "$work")

cd "$root"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
python=${TANGRAM_PYTHON:-$(bash scripts/python-env.sh tests)}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
if [ -z "${TANGRAM:-}" ]; then
    cargo build --release --quiet
    TANGRAM=$target/release/tangram
fi
exec "$python" scripts/goals.py "${what[@]:-all}" --tangram "$TANGRAM" --data "$data" --work "${work:-$target/goals}" "${options[@]}"
