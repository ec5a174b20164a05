#!/usr/bin/env bash
# Kills a rank of a running mapping at random moments, fifty times, and resumes it each time. The result must equal that
# of a run without kills.
#
#   scripts/kill.sh [--times N] [--grid GRID] [--solver mirror|adam] [--seed N]
#
# Prints a line for every kill. Exit code 0: history.tsv of every run is equal to the bit, except for its times. Takes
# about 5 minutes.
set -euo pipefail
times=50 grid=2x1x1 solver=adam seed=1
while [ $# -gt 0 ]; do
    case "$1" in
    --times) times=${2:?} ;;
    --grid) grid=${2:?} ;;
    --solver) solver=${2:?} ;;
    --seed) seed=${2:?} ;;
    *)
        sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
    shift 2
done
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
cargo build --release --quiet
tangram=$(realpath "${CARGO_TARGET_DIR:-target}/release/tangram")
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
RANDOM=$seed
ranks=$((${grid//x/*}))
"$tangram" simulate --quiet --cells 3000 --voxels 300 --spots 10 --genes 120 --panel 120 --out tissue
passes=(--epochs 1200)
[ "$solver" = adam ] || passes+=(--tolerance 0)
map() {
    mpirun --oversubscribe --bind-to none -n "$ranks" "$tangram" map --quiet --cells tissue/cells.h5ad \
        --voxels tissue/voxels.h5ad --solver "$solver" "${passes[@]}" --keep top:5 --threads 1 --grid "$grid" "$@"
}
began=$(date +%s%N)
map --out whole
took=$((($(date +%s%N) - began) / 1000000))
kills=0
for ((i = 1; kills < times; i++)); do
    rm -rf "run-$i"
    while :; do
        map --out "run-$i" --resume --checkpoint-minutes 0.001 >/dev/null 2>&1 &
        launcher=$!
        # A random time between the start of the program and the end of the run.
        wait_ms=$((RANDOM % 1000 < 800 ? RANDOM % took : 1))
        sleep "$(printf '%d.%03d' $((wait_ms / 1000)) $((wait_ms % 1000)))"
        mapfile -t running < <(pgrep -P "$launcher" -f 'tangram map' || true)
        [ ${#running[@]} -gt 0 ] || mapfile -t running < <(pgrep -f "tangram map.*run-$i " || true)
        if [ ${#running[@]} -gt 0 ] && [ "$kills" -lt "$times" ] && kill -9 "${running[RANDOM % ${#running[@]}]}" 2>/dev/null; then
            kills=$((kills + 1))
            wait "$launcher" || true
            passes_done=$(find "run-$i.checkpoint" -name checkpoint.json 2>/dev/null | sort | tail -1 | xargs -r dirname | xargs -r basename || true)
            echo "kill $kills: run $i, latest checkpoint ${passes_done:-none}"
        else
            wait "$launcher" || true
        fi
        [ ! -e "run-$i/run.toml" ] || break
        [ "$kills" -lt "$times" ] || { map --out "run-$i" --resume; break; }
    done
    cmp <(cut -f 1-9 whole/history.tsv) <(cut -f 1-9 "run-$i/history.tsv")
    left=$(find . -maxdepth 1 -name '.*.partial' -o -maxdepth 1 -name '*.checkpoint')
    [ -z "$left" ] || { echo "left behind: $left" >&2; exit 1; }
done
echo "$kills kills in $((i - 1)) runs: every history equals that of the run without kills"
