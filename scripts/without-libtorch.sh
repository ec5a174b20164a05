#!/usr/bin/env bash
# Builds the program with and without libtorch and shows that both learn the same bits.
#
#   bash scripts/without-libtorch.sh OUT [PROFILE]     PROFILE is release unless it is given
#
# Maps a simulated tissue of few counts and one of many (whose products are dense), in f32 and f64, with both solvers, by both programs,
# and compares every number of the mappings and of the losses. Prints the sizes of the programs, the seconds of the build without libtorch,
# which begins from nothing, and those of a start. The tests of that build are run by test.sh. A quarter of an hour on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$(realpath -m "${1:?usage: without-libtorch.sh OUT [PROFILE]}")
profile=${2:-release}
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
mkdir -p "$out"
features=(--no-default-features --features mpi)
folder=$profile
[ "$profile" != dev ] || folder=debug

cargo build --quiet --profile "$profile"
begun=$SECONDS
# Without any way to find libtorch, that nothing of it is used.
env -u LIBTORCH -u LIBTORCH_USE_PYTORCH -u LD_LIBRARY_PATH \
    cargo build --quiet --profile "$profile" "${features[@]}" --target-dir "$out/target"
echo "built without libtorch in $((SECONDS - begun)) s"
with=$(realpath "${CARGO_TARGET_DIR:-target}/$folder/tangram")
without=$out/target/$folder/tangram
if ldd "$without" | grep -i torch; then
    echo "the program without libtorch links it" >&2
    exit 1
fi
echo "program: $(stat -c %s "$with") bytes with libtorch, $(stat -c %s "$without") without"

for build in with without; do
    begun=$(date +%s%N)
    for _ in 1 2 3 4 5; do "${!build}" --version >/dev/null; done
    echo "a start $build libtorch: $((($(date +%s%N) - begun) / 5000000)) ms"
done

rm -rf "$out/maps"
mkdir "$out/maps"
cd "$out/maps"
for density in 0.15 0.7; do
    "$with" --quiet simulate --out "tissue-$density" --cells 1500 --voxels 400 --genes 300 --panel 150 --density "$density"
    for precision in f32 f64; do
        for solver in mirror adam; do
            name=$density-$precision-$solver
            for build in with without; do
                "${!build}" --quiet map --cells "tissue-$density/cells.h5ad" --voxels "tissue-$density/voxels.h5ad" --device cpu \
                    --precision "$precision" --solver "$solver" --epochs 30 --format zarr --no-report --out "$name-$build"
            done
            # All but the seconds of a pass; the arrays, not what is recorded of versions.
            diff <(sed 's/\t[^\t]*$//' "$name-with/history.tsv") <(sed 's/\t[^\t]*$//' "$name-without/history.tsv")
            for store in "$name-with"/*.zarr; do
                diff -r "$store/X" "$name-without/$(basename "$store")/X"
            done
            echo "$name: the same bits"
        done
    done
done
