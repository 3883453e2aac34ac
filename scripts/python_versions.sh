#!/usr/bin/env bash
# Checks which Python versions can install cocotag with the versions in constraints.txt, from wheels only. Needs a package index.
# usage: bash scripts/python_versions.sh [EXTRAS ...]      no argument: the base install only; "train": cocotag[train] too
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh train,test
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$VENV/bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$scratch" .
wheel=$(ls "$scratch"/*.whl)
status=0
for extras in "" "$@"; do
  for version in 3.11 3.12 3.13 3.14; do
    if "$VENV/bin/python" -m pip install --quiet --dry-run --ignore-installed --target "$scratch/none" \
      --python-version "$version" --only-binary=:all: --constraint constraints.txt "$wheel${extras:+[$extras]}" \
      >"$scratch/log" 2>&1; then
      echo "Python $version cocotag${extras:+[$extras]}: resolves"
    else
      echo "Python $version cocotag${extras:+[$extras]}: does not resolve: $(grep -m1 ERROR "$scratch/log" || tail -n 1 "$scratch/log")"
      status=1
    fi
  done
done
exit $status
