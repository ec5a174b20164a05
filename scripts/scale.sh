#!/usr/bin/env bash
# The factored solver on many cells: cells are streamed from Zarr over MPI ranks of one thread; ten passes over samples,
# one over all.
#
#   scripts/scale.sh [--cells N] [--voxels N] [--genes N] [--ranks N] [--grid GRID] [--work DIR]
#
# Default: 10,000,000 cells x 20,000 voxels x 300 genes over 2 ranks, which needs 1.1 GB of disk, 2.3 GB of memory and,
# on two cores of an AMD EPYC (Zen 4), a quarter of an hour. --cells 100000 --voxels 2000 takes a minute. The tissue is simulated into DIR/tissue-CELLS-VOXELS-GENES, unless
# it is there (DIR: default target/scale). Prints the seconds per pass of both kinds, the peak memory of every rank, the
# bytes exchanged, and the projection of `tangram plan` for 64 ranks at the measured rate.
set -euo pipefail
cells=10000000 voxels=20000 genes=300 ranks=2 grid='' work=''
while [ $# -gt 0 ]; do
    case "$1" in
    --cells) cells=${2:?} ;;
    --voxels) voxels=${2:?} ;;
    --genes) genes=${2:?} ;;
    --ranks) ranks=${2:?} ;;
    --grid) grid=${2:?} ;;
    --work) work=$(realpath -m "${2:?}") ;;
    *)
        sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
    shift 2
done
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
cargo build --release --quiet
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tangram=$target/release/tangram
work=${work:-$target/scale}
grid=${grid:-${ranks}x1x1}
density=0.15
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
mkdir -p "$work"
cd "$work"

# A sample must have at least four cells per voxel to be useful; one cell in 64 is small enough.
batches=64
while [ "$batches" -gt 1 ] && [ $((cells / batches)) -lt $((4 * voxels)) ]; do batches=$((batches / 2)); done
if [ "$batches" -eq 1 ]; then
    echo "$cells cells are too few for samples: at least 8 cells for each of the $voxels voxels are needed" >&2
    exit 2
fi

tissue=tissue-$cells-$voxels-$genes
if [ ! -e "$tissue/simulate.toml" ]; then
    began=$SECONDS
    "$tangram" simulate --quiet --format zarr --cells "$cells" --voxels "$voxels" --spots 1 --genes "$genes" --panel "$genes" \
        --density "$density" --out "$tissue"
    echo "simulated in $((SECONDS - began)) s: $(du -sh "$tissue/cells.zarr" | cut -f 1) of cells"
fi
began=$SECONDS
mpirun --oversubscribe --bind-to none -n "$ranks" "$tangram" map --cells "$tissue/cells.zarr" --voxels "$tissue/voxels.zarr" \
    --grid "$grid" --threads 1 --stream on --batches "$batches" --batch-epochs 10 --epochs 11 --tolerance 0 --keep none \
    --force --out run
echo "$ranks ranks as $grid, one thread each: $((SECONDS - began)) s in total"

recorded() { sed -n "s/^$1 = //p" run/run.toml; }
# A pass is timed from the end of the pass before it. The first pass over samples also chooses the sample, so it is left out.
awk -F '\t' '
    NR > 1 { seconds[$1] = $10 - before; cells[$1] = $7; loss[$1] = $2; before = $10 }
    END {
        for (i = 2; i <= 10; i++) batch += seconds[i] / 9
        printf "a pass over %d cells: %.2f s (mean of nine, without the first); over %d: %.2f s\n", cells[2], batch, cells[11], seconds[11]
        printf "loss %.5f -> %.5f after ten passes over samples\n", loss[1], loss[11]
    }' run/history.tsv
echo "peak memory by rank, bytes: $(recorded peak-memory-by-rank)"
echo "bytes exchanged by the first rank: $(recorded bytes-exchanged), in $(recorded seconds-exchanging) of $(recorded seconds-training) s"

# Operations per second of one core on non-zero counts, in units of 10^9, counted as `tangram plan` does.
rate=$(awk -F '\t' -v c="$cells" -v v="$voxels" -v g="$genes" -v r="$ranks" -v d="$density" '
    $1 == 10 { before = $10 }
    $1 == 11 { print 4 * c / r * v * (g * d + 1) / ($10 - before) / 1e9 }' run/history.tsv)
printf 'operations-per-core = %s\nbytes-summed = 4.0\nlatency-us = 20.0\n' "$rate" >rates.toml
echo "projection for 64 ranks of one core, at the measured rate ($rate x 10^9 operations per second) and assumed 4 GB/s of sums, 20 us:"
"$tangram" plan --cells "$cells" --voxels "$voxels" --genes "$genes" --density "$density" --ranks 64 --rates rates.toml | head -4
