"""Score probabilities against labels: a data frame per class and a summary, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cocotag.metrics.bootstrap import Floats, Weights, once, ratio
from cocotag.metrics.intervals import GROUPS, f1_interval, jackknife, leaving_out, wilson
from cocotag.metrics.measures import Bools, Measures, Prepared, checked_decisions, measure
from cocotag.metrics.names import NOT_FRACTIONS, OVER_SUPPORTED, WITHOUT_INTERVAL

WILSON_POSITIVES = 100
"""Positives up to which the interval of a class's AP is Wilson's; with more the jackknife's is narrower and holds too."""

_WITH_INTERVALS = ("f1", "ap", "precision", "recall")


@dataclass(frozen=True, eq=False)
class Scores:
    """The measures of one set of probabilities.

    Attributes:
        per_class: One row per class in index order, with columns ``support, predicted, tp, fp, fn, tn, threshold,
            precision, recall, f1, ap, status, f1_lo, f1_hi, ap_lo, ap_hi, brier, ece, precision_lo, precision_hi, recall_lo,
            recall_hi``.
        summary: One row per name in `SUMMARY`, and `TOP1` if every image has exactly one tag, with columns
            ``value, lo, hi, n_classes``.
    """

    per_class: pd.DataFrame
    summary: pd.DataFrame


def score(
    probs: ArrayLike,
    targets: ArrayLike,
    known: ArrayLike,
    thresholds: ArrayLike,
    *,
    predicted: ArrayLike | None = None,
    groups: int = GROUPS,
    seed: int = 0,
) -> Scores:
    """Measure probabilities against targets, with 95% intervals over images.

    Per class: F1 is ``2TP / (2TP + FP + FN)``. AP is the step-wise average precision with tied scores taken together, as in
    scikit-learn's ``average_precision_score``. ``brier`` and ``ece`` are defined in `cocotag.metrics.calibration`; they are
    NaN where scores are not probabilities. ``status`` is ``ok``, ``no_positives``, ``no_predictions``,
    ``no_positives_or_predictions``, or ``no_negatives`` if only positives are known; a class with ``no_negatives`` is not
    counted in the summary.

    Summary: `cocotag.metrics.names.DEFINITIONS` defines each row in a sentence. ``map``, ``macro_f1``, ``weighted_f1``,
    ``macro_precision``, ``macro_recall`` and ``macro_ece`` are means over classes with support. ``cf1`` is the harmonic mean
    of mean precision (undefined counts 0) and mean recall over these classes. ``of1`` is the harmonic mean of overall
    precision and recall and so equals ``micro_f1``; if nothing is predicted it is 0, while ``micro_precision`` is undefined.
    Both definitions follow Chen et al. 2019, https://arxiv.org/abs/1904.03582. Rows that end in ``_zero0`` divide by all
    classes with a known cell instead, as tools do that count undefined values as 0. ``samples_f1`` is a mean over images; an
    image without labels and tags is correct and counts 1 (0 in ``samples_f1_zero0``). ``subset_accuracy`` is the share of
    images whose known cells are all correct. ``brier`` and ``ece`` are over all cells together.

    ``precision_at_3`` uses the three most likely known classes of an image, or all if fewer are known. ``recall_at_3`` uses
    images with a known label. Classes that tie for the last ranks share them. ``coverage`` and ``ranking_loss`` are
    scikit-learn's over the known cells of an image, except that images without a known label, which count 0 there, are left
    out. ``ranking_loss`` also leaves out images without a class known to be absent. Means over images leave out images without
    a known cell.

    ``top1_accuracy`` is added if every image has exactly one tag.

    ``map`` of few images is too high, because a positive counts in its own precision; ``map_expected`` leaves it out of that
    (`cocotag.metrics.ranking.Ranking.expected_precision`) and so estimates the mAP of many images.

    Intervals per class: Wilson's for precision and recall; for F1 Wilson's of the Jaccard share, carried over; for AP Wilson's
    with the number of positives, or the jackknife's above `WILSON_POSITIVES`. They hold for one positive too, and always have
    a width. In the summary: the jackknife over groups of images (`cocotag.metrics.intervals`), clipped to the range of the
    measure (0..1; for ``coverage`` 0 to the number of classes). ``map`` has the interval of ``map_expected``, widened to
    contain its own value; ``macro_ece`` has none. ``reports/statistics.md`` has how often each holds: a bootstrap does not
    serve here, because images drawn twice raise the AP of a rare class, and all draws of a class with one positive are equal.

    Args:
        probs: Probabilities, ``(N, C)``, finite.
        targets: Multi-hot, ``(N, C)`` bool.
        known: False where the label is unknown, ``(N, C)`` bool.
        thresholds: Thresholds, ``(C,)``; a class is predicted where ``probs >= threshold``.
        predicted: The decisions, ``(N, C)`` bool, if they were not made on exactly these ``probs`` (on rounded ones, say).
        groups: Groups of images that the jackknife leaves out, one at a time; at most one per image. 0 leaves all intervals
            NaN.
        seed: Seed of the groups.

    Raises:
        ValueError: Shapes differ, the arrays are empty, or a probability is not finite.
    """
    probs, thresholds = np.asarray(probs), np.asarray(thresholds)
    targets, known = np.asarray(targets, bool), np.asarray(known, bool)
    decisions = checked_decisions(probs, targets, known, thresholds, predicted)
    data = Prepared.of(probs, targets, known, decisions)
    point = measure(data, once(len(probs)))
    weights = leaving_out(len(probs), groups, seed) if groups else None
    left_out = None if weights is None else measure(data, weights)
    frame = _class_frame(data, point, thresholds)
    ends = _class_intervals(frame, left_out)
    calibration = {"brier": np.where(data.judged, data.calibration.class_brier(), np.nan), "ece": point.ece[0]}
    return Scores(
        per_class=frame.assign(**ends["f1"], **ends["ap"], **calibration, **ends["precision"], **ends["recall"]),
        summary=_summary_frame(data, point, left_out, weights, known),
    )


def per_class(probs: ArrayLike, targets: ArrayLike, known: ArrayLike, thresholds: ArrayLike) -> pd.DataFrame:
    """The data frame per class of `score`, without intervals."""
    frame = score(probs, targets, known, thresholds, groups=0).per_class
    return frame.drop(columns=[f"{name}_{end}" for name in _WITH_INTERVALS for end in ("lo", "hi")])


def summary(
    probs: ArrayLike, targets: ArrayLike, known: ArrayLike, thresholds: ArrayLike, *, groups: int = GROUPS, seed: int = 0
) -> pd.DataFrame:
    """The summary of `score`."""
    return score(probs, targets, known, thresholds, groups=groups, seed=seed).summary


def _class_frame(data: Prepared, point: Measures, thresholds: NDArray[Any]) -> pd.DataFrame:
    counts = {name: getattr(point, name)[0].astype(np.int64) for name in ("tp", "fp", "fn", "tn")}
    support, found = counts["tp"] + counts["fn"], counts["tp"] + counts["fp"]
    cases = {
        "no_negatives": ~data.judged,
        "no_positives_or_predictions": (support == 0) & (found == 0),
        "no_positives": support == 0,
        "no_predictions": found == 0,
    }
    return pd.DataFrame(
        {
            "support": support,
            "predicted": found,
            **counts,
            "threshold": thresholds.astype(np.float64),
            "precision": point.precision[0],
            "recall": ratio(counts["tp"], support),
            "f1": point.f1[0],
            "ap": point.ap[0],
            "status": np.select(list(cases.values()), list(cases), "ok"),
        }
    )


def _class_intervals(frame: pd.DataFrame, left_out: Measures | None) -> dict[str, dict[str, Floats]]:
    """The columns ``NAME_lo`` and ``NAME_hi`` of each measure of `_WITH_INTERVALS`; NaN where it is undefined."""
    tp, fp, fn, support, predicted, ap = (frame[name].to_numpy() for name in ("tp", "fp", "fn", "support", "predicted", "ap"))
    of_ap = wilson(np.nan_to_num(ap), support)
    if left_out is not None:
        low, high = jackknife(ap, left_out.ap)
        use = (support > WILSON_POSITIVES) & (high > low)  # an AP of 1 is 1 without any of the images
        of_ap = np.where(use, np.clip(low, 0, 1), of_ap[0]), np.where(use, np.clip(high, 0, 1), of_ap[1])
    found = {
        "f1": f1_interval(tp, fp, fn),
        "ap": of_ap,
        "precision": wilson(np.nan_to_num(ratio(tp, predicted)), predicted),
        "recall": wilson(np.nan_to_num(ratio(tp, support)), support),
    }
    ends = {}
    for name, bounds in found.items():
        undefined = frame[name].isna().to_numpy() | (left_out is None)
        low, high = (np.where(undefined, np.nan, bound) for bound in bounds)
        ends[name] = {f"{name}_lo": low, f"{name}_hi": high}
    return ends


def _summary_frame(
    data: Prepared, point: Measures, left_out: Measures | None, weights: Weights | None, known: Bools
) -> pd.DataFrame:
    value = point.summary[0].copy()
    seen = int((known.any(axis=0) & data.judged).sum())
    supported = int((((point.tp[0] + point.fn[0]) > 0) & data.judged).sum())
    limit = np.array([seen if name in NOT_FRACTIONS else 1 for name in data.summary])
    expected, mean = data.summary.index("map_expected"), data.summary.index("map")
    value[expected] = data.expected_map(once(len(known)))[0]
    low = high = np.full(len(value), np.nan)
    if left_out is not None and weights is not None:
        left_out.summary[:, expected] = data.expected_map(weights)
        low, high = jackknife(value, left_out.summary)
        low[mean], high[mean] = min(low[expected], value[mean]), max(high[expected], value[mean])
        without = [data.summary.index(name) for name in WITHOUT_INTERVAL]
        low[without] = high[without] = np.nan
    columns = {
        "value": value,
        "lo": np.clip(low, 0, limit),
        "hi": np.clip(high, 0, limit),
        "n_classes": [supported if name in OVER_SUPPORTED else seen for name in data.summary],
    }
    return pd.DataFrame(columns, index=pd.Index(data.summary, name="metric"))
