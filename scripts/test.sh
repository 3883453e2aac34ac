#!/usr/bin/env bash
# Sets up and runs the tests, two processes at a time (COCOTAG_TEST_PROCESSES). Real data are found through COCOTAG_DATA
# (../shared/data if unset) and skipped without it; with COCOTAG_REQUIRE_ALL=1 a skipped test is a failure. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh train,test
# A file's tests stay in one process, in the order of pyproject's testpaths: the longest first, so that the two end together.
exec "$VENV/bin/python" -m pytest -n "${COCOTAG_TEST_PROCESSES:-2}" --dist loadfile --no-loadscope-reorder "$@"
