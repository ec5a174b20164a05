#!/usr/bin/env bash
# Measures a GPU with a kit that needs only Python and torch 2.11 there: no Rust, MPI, HDF5 or network.
#
#   scripts/gpu.sh pack [--package] [--expect small|all] [--program FILE] [DIR]     makes the kit here (default target/gpu-kit, below 40 MB)
#   DIR/gpu.sh [--small] [--threads N] [--minutes N] [--python PYTHON]     measures, in a copy of DIR anywhere
#
# `pack` builds the mapper's bench example alone, and computes by the native kernels what its trainings come to: at the small sizes, or
# with --expect all (the default) at those of a GPU as well, some minutes on two cores. --package adds tangram-sc 1.0.4 (Python only),
# which then needs numpy where it runs. --program takes a bench example that is built already.
#
# In DIR, one command of at most eight minutes (--minutes). Every step has a time limit of its own, prints its lines at once and adds
# them to results.txt, in this order:
#   - versions and the card; how libtorch multiplies numbers of 16 bits
#   - bandwidth of copies, rates of the products (f32, TF32, fp16, bf16) at the shapes of a block, time of the softmax
#   - 58,022 x 4,951 x 253 and 100,000 x 10,000 x 1,000, the factored solver in each precision and Adam in f32: seconds a pass, on the device
#     and in all, share of the product rate, memory, and the loss after a fixed number of passes beside that of the native kernels
#   - the package on the same card to its loss, then both solvers to that loss
#   - 10^6 x 10^5 x 1,000: seconds a pass and memory in fp16, TF32 and bf16
#   - whether two runs give the same bits
# --small does the same at small sizes on the cores (device torch-cpu), to see that it works: its numbers say nothing of a GPU.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'gpu: %s\n' "$*" >&2; }
stop() {
    say "$@"
    exit 1
}

pack() {
    local package=0 expect=all program='' out='' kit size
    while [ $# -gt 0 ]; do
        case "$1" in
        --package) package=1 ;;
        --expect) expect=${2:?small or all} && shift ;;
        --program) program=${2:?a file} && shift ;;
        -*) stop "pack does not know $1; see --help" ;;
        *) out=$1 ;;
        esac
        shift
    done
    cd "$here/.."
    # shellcheck source=scripts/setup.sh
    . scripts/setup.sh
    local target=${CARGO_TARGET_DIR:-target}
    if [ -z "$program" ]; then
        cargo build --release --quiet -p tangram-mapper --example passes
        program="$target/release/examples/passes"
    fi
    kit=${out:-$target/gpu-kit}
    if [ -e "$kit" ] && [ ! -e "$kit/gpu_rates.py" ]; then stop "$kit exists and is no kit; name another folder"; fi
    rm -rf "$kit"
    mkdir -p "$kit"
    strip -o "$kit/passes" "$program"
    cp scripts/gpu.sh scripts/gpu.py scripts/gpu_rates.py scripts/gpu_versions.py scripts/reference.py "$kit"
    if [ "$package" = 1 ]; then
        local wheels
        wheels=$(mktemp -d)
        python3 -m pip --disable-pip-version-check download -q --no-deps --dest "$wheels" tangram-sc==1.0.4 >&2
        python3 -m zipfile -e "$wheels"/*.whl "$kit/package"
        rm -rf "$wheels"
    fi
    python3 "$kit/gpu.py" --expect "$expect" --threads "$(nproc)"
    size=$(du -sm "$kit" | cut -f 1)
    [ "$size" -lt 40 ] || stop "$kit takes $size MB, and is to take less than 40"
    say "$kit, $size MB: copy it to a machine with a card, and run gpu.sh there"
}

measure() {
    local python=python3 given=() found
    while [ $# -gt 0 ]; do
        case "$1" in
        --python) python=${2:?a Python} && shift ;;
        *) given+=("$1") ;;
        esac
        shift
    done
    [ -x "$here/passes" ] || stop "$here holds no packed kit; run: scripts/gpu.sh pack"
    found=$("$python" -c 'import os, torch; print(torch.__version__, os.path.join(os.path.dirname(torch.__file__), "lib"))') \
        || stop "$python cannot import torch; name one that can with --python"
    case "$found" in
    2.11.*) ;;
    *) stop "torch of $python is ${found%% *}; the kit was built for 2.11" ;;
    esac
    # torch's own libraries first: the program opens libtorch_cuda.so there by itself.
    export LD_LIBRARY_PATH="${found#* }${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    [ ! -d "$here/package" ] || export PYTHONPATH="$here/package${PYTHONPATH:+:$PYTHONPATH}"
    exec "$python" "$here/gpu.py" "${given[@]}"
}

case "${1:-}" in
-h | --help) sed -n '2,24s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
pack)
    shift
    pack "$@"
    ;;
*) measure "$@" ;;
esac
