"""What is made of class frequencies, against values by hand."""

import numpy as np
import pytest

from cocotag.data.frequency import effective_number, pos_weights, shares


def test_inverse_weights_are_negatives_over_positives_up_to_the_cap():
    positives, known = np.array([50, 10, 1, 90, 0]), np.array([100, 100, 100, 100, 100])
    found = pos_weights(positives, known, kind="inverse", cap=20)
    assert found.tolist() == pytest.approx([1, 9, 20, 1, 20])  # a class that most images have is not weighed down


def test_effective_weights_go_from_none_to_inverse_as_beta_nears_one():
    positives, known = np.array([10, 40]), np.array([1000, 1000])

    def weights(beta):
        return pos_weights(positives, known, kind="effective", beta=beta, cap=1e9)

    assert weights(1 - 1e-8) == pytest.approx([99, 24], rel=1e-3)
    assert weights(0.0) == pytest.approx([1, 1])
    for n, beta in ((10, 0.99), (40, 0.9)):
        by_hand = sum(beta**k for k in range(1000 - n)) / sum(beta**k for k in range(n))
        found = pos_weights(np.array([n]), np.array([1000]), kind="effective", beta=beta, cap=1e9)
        assert found[0] == pytest.approx(by_hand)


def test_an_effective_number_is_a_geometric_sum():
    assert effective_number([0, 1, 4], 0.9).tolist() == pytest.approx([0, 1, 1 + 0.9 + 0.81 + 0.729])


def test_only_known_cells_count():
    assert pos_weights(np.array([10]), np.array([40]), kind="inverse")[0] == pytest.approx(3)
    assert shares(np.array([0, 0, 10]), np.array([0, 98, 10])).tolist() == pytest.approx([0.5, 0.01, 11 / 12])


def test_no_weights_and_an_unknown_kind():
    counts = np.array([1]), np.array([2])
    assert pos_weights(*counts, kind="none") is None
    with pytest.raises(ValueError, match="twice"):
        pos_weights(*counts, kind="twice")
