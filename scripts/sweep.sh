#!/usr/bin/env bash
# Measures leave-one-out on real data: one sweep with cold starts, one with warm starts, the same folds as separate
# `tangram map` commands, and epochs of tangram-sc 1.0.4. Prints a table.
#
#   scripts/sweep.sh DATA_DIR [--folds N] [--no-reference]
#
# DATA_DIR must hold mop_10x_sc and mop_merfish_spatial as .h5ad; the voxels are one slice of the latter. N genes
# (default 8), evenly spaced in the list, are left out one at a time. All programs run one after the other with the same
# number of threads. Takes about ten minutes on two idle cores.
set -euo pipefail

usage() {
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

root=$(cd "$(dirname "$0")/.." && pwd)
data='' folds=8 reference=yes
while [ $# -gt 0 ]; do
    case "$1" in
    --folds) folds=${2:?--folds needs a number}; shift ;;
    --no-reference) reference=no ;;
    -*) usage ;;
    *) [ -z "$data" ] || usage; data=$1 ;;
    esac
    shift
done
[ -n "$data" ] || usage
[ -d "$data" ] || { echo "sweep: $data is not a folder" >&2; exit 2; }
data=$(cd "$data" && pwd)

cd "$root"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
python=$(bash scripts/python-env.sh tests)
cargo build --release --quiet
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$target/sweep
rm -rf "$work"
mkdir -p "$work"
tangram=$target/release/tangram
threads=$(nproc)
"$python" scripts/sweep.py prepare "$data" "$work"
inputs=(--cells "$data/mop_10x_sc.h5ad" --voxels "$work/slice.h5ad" --threads "$threads")
"$tangram" -q sweep new loo "${inputs[@]}" --out "$work/all"
"$python" scripts/sweep.py genes "$work/all" "$folds" >"$work/genes.txt"

timed() { "$python" scripts/measure.py "$work/$1.json" "${@:2}" >&2; }
for start in cold warm; do
    "$tangram" -q sweep new loo "${inputs[@]}" --only "$work/genes.txt" --start "$start" --out "$work/$start"
    timed "$start" "$tangram" -q sweep run "$work/$start" --all --threads "$threads"
    "$tangram" -q sweep collect "$work/$start"
done
one_by_one() {
    local gene
    while read -r gene; do
        echo "$gene" >"$work/gene.txt"
        "$tangram" -q map "${inputs[@]}" --hold-out "$work/gene.txt" --keep none --out "$work/map" --force
        "$tangram" -q project --mapping "$work/map" --genes "$work/gene.txt" --out "$work/gene.h5ad" --force
    done <"$work/genes.txt"
}
export -f one_by_one
export work tangram
timed maps bash -c "$(declare -p inputs); one_by_one"
if [ "$reference" = yes ]; then
    reference_python=$(bash scripts/python-env.sh reference)
    "$reference_python" scripts/reference.py "$work/problem.npz" "$work/reference" --epochs 12 --threads "$threads" --no-mapping
fi
"$python" scripts/sweep.py table "$work"
