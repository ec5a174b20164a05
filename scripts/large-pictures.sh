#!/usr/bin/env bash
# Measures figures of a million voxels and a report of 100,000 voxels x 200 genes, which a headless Chromium opens.
#
#   scripts/large-pictures.sh [WORK_DIR]      WORK_DIR, target/large-pictures unless it is given, keeps the data and the pictures
#
# Simulates the tissues and maps a few thousand cells onto them in a few passes: the pictures are what is measured, not the mapping. Prints
# Markdown tables: seconds, peak memory and bytes of every figure as SVG and PNG; of the report the seconds to write it, its bytes, and the
# seconds from opening the file until its maps are drawn, three times. About six minutes on two cores, a release build apart.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
cargo build --release --quiet
python=$(bash scripts/python-env.sh browser)
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
exec "$python" scripts/large_pictures.py "$target/release/tangram" "$(realpath -m "${1:-$target/large-pictures}")"
