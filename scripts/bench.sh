#!/usr/bin/env bash
# Measures `tangram map` and tangram-sc 1.0.4, alternately, with 2 threads each.
#
#   scripts/bench.sh [ROW ...] [--epochs N] [--rounds N] [--threads N]
#   scripts/bench.sh [ROW ...] [--rounds N] [--threads N] --before PROGRAM      another build instead of the package, and a small row
#
# Rows (cells x voxels x genes, simulated tissue, 15 % of the counts non-zero):
#   1  20,000 x 2,000 x 250      2  11,759 x 1,550 x 995      3  11,759 x 4,840 x 22
#   4  58,022 x 162 x 1,408      5  58,022 x 4,951 x 253
#
# Prints three things. The factored solver: seconds until it reaches the package's loss after 1,000 epochs, and in
# total. Adam: seconds per epoch and peak memory of tangram (f32, bf16), of the package as installed, and of the package
# with glibc told to keep freed memory. The machine: which share of its matrix-product rate and memory bandwidth was
# reached.
#
# Needs an idle machine; row 5 needs 10 GB of memory. All rows take about 20 minutes. The first run takes 30 minutes
# more, for the loss after 1,000 epochs.
set -euo pipefail
case "${1:-}" in
-h | --help)
    sed -n '2,17s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
cargo build --release --quiet
python=$(bash scripts/python-env.sh tests)
reference=
case " $* " in
*" --before "*) ;;
*) reference=$(bash scripts/python-env.sh reference) ;;
esac
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
exec "$python" scripts/bench.py --tangram "$target/release/tangram" --reference "$reference" --work "$target/bench" "$@"
