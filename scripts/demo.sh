#!/usr/bin/env bash
# Runs the main commands on the synthetic sample: sample, check, train, evaluate, compare, imbalance, tag. Takes 4 to 8 minutes
# on two cores, after the installation. Writes everything to one folder: demo/, or the argument.
set -euo pipefail
case ${1:-} in
  '' | /*) out=${1:-demo} ;;
  *) out=$PWD/$1 ;; # relative to the caller's folder, not the project's
esac
cd "$(dirname "$0")/.."
if [ -e "$out" ]; then
  echo "$out already exists. Remove it, or give another folder: bash scripts/demo.sh FOLDER" >&2
  exit 2
fi
. scripts/setup.sh train
cocotag() { echo "+ cocotag $*" >&2; "$VENV/bin/cocotag" "$@"; }
start=$SECONDS

cocotag sample "$out/data"
cocotag check "$out/data" --split train
cocotag train --config sample --data.root "$out/data" --out "$out/run"
cocotag evaluate "$out/run/tagger.onnx" --root "$out/data" --split val --out "$out/evaluation"
# The gain from the tuned thresholds: the baseline is the same tagger with the threshold 0.5 for all classes.
cocotag evaluate "$out/run/tagger.onnx" --root "$out/data" --split val --thresholds fixed:0.5 --out "$out/evaluation_half"
cocotag report compare "$out/evaluation_half" "$out/evaluation" --out "$out/compared.md"
cocotag imbalance "$out/data/annotations/instances_train.json" "$out/data/annotations/instances_val.json" --out "$out/imbalance"
cocotag tag "$out/data/val" --model "$out/run/tagger.onnx" --out "$out/tags.csv"

cat <<EOF

Done in $(( (SECONDS - start) / 60 )) min $(( (SECONDS - start) % 60 )) s. Look at:
  $out/evaluation/report.html      how good the tagger is, class by class
  $out/compared.md                 the gain from tuned thresholds, class by class, over 0.5 for all classes
  $out/imbalance/imbalance.html    the class imbalance of the data
  $out/tags.csv                    the tags of $(ls "$out/data/val" | wc -l) images
  $out/run/                        the run: bundle tagger.onnx, checkpoints, metrics.csv, tensorboard/
Next: cocotag tag YOUR_FOLDER --model BUNDLE --out tags.csv, with a bundle trained on photographs (docs/tagging.md).
EOF
