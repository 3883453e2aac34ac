import csv
import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from cocotag.pages.lines import ABOVE, GAP, HEIGHT, Line, Panel, draw_panels
from cocotag.training.logging.curves import write_curves

SVG = "{http://www.w3.org/2000/svg}"


def row(epoch, stage=1, **others):
    known = {"lr": 10.0**-stage, "train_loss": 1 / epoch, "tune_loss": 2 / epoch, "tune_map": 0.5, "tune_macro_f1": 0.25}
    return {"epoch": epoch, "stage": stage, **known, "tune_micro_f1": 0.4, **others}


def drawn(tmp_path, rows):
    write_curves(rows, tmp_path / "curves.svg")
    root = ET.fromstring((tmp_path / "curves.svg").read_text())
    width, height = map(float, root.get("viewBox").split()[2:])
    for shape in root.iter():
        for name, most in (("cx", width), ("x", width), ("x1", width), ("cy", height), ("y", height), ("y1", height)):
            assert shape.get(name) in (None, "100%") or 0 <= float(shape.get(name)) <= most
    assert not re.search(r"\b(nan|inf|None)\b", ET.tostring(root, encoding="unicode"))
    return root


def texts(root):
    return [node.text for node in root.iter(f"{SVG}text")]


def points(root, color, panel):
    """Of the line of a colour in a panel, numbered from the top."""
    top = ABOVE + panel * (HEIGHT + GAP)
    for path in root.iter(f"{SVG}path"):
        found = [tuple(map(float, pair.split())) for pair in re.findall(r"[ML]([\d.]+ [\d.]+)", path.get("d"))]
        if path.get("class") == f"line {color}" and top - 1 <= found[0][1] <= top + HEIGHT + 1:
            return found
    return []


@pytest.mark.parametrize("epochs", [1, 2, 20, 300])
def test_any_number_of_epochs_is_drawn_with_a_point_each(tmp_path, epochs):
    root = drawn(tmp_path, [row(epoch, 1 + (epoch > 8)) for epoch in range(1, epochs + 1)])
    assert {"loss", "learning rate", "epoch", "training", "tune", "mAP", "macro-F1", "micro-F1"} <= set(texts(root))
    if epochs == 1:
        assert len([dot for dot in root.iter(f"{SVG}circle") if dot.get("class").startswith("dot")]) == 6
    else:
        for color, panel in (("c3", 0), ("c1", 0), ("c1", 1), ("c4", 1), ("c3", 1), ("c1", 2)):
            assert len(points(root, color, panel)) == epochs


def test_panels_share_the_epochs_and_losses_go_down_where_they_fall(tmp_path):
    root = drawn(tmp_path, [row(epoch) for epoch in range(1, 11)])
    across = [x for x, _ in points(root, "c1", 0)]
    assert across == sorted(set(across))
    assert across == [x for x, _ in points(root, "c1", 1)] == [x for x, _ in points(root, "c1", 2)]
    down = [y for _, y in points(root, "c1", 0)]
    assert down == sorted(down)  # an SVG's heights count from the top


def test_rates_are_on_a_logarithmic_axis(tmp_path):
    (_, a), (_, b), (_, c) = points(drawn(tmp_path, [row(e, lr=10.0**-e) for e in (1, 2, 3)]), "c1", 2)
    assert b - a == pytest.approx(c - b, abs=0.2)
    assert b > a


def test_the_first_of_the_best_epochs_has_the_ring_and_is_named(tmp_path):
    root = drawn(tmp_path, [row(e, tune_map=score) for e, score in enumerate((0.1, 0.533, 0.2, 0.533), 1)])
    (ring,) = [circle for circle in root.iter(f"{SVG}circle") if circle.get("class") == "ring"]
    assert (float(ring.get("cx")), float(ring.get("cy"))) == points(root, "c1", 1)[1]
    assert any("epoch, 2, with mAP 53.3" in text for text in texts(root))


def test_stages_begin_between_two_epochs(tmp_path):
    root = drawn(tmp_path, [row(epoch, 1 + (epoch > 3)) for epoch in range(1, 8)])
    places = sorted({float(line.get("x1")) for line in root.iter(f"{SVG}line") if line.get("class") == "rule"})
    across = [x for x, _ in points(root, "c1", 0)]
    assert len(places) == 2
    assert places[0] < across[0]
    assert places[1] == pytest.approx((across[2] + across[3]) / 2, abs=0.1)
    assert [text for text in texts(root) if text.startswith("stage")] == ["stage 1", "stage 2"]
    assert not [text for text in texts(drawn(tmp_path, [row(1), row(2)])) if text.startswith("stage")]


def test_what_is_missing_is_left_out(tmp_path):
    rows = [{"epoch": e, "stage": 1, "lr": 1e-3, "train_loss": 0.5} for e in (1, 2, 3)]
    root = drawn(tmp_path, rows)
    assert not {"tune", "mAP", "on tune images, %"} & set(texts(root))
    assert not [circle for circle in root.iter(f"{SVG}circle") if circle.get("class") == "ring"]
    broken = drawn(tmp_path, [row(1), row(2, train_loss=math.nan, tune_map=math.inf), row(3), row(4)])
    assert len(points(broken, "c3", 0)) == len(points(broken, "c1", 1)) == 3
    drawn(tmp_path, [])


def test_rows_read_back_from_the_file_give_the_same_drawing(tmp_path):
    rows = [row(epoch, tune_top1=0.5) for epoch in (1, 2, 3)]
    with (tmp_path / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_curves(rows, tmp_path / "a.svg")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        write_curves(list(csv.DictReader(file)), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_text() == (tmp_path / "b.svg").read_text()


def test_names_at_the_ends_of_lines_do_not_lie_on_each_other():
    lines = [Line(f"line {number}", [1.0, 1.0 + number / 1000], "c1") for number in range(5)]
    root = ET.fromstring(
        draw_panels([1, 2], [Panel("y", lines), Panel("z", [Line("far", [0.0, 9.0])])], title="T", x_label="X")
    )
    names = {node.text: float(node.get("y")) for node in root.iter(f"{SVG}text") if (node.text or "").startswith("line")}
    heights = sorted(names.values())
    assert min(b - a for a, b in pairwise(heights)) >= 12
    assert heights[0] >= ABOVE
    assert heights[-1] <= ABOVE + HEIGHT + 6
    assert sorted(names, key=names.get, reverse=True) == [f"line {number}" for number in range(5)]  # in the lines' own order


def test_every_colour_has_a_dark_one_and_every_class_a_style(tmp_path):
    root = drawn(tmp_path, [row(epoch, epoch, tune_top1=0.1) for epoch in (1, 2)])
    style = root.find(f"{SVG}style").text
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    assert set(re.findall(r"(--\w+):", light)) == set(re.findall(r"(--\w+):", dark))
    used = {name for shape in root.iter() for name in (shape.get("class") or "").split()}
    assert all(f".{name} {{" in style for name in used)


@pytest.mark.parametrize(("best_by", "epoch"), [("map", 2), ("loss", 1), ("last", 3)])
def test_the_ring_is_where_the_best_checkpoint_is(tmp_path, best_by, epoch):
    rows = [
        {"epoch": number + 1, "stage": 1, "lr": 0.1, "train_loss": 1, "tune_loss": loss, "tune_map": score}
        for number, (loss, score) in enumerate([(0.1, 0.2), (0.3, 0.5), (0.2, 0.4)])
    ]
    write_curves(rows, tmp_path / "curves.svg", best_by)
    assert f"the best epoch, {epoch}," in (tmp_path / "curves.svg").read_text()
