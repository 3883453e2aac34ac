"""Hold a part of a table out, so that every class keeps its share. No pixels, no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stratified_holdout(targets: NDArray[np.bool_], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose about ``fraction`` of the images such that each class has about that share of its positives among them.

    Iterative stratification, Sechidis et al. 2011, https://doi.org/10.1007/978-3-642-23808-6_10, for two subsets: the class
    with the fewest positives left is dealt out first, each of its images to the subset that lacks most of it. A class with
    too few positives for a share of one stays out of the holdout.

    Args:
        targets: Multi-hot, ``(N, C)`` bool.
        fraction: Of the images, in (0, 1).
        seed: Of the order in which images are dealt out.

    Returns:
        True for the images held out, ``(N,)`` bool.
    """
    order = np.random.default_rng(seed).permutation(len(targets))
    labels = targets[order]
    shares = np.array([fraction, 1 - fraction])
    lacks = shares[:, None] * labels.sum(axis=0)  # positives that each subset still wants, (2, C)
    room = shares * len(labels)
    chosen = np.full(len(labels), -1)
    left = labels.sum(axis=0)
    while left.any():
        label = int(np.where(left > 0, left, len(labels) + 1).argmin())
        for row in np.flatnonzero(labels[:, label] & (chosen < 0)):
            # The keep side is listed last and wins ties, so that a single positive is learned from.
            subset = 0 if (lacks[0, label], room[0]) > (lacks[1, label], room[1]) and lacks[0, label] >= 0.5 else 1
            chosen[row] = subset
            lacks[subset] -= labels[row]
            room[subset] -= 1
            left -= labels[row]
    for row in np.flatnonzero(chosen < 0):
        subset = int(room.argmax())
        chosen[row] = subset
        room[subset] -= 1
    held = np.zeros(len(labels), bool)
    held[order] = chosen == 0
    return held
