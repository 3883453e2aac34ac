#!/usr/bin/env bash
# Builds the API reference with pdoc in build/api, which is not committed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh train,test
"$VENV/bin/python" -m pip install --quiet 'pdoc==16.0.0'
"$VENV/bin/python" -m pdoc --docformat google --output-directory build/api cocotag '!cocotag.__main__'
echo "build/api/index.html"
