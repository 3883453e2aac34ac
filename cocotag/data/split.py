"""Hold a part of a table out, or keep a part of it, so that every class keeps its share. No pixels, no torch.

Iterative stratification, Sechidis et al. 2011, https://doi.org/10.1007/978-3-642-23808-6_10, is here and not taken from a
package: scikit-multilearn has had no release since 2018 and is too slow for 100,000 images
(https://github.com/scikit-multilearn/scikit-multilearn/issues/202), and its successor scikit-multilearn-ng needs nine
packages; iterative-stratification (trent-b, 0.1.9) is sound, fast enough, and its shares are as good as these, but it needs
scikit-learn, which nothing else in an install does, builds on private classes of it, and promises a rare class nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


def stratified_holdout(targets: Bools, fraction: float, seed: int) -> Bools:
    """Choose about ``fraction`` of the images such that each class has about that share of its positives among them.

    A class with too few positives for a share of one half stays out of the holdout, since it is needed for learning; every
    other class is in it.

    Args:
        targets: Multi-hot, known positives, ``(N, C)`` bool.
        fraction: Of the images, in (0, 1).
        seed: Of the order in which images are dealt out.

    Returns:
        True for the images held out, ``(N,)`` bool.
    """
    positives = targets.sum(axis=0)
    return _stratified(targets, fraction, seed, wanted=np.asarray((positives > 1) & (fraction * positives >= 0.5)))


def stratified_sample(targets: Bools, fraction: float, seed: int) -> Bools:
    """Keep about ``fraction`` of the images such that each class keeps about that share of its positives, and at least one.

    With many rare classes and a small fraction that can be more images than the fraction says: no class is lost.

    Args:
        targets: Multi-hot, known positives, ``(N, C)`` bool.
        fraction: Of the images, in (0, 1]; 1 keeps all.
        seed: Of the order in which images are dealt out.

    Returns:
        True for the images kept, ``(N,)`` bool.
    """
    if fraction >= 1:
        return np.ones(len(targets), bool)
    return _stratified(targets, fraction, seed, wanted=np.asarray(targets.any(axis=0)))


def _stratified(targets: Bools, fraction: float, seed: int, *, wanted: Bools) -> Bools:
    """Deal the images out; where a class that is ``wanted`` ``(C,)`` came to nothing, settle an image of it and deal again."""
    order = np.random.default_rng(seed).permutation(len(targets))
    labels = targets[order]
    settled = np.zeros(len(labels), bool)
    while True:
        chosen = _deal(labels, fraction, settled)
        missing = wanted & ~labels[chosen].any(axis=0)
        if not missing.any():
            break
        settled |= _one_of_each(labels, missing)  # none of these can be missing again, so this ends
    held = np.zeros(len(labels), bool)
    held[order] = chosen
    return held


def _deal(labels: Bools, fraction: float, settled: Bools) -> Bools:
    """Two subsets: the class with the fewest positives left is dealt out first, each image to the subset that lacks most of it.

    Args:
        labels: Multi-hot, in the order of dealing, ``(N, C)``.
        fraction: Share of the first subset.
        settled: Images that are in the first subset in any case, ``(N,)``.

    Returns:
        True for the first subset, ``(N,)``.
    """
    shares = np.array([fraction, 1 - fraction])
    lacks = shares[:, None] * labels.sum(axis=0)  # positives that each subset still wants, (2, C)
    room = shares * len(labels)
    chosen = np.full(len(labels), -1)
    chosen[settled] = 0
    lacks[0] -= labels[settled].sum(axis=0)
    room[0] -= settled.sum()
    left = labels[~settled].sum(axis=0)
    while left.any():
        label = int(np.where(left > 0, left, len(labels) + 1).argmin())
        for row in np.flatnonzero(labels[:, label] & (chosen < 0)):
            # The second subset is listed last and wins ties, so that a single positive is learned from.
            subset = 0 if (lacks[0, label], room[0]) > (lacks[1, label], room[1]) and lacks[0, label] >= 0.5 else 1
            chosen[row] = subset
            lacks[subset] -= labels[row]
            room[subset] -= 1
            left -= labels[row]
    for row in np.flatnonzero(chosen < 0):
        subset = int(room.argmax())
        chosen[row] = subset
        room[subset] -= 1
    return np.asarray(chosen == 0)


def _one_of_each(labels: Bools, classes: Bools) -> Bools:
    """An image of each of some classes ``(C,)``, one for several where the rarer happens to have them: ``(N,)``.

    Of a class's images it is the one whose rarest other label is the most common, so that no other class pays for it.
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
