#!/usr/bin/env bash
# Runs real darktable, digiKam and Immich's exiftool through round trips with cocotag; writes reports/photo_programs.md.
# Takes about 40 minutes on two cores. Needs Debian's packages darktable digikam xvfb xdotool dbus nodejs npm, and an environment
# with cocotag[train,test]. Passes arguments to measure_photo_programs.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
for program in darktable digikam Xvfb xdotool dbus-run-session node npm exiftool; do
  command -v "$program" >/dev/null || {
    echo "$program is missing: apt-get install darktable digikam xvfb xdotool dbus nodejs npm libimage-exiftool-perl" >&2
    exit 2
  }
done
. scripts/setup.sh train,test
scratch=$(mktemp -d)
trap 'kill "$screen" 2>/dev/null || true; rm -rf "$scratch"' EXIT
npm install --silent --prefix "$scratch" exiftool-vendored@35.21.0
Xvfb -displayfd 3 -noreset -screen 0 1400x900x24 3>"$scratch/display" 2>/dev/null &
screen=$!
while [ ! -s "$scratch/display" ]; do sleep 0.1; done
DISPLAY=:$(cat "$scratch/display") "$VENV/bin/python" scripts/measure/measure_photo_programs.py --modules "$scratch/node_modules" "$@"
