"""What an evaluation says, in a few sentences that are made from its numbers alone. Knows no page."""

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
"""Images with both errors from which on a pair is worth naming."""
CHANCE = 0.05
"""Probability that at least one pair of all would come out so often by chance, above which none is named."""
NAMED = 8
OFF = 1.1
"""Labels that are promised over those that are there, either way, up to which probabilities are called about right."""


def findings(evaluation: Evaluation) -> list[str]:
    """Three to five sentences for the first screen."""
    frame = evaluation.per_class
    trusted = frame[frame["f1"].notna() & (frame["support"] >= ENOUGH_SUPPORT)]
    said = [_against_baseline(evaluation), _weakest(trusted), _never(frame), _thresholds(trusted)]
    said += [_confusion(evaluation), _calibration(evaluation)]
    return [sentence for sentence in said if sentence]


def _against_baseline(evaluation: Evaluation) -> str:
    comparison = evaluation.comparison
    if comparison is None or not comparison.paired:
        return ""
    gap, low, high = (float(comparison.summary.at["macro_f1", name]) for name in ("difference", "lo", "hi"))  # type: ignore[arg-type]
    if np.isnan(gap):
        return ""
    doubt = "" if low > 0 or high < 0 else ", so it may as well be none"
    worse = comparison.per_class.loc[comparison.per_class["verdict"] == "worse", "name"].tolist()
    better = int((comparison.per_class["verdict"] == "better").sum())
    text = (
        f"Against the baseline macro-F1 is {percent(abs(gap))} points {'higher' if gap >= 0 else 'lower'} (95% interval of the "
        f"difference {signed(low)} to {signed(high)}{doubt}); "
    )
    return (
        text
        + (f"clearly worse: {_some(worse)}; " if worse else "no class is clearly worse; ")
        + f"{better or 'none'} clearly better."
    )


def _weakest(trusted: pd.DataFrame) -> str:
    if trusted.empty:
        return f"No class has {ENOUGH_SUPPORT} positives here, so none can be called weak or strong."
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
            f"count{'' if many else 's'} F1 0: {_some(never)}."
        )
    return "Every class with positives here is predicted at least once." if frame["f1"].notna().any() else ""


def _thresholds(trusted: pd.DataFrame) -> str:
    gap = (trusted["optimistic_best_f1"] - trusted["f1"]).to_numpy()
    if not (gap > 0).any():
        return ""
    row = trusted.iloc[int(np.nanargmax(gap))]
    return (
        f"The threshold costs {shorten(row['name'])} most: F1 {percent(row['f1'])} at {number(row['threshold'])}, and at "
        f"best {percent(row['optimistic_best_f1'])} at {number(row['optimistic_best_threshold'])} (optimistic: found on these "
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
                f"The commonest confusion: where {shorten(missed)} is missed, {shorten(said)} is said on {number(images)} "
                f"of {number(of)} images, {number(lift)} times as often as by chance."
            )
    return "No pair of a missed and a wrongly said class stands out from what chance makes of so many." if len(pairs) else ""


def _calibration(evaluation: Evaluation) -> str:
    run = evaluation.predictions
    there = run.known & (evaluation.per_class["status"] != "no_negatives").to_numpy()
    promised = float((run.probs * there).sum(dtype=np.float64)) / len(run)
    labels = float((run.targets & there).sum()) / len(run)
    error = evaluation.summary["value"].get("ece", np.nan)
    if not labels or np.isnan(error):
        return ""
    ratio = promised / labels
    verdict = "too high" if ratio > OFF else "too low" if ratio < 1 / OFF else "about right in sum"
    return (
        f"As probabilities the scores are {verdict}: added up they promise {number(promised)} labels per image where there are "
        f"{number(labels)}; the expected calibration error is {percent(error)} points."
    )


def at_least_by_chance(count: int, expected: float) -> float:
    """Probability that a Poisson variable with mean ``expected`` is at least ``count``."""
    if count <= 0:
        return 1.0
    if expected <= 0:
        return 0.0
    if count <= expected:  # the upper tail is not small, and its first terms may be: 1 is close enough to say that it is chance
        return 1.0
    term = math.exp(count * math.log(expected) - expected - math.lgamma(count + 1))
    total, place = 0.0, count
    while term > total * 1e-12:
        total += term
        place += 1
        term *= expected / place
    return min(1.0, total)


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(shorten, names[:NAMED])) + rest
