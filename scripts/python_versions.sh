#!/usr/bin/env bash
# Which Python versions can install cocotag with the versions in constraints.txt, from wheels alone. Needs pip's package index.
# usage: bash scripts/python_versions.sh [EXTRAS ...]      without arguments: the base install; with "train": also cocotag[train]
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
