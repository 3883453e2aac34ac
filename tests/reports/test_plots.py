import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from cocotag.labels import COCO80
from cocotag.reports import plots

EVIL = ["<img src=x onerror=alert(1)>", "a\"b'c & d", "\x00\x1b[0m\ud800", "", "長い名前" * 40]
NUMBERS = st.floats(-1e9, 1e9, allow_subnormal=False).filter(lambda v: v == 0 or abs(v) > 1e-6)
MAYBE = st.none() | st.just(math.nan) | NUMBERS
AXES = {"title": "T", "x_label": "X", "y_label": "Y"}


def parse(svg):
    assert isinstance(svg, Markup)
    root = ET.fromstring(svg)
    assert root.get("role") == "img"
    assert not re.search(r"\b(nan|inf)\b", str(svg))
    width, height = map(float, root.get("viewBox").split()[2:])
    for shape in root.iter():
        name = shape.tag.rpartition("}")[2]
        if name == "circle":
            assert -0.1 <= float(shape.get("cx")) <= width + 0.1
            assert -0.1 <= float(shape.get("cy")) <= height + 0.1
        elif name == "rect":
            assert float(shape.get("width")) >= 0
            assert float(shape.get("height")) >= 0
            assert -1.1 <= float(shape.get("x")) <= width
            assert float(shape.get("x")) + float(shape.get("width")) <= width + 0.1
    return root


def found(root, name):
    return list(root.iter(f"{{http://www.w3.org/2000/svg}}{name}"))


def texts(root):
    return [node.text or "" for node in found(root, "text")]


def every_plot(labels):
    values = [0.1 + 0.5 * i / (len(labels) or 1) for i in range(len(labels))]
    none = [None] * len(labels)
    yield plots.bars(labels, values, title="T", x_label="X")
    yield plots.bars(labels, [10 * v for v in values], title="T", x_label="X", log=True, colors=["c3"] * len(labels))
    yield plots.dots(labels, values, values, values, title="T", x_label="X", counts=list(range(len(labels))))
    yield plots.dots(labels, none, none, none, title="T", x_label="X")
    yield plots.scatter(values, values, labels, **AXES)
    yield plots.scatter(values, none, labels, **AXES, log_x=True, log_y=True)
    yield plots.heatmap(labels, [values for _ in labels], title="T")
    yield plots.curve(values, none, **AXES, diagonal=True)
    yield plots.histogram(list(range(len(labels) + 1)), list(range(len(labels))), **AXES)


@pytest.mark.parametrize("labels", [[], ["one"], COCO80.names, EVIL], ids=["0", "1", "80", "evil"])
def test_every_plot_is_wellformed_at_any_size(labels):
    for svg in every_plot(labels):
        assert found(parse(svg), "title")[0].text == "T"
        assert "<img" not in svg


@given(st.lists(MAYBE, max_size=12))
def test_no_value_breaks_a_plot(values):
    labels = [f"l{i}" for i in range(len(values))]
    for log in (False, True):
        parse(plots.bars(labels, values, title="T", x_label="X", log=log))
        parse(plots.scatter(values, values[::-1], labels, **AXES, log_x=log, log_y=log))
    parse(plots.dots(labels, values, values, values, title="T", x_label="X", counts=[None] * len(values)))
    parse(plots.curve(values, values[::-1], **AXES))
    parse(plots.heatmap(labels, [values] * len(values), title="T"))


@pytest.mark.parametrize("log", [False, True])
def test_bars_grow_with_their_value_and_keep_their_order_and_colour(log):
    root = parse(plots.bars(["a", "b", "c"], [100, 10, 1], title="T", x_label="X", log=log, colors=["c1", "c2", "c3"]))
    widths = [float(rect.get("width")) for rect in found(root, "rect")]
    assert [rect.get("class") for rect in found(root, "rect")] == ["c1", "c2", "c3"]
    assert widths == sorted(widths, reverse=True)
    assert min(widths) > 0
    if log:
        assert widths[0] - widths[1] == pytest.approx(widths[1] - widths[2], abs=0.2)
    else:
        assert widths[0] == pytest.approx(10 * widths[1], rel=0.02)


def test_a_bar_of_zero_on_a_logarithmic_axis_is_only_its_figure():
    root = parse(plots.bars(["a", "b"], [50, 0], title="T", x_label="X", log=True))
    assert float(found(root, "rect")[1].get("width")) == 0
    assert "0" in texts(root)


def test_logarithmic_ticks_are_powers_of_ten():
    root = parse(plots.bars(["a", "b"], [2693, 8], title="T", x_label="X", log=True))
    ticks = [node.text for node in found(root, "text") if node.get("text-anchor") == "middle"]
    assert ticks == ["1", "10", "100", "1,000", "X"]


@given(NUMBERS, NUMBERS)
def test_ticks_are_round_and_few(a, b):
    root = parse(plots.scatter([a], [b], ["p"], **AXES))
    ticks = [float(t.replace(",", "")) for t in texts(root)[:-1] if re.fullmatch(r"-?[\d.,]+(e[+-]?\d+)?", t)]
    assert 4 <= len(ticks) <= 16
    for tick in ticks:
        assert tick == float(f"{tick:.2g}")


def test_missing_is_a_dash_and_not_zero():
    root = parse(plots.dots(["a", "b"], [None, 0.0], [None, 0.0], [None, 0.2], title="T", x_label="X", counts=[0, 3]))
    assert len(found(root, "circle")) == 1
    assert len([line for line in found(root, "line") if line.get("class") == "range"]) == 1
    assert texts(root).count("\N{EN DASH}") == 1


def test_fractions_get_the_whole_axis():
    root = parse(plots.dots(["a"], [0.31], [0.3], [0.32], title="T", x_label="X"))
    assert {"0", "1"} <= set(texts(root))


def test_a_hole_interrupts_a_curve():
    root = parse(plots.curve([0, 0.2, 0.4, 0.6, 0.8], [0, 0.1, None, 0.3, 0.4], **AXES))
    assert found(root, "path")[0].get("d").count("M") == 2


def test_scatter_leaves_out_what_it_cannot_place_and_names_the_rest_in_tooltips():
    root = parse(plots.scatter([1, 0, math.nan, 100], [1, 2, 3, 4], ["a", "b", "c", "<d>"], **AXES, log_x=True))
    assert [title.text.partition(":")[0] for title in found(root, "title")[1:]] == ["a", "<d>"]


def test_arguments_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        plots.bars(["a", "b"], [1], title="T", x_label="X")
    with pytest.raises(ValueError, match="edges"):
        plots.histogram([0, 1], [1, 2], **AXES)
    with pytest.raises(ValueError, match="square"):
        plots.heatmap(["a", "b"], [[1, 2]], title="T")


def test_colours_come_from_the_page():
    assert not [svg for svg in every_plot(["a", "b"]) if re.search(r"#[0-9a-fA-F]{3}|rgb|fill=", svg)]


def test_a_drawing_of_its_own_has_its_colours_and_paper_inside():
    drawing = plots.scatter([1.0, 2.0], [3.0, 4.0], ["a", "b"], **AXES, colors=["c1", "c3"])
    root = ET.fromstring(plots.standalone(drawing))
    names = [shape.tag.rpartition("}")[2] for shape in root]
    assert names[:2] == ["style", "rect"]
    assert [shape.get("class") for shape in root.iter() if shape.tag.endswith("circle")] == ["point c1", "point c3"]
    used = {name for shape in root.iter() for name in (shape.get("class") or "").split()}
    assert all(f".{name} {{" in root[0].text for name in used)
