"""Findings of an evaluation as a few sentences, derived only from its numbers. Does not depend on a page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cocotag.evaluation.compare import ENOUGH_SUPPORT
from cocotag.pages.values import number, percent, shorten, signed

if TYPE_CHECKING:
    from cocotag.evaluation.result import Evaluation

MIN_PAIR_IMAGES = 5
"""Images with both errors that a pair needs to be named."""
CHANCE = 0.05
"""A pair is named only if the probability that chance produces any such pair is below this."""
NAMED = 8
OFF = 1.1
"""Largest ratio of expected to actual labels, or its inverse, at which probabilities are called about right."""


def findings(evaluation: Evaluation) -> list[str]:
    """Three to six findings for the first screen."""
    frame = evaluation.per_class
    trusted = frame[frame["f1"].notna() & (frame["support"] >= ENOUGH_SUPPORT)]
    found = [_against_baseline(evaluation), _weakest(trusted), _never(frame), _thresholds(trusted)]
    found += [_confusion(evaluation), _calibration(evaluation)]
    return [text for text in found if text]


def _against_baseline(evaluation: Evaluation) -> str:
    comparison = evaluation.comparison
    if comparison is None or not comparison.paired:
        return ""
    gap, low, high = (float(comparison.summary.at["macro_f1", name]) for name in ("difference", "lo", "hi"))  # type: ignore[arg-type]
    if np.isnan(gap):
        return ""
    doubt = "" if low > 0 or high < 0 else ", which includes 0"
    worse = comparison.per_class.loc[comparison.per_class["verdict"] == "worse", "name"].tolist()
    better = int((comparison.per_class["verdict"] == "better").sum())
    return (
        f"Macro-F1 is {percent(abs(gap))} points {'higher' if gap >= 0 else 'lower'} than the baseline's (95% interval of the "
        f"difference: {signed(low)} to {signed(high)}{doubt}). Clearly worse classes: {_some(worse) or 'none'}. "
        f"Clearly better classes: {better or 'none'}."
    )


def _weakest(trusted: pd.DataFrame) -> str:
    if trusted.empty:
        return f"No class has {ENOUGH_SUPPORT} positives here, so no class can be called weak or strong."
    worst = trusted.sort_values(["f1", "support"], ascending=[True, False], kind="stable")[:3]
    rows = zip(worst["name"], worst["f1"], worst["support"], strict=True)
    named = [f"{shorten(name)} (F1 {percent(f1)}, {number(support)} positives)" for name, f1, support in rows]
    if len(named) == 1:
        return f"Only {named[0]} has at least {ENOUGH_SUPPORT} positives, so no other class can be called weak or strong."
    return f"The weakest classes with at least {ENOUGH_SUPPORT} positives are {', '.join(named[:-1])} and {named[-1]}."


def _never(frame: pd.DataFrame) -> str:
    never = frame.loc[frame["status"] == "no_predictions", "name"].tolist()
    if never:
        many = len(never) > 1
        return (
            f"{len(never)} class{'es' if many else ''} with positives here {'are' if many else 'is'} never predicted and "
            f"{'have' if many else 'has'} F1 0: {_some(never)}."
        )
    return "Every class with positives here is predicted at least once." if frame["f1"].notna().any() else ""


def _thresholds(trusted: pd.DataFrame) -> str:
    gap = (trusted["optimistic_best_f1"] - trusted["f1"]).to_numpy()
    if not (gap > 0).any():
        return ""
    row = trusted.iloc[int(np.nanargmax(gap))]
    return (
        f"A better threshold would help {shorten(row['name'])} most: F1 is {percent(row['f1'])} at {number(row['threshold'])}, "
        f"but {percent(row['optimistic_best_f1'])} at {number(row['optimistic_best_threshold'])} (optimistic: tuned on these "
        "images)."
    )


def _confusion(evaluation: Evaluation) -> str:
    pairs = evaluation.co_errors
    classes = len(evaluation.per_class)
    columns = ("missed", "said", "images", "of", "expected", "lift")
    enough = pairs[pairs["images"] >= MIN_PAIR_IMAGES]
    for missed, said, images, of, expected, lift in zip(*(enough[name].tolist() for name in columns), strict=True):
        if at_least_by_chance(images, expected) * classes * (classes - 1) < CHANCE:
            return (
                f"The most common confusion: when {shorten(missed)} is missed, {shorten(said)} is wrongly predicted on "
                f"{number(images)} of {number(of)} images, {number(lift)} times as often as by chance."
            )
    return "No pair of classes is confused more often than chance would explain." if len(pairs) else ""


def _calibration(evaluation: Evaluation) -> str:
    run = evaluation.predictions
    measured = run.known & (evaluation.per_class["status"] != "no_negatives").to_numpy()
    expected = float((run.probs * measured).sum(dtype=np.float64)) / len(run)
    labels = float((run.targets & measured).sum()) / len(run)
    error = evaluation.summary["value"].get("ece", np.nan)
    if not labels or np.isnan(error):
        return ""
    ratio = expected / labels
    verdict = "too high" if ratio > OFF else "too low" if ratio < 1 / OFF else "about right in total"
    return (
        f"The probabilities are {verdict}: their sum predicts {number(expected)} labels per image, and there are "
        f"{number(labels)}. The expected calibration error is {percent(error)} points."
    )


def at_least_by_chance(count: int, expected: float) -> float:
    """Probability that a Poisson variable with mean ``expected`` is at least ``count``."""
    if count <= 0:
        return 1.0
    if expected <= 0:
        return 0.0
    if count <= expected:  # the tail is large although its first terms may be tiny; 1 is close enough
        return 1.0
    term = math.exp(count * math.log(expected) - expected - math.lgamma(count + 1))
    total, k = 0.0, count
    while term > total * 1e-12:
        total += term
        k += 1
        term *= expected / k
    return min(1.0, total)


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(shorten, names[:NAMED])) + rest
