"""Thresholds: the rules for choosing them, and the choice itself. Does not depend on models or files.

Choose thresholds on data on which no claimed figure is measured. Tags are decided on scores rounded to float16, so scores
are rounded first. A chosen threshold lies midway between two scores, so it never equals a score that another machine may
round differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNINFORMED = 0.5
"""The threshold if the data cannot determine one: no positives or no negatives at all, or equal scores everywhere."""

PRIOR_STRENGTH = 20.0
"""Default number of positives at which a class's own threshold and the common threshold have equal weight."""

STRENGTHS = (0.0, 2.0, 5.0, 10.0, PRIOR_STRENGTH, 50.0, np.inf)
"""Candidates of the cross-validation; 0 is a class's own threshold, infinity the common one."""

PRECISIONS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""The precisions for which `thresholds_for_precision` chooses thresholds."""

FOLDS = 5
ENOUGH_IMAGES = 32  # smaller data sets are not cross-validated; smaller ones were never tested
MARGIN = 2  # standard errors by which another strength must be better than `PRIOR_STRENGTH`

_LEVELS = int(np.float16(1).view(np.uint16)) + 1  # float16 values in 0..1; their bits as whole numbers have the same order
_FORMS = "Use f1, f1:global, precision:0.9, recall:0.8 or fixed:0.5, with any number above 0 and at most 1"

Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Levels = NDArray[np.uint16]


@dataclass(frozen=True)
class Rule:
    """A rule for choosing thresholds. `parse_rule` reads one from text; ``str`` gives the text.

    Attributes:
        name: ``f1`` maximises the F1 of each class; ``f1:global`` chooses one threshold for all classes that maximises
            micro-F1. ``precision`` takes the lowest threshold with the wanted precision, so that recall is highest;
            ``recall`` takes the highest threshold with the wanted recall. ``fixed`` chooses nothing.
        value: The wanted precision or recall, or the fixed threshold, in (0, 1]. It must not round to 0 in float16, in which
            tags are decided. None for the F1 rules.
    """

    name: Literal["f1", "f1:global", "precision", "recall", "fixed"] = "f1"
    value: float | None = None

    def __post_init__(self) -> None:
        """Check that the rule has a value exactly if it needs one, and that the value is in range."""
        if self.name in ("f1", "f1:global"):
            valid = self.value is None
        else:
            valid = (
                self.name in ("precision", "recall", "fixed")
                and self.value is not None
                and bool(0 < np.float16(self.value) <= 1)
            )
        if not valid:
            raise ValueError(f"{self} is not a threshold rule. {_FORMS}")

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}:{self.value!r}"


F1 = Rule("f1")


def parse_rule(text: str) -> Rule:
    """The rule that a text names: ``f1``, ``f1:global``, ``precision:0.9``, ``recall:0.8``, ``fixed:0.5``.

    Raises:
        ValueError: The text is not a rule; the message lists the forms and ends without a full stop.
    """
    name, _, number = text.partition(":")
    try:
        if name in ("precision", "recall", "fixed"):
            return Rule(cast(Any, name), float(number))
        return Rule(cast(Any, text))
    except ValueError:
        raise ValueError(f"{text!r} is not a threshold rule. {_FORMS}") from None


@dataclass(frozen=True, eq=False)
class Thresholds:
    """The result of `choose_thresholds`.

    Attributes:
        values: Threshold per class, ``(C,)`` float32; a tag is given if its score is ``>=`` the threshold.
        overall: The common threshold of all classes, towards which the class thresholds are shrunk.
        rule: The rule that chose them.
        prior_strength: Number of positives at which a class's own threshold and ``overall`` have equal weight, possibly
            infinite; None without shrinkage.
        unmet: True for classes for which no threshold between two scores has the wanted precision or recall, ``(C,)`` bool.
    """

    values: NDArray[np.float32]
    overall: float
    rule: Rule
    prior_strength: float | None
    unmet: Bools

    def record(self) -> dict[str, Any]:
        """The record of the choice in a bundle, as plain JSON values.

        It has ``rule`` and, where they apply, ``prior_strength`` (``"infinite"`` for the common threshold alone) and
        ``unmet``, a number of classes.
        """
        record: dict[str, Any] = {"rule": str(self.rule)}
        if self.prior_strength is not None:
            record["prior_strength"] = self.prior_strength if np.isfinite(self.prior_strength) else "infinite"
        if self.rule.name in ("precision", "recall"):
            record["unmet"] = int(self.unmet.sum())
        return record


def describe(record: Mapping[str, Any]) -> str:
    """A record of `Thresholds.record` in words; it may come from a bundle and be empty."""
    if "rule" not in record:
        return "by a rule that the bundle does not name"
    words = [f"{record['rule']}{' for {} classes'.format(record['classes']) if 'classes' in record else ''}"]
    if "prior_strength" in record:
        strength = record["prior_strength"]
        positives = strength if isinstance(strength, str) else f"{strength:g}"
        words.append(f"shrunk towards a common threshold by a prior of {positives} positives")
    if record.get("unmet"):
        words.append(f"not reached by any threshold for {record['unmet']} classes, which have the nearest one")
    return ", ".join(words)


def choose_thresholds(
    probs: ArrayLike, targets: ArrayLike, known: ArrayLike, rule: Rule = F1, *, prior_strength: float | None = None
) -> Thresholds:
    """Choose a threshold for each class, shrunk towards a common threshold if the class has few positives.

    The common threshold applies the rule to all known cells together; a class's own threshold applies it to the cells of the
    class. The own threshold of a rare class is mostly luck (the winner's curse in Lipton et al. 2014,
    https://arxiv.org/abs/1402.1892). Each class therefore gets the weighted mean of both in logits; its own has weight
    ``support / (support + prior_strength)``. A class without support, or of which only positives are known, gets the common
    threshold. A threshold above or below all scores is never chosen: there is no evidence beyond them.

    The best strength of this shrinkage depends on how similar the score distributions of the classes are. For ``f1`` it is
    cross-validated by the mean of micro-F1 and macro-F1 on held-out images: `PRIOR_STRENGTH` is used unless another of
    `STRENGTHS` is better by more than two standard errors of the difference. scripts/research/measure_thresholds.py compares
    this with every fixed strength, and scripts/research/measure_alignment.py with aligning the classes' scores first, which
    gains where they are shifted but loses elsewhere.

    If no threshold between two scores reaches a wanted precision or recall, for a class or for all together, the nearest
    threshold is taken. The wanted value holds for a class's own threshold on these images. After shrinkage, and on other
    images, a class may have less or more.

    Args:
        probs: Probabilities in 0..1, ``(N, C)``.
        targets: Multi-hot, ``(N, C)`` bool.
        known: False where the label is unknown, ``(N, C)`` bool.
        rule: The rule for choosing. ``fixed`` uses only the shape of the data.
        prior_strength: Number of positives at which both thresholds have equal weight, >= 0; infinity gives the common
            threshold alone. None cross-validates for ``f1`` and means `PRIOR_STRENGTH` for precision and recall. The other
            rules do not shrink.

    Raises:
        ValueError: Shapes differ, a probability is outside 0..1, or ``prior_strength`` is negative.
    """
    if prior_strength is not None and not prior_strength >= 0:
        raise ValueError(f"prior_strength is {prior_strength}; it must be at least 0.")
    levels, positive, negative = _checked(probs, targets, known)
    classes = levels.shape[1]
    if rule.name == "fixed":
        return fixed_thresholds(rule, classes)
    fit = _Fit.on(levels, positive, negative, rule)
    if rule.name == "f1:global":
        return Thresholds(np.full(classes, fit.overall, np.float32), fit.overall, rule, None, ~fit.met)
    if prior_strength is None:
        prior_strength = _cross_validated(levels, positive, negative) if rule.name == "f1" else PRIOR_STRENGTH
    return Thresholds(fit.shrunk(prior_strength), fit.overall, rule, prior_strength, ~fit.met)


def thresholds_for_precision(probs: ArrayLike, targets: ArrayLike, known: ArrayLike) -> dict[str, Any]:
    """Thresholds for each of `PRECISIONS`, so that a precision can be chosen later without these images.

    Returns:
        Plain JSON values by precision (``"0.9"``): ``thresholds``, ``C`` floats; ``unmet``, the number of classes for which no
        threshold reaches the precision, so that they have the nearest one; and ``untold``, the indices of the classes that
        lack positives or negatives, so that they have the common threshold.

    Raises:
        ValueError: As `choose_thresholds`.
    """
    chosen = {str(value): choose_thresholds(probs, targets, known, Rule("precision", value)) for value in PRECISIONS}
    _, positive, negative = _checked(probs, targets, known)
    untold = np.flatnonzero(~(positive.any(axis=0) & negative.any(axis=0))).tolist()
    return {
        precision: {"thresholds": [float(value) for value in one.values], "unmet": int(one.unmet.sum()), "untold": untold}
        for precision, one in chosen.items()
    }


def fixed_thresholds(rule: Rule, classes: int) -> Thresholds:
    """The same given threshold for all classes, as in ``fixed:0.5``.

    Raises:
        ValueError: The rule is not ``fixed``.
    """
    if rule.name != "fixed" or rule.value is None:
        raise ValueError(f"{rule} does not name a threshold; a rule such as fixed:0.5 is needed.")
    # Rounded like the scores, so that a score written as 0.2671 meets a threshold of 0.2671 whatever its float16 value.
    value = float(np.float16(rule.value))
    return Thresholds(np.full(classes, value, np.float32), value, rule, None, np.zeros(classes, bool))


def best_thresholds(probs: ArrayLike, targets: ArrayLike, known: ArrayLike) -> tuple[Floats, Floats]:
    """The best F1 of any threshold per class on these same data, and that threshold: an upper bound, not a claim.

    Returns:
        Thresholds and F1, each ``(C,)``, NaN for a class without support. Of equally good thresholds the highest is taken.

    Raises:
        ValueError: As `choose_thresholds`.
    """
    thresholds, best = np.full((2, np.shape(probs)[1]), np.nan)
    for index, (up, down) in enumerate(zip(*_histograms(*_checked(probs, targets, known)), strict=True)):
        if up.any():
            candidates, tp, fp = _curve(up, down)
            f1 = _f1(tp, fp, up.sum())
            last = np.flatnonzero(f1 == f1.max())[-1]
            thresholds[index], best[index] = candidates[last], f1[last]
    return thresholds, best


@dataclass(frozen=True, eq=False)
class _Fit:
    """A rule's thresholds on some images before shrinkage: ``(C,)`` each but ``overall``."""

    own: Floats
    overall: float
    support: Counts
    met: Bools  # whether the own threshold reaches the wanted value; True where the data cannot determine it

    @classmethod
    def on(cls, levels: Levels, positive: Bools, negative: Bools, rule: Rule) -> _Fit:
        up, down = _histograms(levels, positive, negative)
        up[~down.any(axis=1)] = 0  # without negatives no tag can be wrong, so the lowest threshold would always be best
        overall, _ = _best_within(up.sum(axis=0), down.sum(axis=0), rule, near=UNINFORMED)
        found = [_best_within(*pair, rule, near=overall) for pair in zip(up, down, strict=True)]
        own, met = np.array(found, np.float64).reshape(-1, 2).T
        return cls(own, overall, up.sum(axis=1), met.astype(bool))

    def shrunk(self, prior_strength: float) -> NDArray[np.float32]:
        weight = self.support / np.maximum(self.support + prior_strength, 1e-9)
        values = _sigmoid(weight * _logit(self.own) + (1 - weight) * _logit(self.overall))
        return values.astype(np.float32)


def _cross_validated(levels: Levels, positive: Bools, negative: Bools) -> float:
    """The best of `STRENGTHS` for F1 on held-out images, or `PRIOR_STRENGTH` if none is clearly better; deterministic."""
    if len(levels) < ENOUGH_IMAGES:
        return PRIOR_STRENGTH
    fold = np.random.default_rng(0).permutation(len(levels)) % FOLDS
    scores = levels.view(np.float16)
    tp, fp, support = (np.zeros((FOLDS, len(STRENGTHS), levels.shape[1]), np.int64) for _ in range(3))
    for number in range(FOLDS):
        held_out = fold == number
        fit = _Fit.on(levels[~held_out], positive[~held_out], negative[~held_out], F1)
        for index, strength in enumerate(STRENGTHS):
            tagged = scores[held_out] >= fit.shrunk(strength)
            tp[number, index] = (tagged & positive[held_out]).sum(axis=0)
            fp[number, index] = (tagged & negative[held_out]).sum(axis=0)
        support[number] = positive[held_out].sum(axis=0)
    start = STRENGTHS.index(PRIOR_STRENGTH)
    gain = _micro_and_macro(*(part.sum(axis=0) for part in (tp, fp, support)))
    gain -= gain[start]
    # Its standard error is estimated by the jackknife over folds. Without a margin the best of seven is mostly luck and costs
    # half a point on real scores. This is the one-standard-error rule of Breiman et al. (Classification and Regression Trees,
    # 1984), with two standard errors.
    left_out = _micro_and_macro(*(part.sum(axis=0) - part for part in (tp, fp, support)))
    left_out -= left_out[:, [start]]
    gain -= MARGIN * np.sqrt((FOLDS - 1) * left_out.var(axis=0))
    best = int(gain.argmax())
    return STRENGTHS[best] if gain[best] > 0 else PRIOR_STRENGTH


def _micro_and_macro(tp: Counts, fp: Counts, support: Counts) -> Floats:
    """Mean of micro-F1 and macro-F1, the latter over classes with support: three arrays ``(..., C)`` -> ``(...)``."""
    micro = _f1(tp.sum(axis=-1), fp.sum(axis=-1), support.sum(axis=-1))
    macro = _f1(tp, fp, support).sum(axis=-1) / np.maximum((support > 0).sum(axis=-1), 1)  # without support F1 is 0 here
    return np.asarray((micro + macro) / 2)


def _checked(probs: ArrayLike, targets: ArrayLike, known: ArrayLike) -> tuple[Levels, Bools, Bools]:
    """The scores as the bits of their float16 values, and the masks of known positives and negatives: ``(N, C)`` each."""
    probs, targets, known = np.asarray(probs), np.asarray(targets, bool), np.asarray(known, bool)
    if probs.ndim != 2 or not probs.shape == targets.shape == known.shape:
        shapes = f"probs {probs.shape}, targets {targets.shape}, known {known.shape}"
        raise ValueError(f"{shapes}: all three must have the same shape (N, C).")
    if not ((probs >= 0) & (probs <= 1)).all():
        raise ValueError("probs has values outside 0..1 or NaN.")
    levels = (probs.astype(np.float16) + np.float16(0)).view(np.uint16)  # + 0 turns -0.0 into 0.0
    return levels, known & targets, known & ~targets


def _histograms(levels: Levels, positive: Bools, negative: Bools) -> tuple[Counts, Counts]:
    """Positives and negatives of each class at each float16 value in 0..1: ``(C, 15361)`` each."""

    def count(mask: Bools) -> Counts:
        columns = zip(levels.T, mask.T, strict=True)
        return np.array([np.bincount(level[use], minlength=_LEVELS) for level, use in columns], np.int64).reshape(-1, _LEVELS)

    return count(positive), count(negative)


def _curve(positives: Counts, negatives: Counts) -> tuple[Floats, Counts, Counts]:
    """The thresholds that separate the distinct scores, rising, with the true and false positives of each: ``(K,)`` each.

    They lie midway between neighbouring scores; only the first is the lowest score itself, which tags everything.
    """
    occurring = np.flatnonzero(positives + negatives)
    scores = occurring.astype(np.uint16).view(np.float16).astype(np.float64)
    tp = positives[occurring][::-1].cumsum()[::-1]
    fp = negatives[occurring][::-1].cumsum()[::-1]
    return np.concatenate([scores[:1], (scores[1:] + scores[:-1]) / 2]), tp, fp


def _f1(tp: Counts, fp: Counts, support: Counts) -> Floats:
    return np.asarray(2 * tp / np.maximum(tp + fp + support, 1))  # TP + FN is the support


def _best_within(positives: Counts, negatives: Counts, rule: Rule, *, near: float) -> tuple[float, bool]:
    """The rule's threshold between two scores, and whether it reaches the wanted value; ``near`` and True if there is none.

    Of thresholds with equal F1 the one nearest to ``near`` in logits is taken. If the wanted value cannot be reached, the
    nearest value is taken; of equally good thresholds precision takes the lowest and recall the highest.
    """
    thresholds, tp, fp = _curve(positives, negatives)
    thresholds, tp, fp = thresholds[1:], tp[1:], fp[1:]  # without the one that tags everything
    if not len(thresholds) or not positives.any():
        return near, True
    if rule.value is None:
        f1 = _f1(tp, fp, positives.sum())
        best = thresholds[f1 == f1.max()]
        return float(best[np.abs(_logit(best) - _logit(near)).argmin()]), True
    reached = tp / (tp + fp) if rule.name == "precision" else tp / positives.sum()
    sufficient = thresholds[reached >= min(rule.value, reached.max())]
    return float(sufficient[0 if rule.name == "precision" else -1]), bool(reached.max() >= rule.value)


def _logit(probability: Floats | float) -> Floats:
    return np.asarray(np.log(probability) - np.log1p(-np.asarray(probability)))


def _sigmoid(logit: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logit)))
