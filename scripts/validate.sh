#!/usr/bin/env bash
# Maps real data sets with tangram and with tangram-sc 1.0.4, with the same genes and settings, and compares the
# results.
#
#   scripts/validate.sh DATA_DIR [--epochs N] [--no-reference] [--reference-dir DIR] [--only TASK] [--precision f32]
#                              [--own-start]
#
# DATA_DIR must hold mop_10x_sc, mop_merfish_spatial, visp_merfish_spatial, starmap_v1_cells, starmap_v1_spots, pdac_sc
# and pdac_st_spatial as .h5ad. --reference-dir stores the package's results in DIR, or uses those that are there (with
# the seconds of the run that wrote them). Epochs: 500, for the largest task 300. Needs about 4 GB of memory and 27
# minutes on two idle cores. Exit code 0: the scores agree. TANGRAM names the program, if not the release build.
#
# Four tasks are in cells mode. Three more: clusters of cells, and spots of known composition by cells of the other
# replicate, with a filter and without.
#
# Both programs start from the logits that the package draws, so that the random start does not contribute to the
# difference. (With few held-out genes, another seed alone changes their score by 0.005.) tangram's peak memory includes
# this array. With --own-start tangram draws its own logits.
set -euo pipefail

usage() {
    sed -n '2,18s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

root=$(cd "$(dirname "$0")/.." && pwd)
data='' asked_epochs='' reference=yes reference_dir='' only='' precision=f32 start=same
while [ $# -gt 0 ]; do
    case "$1" in
    --epochs) asked_epochs=${2:?--epochs needs a number}; shift ;;
    --no-reference) reference=no ;;
    --reference-dir) reference_dir=${2:?--reference-dir needs a folder}; shift ;;
    --only) only=${2:?--only needs a task}; shift ;;
    --precision) precision=${2:?--precision needs f32, bf16 or f64}; shift ;;
    --own-start) start=own ;;
    -*) usage ;;
    *) [ -z "$data" ] || usage; data=$1 ;;
    esac
    shift
done
[ -n "$data" ] || usage
[ -d "$data" ] || { echo "validate: $data is not a folder" >&2; exit 2; }
data=$(cd "$data" && pwd)
[ -z "$reference_dir" ] || reference_dir=$(realpath -m "$reference_dir")

cd "$root"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
python=$(bash scripts/python-env.sh tests)
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
if [ -z "${TANGRAM:-}" ]; then
    cargo build --release --quiet
    TANGRAM=$target/release/tangram
fi
work=$target/validate
reference_dir=${reference_dir:-$work/reference}
threads=$(nproc)
tasks=${only:-$("$python" scripts/validate.py tasks)}
"$python" scripts/validate.py prepare "$data" "$work"

# Sets mode, epochs and flags to those of task $1.
plan() {
    local found
    found=$("$python" scripts/validate.py plan "$data" "$work" "$1")
    { read -r mode epochs; mapfile -t flags; } <<<"$found"
    epochs=${asked_epochs:-$epochs}
}

for task in $tasks; do
    plan "$task"
    echo "validate: $task, tangram" >&2
    begin=(--seed 42)
    if [ "$start" = same ]; then
        "$python" scripts/validate.py start "$work" "$task"
        begin=(--init-logits "$work/$task/start.npy")
        [ "$mode" != constrained ] || begin+=(--init-filter "$work/$task/start-filter.npy")
    fi
    "$python" scripts/measure.py "$work/$task/measured.json" "$TANGRAM" map --force "${flags[@]}" \
        --out "$work/$task/run" --hold-out "$work/$task/hold-out.txt" --solver adam --lambda-d 1 --lr 0.1 \
        --epochs "$epochs" --threads "$threads" --precision "$precision" --normalize library --normalize-voxels none \
        "${begin[@]}" >&2
    rm -f "$work/$task"/start*.npy
done

if [ "$reference" = yes ]; then
    for task in $tasks; do
        plan "$task"
        known=$("$python" scripts/validate.py epochs "$reference_dir/$task")
        [ "$known" = "$epochs" ] && continue
        echo "validate: $task, tangram-sc" >&2
        reference_python=$(bash scripts/python-env.sh reference)
        "$reference_python" scripts/reference.py "$work/$task/problem.npz" "$reference_dir/$task" \
            --mode "$mode" --epochs "$epochs" --lr 0.1 --lambda-d 1 --seed 42 --threads "$threads"
    done
fi

judge=(scripts/validate.py table "$data" "$work")
[ -z "$only" ] || judge+=(--only "$only")
[ "$reference" = no ] || judge+=(--reference "$reference_dir")
"$python" "${judge[@]}"
