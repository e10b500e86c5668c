#!/bin/sh
# Set up .venv with the test tools and run every check: sh scripts/test.sh [pytest's options]
set -eu
root=$(cd -- "$(dirname -- "$0")/.." && pwd -P)
cd -- "$root"
. scripts/setup.sh

install test ".[all,dev,docs]"
install_qt_libraries

PATH="$root/.venv/bin:$PATH"
QT_API=pyside6
OMP_NUM_THREADS=1 # each processor has a test of its own
OMP_WAIT_POLICY=PASSIVE # waiting threads that spin slow down those that work
export PATH QT_API OMP_NUM_THREADS OMP_WAIT_POLICY

# Every check runs even if an earlier one failed.
failed=
check() {
    name=$1
    shift
    say "$name"
    "$@" || failed="$failed, $name"
}

build_docs() {
    out=$(mktemp -d)
    status=0
    sphinx-build -q -W --keep-going -b html -d "$out/doctrees" docs "$out/html" || status=$?
    rm -rf -- "$out"
    return "$status"
}

check "ruff check" ruff check --output-format concise .
check "ruff format" ruff format --check .
check "mypy" mypy
check "lint-imports" lint-imports
check "docs" build_docs
# The tests come last, so that their closing line is the last thing printed when all is well.
[ -z "$failed" ] || say "failed so far: ${failed#, }"
say "pytest"
status=0
# Tests of one file share costly fixtures, so that they stay together.
python -m pytest -n auto --dist loadfile "$@" || status=$?
[ -z "$failed" ] || die "failed before the tests: ${failed#, }"
exit "$status"
