"""Random scores and labels that the tests of the measures share."""

import warnings

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

quick = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def random_case(seed, images=25, classes=6, *, levels=8, rate=0.3):
    """Scores with many ties, classes without positives and without predictions; everything known."""
    rng = np.random.default_rng(seed)
    probs = rng.integers(0, levels + 1, (images, classes)) / levels
    targets = rng.random((images, classes)) < rate * rng.integers(0, 3, classes)
    thresholds = rng.choice([0.25, 0.5, 0.6, 2.0], classes)
    return probs, targets, np.ones((images, classes), bool), thresholds


cases = st.builds(random_case, seeds, st.integers(1, 40), st.integers(1, 8), levels=st.integers(1, 50), rate=st.floats(0, 0.6))


def with_holes(case, seed, share=0.7):
    """The same, of which not all is known."""
    probs, targets, known, thresholds = case
    return probs, targets, np.random.default_rng(seed).random(known.shape) < share, thresholds


def quiet(function, *args, **kwargs):
    """What it returns, its warnings (of what is undefined) left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)
