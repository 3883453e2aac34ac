"""How good probabilities are: a frame per class and a summary with intervals. Knows no model, loss, file or threshold choice.

Cells that are not known count nowhere. What is undefined is NaN and never a silent zero: a class without support has no
recall, F1 or AP, a class without predictions no precision. Where only positives of a class are known, and on other images
nobody looked, no tag can be wrong: precision, F1 and AP would be perfect whatever the scores, so they are undefined too. Means
over classes are over the others with support.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

SUMMARY = ("map", "macro_f1", "micro_f1", "weighted_f1", "samples_f1", "cf1", "of1", "hamming_loss", "subset_accuracy")
"""The rows of the summary; all are fractions, and all but ``hamming_loss`` are better when higher."""
TOP1 = "top1_accuracy"
"""One more row where every image has exactly one tag: the share whose highest probability is their tag's."""

_OVER_SUPPORTED = ("map", "macro_f1", "weighted_f1", "cf1")
_CHUNK_CELLS = 4_000_000  # weights held at once, float32: 16 MB, and as much again for the sorted copy

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Scores:
    """The measures of one set of probabilities.

    Attributes:
        per_class: A row for each class in index order, with columns ``support, predicted, tp, fp, fn, tn, threshold,
            precision, recall, f1, ap, status, f1_lo, f1_hi, ap_lo, ap_hi``.
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
    resamples: int = 1000,
    seed: int = 0,
) -> Scores:
    """Measure probabilities against targets, with 95% bootstrap intervals over images.

    Per class: F1 is ``2TP / (2TP + FP + FN)``; AP is the step-wise average precision, ties taken together, as
    scikit-learn's ``average_precision_score``; ``status`` is ``ok``, ``no_positives``, ``no_predictions``, ``neither``, or
    ``no_negatives`` where only positives are known; such a class counts in no row of the summary.

    Summary: ``map``, ``macro_f1`` and ``weighted_f1`` are means over classes with support; ``cf1`` is the harmonic mean
    of mean precision (undefined counts 0) and mean recall over them; ``of1`` is made of overall precision and recall and
    so equals ``micro_f1``. Both definitions as in Chen et al. 2019, https://arxiv.org/abs/1904.03582. ``samples_f1`` is a
    mean over images, an image with neither labels nor tags counting 1, since it is right; ``subset_accuracy`` is the
    share of images whose known cells are all right. Images without a known cell are left out of the last two.

    ``top1_accuracy`` joins them where every image has exactly one tag.

    Intervals: images are drawn with replacement; a class without support in a draw is left out of that draw. Per class
    they are the percentiles of the draws. In the summary they are the percentiles mirrored at the value (the basic
    bootstrap), clipped to 0..1 and never without the value: drawing an image twice raises the AP of a rare class, so the
    draws of ``map`` lie above the value and their percentiles would leave the truth out. Efron & Tibshirani 1993, An
    Introduction to the Bootstrap, chapter 13; Davison & Hinkley 1997, Bootstrap Methods and their Application, 5.2.

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
    decisions = _checked_decisions(probs, targets, known, thresholds, predicted)
    data = _Prepared.of(probs, targets, known, decisions)
    point = _statistics(data, np.ones((len(probs), 1), np.float32))
    draws = [_statistics(data, weights) for weights in _draws(len(probs), resamples, seed)]
    f1_lo, f1_hi = _percentiles([draw.f1 for draw in draws], point.f1[0])
    ap_lo, ap_hi = _percentiles([draw.ap for draw in draws], point.ap[0])
    frame = _class_frame(point, thresholds, data.judged)
    seen, supported = int((known.any(axis=0) & data.judged).sum()), int(((frame["support"] > 0) & data.judged).sum())
    value = point.summary[0]
    low, high = _percentiles([draw.summary for draw in draws], value)
    columns = {
        "value": value,
        "lo": np.clip(2 * value - np.maximum(high, value), 0, 1),
        "hi": np.clip(2 * value - np.minimum(low, value), 0, 1),
        "n_classes": [supported if name in _OVER_SUPPORTED else seen for name in data.summary],
    }
    return Scores(
        per_class=frame.assign(f1_lo=f1_lo, f1_hi=f1_hi, ap_lo=ap_lo, ap_hi=ap_hi),
        summary=pd.DataFrame(columns, index=pd.Index(data.summary, name="metric")),
    )


def difference(
    first: Sequence[tuple[NDArray[Any], Bools]],
    second: Sequence[tuple[NDArray[Any], Bools]],
    targets: ArrayLike,
    known: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How much more the second scores than the first on the same images, with 95% bootstrap intervals over images.

    Both are measured on every draw of images, so what makes a draw easy or hard drops out (paired bootstrap). Intervals as in
    the summary of `score`, but without its limits.

    Args:
        first: Probabilities and decisions, each ``(N, C)``, of one or several runs of a recipe, whose scores are averaged.
        second: Likewise.
        targets: Multi-hot, ``(N, C)`` bool.
        known: False where nobody looked, ``(N, C)`` bool.
        resamples: Draws.
        seed: Of the draws.

    Returns:
        Columns ``value, lo, hi``, a row for each of the summary's.

    Raises:
        ValueError: As `score`.
    """
    targets, known = np.asarray(targets, bool), np.asarray(known, bool)

    def prepared(runs: Sequence[tuple[NDArray[Any], Bools]]) -> list[_Prepared]:
        nowhere = np.zeros(targets.shape[1:])
        return [_Prepared.of(p, targets, known, _checked_decisions(p, targets, known, nowhere, d)) for p, d in runs]

    sides = prepared(first), prepared(second)

    def gap(weights: NDArray[np.float32]) -> Floats:
        one, other = (np.mean([_statistics(run, weights).summary for run in side], axis=0) for side in sides)
        return np.asarray(other - one)

    value = gap(np.ones((len(targets), 1), np.float32))[0]
    low, high = _percentiles([gap(weights) for weights in _draws(len(targets), resamples, seed)], value)
    columns = {"value": value, "lo": 2 * value - high, "hi": 2 * value - low}
    return pd.DataFrame(columns, index=pd.Index(sides[0][0].summary, name="metric"))


def per_class(probs: ArrayLike, targets: ArrayLike, known: ArrayLike, thresholds: ArrayLike) -> pd.DataFrame:
    """The frame per class of `score`, without intervals."""
    frame = score(probs, targets, known, thresholds, resamples=0).per_class
    return frame.drop(columns=["f1_lo", "f1_hi", "ap_lo", "ap_hi"])


def summary(
    probs: ArrayLike, targets: ArrayLike, known: ArrayLike, thresholds: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """The summary of `score`."""
    return score(probs, targets, known, thresholds, resamples=resamples, seed=seed).summary


def _checked_decisions(
    probs: NDArray[Any], targets: Bools, known: Bools, thresholds: NDArray[Any], predicted: ArrayLike | None
) -> Bools:
    """The decisions, ``(N, C)``, after all that can be wrong with the input."""
    if probs.ndim != 2 or not probs.shape == targets.shape == known.shape or thresholds.shape != probs.shape[1:]:
        shapes = f"probs {probs.shape}, targets {targets.shape}, known {known.shape}, thresholds {thresholds.shape}"
        raise ValueError(f"{shapes}: (N, C) three times and (C,) are needed.")
    if probs.size == 0:
        raise ValueError(f"probs is {probs.shape}: there is nothing to measure.")
    if not np.isfinite(probs).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(probs))} of {probs.size} probabilities are not finite.")
    decisions = np.asarray(probs >= thresholds if predicted is None else predicted, bool)
    if decisions.shape != probs.shape:
        raise ValueError(f"predicted is {decisions.shape}, probs is {probs.shape}: they must agree.")
    return decisions


def _class_frame(point: _Statistics, thresholds: NDArray[Any], judged: Bools) -> pd.DataFrame:
    counts = {name: getattr(point, name)[0].astype(np.int64) for name in ("tp", "fp", "fn", "tn")}
    support, found = counts["tp"] + counts["fn"], counts["tp"] + counts["fp"]
    cases = {
        "no_negatives": ~judged,
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
            "precision": np.where(judged, _ratio(counts["tp"], found), np.nan),
            "recall": _ratio(counts["tp"], support),
            "f1": point.f1[0],
            "ap": point.ap[0],
            "status": np.select(list(cases.values()), list(cases), "ok"),
        }
    )


@dataclass(frozen=True, eq=False)
class _Ranking:
    """One class, sorted once: all that average precision needs under any weights.

    Precision matters only where recall steps, at the end of a group of tied scores that holds a positive. So the images
    from the highest score on are cut into segments that each end there, and what comes after the last is dropped.
    """

    rows: NDArray[np.intp]  # images by falling score
    starts: NDArray[np.intp]  # of the segments, in ``rows``
    positive_rows: NDArray[np.intp]  # the positives among ``rows``, same order
    positive_starts: NDArray[np.intp]  # of the segments, in ``positive_rows``

    @classmethod
    def of(cls, probs: NDArray[np.floating], targets: Bools, known: Bools) -> _Ranking:
        """From one column of each, ``(N,)``."""
        rows = np.flatnonzero(known)
        rows = rows[np.argsort(-probs[rows], kind="stable")]
        scores, hits = probs[rows], np.flatnonzero(targets[rows])
        last = np.searchsorted(-scores, -scores[hits], side="right")  # one past the end of each positive's tied group
        ends, positive_starts = np.unique(last, return_index=True)
        starts = np.concatenate([[0], ends[:-1]]).astype(np.intp) if len(ends) else ends.astype(np.intp)
        return cls(rows[: ends[-1] if len(ends) else 0], starts, rows[hits], positive_starts)

    def average_precision(self, weights: NDArray[np.float32]) -> Floats:
        """Under weights ``(N, B)``: ``(B,)``, NaN where no positive has weight."""
        if not len(self.starts):
            return np.full(weights.shape[1], np.nan)
        seen = np.add.reduceat(weights[self.rows], self.starts, axis=0).cumsum(axis=0)
        gained = np.add.reduceat(weights[self.positive_rows], self.positive_starts, axis=0).astype(np.float64)
        found = gained.cumsum(axis=0)
        return _ratio((gained * found / np.maximum(seen, 1)).sum(axis=0), found[-1])


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What does not change from draw to draw."""

    cells: dict[str, NDArray[np.float32]]  # tp, fp, fn, tn: (N, C), one 1 in each known cell
    judged: Bools  # per class, False where nothing but positives is known
    samples_f1: Floats  # per image, 0 where nothing is known
    all_right: Bools  # per image, False where nothing is known
    looked_at: Bools  # per image
    top1: Bools | None  # per image, whether the highest probability is the tag's; None if not every image has one tag
    rankings: list[_Ranking]

    @property
    def summary(self) -> tuple[str, ...]:
        """The rows that the summary has."""
        return SUMMARY if self.top1 is None else (*SUMMARY, TOP1)

    @classmethod
    def of(cls, probs: NDArray[np.floating], targets: Bools, known: Bools, decisions: Bools) -> _Prepared:
        tp, fp, fn, tn = targets & decisions, ~targets & decisions, targets & ~decisions, ~targets & ~decisions
        cells = {n: (v & known).astype(np.float32) for n, v in (("tp", tp), ("fp", fp), ("fn", fn), ("tn", tn))}
        judged: Bools = np.asarray(known.all(axis=0) | ~(known & targets).any(axis=0) | (known & ~targets).any(axis=0))
        measured = known & judged
        hits = (targets & decisions & measured).sum(axis=1)
        misses = ((targets ^ decisions) & measured).sum(axis=1)
        looked_at = np.asarray(measured.any(axis=1))
        f1 = np.nan_to_num(_ratio(2 * hits, 2 * hits + misses), nan=1.0) * looked_at
        rankings = [_Ranking.of(probs[:, c], targets[:, c], known[:, c]) for c in range(probs.shape[1])]
        one_tag = known.all() and (targets.sum(axis=1) == 1).all()
        top1 = probs.argmax(axis=1) == targets.argmax(axis=1) if one_tag else None
        return cls(cells, judged, f1, looked_at & (misses == 0), looked_at, top1, rankings)


@dataclass(frozen=True, eq=False)
class _Statistics:
    """Under ``B`` weightings: counts, F1 and AP are ``(B, C)``, the summary is ``(B, rows of the summary)``."""

    tp: Floats
    fp: Floats
    fn: Floats
    tn: Floats
    f1: Floats
    ap: Floats
    summary: Floats


def _statistics(data: _Prepared, weights: NDArray[np.float32]) -> _Statistics:
    """All measures under weights ``(N, B)``, whole numbers; float32 sums of them are exact up to 16 million images."""
    tp, fp, fn, tn = ((weights.T @ data.cells[name]).astype(np.float64) for name in ("tp", "fp", "fn", "tn"))
    support = tp + fn
    has = (support > 0) & data.judged
    f1 = np.where(has, _ratio(2 * tp, 2 * tp + fp + fn), np.nan)
    ap = np.stack([ranking.average_precision(weights) for ranking in data.rankings], axis=1)
    ap[:, ~data.judged] = np.nan

    def mean(values: Floats) -> Floats:
        return _ratio(np.where(has, values, 0).sum(axis=1), has.sum(axis=1))

    def share(per_image: Floats | Bools) -> Floats:
        return _ratio(weights.T @ per_image.astype(np.float64), weights.T @ data.looked_at.astype(np.float64))

    parts = (part[:, data.judged] for part in (tp, fp, fn, tp + fp + fn + tn))
    total_tp, total_fp, total_fn, total = (part.sum(axis=1) for part in parts)
    total_support = total_tp + total_fn
    micro = np.where(total_support > 0, _ratio(2 * total_tp, 2 * total_tp + total_fp + total_fn), np.nan)
    values = {
        "map": mean(ap),
        "macro_f1": mean(f1),
        "micro_f1": micro,
        "weighted_f1": _ratio(np.where(has, support * f1, 0).sum(axis=1), total_support),
        "samples_f1": share(data.samples_f1),
        "cf1": _harmonic(mean(np.nan_to_num(_ratio(tp, tp + fp))), mean(_ratio(tp, support))),
        "of1": _harmonic(np.nan_to_num(_ratio(total_tp, total_tp + total_fp)), _ratio(total_tp, total_support)),
        "hamming_loss": _ratio(total_fp + total_fn, total),
        "subset_accuracy": share(data.all_right),
    }
    if data.top1 is not None:
        values[TOP1] = share(data.top1)
    return _Statistics(tp, fp, fn, tn, f1, ap, np.stack([values[name] for name in data.summary], axis=1))


def _draws(images: int, resamples: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """How often each image is drawn: ``(N, B)``, a bounded number of draws at a time."""
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_CELLS // images)
    for done in range(0, resamples, chunk):
        drawn = (rng.integers(images, size=images) for _ in range(min(chunk, resamples - done)))
        yield np.stack([np.bincount(rows, minlength=images) for rows in drawn], axis=1, dtype=np.float32)


def _percentiles(draws: list[Floats], point: Floats) -> tuple[Floats, Floats]:
    """The 2.5th and 97.5th percentile of each column of ``(B, K)`` draws, NaN where the point ``(K,)`` is undefined."""
    bounds = np.full((2, len(point)), np.nan)
    for column in np.flatnonzero(~np.isnan(point)) if draws else ():
        values = np.concatenate([draw[:, column] for draw in draws])
        values = values[~np.isnan(values)]
        if len(values):
            bounds[:, column] = np.percentile(values, (2.5, 97.5))
    return bounds[0], bounds[1]


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """``part / whole``, NaN where that is 0 / 0."""
    out: Floats = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=out, where=np.asarray(whole) != 0)
    return out


def _harmonic(a: Floats, b: Floats) -> Floats:
    """Harmonic mean; 0 where both are 0, NaN where either is."""
    both: Floats = np.where(a + b == 0, 0.0, _ratio(2 * a * b, a + b))
    return both
