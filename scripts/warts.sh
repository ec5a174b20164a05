#!/usr/bin/env bash
# Five data sets with every fault that files of a new user have at once, mapped with what the program's messages say, and compared with
# the mapping of the same data without the faults.
#
#   bash scripts/warts.sh OUT [PROGRAM]     PROGRAM is target/release/tangram unless it is given
#
# Writes OUT/table.tsv and, where squidpy is installed in TANGRAM_PYTHON, pictures beside it. A few minutes on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:?usage: warts.sh OUT [PROGRAM]}
program=${2:-target/release/tangram}
TANGRAM_PYTHON=${TANGRAM_PYTHON:-$(bash scripts/python-env.sh tests)}
mkdir -p "$out"
exec "$TANGRAM_PYTHON" scripts/warts.py "$(realpath "$program")" "$(realpath "$out")"
