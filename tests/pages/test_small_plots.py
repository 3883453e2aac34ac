import math
from itertools import pairwise

import numpy as np
import pytest
from drawn import EVIL, found, parse, points, texts, tips
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve

from cocotag.pages import drawing
from cocotag.pages.small_plots import small_calibration, small_curve, small_histogram

AXES = {"title": "T", "x_label": "X", "y_label": "Y"}
NAMES = ("positives", "negatives")
FRACTIONS = st.none() | st.just(math.nan) | st.floats(0, 1)


def unit(root):
    """Convert pixels to values in a drawing whose axes both run from 0 to 1."""
    down, across = (points(grid.get("d")) for grid in found(root, "path", "grid"))
    x, y = [a for a, _ in down], [b for _, b in across]
    return lambda px, py: ((px - min(x)) / (max(x) - min(x)), (max(y) - py) / (max(y) - min(y)))


def area(root):
    """The area below a step function."""
    place = unit(root)
    line = [place(*point) for point in points(found(root, "path", "line")[0].get("d"))]
    return sum((b[0] - a[0]) * b[1] for a, b in pairwise(line))


@settings(max_examples=60)
@given(st.lists(FRACTIONS, max_size=9))
def test_no_value_breaks_a_small_drawing(values):
    parse(small_curve(values, values[::-1], **AXES, mark=(0.5, math.nan), rule=math.nan))
    parse(small_calibration(values, values, values, values[::-1], [1] * len(values), title="T"))
    counts = [round(1e6 * value) if value is not None and math.isfinite(value) else 0 for value in values]
    edges = [place / 10 for place in range(len(counts) + 1)]
    parse(small_histogram(edges, counts, counts[::-1], names=NAMES, **AXES))


def test_an_empty_small_plot_says_so():
    for svg in (
        small_curve([], [], **AXES),
        small_curve([None, math.nan], [0.1, 0.2], **AXES),
        small_histogram([], [], [], names=NAMES, **AXES),
        small_histogram([0, 0.5, 1], [0, 0], [0, 0], names=NAMES, **AXES),
        small_calibration([], [], [], [], [], title="T"),
        small_calibration([math.nan], [0.2], [0.1], [0.3], [4], title="T"),
    ):
        assert "nothing to draw" in texts(parse(svg))


def test_names_are_text():
    root = parse(small_histogram([0, 1], [1], [2], names=(EVIL[0], EVIL[0]), title=EVIL[0], x_label=EVIL[0], y_label=EVIL[4]))
    assert EVIL[0] in texts(root)
    parse(small_curve([0, 1], [0, 1], title=EVIL[2], x_label=EVIL[5], y_label=EVIL[4]))


@pytest.mark.parametrize("positives", [1, 3, 40])
def test_the_area_below_precision_over_recall_is_average_precision(positives):
    rng = np.random.default_rng(positives)
    truth = np.arange(90) < positives
    scores = rng.normal(size=90) + truth
    precision, recall, _ = precision_recall_curve(truth, scores)
    for order in (slice(None, -1), slice(-2, None, -1)):  # in both directions, without scikit-learn's added end
        root = parse(small_curve(recall[order], precision[order], **AXES))
        assert area(root) == pytest.approx(average_precision_score(truth, scores), abs=0.004)


def test_mark_and_rule_are_drawn_at_their_values_if_given():
    root = parse(small_curve([0, 1], [1, 0.2], **AXES, mark=(0.25, 0.75), rule=0.4))
    place = unit(root)
    (mark,), (rule,) = found(root, "circle", "mark"), found(root, "line", "dashed")
    assert place(float(mark.get("cx")), float(mark.get("cy"))) == pytest.approx((0.25, 0.75), abs=0.003)
    assert place(0, float(rule.get("y1")))[1] == pytest.approx(0.4, abs=0.003)
    bare = parse(small_curve([0, 1], [1, 0.2], **AXES, mark=(1.5, 0.2)))
    assert not found(bare, "circle")
    assert not found(bare, "line", "dashed")


def test_counts_are_drawn_as_logarithms_positives_upwards_and_negatives_downwards():
    root = parse(small_histogram([0, 0.5, 1], [9, 0], [9999, 99], names=NAMES, **AXES))
    (axis,) = found(root, "line", "axis")
    zero = float(axis.get("y1"))
    up, down = ([points(bar.get("d")) for bar in found(root, "g", css)[0]] for css in ("c3", "c1"))
    (high,) = [min(y for _, y in bar) for bar in up]  # an empty bin has no bar
    low, lower = [max(y for _, y in bar) for bar in down]
    assert (low - zero) / (zero - high) == pytest.approx(4, rel=0.03)
    assert (lower - zero) / (zero - high) == pytest.approx(2, rel=0.03)
    assert {"positives", "negatives"} <= set(texts(root))
    assert tips(root)[:3] == ["0 to 0.5: 9", "0 to 0.5: 9,999", "0.5 to 1: 99"]


def test_a_small_histogram_refuses_edges_that_do_not_fit():
    with pytest.raises(ValueError, match="one more"):
        small_histogram([0, 1], [1, 2], [1, 2], names=NAMES, **AXES)
    with pytest.raises(ValueError, match="one more"):
        small_histogram([0, 1], [1], [1, 2], names=NAMES, **AXES)
    with pytest.raises(ValueError, match="shorter"):
        small_curve([0, 1], [1], **AXES)


def test_calibration_has_a_dot_for_each_bin_whose_area_is_its_count():
    root = parse(
        small_calibration([0.1, 0.5, 0.9], [0.2, 0.4, 1.0], [0.1, 0.3, 0.9], [0.3, 0.5, 1.0], [400, 100, 1], title="T")
    )
    place = unit(root)
    dots = found(root, "circle")
    assert [place(float(dot.get("cx")), float(dot.get("cy"))) for dot in dots] == [
        pytest.approx(pair, abs=0.003) for pair in ((0.1, 0.2), (0.5, 0.4), (0.9, 1.0))
    ]
    radii = [float(dot.get("r")) for dot in dots]
    assert radii[0] == pytest.approx(2 * radii[1], abs=0.1)
    assert radii[2] >= 2  # one image is still visible
    assert len(found(root, "line", "range")) == 3
    assert len(found(root, "line", "dashed")) == 1


def test_the_plots_of_one_class_take_few_bytes():
    places = np.linspace(0, 1, 100)
    drawn = [
        small_curve(places, places[::-1], **AXES, mark=(0.5, 0.5), rule=0.1),
        small_curve(places, places, **AXES),
        small_histogram(np.linspace(0, 1, 21), list(range(20)), list(range(1000, 1020)), names=NAMES, **AXES),
        small_calibration(places[5::10], places[5::10], places[4::10], places[6::10], [10] * 10, title="T"),
    ]
    assert sum(len(svg.encode()) for svg in drawn) < 20_000
    assert all(float(parse(svg).get("viewBox").split()[2]) < drawing.WIDTH / 2 for svg in drawn)
