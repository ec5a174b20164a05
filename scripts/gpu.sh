#!/usr/bin/env bash
# Times both solvers on a GPU beside tangram-sc 1.0.4 on the same GPU, in turn.
#
#   scripts/gpu.sh [--small] [--threads N] [--python PYTHON]
#
# Needs a libtorch with CUDA (LIBTORCH, or LIBTORCH_USE_PYTORCH=1) and, for the rates of the card and the package, a Python that has
# torch 2.11 with CUDA, numpy and tangram-sc 1.0.4 (--python; by default that of VIRTUAL_ENV). Prints
#   - what the card copies (bytes/s) and multiplies (FLOP/s in f32, TF32, bf16) at the shapes of a block
#   - seconds per epoch of Adam and per pass of the factored solver at 58,022 x 4,951 x 253 and 100,000 x 10,000 x 1,000, the shares of
#     those rates that they reach, and what of a pass does not grow with the cells
#   - the same with other sizes of blocks
#   - the package's seconds per epoch, and how long either takes to the loss of 1,000 epochs
#   - a pass over 10^6 x 10^5 x 1,000
# Where there is no GPU, or with --small, the same runs at small sizes on the cores (device torch-cpu), to see that it works: its
# numbers then say nothing of a GPU.
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
cargo build --release --quiet -p tangram-mapper --example passes
tests=$(bash scripts/python-env.sh tests)
if [ -n "${VIRTUAL_ENV:-}" ] && "$VIRTUAL_ENV/bin/python" -c 'import torch, numpy' 2>/dev/null; then
    reference="$VIRTUAL_ENV/bin/python"
else
    reference=$(bash scripts/python-env.sh reference)
fi
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
exec "$tests" scripts/gpu.py --tangram "$target/release/tangram" --passes "$target/release/examples/passes" \
    --python "$reference" --work "$target/gpu" "$@"
