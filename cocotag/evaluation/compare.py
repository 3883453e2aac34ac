"""Comparison of two taggers on the same labelled images, class by class.

Both are measured on the same draws of images (paired bootstrap), so the difficulty of the images cancels out of the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cocotag.errors import DataError
from cocotag.evaluation.predictions import FILE, Bools, Predictions
from cocotag.evaluation.stored import StoredEvaluation
from cocotag.metrics import LOWER_IS_BETTER, difference, score, significant
from cocotag.metrics.bootstrap import RESAMPLES
from cocotag.pages.values import plain

VERDICTS = ("worse", "unclear", "few positives", "better", "undefined")
"""Verdicts. `compare` sorts classes in this order. A measure is better or worse if its interval does not include 0; a class, if
its F1 differs by more than chance explains, of all classes with that verdict at most `FALSE_SHARE` by chance."""

FALSE_SHARE = 0.1
"""Share of the classes called better or worse that is expected to be chance."""

ENOUGH_SUPPORT = 10
"""Positives that a class needs before its F1 is named in a finding, or its change is called better or worse: with fewer, the
bootstrap draws differ too little for an interval."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Comparison of two taggers. Differences are other minus baseline; values are fractions, NaN if undefined.

    Attributes:
        names: Names of the baseline and the other.
        images: Number of images that both were measured on; None if not paired.
        summary: One row per measure. Paired: ``baseline, other, difference, lo, hi, n_classes, verdict``, with the 95%
            interval of the difference; the verdict respects measures for which lower is better. Not paired:
            ``baseline, baseline_lo, baseline_hi, other, other_lo, other_hi``, with an interval for each.
        per_class: One row per class, regressions first: ``index, name, support, verdict``, then
            ``f1_baseline, f1_other, f1_difference, f1_lo, f1_hi`` and the same for ``ap``. Not paired:
            ``name, support_baseline, support_other, f1_baseline, f1_other`` and the same for ``ap``, with the baseline's
            classes, then those of the other.
        note: Why there are no differences; empty if there are.
        warnings: Warnings for the reader.
    """

    names: tuple[str, str]
    images: int | None
    summary: pd.DataFrame
    per_class: pd.DataFrame
    note: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def paired(self) -> bool:
        """Whether both were measured on the same images, so that there are differences with intervals."""
        return not self.note

    def to_json(self) -> dict[str, Any]:
        """Plain values, None if undefined."""
        document: dict[str, Any] = plain(
            {
                "baseline": self.names[0],
                "other": self.names[1],
                "paired": self.paired,
                "note": self.note,
                "warnings": self.warnings,
                "images": self.images,
                "intervals": f"95%, {'paired ' if self.paired else ''}bootstrap over images",
                "summary": self.summary.to_dict("index"),
                "per_class": self.per_class,
            }
        )
        return document

    def to_csv(self) -> str:
        """The classes as the text of a CSV file; undefined values are empty."""
        text = self.per_class.to_csv(index=False, lineterminator="\n")
        return text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates cannot be written


def compare(
    baseline: Predictions,
    other: Predictions,
    *,
    names: tuple[str, str] = ("baseline", "other"),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two taggers on the same labelled images, with 95% intervals over images.

    The order of images and classes may differ.

    Args:
        baseline: Predictions of the baseline.
        other: Predictions of the other tagger.
        names: Names of the baseline and the other.
        resamples: Number of bootstrap draws.
        seed: Seed of the draws.

    Raises:
        DataError: Images, classes or labels differ; the message names the first difference.
    """
    other = _in_order_of(baseline, other, names)
    targets, known = baseline.targets, baseline.known
    sides = [(run.probs, run.predicted) for run in (baseline, other)]
    gaps = difference([sides[0]], [sides[1]], targets, known, resamples=resamples, seed=seed)
    unused = np.zeros(targets.shape[1])  # thresholds, since the decisions are given
    first, second = (score(probs, targets, known, unused, predicted=predicted, groups=0).summary for probs, predicted in sides)
    summary = pd.DataFrame(
        {
            "baseline": first["value"],
            "other": second["value"],
            "difference": gaps.summary["value"],
            "lo": gaps.summary["lo"],
            "hi": gaps.summary["hi"],
            "n_classes": first["n_classes"],
        },
        index=first.index,
    )
    lower_is_better = summary.index.isin(list(LOWER_IS_BETTER))
    low = np.where(lower_is_better, -summary["hi"], summary["lo"])
    high = np.where(lower_is_better, -summary["lo"], summary["hi"])
    summary["verdict"] = [_verdict(*row) for row in zip(summary["difference"], low, high, strict=True)]
    support = (targets & known).sum(axis=0)
    found = gaps.per_class
    per_class = pd.DataFrame({"index": np.arange(len(support)), "name": baseline.class_names, "support": support})
    judged = support >= ENOUGH_SUPPORT
    clear = significant(found["f1_p"].where(judged), FALSE_SHARE)
    per_class["verdict"] = [_class_verdict(*row) for row in zip(found["f1"], judged, clear, strict=True)]
    for measure in ("f1", "ap"):
        per_class[f"{measure}_baseline"] = found[f"{measure}_first"].to_numpy()
        per_class[f"{measure}_other"] = found[f"{measure}_second"].to_numpy()
        per_class[f"{measure}_difference"] = found[measure].to_numpy()
        per_class[f"{measure}_lo"] = found[f"{measure}_lo"].to_numpy()
        per_class[f"{measure}_hi"] = found[f"{measure}_hi"].to_numpy()
    order = pd.DataFrame({"verdict": per_class["verdict"].map(VERDICTS.index), "gap": per_class["f1_difference"]})
    per_class = per_class.loc[order.sort_values(["verdict", "gap"], kind="stable").index].reset_index(drop=True)
    return Comparison(names, len(baseline), summary, per_class)


def compare_stored(baseline: StoredEvaluation, other: StoredEvaluation, *, names: tuple[str, str]) -> Comparison:
    """Compare two stored evaluations.

    If images, classes or labels differ or predictions are missing, both are listed side by side, with the reason as a note.
    """
    warnings = tuple(optimism(name) for name, side in zip(names, (baseline, other), strict=True) if side.optimistic)
    if baseline.predictions is None or other.predictions is None:
        lacking = " and ".join(str(side.path.parent) for side in dict.fromkeys((baseline, other)) if side.predictions is None)
        return _side_by_side(baseline, other, names, f"There is no {FILE} in {lacking}. Evaluate again to write it.", warnings)
    try:
        return replace(compare(baseline.predictions, other.predictions, names=names), warnings=warnings)
    except DataError as error:
        return _side_by_side(baseline, other, names, str(error), warnings)


def optimism(name: str) -> str:
    """The warning about one side of a comparison that was tuned on the same images."""
    return f"{name} is optimistic: its checkpoint or thresholds were chosen on these images."


def _side_by_side(
    baseline: StoredEvaluation, other: StoredEvaluation, names: tuple[str, str], reason: str, warnings: tuple[str, ...]
) -> Comparison:
    def named(side: StoredEvaluation, role: str) -> pd.DataFrame:
        return side.summary[["value", "lo", "hi"]].rename(columns={"value": role, "lo": f"{role}_lo", "hi": f"{role}_hi"})

    first, second = named(baseline, "baseline"), named(other, "other")
    metrics = [*first.index, *second.index.difference(first.index, sort=False)]
    classes = [
        side.per_class.set_index("name")[["support", "f1", "ap"]].add_suffix(f"_{role}")
        for side, role in ((baseline, "baseline"), (other, "other"))
    ]
    every_class = list(dict.fromkeys(name for frame in classes for name in frame.index))
    per_class = pd.concat([frame[~frame.index.duplicated()].reindex(every_class) for frame in classes], axis=1)
    per_class.index.name = "name"
    columns = [f"{measure}_{role}" for measure in ("support", "f1", "ap") for role in ("baseline", "other")]
    note = f"The evaluations cannot be paired, so there are no differences. {reason}"
    summary = pd.concat([first.reindex(metrics), second.reindex(metrics)], axis=1)
    return Comparison(names, None, summary, per_class[columns].reset_index(), note, warnings)


def _verdict(gap: float, low: float, high: float) -> str:
    if np.isnan(gap) or np.isnan(low):
        return "undefined"
    return "worse" if high < 0 else "better" if low > 0 else "unclear"


def _class_verdict(gap: float, judged: bool, clear: bool) -> str:
    if np.isnan(gap):
        return "undefined"
    if not judged:
        return "few positives"
    return "unclear" if not clear else "worse" if gap < 0 else "better"


def check_same(
    baseline: Predictions,
    file_names: ArrayLike,
    class_names: Sequence[str],
    targets: ArrayLike,
    known: ArrayLike,
    *,
    names: tuple[str, str] = ("baseline", "other"),
) -> None:
    """Check that a baseline has these images, classes and labels, in any order.

    Raises:
        DataError: They differ; the message names the first difference.
    """
    _grid(baseline, np.asarray(file_names), class_names, np.asarray(targets, bool), np.asarray(known, bool), names)


def _in_order_of(baseline: Predictions, other: Predictions, names: tuple[str, str]) -> Predictions:
    """The other's predictions with images and classes in the baseline's order.

    Raises:
        DataError: Images, classes or labels differ.
    """
    grid = _grid(baseline, other.file_names, other.class_names, other.targets, other.known, names)
    return Predictions(
        baseline.file_names,
        baseline.class_names,
        probs=other.probs[grid],
        predicted=other.predicted[grid],
        targets=other.targets[grid],
        known=other.known[grid],
    )


def _grid(
    baseline: Predictions,
    file_names: NDArray[np.str_],
    class_names: Sequence[str],
    targets: Bools,
    known: Bools,
    names: tuple[str, str],
) -> tuple[NDArray[np.intp], ...]:
    """Indices into the other's arrays that bring its cells into the baseline's order.

    Raises:
        DataError: Images, classes or labels differ.
    """
    rows = _order(baseline.file_names.tolist(), file_names.tolist(), "images", names)
    columns = _order(baseline.class_names, class_names, "classes", names)
    grid = np.ix_(rows, columns)
    targets, known = targets[grid], known[grid]
    differ = (baseline.known != known) | ((baseline.targets != targets) & baseline.known)
    if differ.any():
        row, column = np.argwhere(differ)[0]
        first, second = (
            "unknown" if not mask[row, column] else "yes" if labels[row, column] else "no"
            for labels, mask in ((baseline.targets, baseline.known), (targets, known))
        )
        raise DataError(
            f"{names[0]} and {names[1]} have different labels: {np.count_nonzero(differ)} of {differ.size} differ (first: "
            f"{baseline.class_names[column]} on {baseline.file_names[row]}: {first}, {second}). "
            "Evaluate both on the same data.",
            code="different_labels",
        )
    return grid


def _order(first: Sequence[str], second: Sequence[str], what: str, names: tuple[str, str]) -> list[int]:
    """The index in ``second`` of each name in ``first``."""
    if list(first) == list(second):
        return list(range(len(first)))
    index_of = {name: index for index, name in enumerate(second)}
    lacking = [name for name in first if name not in index_of]
    extra = [name for name in second if name not in set(first)]
    if lacking or extra or len(first) != len(second):
        if lacking or extra:
            owner, name = (names[0], lacking[0]) if lacking else (names[1], extra[0])
            first_difference = f"first that only {owner} has: {name}"
        else:
            first_difference = "some of them more than once"
        raise DataError(
            f"{names[0]} and {names[1]} have different {what}: {len(first)} and {len(second)} ({first_difference}). "
            "Evaluate both on the same data.",
            code=f"different_{what}",
        )
    if len(index_of) != len(second):
        raise DataError(
            f"{names[0]} and {names[1]} have several {what} with the same name, in a different order, and cannot be paired. "
            "Evaluate both on the same data.",
            code="name_duplicate",
        )
    return [index_of[name] for name in first]
