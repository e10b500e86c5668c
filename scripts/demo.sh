#!/bin/sh
# Set up .venv and run the main job on a simulated movie: sh scripts/demo.sh [--out DIR]
set -eu
start=$(pwd -P)
root=$(cd -- "$(dirname -- "$0")/.." && pwd -P)
cd -- "$root"
. scripts/setup.sh

install demo .

# Waiting threads that spin take the time of those that work, where cores are shared.
OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
export OMP_WAIT_POLICY
cd -- "$start" # a folder given as --out is the caller's
exec "$root/.venv/bin/napari-rvae" demo "$@"
