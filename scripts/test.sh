#!/usr/bin/env bash
# Sets up the environment and runs the tests in two processes (COCOTAG_TEST_PROCESSES). COCOTAG_DATA is the folder of the real
# data (default: ../shared/data); without it the tests that need them are skipped. With COCOTAG_REQUIRE_ALL=1 a skipped test is a
# failure. Passes arguments to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh train,test
# The tests of a file stay in one process, in the order of testpaths in pyproject.toml: the longest first, to balance the two.
exec "$VENV/bin/python" -m pytest -n "${COCOTAG_TEST_PROCESSES:-2}" --dist loadfile --no-loadscope-reorder "$@"
