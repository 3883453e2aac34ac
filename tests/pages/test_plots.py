import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from drawn import EVIL, bounds, found, parse, points, texts, tips
from hypothesis import given, settings
from hypothesis import strategies as st

from cocotag.labels import COCO80
from cocotag.pages import plots
from cocotag.pages.drawing import standalone

NUMBERS = st.floats(-1e9, 1e9, allow_subnormal=False).filter(lambda v: v == 0 or abs(v) > 1e-6)
MAYBE = st.none() | st.just(math.nan) | NUMBERS
AXES = {"title": "T", "x_label": "X", "y_label": "Y"}
ROWS = {"title": "T", "x_label": "X"}
LONG = [f"a rather long name of a class, one of very many, which is number {place}" for place in range(601)]


def every_plot(labels):
    values = [0.1 + 0.5 * i / (len(labels) or 1) for i in range(len(labels))]
    none = [None] * len(labels)
    yield plots.bars(labels, values, **ROWS)
    yield plots.bars(labels, [-v for v in values], **ROWS)
    yield plots.bars(labels, [10 * v for v in values], **ROWS, log=True, colors=["c3"] * len(labels))
    yield plots.dots(labels, values, values, values, **ROWS, counts=list(range(len(labels))))
    yield plots.dots(labels, values, none, none, **ROWS, counts=none, zero=True, colors=["c3"] * len(labels))
    yield plots.dots(labels, none, none, none, **ROWS)
    yield plots.dumbbells(labels, values, none, names=(EVIL[0], EVIL[5]), **ROWS)
    yield plots.dumbbells(labels, values, [0.0] * len(labels), names=("a", "b"), **ROWS, log=True)
    yield plots.scatter(values, values, labels, **AXES)
    yield plots.scatter(values, none, labels, **AXES, log_x=True, log_y=True)
    yield plots.curve(values, none, **AXES, diagonal=True)
    yield plots.histogram(list(range(len(labels) + 1)), list(range(len(labels))), **AXES)


@pytest.mark.parametrize("labels", [[], ["one"], COCO80.names, EVIL, LONG], ids=["0", "1", "80", "evil", "601"])
def test_every_plot_is_wellformed_at_any_size(labels):
    for svg in every_plot(labels):
        assert found(parse(svg), "title")[0].text == "T"


@settings(max_examples=60)
@given(st.lists(MAYBE, max_size=12))
def test_no_value_breaks_a_plot(values):
    labels = [f"l{i}" for i in range(len(values))]
    for log in (False, True):
        parse(plots.bars(labels, values, **ROWS, log=log))
        parse(plots.scatter(values, values[::-1], labels, **AXES, log_x=log, log_y=log))
        parse(plots.dots(labels, values, values, values, **ROWS, counts=[None] * len(values), zero=log))
        parse(plots.dumbbells(labels, values, values[::-1], names=("a", "b"), **ROWS, log=log))
    parse(plots.curve(values, values[::-1], **AXES))


def test_bars_grow_with_their_value_and_keep_their_order_and_colour():
    root = parse(plots.bars(["a", "b", "c"], [100, 10, 1], **ROWS, colors=["c1", "c2", "c3"]))
    widths = [float(rect.get("width")) for rect in found(root, "rect")]
    assert [rect.get("class") for rect in found(root, "rect")] == ["c1", "c2", "c3"]
    assert widths == sorted(widths, reverse=True)
    assert min(widths) > 0
    assert widths[0] == pytest.approx(10 * widths[1], rel=0.02)


def test_on_a_logarithmic_axis_bars_are_dots_and_zero_is_only_its_number():
    root = parse(plots.bars(["a", "b", "c", "d"], [100, 10, 1, 0], **ROWS, log=True, colors=["c1", "c2", "c3", "c4"]))
    assert found(root, "rect") == []
    places = [float(dot.get("cx")) for dot in found(root, "circle")]
    assert [dot.get("class") for dot in found(root, "circle")] == ["c1", "c2", "c3"]
    assert places[0] - places[1] == pytest.approx(places[1] - places[2], abs=0.2)
    assert "0" in texts(root)


def test_logarithmic_ticks_are_powers_of_ten():
    root = parse(plots.bars(["a", "b"], [2693, 8], **ROWS, log=True))
    ticks = [node.text for node in found(root, "text") if node.get("text-anchor") == "middle"]
    assert ticks == ["1", "10", "100", "1,000", "X"]


def test_overlapping_numbers_are_left_out():
    root = parse(plots.bars(["a name that takes room", "b"], [1, 10**9], **ROWS, log=True))
    ticks = [node for node in found(root, "text") if node.get("text-anchor") == "middle"]
    boxes = sorted((box[0], box[2]) for box in bounds(root) if box[4] in {f"text {node.text}" for node in ticks[:-1]})
    assert len(boxes) >= 3
    assert all(right < left for (_, right), (left, _) in pairwise(boxes))


@given(NUMBERS, NUMBERS)
def test_ticks_are_round_and_few(a, b):
    root = parse(plots.scatter([a], [b], ["p"], **AXES))
    shown = [t.replace("\N{MINUS SIGN}", "-").replace(",", "") for t in texts(root)[:-1]]
    ticks = [float(t) for t in shown if re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?", t)]
    assert 4 <= len(ticks) <= 16
    for tick in ticks:
        assert tick == float(f"{tick:.2g}")


def test_missing_is_a_dash_and_not_zero():
    root = parse(plots.dots(["a", "b"], [None, 0.0], [None, 0.0], [None, 0.2], **ROWS, counts=[0, 3]))
    assert len(found(root, "circle")) == 1
    assert len(found(root, "line", "range")) == 1
    assert texts(root).count("\N{EN DASH}") == 1


def test_an_axis_of_fractions_runs_from_0_to_1():
    root = parse(plots.dots(["a"], [0.31], [0.3], [0.32], **ROWS))
    assert {"0", "1"} <= set(texts(root))


def test_a_hole_interrupts_a_curve():
    root = parse(plots.curve([0, 0.2, 0.4, 0.6, 0.8], [0, 0.1, None, 0.3, 0.4], **AXES))
    assert found(root, "path", "line")[0].get("d").count("M") == 2


def test_scatter_leaves_out_undrawable_points_and_names_the_rest_in_tooltips():
    root = parse(plots.scatter([1, 0, math.nan, 100], [1, 2, 3, 4], ["a", "b", "c", "<d>"], **AXES, log_x=True))
    assert [tip.partition(":")[0] for tip in tips(root)] == ["a", "<d>"]


def test_arguments_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        plots.bars(["a", "b"], [1], **ROWS)
    with pytest.raises(ValueError, match="edges"):
        plots.histogram([0, 1], [1, 2], **AXES)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        plots.dots(["a"], [1], [1], [1], **ROWS, colors=["c1", "c2"])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        plots.dumbbells(["a"], [1], [1, 2], names=("a", "b"), **ROWS)


def test_colours_come_from_the_page():
    assert not [svg for svg in every_plot(["a", "b"]) if re.search(r"#[0-9a-fA-F]{3}|rgb|fill=", svg)]


def test_a_standalone_drawing_includes_its_colours_and_background():
    drawing = plots.scatter([1.0, 2.0], [3.0, 4.0], ["a", "b"], **AXES, colors=["c1", "c3"])
    root = ET.fromstring(standalone(drawing))
    names = [shape.tag.rpartition("}")[2] for shape in root]
    assert names[:2] == ["style", "rect"]
    assert [shape.get("class") for shape in root.iter() if shape.tag.endswith("circle")] == ["point c1", "point c3"]
    used = {name for shape in root.iter() for name in (shape.get("class") or "").split()}
    assert all(f".{name} {{" in root[0].text for name in used)


def test_dots_are_at_their_values_inside_their_intervals():
    root = parse(plots.dots(["a", "b", "c"], [0.2, 0.5, 0.8], [0.1, 0.4, 0.7], [0.3, 0.6, 0.9], **ROWS))
    x = [float(dot.get("cx")) for dot in found(root, "circle")]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
    for dot, interval in zip(found(root, "circle"), found(root, "line", "range"), strict=True):
        middle = (float(interval.get("x1")) + float(interval.get("x2"))) / 2
        assert middle == pytest.approx(float(dot.get("cx")), abs=0.2)
        assert interval.get("y1") == interval.get("y2") == dot.get("cy")


def test_the_length_of_a_support_bar_is_the_square_root_of_the_count():
    root = parse(plots.dots(["a", "b", "c", "d"], [0.5] * 4, [None] * 4, [None] * 4, **ROWS, counts=[400, 100, 0, None]))
    widths = [float(bar.get("width")) for bar in found(root, "rect", "count")]
    assert widths == [pytest.approx(2 * widths[1], abs=0.2), widths[1]]
    assert {"400", "100", "0", "support"} <= set(texts(root))
    assert any(tip.endswith("support 400") for tip in tips(root))


def test_differences_have_a_line_at_zero_and_lie_on_both_sides_of_it():
    root = parse(
        plots.dots(["a", "b", "c"], [-0.1, 0.0, 0.3], [None] * 3, [None] * 3, **ROWS, zero=True, colors=["c3", "c7", "c1"])
    )
    (rule,) = found(root, "line", "axis")
    at, x = float(rule.get("x1")), [float(dot.get("cx")) for dot in found(root, "circle")]
    assert rule.get("x1") == rule.get("x2")
    assert x[1] == pytest.approx(at, abs=0.1)
    assert x[2] - at == pytest.approx(3 * (at - x[0]), abs=0.4)
    assert [dot.get("class") for dot in found(root, "circle")] == ["c3", "c7", "c1"]
    assert not found(parse(plots.dots(["a"], [0.1], [None], [None], **ROWS)), "line", "axis")


def test_a_line_joins_the_two_dots_of_a_dumbbell():
    root = parse(plots.dumbbells(["a", "b", "c"], [1, 4, None], [3, 4, 2], names=("before", "after"), **ROWS))
    hollow = [dot for dot in found(root, "circle", "hollow") if dot.get("cx")]
    full = [dot for dot in found(root, "circle") if dot not in hollow and dot.get("cx")]
    assert (len(hollow), len(full)) == (2, 3)
    (join,) = found(root, "line", "join")  # the dots of the second row coincide, the third row has one dot
    assert (join.get("x1"), join.get("x2")) == (hollow[0].get("cx"), full[0].get("cx"))
    assert tips(root)[2] == "a: before 1, after 3"
    assert {"before", "after"} <= set(texts(root))


def test_zero_on_a_logarithmic_dumbbell_is_a_number_and_not_a_dot():
    root = parse(plots.dumbbells(["a"], [0.0], [0.01], names=("before", "after"), **ROWS, log=True))
    assert len([dot for dot in found(root, "circle") if dot.get("cx")]) == 1
    assert "0" in texts(root)
    assert len(found(root, "line", "join")) == 1


def test_many_rows_have_axis_numbers_above_as_well():
    few, many = ([*map(str, range(count))] for count in (10, 60))
    once, twice = (
        texts(parse(plots.dots(rows, [0.5] * len(rows), rows and [None] * len(rows), [None] * len(rows), **ROWS)))
        for rows in (few, many)
    )
    assert once.count("0.8") == 1
    assert twice.count("0.8") == 2


def test_an_empty_drawing_says_so():
    for svg in every_plot([]):
        assert "nothing to draw" in texts(parse(svg))


def test_labels_of_points_do_not_overlap():
    x = [10.0 * place for place in range(30)]
    root = parse(plots.scatter(x, x[::-1], LONG[:30], **AXES))
    boxes = [box for box in bounds(root) if "…" in box[4]]
    assert len(boxes) >= 5
    for place, (left, top, right, bottom, _) in enumerate(boxes):
        assert not any(left < c and a < right and top < d and b < bottom for a, b, c, d, _ in boxes[:place])


def test_six_hundred_long_names_keep_their_distinctive_ends():
    root = parse(plots.bars(LONG, [1] * 601, **ROWS))
    assert len({text for text in texts(root) if "…" in text}) == 601
    assert set(LONG) == {tip.rpartition(":")[0] for tip in tips(root)}


def test_the_grid_of_rows_is_at_the_numbers():
    root = parse(plots.bars(["a"], [10], **ROWS))
    lines = {x for x, _ in points(found(root, "path", "grid")[0].get("d"))}
    figures = [float(node.get("x")) for node in found(root, "text") if node.get("text-anchor") == "middle" and node.text != "X"]
    assert sorted(lines)[:-1] == pytest.approx(figures[:-1], abs=0.1)
