#!/usr/bin/env bash
# torchmetrics 1.9.0 treats a class that does not occur in the targets differently in multiclass and in multilabel metrics.
#
# Expected: the same rule for the macro average in both.
# Seen: multiclass F1 leaves such a class out of the macro average if it is not predicted either, and multiclass average precision
#   gives it nan, leaves it out and warns about it. Multilabel F1 and average precision give it 0 (-0.0 for average precision) and
#   average it in: a tagger that makes no mistake has a macro F1 and a macro AP of 0.5 if one of its two classes is absent. There is
#   no option for the other rule: zero_division takes 0 or 1, and nan is refused.
#
# Fails if this changes. Needs Python 3.11 or newer and a package index; installs torch.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 torchmetrics==1.9.0
"$work/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import torch
import torchmetrics
from torchmetrics.classification import (
    MulticlassAveragePrecision,
    MulticlassF1Score,
    MultilabelAveragePrecision,
    MultilabelF1Score,
)

print("torch", torch.__version__, " torchmetrics", torchmetrics.__version__)
warnings.simplefilter("ignore")

# Three classes, one per image, all right; the third class occurs nowhere.
labels = torch.tensor([0, 0, 1, 1])
scores = torch.eye(3)[labels]
multiclass = {
    "F1": float(MulticlassF1Score(3, average="macro")(scores, labels)),
    "AP": float(MulticlassAveragePrecision(3, average="macro")(scores, labels)),
}
# Two classes, any number per image, all right; the second class occurs nowhere.
targets = torch.tensor([[1, 0], [0, 0], [1, 0], [0, 0]])
probs = torch.tensor([[0.9, 0.1], [0.1, 0.2], [0.8, 0.1], [0.2, 0.1]])
multilabel = {
    "F1": float(MultilabelF1Score(2, average="macro")(probs, targets)),
    "AP": float(MultilabelAveragePrecision(2, average="macro")(probs, targets)),
}
try:
    MultilabelF1Score(2, zero_division=float("nan"))
    refused = False
except ValueError as error:
    refused = True
    print("zero_division=nan:", error)
for name in ("F1", "AP"):
    print(f"macro {name} of perfect predictions with one absent class: multiclass {multiclass[name]:.2f}, "
          f"multilabel {multilabel[name]:.2f}")
ok = refused and set(multiclass.values()) == {1.0} and set(multilabel.values()) == {0.5}
print("As described." if ok else "CHANGED: no longer as described.")
sys.exit(not ok)
PYTHON
