#!/usr/bin/env bash
# Makes everything ready that building tangram needs, then exports LIBTORCH and LD_LIBRARY_PATH.
#
#   . scripts/setup.sh                 from another script: installs what is missing and exports the two variables
#   bash scripts/setup.sh              by hand: the same, and prints the two export lines
#   TANGRAM_WITHOUT_LIBTORCH=1 . scripts/setup.sh    for a build with --no-default-features --features mpi: needs no libtorch
#   bash scripts/setup.sh --verify     the same as the second, and compares every library of the cached libtorch with its SHA-256 (a few seconds)
#
# On Debian and Ubuntu, as root or with sudo, missing system packages are installed by apt. Elsewhere the
# script names what is missing and stops. libtorch: LIBTORCH_USE_PYTORCH=1 or LIBTORCH=DIR win; without them a CPU
# build is assembled once from the published PyTorch wheels into the cache:
#
#   ${TANGRAM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tangram}/libtorch-2.11.0-cpu
#
# A second run finds everything there and does nothing but compare sizes. Whatever is downloaded is pinned by its SHA-256: the wheels in
# requirements-libtorch.txt, the installer of Rust below. System packages are apt's own matter, which checks signatures.

TANGRAM_TORCH_VERSION=2.11.0
TANGRAM_MINIMUM_RUST=1.91
TANGRAM_RUSTUP=1.29.0

tangram_say() { printf 'setup: %s\n' "$*" >&2; }
tangram_stop() { printf 'setup: %s\n' "$*" >&2; return 1; }

# --- system packages -------------------------------------------------------------------------------------

# One line for each thing that is missing: Debian package, then what it is for and what an HPC module brings.
tangram_missing_packages() {
    command -v cc >/dev/null && command -v c++ >/dev/null \
        || echo "build-essential|C and C++ compiler (module load gcc)"
    command -v pkg-config >/dev/null || echo "pkg-config|pkg-config, finds the libraries (module load pkgconf)"
    command -v cmake >/dev/null || echo "cmake|CMake (module load cmake)"
    command -v mpicc >/dev/null || echo "libopenmpi-dev|MPI compiler wrapper and headers (module load openmpi)"
    command -v mpirun >/dev/null || echo "openmpi-bin|mpirun (module load openmpi)"
    [ -n "${HDF5_DIR:-}" ] || pkg-config --exists hdf5 2>/dev/null || command -v h5cc >/dev/null \
        || echo "libhdf5-dev|HDF5 library and headers (module load hdf5, then export HDF5_DIR)"
    tangram_has_libclang || echo "libclang-dev|libclang, reads the MPI headers (module load llvm, then export LIBCLANG_PATH)"
    python3 -c 'import venv, ensurepip' >/dev/null 2>&1 \
        || echo "python3-venv|Python with venv, fetches libtorch (module load python)"
    tangram_has_cargo || command -v curl >/dev/null || echo "curl|curl, fetches Rust"
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] || [ -e /etc/ssl/ca-bundle.pem ] \
        || echo "ca-certificates|certificates for downloads"
}

tangram_has_cargo() { command -v cargo >/dev/null || [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; }

# libclang itself: not libclang-cpp, which comes with other packages, and not llvm-config, which comes without it.
tangram_has_libclang() {
    local folders=(/usr/lib/llvm-*/lib /usr/lib64 /usr/lib)
    ! command -v llvm-config >/dev/null || folders+=("$(llvm-config --libdir)")
    [ -n "${LIBCLANG_PATH:-}" ] || ldconfig -p 2>/dev/null | grep -q 'libclang\(-[0-9.]*\)\?\.so' \
        || [ -n "$(find "${folders[@]}" -maxdepth 1 -name 'libclang.so*' -print -o -name 'libclang-[0-9]*.so*' -print 2>/dev/null)" ]
}

# tangram_install_packages LIST: installs what the function LIST says is missing.
tangram_install_packages() {
    local list=$1 missing packages sudo=()
    missing=$("$list")
    [ -n "$missing" ] || return 0
    mapfile -t packages < <(cut -d '|' -f 1 <<<"$missing")
    if ! command -v apt-get >/dev/null; then
        tangram_say "these are missing, and there is no apt here to install them:"
        tangram_list_missing "$missing"
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
            sudo=(sudo)
        else
            tangram_say "these are missing, and without root or sudo they cannot be installed:"
            tangram_list_missing "$missing"
            tangram_say "ask an administrator for: apt-get install ${packages[*]}"
            return 1
        fi
    fi
    tangram_say "installing ${packages[*]}"
    if ! { "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q \
        && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -q --no-install-recommends "${packages[@]}"; } >&2; then
        tangram_stop "apt could not install ${packages[*]}; its message stands above"
        return 1
    fi
    missing=$("$list")
    [ -z "$missing" ] && return 0
    tangram_say "still missing after apt ran:"
    tangram_list_missing "$missing"
    return 1
}

tangram_list_missing() {
    local package purpose
    while IFS='|' read -r package purpose; do
        printf '  %-16s %s\n' "$package" "$purpose" >&2
    done <<<"$1"
}

# --- Rust ------------------------------------------------------------------------------------------------

tangram_find_rust() {
    local version
    if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    if ! command -v cargo >/dev/null; then
        if ! tangram_install_rust; then
            tangram_stop "Rust is missing and could not be installed; install Rust $TANGRAM_MINIMUM_RUST or newer (https://rustup.rs, or: module load rust)"
            return 1
        fi
        export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    version=$(cargo --version 2>/dev/null | cut -d ' ' -f 2)
    tangram_at_least "$TANGRAM_MINIMUM_RUST" "${version:-0}" \
        || tangram_stop "cargo is ${version:-not working}, tangram needs $TANGRAM_MINIMUM_RUST or newer; run: rustup update stable (or: module load a newer rust)"
}

# Fetches the installer of Rust to a file, and runs it if it is the one that was pinned.
tangram_install_rust() (
    set -eu
    machine=$(uname -m)
    case "$machine" in
    x86_64) pinned=4acc9acc76d5079515b46346a485974457b5a79893cfb01112423c89aeb5aa10 ;;
    aarch64) pinned=9732d6c5e2a098d3521fca8145d826ae0aaa067ef2385ead08e6feac88fa5792 ;;
    *)
        tangram_say "no installer of Rust is pinned for $machine"
        exit 1
        ;;
    esac
    tangram_say "installing Rust through rustup $TANGRAM_RUSTUP"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    curl --proto '=https' --tlsv1.2 -sSf -o "$folder/rustup-init" \
        "https://static.rust-lang.org/rustup/archive/$TANGRAM_RUSTUP/$machine-unknown-linux-gnu/rustup-init"
    if ! echo "$pinned  $folder/rustup-init" | sha256sum --check --quiet >&2; then
        tangram_say "the installer is not the one that was pinned: not run"
        exit 1
    fi
    chmod +x "$folder/rustup-init"
    "$folder/rustup-init" -y --no-modify-path --profile default >&2
)

# Whether version $2 is at least $1.
tangram_at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# --- libtorch --------------------------------------------------------------------------------------------

tangram_find_libtorch() {
    [ "${TANGRAM_WITHOUT_LIBTORCH:-0}" != 1 ] || return 0
    local cache="${TANGRAM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tangram}" python found
    if [ "${LIBTORCH_USE_PYTORCH:-0}" = 1 ]; then
        python=python3
        [ -z "${VIRTUAL_ENV:-}" ] || python="$VIRTUAL_ENV/bin/python"
        if ! found=$("$python" -c 'import os, torch; print(torch.__version__, os.path.join(os.path.dirname(torch.__file__), "lib"))' 2>/dev/null); then
            tangram_stop "LIBTORCH_USE_PYTORCH=1, but $python cannot import torch; activate the environment that has torch $TANGRAM_TORCH_VERSION, or unset the variable"
            return 1
        fi
        tangram_check_torch_version "${found%% *}" "LIBTORCH_USE_PYTORCH=1: torch of $python" || return 1
        tangram_library_path "${found#* }"
        return 0
    fi
    unset LIBTORCH_USE_PYTORCH
    if [ -n "${LIBTORCH:-}" ]; then
        if ! compgen -G "$LIBTORCH/lib/libtorch_cpu.*" >/dev/null; then
            tangram_stop "LIBTORCH=$LIBTORCH has no lib/libtorch_cpu.so; point it at an unpacked libtorch $TANGRAM_TORCH_VERSION, or unset it to have one fetched"
            return 1
        fi
        tangram_check_torch_version "$(tangram_torch_version "$LIBTORCH")" "LIBTORCH=$LIBTORCH" || return 1
        LIBTORCH=$(cd "$LIBTORCH" && pwd)
    else
        LIBTORCH="$cache/libtorch-$TANGRAM_TORCH_VERSION-cpu"
        tangram_libtorch_is_whole "$LIBTORCH" || tangram_assemble_libtorch "$LIBTORCH" || return 1
    fi
    export LIBTORCH
    tangram_library_path "$LIBTORCH/lib"
}

tangram_library_path() {
    case ":${LD_LIBRARY_PATH:-}:" in
    *":$1:"*) ;;
    *) export LD_LIBRARY_PATH="$1${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" ;;
    esac
}

# The version of an unpacked libtorch, from its headers, or nothing.
tangram_torch_version() {
    local header
    for header in "$1/include/torch/headeronly/version.h" "$1/include/torch/csrc/api/include/torch/version.h"; do
        if grep -qs 'define TORCH_VERSION_MAJOR' "$header"; then
            awk '/define TORCH_VERSION_(MAJOR|MINOR|PATCH)/ { printf "%s%s", dot, $3; dot = "." }' "$header"
            return
        fi
    done
    cat "$1/build-version" 2>/dev/null
}

tangram_check_torch_version() {
    case "$1" in
    2.11.*) ;;
    "") tangram_stop "$2 does not say its version; tangram needs libtorch $TANGRAM_TORCH_VERSION" ;;
    *) tangram_stop "$2 is version $1; tangram needs libtorch $TANGRAM_TORCH_VERSION" ;;
    esac
}

# libtorch.check lists every library with its size: a cut-off or emptied cache is noticed and made anew.
tangram_libtorch_is_whole() {
    local size file
    [ -s "$1/libtorch.check" ] && [ -d "$1/include" ] || return 1
    while read -r size file; do
        [ "$(stat -c %s "$1/lib/$file" 2>/dev/null)" = "$size" ] || return 1
    done <"$1/libtorch.check"
}

# Compares every library of a libtorch made from the pinned wheels with its SHA-256: those known for this machine, else those taken down
# when it was made.
tangram_verify_libtorch() (
    set -eu
    known="$TANGRAM_SCRIPTS/libtorch-$TANGRAM_TORCH_VERSION-$(uname -m).sha256"
    [ -e "$known" ] || known="$1/libtorch.sha256"
    cd "$1/lib"
    if ! sha256sum --check --quiet --strict "$known" >&2; then
        tangram_say "$1 is not what the wheels hold; remove it, and run setup.sh again"
        exit 1
    fi
)

tangram_assemble_libtorch() (
    set -eu
    target=$1
    mkdir -p "$(dirname "$target")"
    exec 9>"$target.lock"
    flock 9 # another setup at work: wait for it rather than fetch twice
    if tangram_libtorch_is_whole "$target"; then exit 0; fi
    tangram_say "fetching libtorch $TANGRAM_TORCH_VERSION for CPU (about 550 MB, once) into $target"
    partial="$target.partial"
    rm -rf "$partial"
    trap 'rm -rf "$partial"' EXIT
    trap 'exit 130' INT TERM
    mkdir -p "$partial/wheels"
    python3 -m venv "$partial/venv"
    "$partial/venv/bin/python" -m pip --disable-pip-version-check download -q --no-deps --only-binary=:all: --require-hashes \
        --python-version 3.12 --dest "$partial/wheels" -r "$TANGRAM_SCRIPTS/requirements-libtorch.txt" >&2 \
        || { tangram_say "pip could not fetch the wheels; check the network, or set LIBTORCH to an unpacked libtorch $TANGRAM_TORCH_VERSION"; exit 1; }
    "$partial/venv/bin/python" "$TANGRAM_SCRIPTS/assemble_libtorch.py" "$partial/wheels" "$partial/libtorch"
    tangram_verify_libtorch "$partial/libtorch"
    rm -rf "$target"
    mv -T "$partial/libtorch" "$target"
)

# --- all of it -------------------------------------------------------------------------------------------

TANGRAM_SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tangram_verify_if_asked() {
    local made="${TANGRAM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tangram}/libtorch-$TANGRAM_TORCH_VERSION-cpu"
    [ "${1:-}" = --verify ] && [ "${TANGRAM_WITHOUT_LIBTORCH:-0}" != 1 ] || return 0
    if [ "${LIBTORCH:-}" != "$made" ]; then
        tangram_say "libtorch is not of this script's making: not verified"
        return 0
    fi
    tangram_verify_libtorch "$made" && tangram_say "every library of $made has its SHA-256"
}

if ! { tangram_install_packages tangram_missing_packages && tangram_find_rust && tangram_find_libtorch \
    && { [ "${BASH_SOURCE[0]}" != "$0" ] || tangram_verify_if_asked "$@"; }; }; then
    # shellcheck disable=SC2317  # `exit` is reached when the file is run instead of sourced
    return 1 2>/dev/null || exit 1
fi
if [ "${BASH_SOURCE[0]}" = "$0" ] && [ "${TANGRAM_WITHOUT_LIBTORCH:-0}" != 1 ]; then
    [ "${LIBTORCH_USE_PYTORCH:-0}" = 1 ] && echo "export LIBTORCH_USE_PYTORCH=1" || echo "export LIBTORCH=$LIBTORCH"
    echo "export LD_LIBRARY_PATH=$LD_LIBRARY_PATH"
fi
