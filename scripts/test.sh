#!/usr/bin/env bash
# Sets up and runs the tests. Real data are found through COCOTAG_DATA (../shared/data if unset) and skipped without it;
# with COCOTAG_REQUIRE_ALL=1 a skipped test is a failure. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh train,test
exec "$VENV/bin/python" -m pytest "$@"
