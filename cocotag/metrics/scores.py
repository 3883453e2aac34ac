"""Probabilities against labels: a frame per class and a summary, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cocotag.metrics.bootstrap import RESAMPLES, draws, mirrored, once, percentiles, ratio
from cocotag.metrics.measures import Bools, Measures, Prepared, checked_decisions, measure
from cocotag.metrics.names import NOT_FRACTIONS, OVER_SUPPORTED

_WITH_INTERVALS = ("f1", "ap", "precision", "recall")


@dataclass(frozen=True, eq=False)
class Scores:
    """The measures of one set of probabilities.

    Attributes:
        per_class: A row for each class in index order, with columns ``support, predicted, tp, fp, fn, tn, threshold,
            precision, recall, f1, ap, status, f1_lo, f1_hi, ap_lo, ap_hi, brier, ece, precision_lo, precision_hi, recall_lo,
            recall_hi``.
        summary: A row for each of `SUMMARY`, and `TOP1` where it has a meaning, with columns ``value, lo, hi, n_classes``.
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
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scores:
    """Measure probabilities against targets, with 95% bootstrap intervals over images.

    Per class: F1 is ``2TP / (2TP + FP + FN)``; AP is the step-wise average precision, ties taken together, as
    scikit-learn's ``average_precision_score``; ``brier`` and ``ece`` as `cocotag.metrics.calibration` has them, NaN where
    scores are no probabilities; ``status`` is ``ok``, ``no_positives``, ``no_predictions``, ``neither``, or
    ``no_negatives`` where only positives are known; such a class counts in no row of the summary.

    Summary: `cocotag.metrics.names.DEFINITIONS` has a sentence on each row. ``map``, ``macro_f1``, ``weighted_f1``,
    ``macro_precision``, ``macro_recall`` and ``macro_ece`` are means over classes with support; ``cf1`` is the harmonic mean
    of mean precision (undefined counts 0) and mean recall over them; ``of1`` is made of overall precision and recall and
    so equals ``micro_f1``, but is 0 where nothing is predicted, as ``micro_precision`` is undefined there. Both definitions as
    in Chen et al. 2019, https://arxiv.org/abs/1904.03582. Rows that end in ``_zero0`` divide by all classes of which something
    is known instead, as others do who count what is undefined as 0. ``samples_f1`` is a mean over images, an image with
    neither labels nor tags counting 1, since it is right (0 in ``samples_f1_zero0``); ``subset_accuracy`` is the share of
    images whose known cells are all right. ``brier`` and ``ece`` are over all cells together.

    ``precision_at_3`` takes the three likeliest known classes of an image (all, where fewer are known), and
    ``recall_at_3`` images with a known label; classes that tie for the last places share them. ``coverage`` and
    ``ranking_loss`` are scikit-learn's over the known cells of an image, but images without a known label are left out,
    which count 0 there, and in ``ranking_loss`` those where nothing is known to be absent. Means over images leave out images
    without a known cell.

    ``top1_accuracy`` joins them where every image has exactly one tag.

    Intervals: images are drawn with replacement; a class without support in a draw is left out of that draw. Per class
    they are the percentiles of the draws. In the summary they are the percentiles mirrored at the value (the basic
    bootstrap), clipped to the limits of the measure (0..1; for ``coverage`` 0 to the classes looked at) and never without the
    value: drawing an image twice raises the AP of a rare class, so the draws of ``map`` lie above the value and their
    percentiles would leave the truth out. Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; Davison &
    Hinkley 1997, Bootstrap Methods and their Application, 5.2.

    Args:
        probs: Probabilities, ``(N, C)``, finite.
        targets: Multi-hot, ``(N, C)`` bool.
        known: False where nobody looked, ``(N, C)`` bool.
        thresholds: ``(C,)``; a class is predicted where ``probs >= threshold``.
        predicted: The decisions, ``(N, C)`` bool, where they were not made on ``probs`` as they are (rounded, say).
        resamples: Draws of the bootstrap; 0 leaves the intervals NaN.
        seed: Of the draws.

    Raises:
        ValueError: Shapes differ, nothing to measure, or probabilities that are not finite.
    """
    probs, thresholds = np.asarray(probs), np.asarray(thresholds)
    targets, known = np.asarray(targets, bool), np.asarray(known, bool)
    decisions = checked_decisions(probs, targets, known, thresholds, predicted)
    data = Prepared.of(probs, targets, known, decisions)
    point = measure(data, once(len(probs)))
    drawn = [measure(data, weights) for weights in draws(len(probs), resamples, seed)]
    frame = _class_frame(data, point, thresholds)
    ends = {}
    for name in _WITH_INTERVALS:
        low, high = percentiles([getattr(draw, name) for draw in drawn], frame[name].to_numpy())
        ends[name] = {f"{name}_lo": low, f"{name}_hi": high}
    calibration = {"brier": np.where(data.judged, data.calibration.class_brier(), np.nan), "ece": point.ece[0]}
    return Scores(
        per_class=frame.assign(**ends["f1"], **ends["ap"], **calibration, **ends["precision"], **ends["recall"]),
        summary=_summary_frame(data, point, drawn, known),
    )


def per_class(probs: ArrayLike, targets: ArrayLike, known: ArrayLike, thresholds: ArrayLike) -> pd.DataFrame:
    """The frame per class of `score`, without intervals."""
    frame = score(probs, targets, known, thresholds, resamples=0).per_class
    return frame.drop(columns=[f"{name}_{end}" for name in _WITH_INTERVALS for end in ("lo", "hi")])


def summary(
    probs: ArrayLike, targets: ArrayLike, known: ArrayLike, thresholds: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """The summary of `score`."""
    return score(probs, targets, known, thresholds, resamples=resamples, seed=seed).summary


def _class_frame(data: Prepared, point: Measures, thresholds: NDArray[Any]) -> pd.DataFrame:
    counts = {name: getattr(point, name)[0].astype(np.int64) for name in ("tp", "fp", "fn", "tn")}
    support, found = counts["tp"] + counts["fn"], counts["tp"] + counts["fp"]
    cases = {
        "no_negatives": ~data.judged,
        "neither": (support == 0) & (found == 0),
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


def _summary_frame(data: Prepared, point: Measures, drawn: list[Measures], known: Bools) -> pd.DataFrame:
    value = point.summary[0]
    seen = int((known.any(axis=0) & data.judged).sum())
    supported = int((((point.tp[0] + point.fn[0]) > 0) & data.judged).sum())
    limit = np.array([seen if name in NOT_FRACTIONS else 1 for name in data.summary])
    low, high = mirrored([draw.summary for draw in drawn], value)
    columns = {
        "value": value,
        "lo": np.clip(np.minimum(low, value), 0, limit),
        "hi": np.clip(np.maximum(high, value), 0, limit),
        "n_classes": [supported if name in OVER_SUPPORTED else seen for name in data.summary],
    }
    return pd.DataFrame(columns, index=pd.Index(data.summary, name="metric"))
