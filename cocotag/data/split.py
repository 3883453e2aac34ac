"""Stratified holdouts and samples of a table: every class keeps its share. Does not read pixels or import torch.

This module implements iterative stratification, Sechidis et al. 2011, https://doi.org/10.1007/978-3-642-23808-6_10, instead of
using a package. scikit-multilearn has had no release since 2018 and is too slow for 100,000 images
(https://github.com/scikit-multilearn/scikit-multilearn/issues/202). Its successor scikit-multilearn-ng needs nine packages.
iterative-stratification (trent-b, 0.1.9) is correct and fast enough, and its shares are as good as these. But it needs
scikit-learn, which no other part of an install needs, uses private classes of it, and guarantees nothing for rare classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


def stratified_holdout(targets: Bools, fraction: float, seed: int) -> Bools:
    """Choose about ``fraction`` of the images so that the holdout has about this share of the positives of each class.

    A class whose share would be below half an image is not in the holdout, because training needs its images; every other
    class is.

    Args:
        targets: Multi-hot, known positives, ``(N, C)`` bool.
        fraction: Share of the images, in (0, 1).
        seed: Seed of the order in which images are assigned.

    Returns:
        True for the images in the holdout, ``(N,)`` bool.
    """
    positives = targets.sum(axis=0)
    return _stratified(targets, fraction, seed, wanted=np.asarray((positives > 1) & (fraction * positives >= 0.5)))


def stratified_sample(targets: Bools, fraction: float, seed: int) -> Bools:
    """Keep about ``fraction`` of the images so that each class keeps about this share of its positives, and at least one.

    With many rare classes and a small fraction, the sample can be larger than the fraction: no class is lost.

    Args:
        targets: Multi-hot, known positives, ``(N, C)`` bool.
        fraction: Share of the images, in (0, 1]; 1 keeps all.
        seed: Seed of the order in which images are assigned.

    Returns:
        True for the images in the sample, ``(N,)`` bool.
    """
    if fraction >= 1:
        return np.ones(len(targets), bool)
    return _stratified(targets, fraction, seed, wanted=np.asarray(targets.any(axis=0)))


def _stratified(targets: Bools, fraction: float, seed: int, *, wanted: Bools) -> Bools:
    """Assign the images; if a ``wanted`` class ``(C,)`` got none, fix an image of it in the subset and assign again."""
    order = np.random.default_rng(seed).permutation(len(targets))
    labels = targets[order]
    fixed = np.zeros(len(labels), bool)
    while True:
        chosen = _assign(labels, fraction, fixed)
        missing = wanted & ~labels[chosen].any(axis=0)
        if not missing.any():
            break
        fixed |= _one_of_each(labels, missing)  # these classes cannot be missing again, so this ends
    selected = np.zeros(len(labels), bool)
    selected[order] = chosen
    return selected


def _assign(labels: Bools, fraction: float, fixed: Bools) -> Bools:
    """Assign images to two subsets: first the class with the fewest remaining positives, to the subset that lacks most of it.

    Args:
        labels: Multi-hot, in the order of assignment, ``(N, C)``.
        fraction: Share of the first subset.
        fixed: Images that are in the first subset in any case, ``(N,)``.

    Returns:
        True for the first subset, ``(N,)``.
    """
    shares = np.array([fraction, 1 - fraction])
    lacks = shares[:, None] * labels.sum(axis=0)  # positives that each subset still needs, (2, C)
    room = shares * len(labels)
    chosen = np.full(len(labels), -1)
    chosen[fixed] = 0
    lacks[0] -= labels[fixed].sum(axis=0)
    room[0] -= fixed.sum()
    remaining = labels[~fixed].sum(axis=0)
    while remaining.any():
        label = int(np.where(remaining > 0, remaining, len(labels) + 1).argmin())
        for row in np.flatnonzero(labels[:, label] & (chosen < 0)):
            # The second subset wins ties, so that a single positive is used for training.
            subset = 0 if (lacks[0, label], room[0]) > (lacks[1, label], room[1]) and lacks[0, label] >= 0.5 else 1
            chosen[row] = subset
            lacks[subset] -= labels[row]
            room[subset] -= 1
            remaining -= labels[row]
    for row in np.flatnonzero(chosen < 0):
        subset = int(room.argmax())
        chosen[row] = subset
        room[subset] -= 1
    return np.asarray(chosen == 0)


def _one_of_each(labels: Bools, classes: Bools) -> Bools:
    """Choose an image of each of some classes ``(C,)``; an image of a rarer class may cover several: ``(N,)``.

    Of a class's images the one whose rarest other label is most common is taken, so that other rare classes lose nothing.
    """
    positives = labels.sum(axis=0)
    rows = np.zeros(len(labels), bool)
    for label in sorted(np.flatnonzero(classes).tolist(), key=positives.__getitem__):
        if not labels[rows, label].any():
            candidates = np.flatnonzero(labels[:, label])
            others = labels[candidates].copy()
            others[:, label] = False
            rarest = np.where(others, positives, len(labels) + 1).min(axis=1)
            rows[candidates[rarest.argmax()]] = True
    return rows
