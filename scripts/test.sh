#!/usr/bin/env bash
# Every check of the project: format, lints, tests, doc tests, docs, scripts.
#
#   scripts/test.sh
#
# Installs what is missing (see setup.sh). The first run compiles everything and takes about 40 minutes on two cores.
#
# A test that needs something of the machine (a Python, a real Slurm, a disk that can be mounted, shellcheck) may be skipped
# where it is missing. What this script could provide it names in TANGRAM_REQUIRE, and there a skip is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
tangram_missing_test_packages() {
    command -v shellcheck >/dev/null || echo "shellcheck|checks our scripts and those of jobs"
}
required=()
if tangram_install_packages tangram_missing_test_packages; then
    required+=(shellcheck)
else
    printf 'test.sh: no shellcheck: scripts are only parsed\n' >&2
fi
# A browser for the tests of the report. Its version is apt's own matter; what drives it is pinned.
tangram_missing_browser() {
    local name
    for name in chromium-headless-shell chromium chromium-browser google-chrome; do
        ! command -v "$name" >/dev/null || return 0
    done
    if apt-cache show chromium-headless-shell >/dev/null 2>&1; then
        echo "chromium-headless-shell|drives the report in tests"
    else
        echo "chromium|drives the report in tests"
    fi
}
if tangram_install_packages tangram_missing_browser; then
    TANGRAM_BROWSER_PYTHON=$(bash scripts/python-env.sh browser)
    export TANGRAM_BROWSER_PYTHON
    required+=(browser)
else
    printf 'test.sh: no Chromium: the tests that drive the report in a browser will be skipped\n' >&2
fi
# A real Slurm for tests/cluster; only root can start one. Not by apt-get alone, which would start its services, too.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    sandbox=$(mktemp -d)
    SLURM_SANDBOX_DIR=$sandbox bash scripts/slurm-sandbox.sh install
    rm -rf "$sandbox"
    required+=(slurm)
else
    printf 'test.sh: the tests on a real Slurm need root and Debian or Ubuntu: they will be skipped\n' >&2
fi
if unshare --mount --propagation private mount -t tmpfs tmpfs /mnt 2>/dev/null; then
    required+=(disk)
else
    printf 'test.sh: no disk can be mounted: the tests of a full disk will be skipped\n' >&2
fi
TANGRAM_PYTHON=$(bash scripts/python-env.sh tests)
export TANGRAM_PYTHON
required+=(python)
TANGRAM_REQUIRE=$(IFS=, && printf '%s' "${required[*]}")
export TANGRAM_REQUIRE
# mpirun refuses to run as root, which containers are, unless told twice.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# Ranks that wait for others give their core away: tests start more ranks than there are cores.
export OMPI_MCA_mpi_yield_when_idle=1
# Many tests wait for processes that they started.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((3 * $(nproc)))}
export RUST_TEST_THREADS
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"

began=$SECONDS
passed=()
check() {
    local name=$1 start=$SECONDS
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    if ! "$@"; then
        printf '\ntest.sh: %s failed' "$name" >&2
        [ ${#passed[@]} -eq 0 ] || printf '; passed before it: %s' "${passed[*]}" >&2
        printf '\n' >&2
        exit 1
    fi
    passed+=("$name ($((SECONDS - start)) s)")
}

scripts_parse() {
    local script
    for script in scripts/*.sh .ci/run; do bash -n "$script" || return 1; done
    "$TANGRAM_PYTHON" - scripts/*.py <<'PYTHON'
import ast, sys
for path in sys.argv[1:]:
    ast.parse(open(path, encoding="utf-8").read(), path)
PYTHON
    if command -v shellcheck >/dev/null; then shellcheck -x -P . scripts/*.sh packaging/conda/build.sh .ci/run || return 1; fi
}

check format cargo fmt --all --check
# The list of terms declares their modules in a macro, where cargo fmt does not look.
check "format of the terms" rustfmt --edition 2024 --check crates/core/src/objective/*.rs
check scripts scripts_parse
# Two builds, with libtorch (the default) and without. All tests run without it, which starts a process in a tenth of the
# time; those that have to do with libtorch run with it.
without=(--no-default-features --features mpi)
check lints cargo clippy --workspace --all-targets --quiet -- -D warnings
check "lints without libtorch" cargo clippy --workspace --all-targets --quiet "${without[@]}" -- -D warnings
check "tests and doc tests without libtorch" cargo test --workspace --quiet "${without[@]}"
torch=()
for file in crates/mapper/tests/*.rs crates/networks/tests/*.rs; do torch+=(--test "$(basename "$file" .rs)"); done
# Some tests run an example, which must be the one with libtorch now.
check "examples with libtorch" cargo build --workspace --quiet --examples
check "tests of the mapper and the networks with libtorch" cargo test --workspace --quiet --lib "${torch[@]}"
program=(device:: networks:: help::help_texts end_to_end::python_opens_every_file end_to_end::transfers_by_the_stored_mapping)
check "tests of the program with libtorch" cargo test --workspace --quiet --test program -- "${program[@]}"
if next=$(bash scripts/python-env.sh tests-next); then
    check "files with anndata 0.13" env TANGRAM_PYTHON="$next" \
        cargo test --workspace --quiet "${without[@]}" --test files --test program -- python tangram_sc
else
    printf 'test.sh: no Python 3.12: no file is read with anndata 0.13\n' >&2
fi
RUSTDOCFLAGS="-D warnings" check docs cargo doc --workspace --no-deps --quiet

list=$(printf ', %s' "${passed[@]}")
printf '\ntest.sh: all passed in %d s: %s\n' "$((SECONDS - began))" "${list:2}"
