import math
import random
import re
from collections import Counter

import pytest
from drawn import EVIL, found, parse, points, texts, tips
from hypothesis import given, settings
from hypothesis import strategies as st

from cocotag.labels import COCO80
from cocotag.pages.heatmap import CELL, heatmap

MAYBE = st.none() | st.just(math.nan) | st.floats(-1e6, 1e6)


def cells(root):
    """Tooltip -> (colour, opacity, left, top) of every cell."""
    return {
        cell[0].text: (group.get("class").split()[1], float(group.get("fill-opacity")), *points(cell.get("d"))[0])
        for group in found(root, "g", "cells")
        for cell in group
    }


@pytest.mark.parametrize("labels", [[], ["one"], COCO80.names, EVIL], ids=["0", "1", "80", "evil"])
@pytest.mark.parametrize("diverging", [False, True])
def test_it_is_wellformed_at_any_size(labels, diverging):
    values = [[(row - column) / 7 for column in range(len(labels))] for row in range(len(labels))]
    weak = [[row > column for column in range(len(labels))] for row in range(len(labels))]
    root = parse(heatmap(labels, values, title="T", hatched=weak, diverging=diverging, low=EVIL[0], high=EVIL[4]))
    assert len(tips(root)) == len(labels) ** 2
    assert ("nothing to draw" in texts(root)) == (not labels)


@settings(max_examples=60)
@given(st.lists(st.lists(MAYBE, min_size=3, max_size=3), max_size=5), st.booleans())
def test_no_value_breaks_it_and_a_missing_one_has_no_cell(matrix, diverging):
    rows = [f"row {row}" for row in range(len(matrix))]
    root = parse(heatmap(rows, matrix, columns=["a", "b", "c"], title="T", diverging=diverging))
    known = [value for row in matrix for value in row if value is not None and math.isfinite(value)]
    assert len(cells(root)) == len(known)
    assert all(0 < opacity <= 1 for _, opacity, *_ in cells(root).values())


def test_a_cell_lies_in_its_row_and_its_column():
    root = parse(heatmap(["a", "b"], [[1, 2, 3], [4, None, 6]], columns=["x", "y", "z"], title="T"))
    at = {tip: place[2:] for tip, place in cells(root).items()}
    left, top = at["a, x: 1"]
    assert at["a, z: 3"] == (left + 2 * CELL, top)
    assert at["b, x: 4"] == (left, top + CELL)
    assert set(at) == {"a, x: 1", "a, y: 2", "a, z: 3", "b, x: 4", "b, z: 6"}


def test_more_is_stronger_in_one_colour():
    drawn = cells(parse(heatmap(["a"], [[0, 1, 2, 3]], columns=list("wxyz"), title="T")))
    strength = [opacity for _, opacity, *_ in drawn.values()]
    assert sorted(strength) == strength
    assert len(set(strength)) == 4
    assert strength[-1] == 1
    assert {color for color, *_ in drawn.values()} == {"c1"}


@given(st.lists(st.floats(0.01, 50), min_size=1, max_size=8))
def test_a_diverging_scale_is_symmetrical_about_zero(values):
    columns = [f"{place}" for place in range(2 * len(values) + 1)]
    row = [*values, 0.0, *(-value for value in values)]
    drawn = cells(parse(heatmap(["a"], [row], columns=columns, title="T", diverging=True)))
    place = {tip.split(", ")[1].split(":")[0]: cell[:2] for tip, cell in drawn.items()}
    for index in range(len(values)):
        above, below = place[columns[index]], place[columns[len(values) + 1 + index]]
        assert (above[0], below[0]) == ("c1", "c3")
        assert above[1] == below[1] >= place[columns[len(values)]][1]


def test_an_outlier_does_not_make_the_others_pale_and_the_key_shows_it():
    row = [1.0] * 99 + [40.0]
    root = parse(heatmap(["a"], [row], columns=[str(place) for place in range(100)], title="T", diverging=True))
    assert {opacity for _, opacity, *_ in cells(root).values()} == {1.0}
    assert "≥ 1" in texts(root)
    assert "\N{MINUS SIGN}1" in texts(root)


def test_only_the_requested_cells_are_hatched():
    weak = [[False, True], [True, True]]
    root = parse(heatmap(["a", "b"], [[1, 2], [None, 4]], title="T", hatched=weak))
    (layer,) = found(root, "path", "hatch")
    corners = {corner for corner in points(layer.get("d")) if corner in {cell[2:] for cell in cells(root).values()}}
    assert layer.get("d").count("M") == 2  # a missing cell is not hatched
    assert {cells(root)[tip][2:] for tip in ("a, b: 2", "b, b: 4")} <= corners
    assert any("hatched" in text for text in texts(root))


def test_a_heatmap_without_hatched_cells_has_no_pattern():
    for weak in (None, [[False]]):
        svg = heatmap(["a"], [[1]], title="T", hatched=weak)
        assert "pattern" not in svg
        assert "hatched" not in svg


def test_patterns_of_two_heatmaps_on_one_page_have_different_ids():
    drawings = [heatmap(["a"], [[1]], title=title, hatched=[[True]]) for title in ("T", "U")]
    names = [re.search(r'<pattern id="([^"]+)"', svg).group(1) for svg in drawings]
    assert names[0] != names[1]
    for name, svg in zip(names, drawings, strict=True):
        assert Counter(re.findall(r"url\(#([^)]+)\)", svg)) == {name: 2}
    assert heatmap(["a"], [[1]], title="T", hatched=[[True]]) == drawings[0]  # the same output twice


def test_the_caller_formats_the_values():
    root = parse(heatmap(["a", "b"], [[3, -3], [0, 1]], title="T", diverging=True, show=lambda value: f"<{2**value:g}>"))
    assert {"a, a: <8>", "a, b: <0.125>", "b, a: <1>"} <= set(tips(root))
    assert {"<8>", "<0.125>", "<1>"} <= set(texts(root))


def test_eighty_classes_are_small_and_labelled_at_both_ends():
    numbers = random.Random(0)
    matrix = [[numbers.gauss(0, 2) for _ in COCO80.names] for _ in COCO80.names]
    weak = [[numbers.random() < 0.5 for _ in COCO80.names] for _ in COCO80.names]
    svg = heatmap(COCO80.names, matrix, title="T", hatched=weak, diverging=True)
    assert len(svg.encode()) < 700_000
    assert Counter(texts(parse(svg)))["hair drier"] == 3  # the row, and the column above and below
    sparse = [[value if value > 3 else None for value in row] for row in matrix]
    assert len(heatmap(COCO80.names, sparse, title="T").encode()) < 100_000


def test_different_sizes_are_refused():
    with pytest.raises(ValueError, match="square matrix"):
        heatmap(["a", "b"], [[1, 2]], title="T")
    with pytest.raises(ValueError, match="3 columns"):
        heatmap(["a"], [[1, 2]], columns=["x", "y", "z"], title="T")
    with pytest.raises(ValueError, match="hatching"):
        heatmap(["a"], [[1]], hatched=[[True, False]], title="T")
