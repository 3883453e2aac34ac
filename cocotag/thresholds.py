"""From which probability on a tag is given: rules for choosing, and their choice. Knows no model and no file.

Choose on data that no claimed figure is taken on. Tags are decided on scores rounded to float16, so the scores are rounded
first, and what is chosen for a class or for all lies midway between two of them: it does not sit on a score that another
machine rounds otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNINFORMED = 0.5
"""The threshold where the data cannot tell: no positives or no negatives at all, or one score for everything."""

PRIOR_STRENGTH = 20.0
"""Positives at which a class's own threshold and the common one count alike, where nothing speaks for another number."""

STRENGTHS = (0.0, 2.0, 5.0, 10.0, PRIOR_STRENGTH, 50.0, np.inf)
"""What cross-validation chooses among; 0 is a class's own threshold, infinity the common one."""

PRECISIONS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Those that `thresholds_for_precision` holds thresholds for."""

FOLDS = 5
ENOUGH_IMAGES = 32  # fewer than were ever tried are not cross-validated
MARGIN = 2  # standard errors by which another strength must be better than `PRIOR_STRENGTH`

_LEVELS = int(np.float16(1).view(np.uint16)) + 1  # float16 values in 0..1; their bits, read as whole numbers, rise with them
_FORMS = "Use f1, f1:global, precision:0.9, recall:0.8 or fixed:0.5, with any number above 0 and at most 1"

Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Levels = NDArray[np.uint16]


@dataclass(frozen=True)
class Rule:
    """What thresholds are chosen for; `parse_rule` makes one of a text, and ``str`` the text of one.

    Attributes:
        name: ``f1`` chooses each class's threshold for its F1, ``f1:global`` one for all classes for micro-F1. ``precision``
            takes the lowest that has a wanted precision, so that recall is highest, ``recall`` the highest that has a wanted
            recall; ``fixed`` chooses nothing.
        value: The wanted precision or recall, or the threshold, in (0, 1] and not rounded to 0 in float16, in which
            tags are decided; None for the rest.
    """

    name: Literal["f1", "f1:global", "precision", "recall", "fixed"] = "f1"
    value: float | None = None

    def __post_init__(self) -> None:
        """Refuse a number where none belongs, none where one does, and one out of range."""
        if self.name in ("f1", "f1:global"):
            good = self.value is None
        else:
            good = (
                self.name in ("precision", "recall", "fixed")
                and self.value is not None
                and bool(0 < np.float16(self.value) <= 1)
            )
        if not good:
            raise ValueError(f"{self} is no rule for thresholds. {_FORMS}")

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}:{self.value!r}"


F1 = Rule("f1")


def parse_rule(text: str) -> Rule:
    """The rule that a text names: ``f1``, ``f1:global``, ``precision:0.9``, ``recall:0.8``, ``fixed:0.5``.

    Raises:
        ValueError: It names none; the message lists the forms and ends without a full stop.
    """
    name, _, number = text.partition(":")
    try:
        if name in ("precision", "recall", "fixed"):
            return Rule(cast(Any, name), float(number))
        return Rule(cast(Any, text))
    except ValueError:
        raise ValueError(f"{text!r} is no rule for thresholds. {_FORMS}") from None


@dataclass(frozen=True, eq=False)
class Thresholds:
    """What `choose_thresholds` found.

    Attributes:
        values: Per class, to be met with ``>=``, ``(C,)`` float32.
        overall: The one threshold for all classes, towards which they were drawn.
        rule: By which they were chosen.
        prior_strength: Positives at which a class's own threshold and ``overall`` count alike, maybe infinite; None where
            nothing was drawn.
        unmet: Classes of which no threshold between two scores has the wanted precision or recall, ``(C,)`` bool.
    """

    values: NDArray[np.float32]
    overall: float
    rule: Rule
    prior_strength: float | None
    unmet: Bools

    def record(self) -> dict[str, Any]:
        """What a bundle says of the choice, as plain JSON values.

        ``rule``, and where they apply ``prior_strength``, ``"infinite"`` for the common threshold alone, and ``unmet``, a
        number of classes.
        """
        record: dict[str, Any] = {"rule": str(self.rule)}
        if self.prior_strength is not None:
            record["prior_strength"] = self.prior_strength if np.isfinite(self.prior_strength) else "infinite"
        if self.rule.name in ("precision", "recall"):
            record["unmet"] = int(self.unmet.sum())
        return record


def describe(record: Mapping[str, Any]) -> str:
    """A record of `Thresholds.record` in words; of a bundle's, an empty one too."""
    if "rule" not in record:
        return "by a rule that the bundle does not name"
    words = [f"{record['rule']}{' for {} classes'.format(record['classes']) if 'classes' in record else ''}"]
    if "prior_strength" in record:
        strength = record["prior_strength"]
        positives = strength if isinstance(strength, str) else f"{strength:g}"
        words.append(f"drawn together by a prior of {positives} positives")
    if record.get("unmet"):
        words.append(f"which no threshold reaches for {record['unmet']} classes: they have the one that comes nearest")
    return ", ".join(words)


def choose_thresholds(
    probs: ArrayLike, targets: ArrayLike, known: ArrayLike, rule: Rule = F1, *, prior_strength: float | None = None
) -> Thresholds:
    """Choose a threshold for each class, drawn towards a common one where positives are few.

    The common threshold is the rule's for all known cells together, a class's own one the rule's for its cells. The own one of
    a rare class is mostly luck (the winner's curse in Lipton et al. 2014, https://arxiv.org/abs/1402.1892), so each class gets
    the mean of both in logits, its own with weight ``support / (support + prior_strength)``; without support, or where nothing
    but positives is known, the common one. A threshold above or below all scores is never chosen: there is no evidence beyond
    them.

    How strongly to draw depends on how alike the classes' scores are. For ``f1`` it is cross-validated, by the mean of
    micro-F1 and macro-F1 on held-out images, and `PRIOR_STRENGTH` stays unless another of `STRENGTHS` is better by more than
    two standard errors of the difference. scripts/research/measure_thresholds.py holds this against every fixed strength.

    A wanted precision or recall that no threshold between two scores reaches, for a class or for all together, gives the
    threshold that comes nearest to it. What is wanted holds for a class's own threshold on these images: drawn towards the
    common one, and on other images, a class may have less or more.

    Args:
        probs: Probabilities in 0..1, ``(N, C)``.
        targets: Multi-hot, ``(N, C)`` bool.
        known: False where nobody looked, ``(N, C)`` bool.
        rule: What the thresholds are chosen for. ``fixed`` uses only the shape of the data.
        prior_strength: Positives at which both count alike, >= 0, infinity for the common one alone; None cross-validates
            for ``f1`` and is `PRIOR_STRENGTH` for precision and recall. The other rules draw nothing.

    Raises:
        ValueError: Shapes differ, a probability outside 0..1, or a negative ``prior_strength``.
    """
    if prior_strength is not None and not prior_strength >= 0:
        raise ValueError(f"prior_strength is {prior_strength}; it must be 0 or more.")
    levels, positive, negative = _checked(probs, targets, known)
    classes = levels.shape[1]
    if rule.name == "fixed":
        return fixed_thresholds(rule, classes)
    fit = _Fit.on(levels, positive, negative, rule)
    if rule.name == "f1:global":
        return Thresholds(np.full(classes, fit.overall, np.float32), fit.overall, rule, None, ~fit.met)
    if prior_strength is None:
        prior_strength = _cross_validated(levels, positive, negative) if rule.name == "f1" else PRIOR_STRENGTH
    return Thresholds(fit.drawn(prior_strength), fit.overall, rule, prior_strength, ~fit.met)


def thresholds_for_precision(probs: ArrayLike, targets: ArrayLike, known: ArrayLike) -> dict[str, Any]:
    """Thresholds for each of `PRECISIONS`, for whoever wants another precision later, without these images.

    Returns:
        Plain JSON values by the precision (``"0.9"``): ``thresholds``, ``C`` floats; ``unmet``, the number of classes of which
        no threshold reaches it, so they have the one that comes nearest; and ``untold``, the indices of those of which there
        are not both positives and negatives, so they have the one for all.

    Raises:
        ValueError: As `choose_thresholds`.
    """
    chosen = {str(wish): choose_thresholds(probs, targets, known, Rule("precision", wish)) for wish in PRECISIONS}
    _, positive, negative = _checked(probs, targets, known)
    untold = np.flatnonzero(~(positive.any(axis=0) & negative.any(axis=0))).tolist()
    return {
        wish: {"thresholds": [float(value) for value in one.values], "unmet": int(one.unmet.sum()), "untold": untold}
        for wish, one in chosen.items()
    }


def fixed_thresholds(rule: Rule, classes: int) -> Thresholds:
    """One threshold for all classes, chosen by nobody: what ``fixed:0.5`` says.

    Raises:
        ValueError: Another rule.
    """
    if rule.name != "fixed" or rule.value is None:
        raise ValueError(f"{rule} names no threshold; fixed:0.5 would.")
    # As scores are: a score that is written 0.2671 meets a threshold of 0.2671, whatever float16 makes of it.
    value = float(np.float16(rule.value))
    return Thresholds(np.full(classes, value, np.float32), value, rule, None, np.zeros(classes, bool))


def best_thresholds(probs: ArrayLike, targets: ArrayLike, known: ArrayLike) -> tuple[Floats, Floats]:
    """The best F1 that any threshold gives each class on these very data, and that threshold: a bound, not a claim.

    Returns:
        Thresholds and F1, each ``(C,)``, NaN for a class without support. Among equals the highest threshold.

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
    """A rule's thresholds on some images before they are drawn together: ``(C,)`` each but ``overall``."""

    own: Floats
    overall: float
    support: Counts
    met: Bools  # whether the own one has what is wanted; True where the data cannot tell

    @classmethod
    def on(cls, levels: Levels, positive: Bools, negative: Bools, rule: Rule) -> _Fit:
        up, down = _histograms(levels, positive, negative)
        up[~down.any(axis=1)] = 0  # nothing could be wrong there, so the lowest threshold would always be best
        overall, _ = _best_within(up.sum(axis=0), down.sum(axis=0), rule, near=UNINFORMED)
        found = [_best_within(*pair, rule, near=overall) for pair in zip(up, down, strict=True)]
        own, met = np.array(found, np.float64).reshape(-1, 2).T
        return cls(own, overall, up.sum(axis=1), met.astype(bool))

    def drawn(self, prior_strength: float) -> NDArray[np.float32]:
        weight = self.support / np.maximum(self.support + prior_strength, 1e-9)
        values = _sigmoid(weight * _logit(self.own) + (1 - weight) * _logit(self.overall))
        return values.astype(np.float32)


def _cross_validated(levels: Levels, positive: Bools, negative: Bools) -> float:
    """The strength of `STRENGTHS` for F1 that held-out images speak for, else `PRIOR_STRENGTH`; the same on every call."""
    if len(levels) < ENOUGH_IMAGES:
        return PRIOR_STRENGTH
    fold = np.random.default_rng(0).permutation(len(levels)) % FOLDS
    scores = levels.view(np.float16)
    tp, fp, support = (np.zeros((FOLDS, len(STRENGTHS), levels.shape[1]), np.int64) for _ in range(3))
    for number in range(FOLDS):
        held = fold == number
        fit = _Fit.on(levels[~held], positive[~held], negative[~held], F1)
        for place, strength in enumerate(STRENGTHS):
            tagged = scores[held] >= fit.drawn(strength)
            tp[number, place] = (tagged & positive[held]).sum(axis=0)
            fp[number, place] = (tagged & negative[held]).sum(axis=0)
        support[number] = positive[held].sum(axis=0)
    start = STRENGTHS.index(PRIOR_STRENGTH)
    gain = _micro_and_macro(*(part.sum(axis=0) for part in (tp, fp, support)))
    gain -= gain[start]
    # Its standard error by the jackknife over folds. Without a margin the best of seven is mostly luck, and on real scores
    # costs half a point: the one-standard-error rule of Breiman et al. (Classification and Regression Trees, 1984), but two.
    less = _micro_and_macro(*(part.sum(axis=0) - part for part in (tp, fp, support)))
    less -= less[:, [start]]
    gain -= MARGIN * np.sqrt((FOLDS - 1) * less.var(axis=0))
    best = int(gain.argmax())
    return STRENGTHS[best] if gain[best] > 0 else PRIOR_STRENGTH


def _micro_and_macro(tp: Counts, fp: Counts, support: Counts) -> Floats:
    """Mean of micro-F1 and macro-F1, the latter over classes with support: ``(..., C)`` three times -> ``(...)``."""
    micro = _f1(tp.sum(axis=-1), fp.sum(axis=-1), support.sum(axis=-1))
    macro = _f1(tp, fp, support).sum(axis=-1) / np.maximum((support > 0).sum(axis=-1), 1)  # without support F1 is 0 here
    return np.asarray((micro + macro) / 2)


def _checked(probs: ArrayLike, targets: ArrayLike, known: ArrayLike) -> tuple[Levels, Bools, Bools]:
    """Scores as the bits of their float16 values, and which cells are known positives and negatives: ``(N, C)`` each."""
    probs, targets, known = np.asarray(probs), np.asarray(targets, bool), np.asarray(known, bool)
    if probs.ndim != 2 or not probs.shape == targets.shape == known.shape:
        raise ValueError(f"probs {probs.shape}, targets {targets.shape}, known {known.shape}: (N, C) three times is needed.")
    if not ((probs >= 0) & (probs <= 1)).all():
        raise ValueError("probs holds values outside 0..1 or NaN.")
    levels = (probs.astype(np.float16) + np.float16(0)).view(np.uint16)  # + 0 makes -0.0 into 0.0
    return levels, known & targets, known & ~targets


def _histograms(levels: Levels, positive: Bools, negative: Bools) -> tuple[Counts, Counts]:
    """Positives and negatives of each class at each float16 value in 0..1: ``(C, 15361)`` twice."""

    def count(mask: Bools) -> Counts:
        columns = zip(levels.T, mask.T, strict=True)
        return np.array([np.bincount(level[use], minlength=_LEVELS) for level, use in columns], np.int64).reshape(-1, _LEVELS)

    return count(positive), count(negative)


def _curve(positives: Counts, negatives: Counts) -> tuple[Floats, Counts, Counts]:
    """The thresholds that tell apart scores that occur, rising, with the true and false positives of each: ``(K,)`` each.

    They lie midway between neighbouring scores, but the first is the lowest score: it tags everything.
    """
    occurring = np.flatnonzero(positives + negatives)
    scores = occurring.astype(np.uint16).view(np.float16).astype(np.float64)
    tp = positives[occurring][::-1].cumsum()[::-1]
    fp = negatives[occurring][::-1].cumsum()[::-1]
    return np.concatenate([scores[:1], (scores[1:] + scores[:-1]) / 2]), tp, fp


def _f1(tp: Counts, fp: Counts, support: Counts) -> Floats:
    return np.asarray(2 * tp / np.maximum(tp + fp + support, 1))  # TP + FN is the support


def _best_within(positives: Counts, negatives: Counts, rule: Rule, *, near: float) -> tuple[float, bool]:
    """The rule's threshold between two scores, and whether it has what is wanted; ``near`` and True if there is none.

    Of thresholds of equal F1 it is the one nearest ``near`` in logits. What cannot be reached is approached as far as it can
    be, and of equals precision takes the lowest, recall the highest.
    """
    thresholds, tp, fp = _curve(positives, negatives)
    thresholds, tp, fp = thresholds[1:], tp[1:], fp[1:]  # not the one that tags everything
    if not len(thresholds) or not positives.any():
        return near, True
    if rule.value is None:
        f1 = _f1(tp, fp, positives.sum())
        equals = thresholds[f1 == f1.max()]
        return float(equals[np.abs(_logit(equals) - _logit(near)).argmin()]), True
    reached = tp / (tp + fp) if rule.name == "precision" else tp / positives.sum()
    good = thresholds[reached >= min(rule.value, reached.max())]
    return float(good[0 if rule.name == "precision" else -1]), bool(reached.max() >= rule.value)


def _logit(probability: Floats | float) -> Floats:
    return np.asarray(np.log(probability) - np.log1p(-np.asarray(probability)))


def _sigmoid(logit: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logit)))
