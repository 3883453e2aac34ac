import io
import re
from html import unescape
from itertools import pairwise
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from imbalance_reference import make_table

from cocotag.data.annotations import load_annotations, load_split
from cocotag.data.check.findings import Finding
from cocotag.imbalance.brightness import Brightness, measure_brightness
from cocotag.imbalance.integrity import Integrity, look_over
from cocotag.imbalance.page import DRAWN_CLASSES, LEVELS, MAP_CLASSES, cluster_order
from cocotag.imbalance.result import imbalance
from cocotag.imbalance.write import write
from cocotag.pages.values import percent

TOY = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


def page_of(folder, *args, **kwargs):
    write(*args, folder, **kwargs)
    return (folder / "imbalance.html").read_text(encoding="utf-8")


def text_of(page):
    """The visible text of a page."""
    body = page.partition("<main>")[2].partition("</main>")[0]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", body)))


def test_names_cannot_break_out(tmp_path):
    evil = ["<img src=x onerror=alert(1)>", "a\"b'&</script>", "\ud800", "=1+1"]
    write([imbalance(make_table(TOY * 5, names=evil), split="<b>")], tmp_path)
    page = (tmp_path / "imbalance.html").read_text(encoding="utf-8")
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img" not in page
    assert "<b>" not in page
    assert page.count("</script>") == 1


def test_the_weights_to_download_are_those_of_the_classes(tmp_path):
    names = ["a, b", 'say "x"', "50 % & more", "Stra\N{LATIN SMALL LETTER SHARP S}e"]
    found = imbalance(make_table(TOY, names=names), split="a b")
    page = page_of(tmp_path, [found])
    link = re.search(r'<a download="([^"]*)" href="data:text/csv;charset=utf-8,([^"]*)"', page)
    assert unescape(link[1]) == "weights_a b.csv"
    frame = pd.read_csv(io.StringIO(unquote(unescape(link[2]))))
    columns = ["class_id", "name", "images", "effective_number", "weight", "pos_weight"]
    assert frame.columns.tolist() == columns
    pd.testing.assert_frame_equal(frame, found.classes[columns], check_dtype=False)
    assert "--loss.pos_weight effective" in page


def test_every_plot_has_an_explanation(coco_mini, tmp_path):
    splits = [imbalance(load_split(coco_mini, split), split=split) for split in ("train", "val")]
    page = page_of(tmp_path, splits)
    assert page.count('<div class="figure"><svg') == page.count('<p class="how-to-read">') == 7
    assert len(re.findall(r"<svg[^>]*><title>[^<]{10,}</title>", page)) == 7
    assert "(z +1.9)" in text_of(page) or "(z \N{MINUS SIGN}2.3)" in text_of(page)
    assert len(page.encode()) < 5e6


def test_a_cell_of_the_heat_map_is_there_if_the_two_share_an_image(data_dir, tmp_path):
    path = data_dir / "labels_val2017.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    found = imbalance(load_annotations(path))
    page = page_of(tmp_path, [found])
    cells = dict(re.findall(r"<title>([a-z ]+, [a-z ]+): ([0-9./]+)(?: times)?</title>", page))
    pairs = found.pairs[found.pairs["count"] > 0]
    assert len(cells) == 2 * len(pairs)
    for a, b, lift in pairs[["a", "b", "lift"]].itertuples(index=False):
        for cell in (f"{a}, {b}", f"{b}, {a}"):
            top, _, bottom = cells[cell].partition("/")
            assert float(top) / float(bottom or 1) == pytest.approx(lift, rel=0.006), cell
    hatch = re.search(r'<path class="hatch"[^>]* d="([^"]*)"', page)[1]
    assert hatch.count("M") == 2 * int((~pairs["supported"]).sum())
    assert len(page.encode()) < 1.5e6


def test_the_heatmap_says_how_many_classes_it_shows(tmp_path):
    rng = np.random.default_rng(0)
    found = imbalance(make_table(rng.random((300, 130)) < np.linspace(0.05, 0.3, 130)))
    text = text_of(page_of(tmp_path, [found]))
    assert f"the {MAP_CLASSES} classes with the most images of 130" in text


def test_the_page_stays_small_with_many_classes_and_long_names(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"{index} {'<&>' * 200}" for index in range(800)]
    splits = [
        imbalance(make_table(rng.random((60, 800)) < np.geomspace(0.3, 0.02, 800), names=names), split=split)
        for split in ("train", "val")
    ]
    page = page_of(tmp_path, splits)
    assert len(page.encode()) <= 5_000_000
    text = text_of(page)
    assert f"the {LEVELS[-1][0]} classes with the most images; classes.csv has all" in text
    assert f"the {DRAWN_CLASSES} classes with the most images are drawn" in text
    assert "<a download" not in page
    assert pd.read_csv(tmp_path / "classes.csv")["name"].tolist() == names


def test_classes_that_go_together_are_side_by_side():
    rng = np.random.default_rng(1)
    block = np.repeat(np.arange(6), 4)
    order = rng.permutation(24)
    similar = (block[:, None] == block) + 0.1 * rng.random((24, 24))
    similar = (similar + similar.T)[np.ix_(order, order)]
    found = block[order][cluster_order(similar)]
    assert sum(a != b for a, b in pairwise(found)) == 5  # six runs, one per block
    assert sorted(cluster_order(similar)) == list(range(24))


def test_a_chain_keeps_its_order():
    positions = np.array([5.0, 0.0, 3.1, 1.2, 4.05, 2.0])
    found = positions[cluster_order(-np.abs(positions[:, None] - positions))].tolist()
    assert found in (sorted(positions), sorted(positions, reverse=True))


@pytest.mark.parametrize(("matrix", "order"), [(np.empty((0, 0)), []), ([[1.0]], [0]), ([[1, np.nan], [np.nan, 1]], [0, 1])])
def test_the_order_of_little_or_nothing(matrix, order):
    assert cluster_order(matrix) == order


def test_findings_are_text(tmp_path):
    evil = "<img src=x onerror=alert(1)>.jpg"
    findings = [
        Finding("error", "missing_images", "missing images", 21, 30, [evil] * 20, "Look."),
        Finding("note", "unlisted_files", "files", 1, None, [], "Do."),
    ]
    page = page_of(tmp_path, [imbalance(make_table(TOY), split="<i>")], integrity=Integrity("<i>", True, ["val"], findings))
    assert "<img" not in page
    assert "<i>" not in page
    text = text_of(page)
    assert re.search(r"compared its images with those of val\b", text)
    assert "20 of 21 examples" in text
    assert evil in text
    assert "Nothing found" not in text


def test_the_page_says_that_only_labels_were_checked(sample_dir, tmp_path):
    path = sample_dir / "annotations" / "instances_val.json"
    integrity, seen = look_over(path, "val", progress=False)
    assert seen is None
    text = text_of(page_of(tmp_path, [imbalance(load_annotations(path), split="val")], integrity=integrity))
    assert "checked only the labels" in text
    assert "--images DIR" in text
    assert "ROOT/val/" in text
    assert "mean brightness" not in text


def test_photographs_on_the_page(coco_mini, tmp_path):
    table = load_split(coco_mini, "val")
    path = coco_mini / "annotations" / "instances_val.json"
    integrity, seen = look_over(path, "val", coco_mini / "val", progress=False)
    light = measure_brightness(seen, coco_mini / "val", table.file_names.tolist())
    page = page_of(tmp_path, [imbalance(table, split="val")], brightness=light, integrity=integrity)
    assert page.count('src="data:image/jpeg;base64,') == 18 + len(light.darkest) + len(light.brightest)
    assert len(page.encode()) < 2e6
    text = text_of(page)
    share = percent(light.measures["negative_share"])
    assert f"{share} % of all normalised values here are negative" in text
    assert "Good photographs look dark" in text
    for view in light.views:
        assert f"{view.name}, original" in text


def test_page_without_readable_photographs(tmp_path):
    measures = dict.fromkeys(
        ("mean", "std", "median", "min", "max", "negative_share", "above_one_share", "shown_mean", "naive_mean")
    )
    measures |= {"images": 1, "measured": 0, "unreadable": 1, "side": 224, "dark": 0, "bright": 0, "low_contrast": 0}
    light = Brightness(measures, [0] * 32, {"missing": 1}, [("<b>.jpg", "missing")], [], [], [])
    page = page_of(tmp_path, [imbalance(make_table(TOY))], brightness=light)
    assert "<b>" not in page
    text = text_of(page)
    assert "1 of 1 image files cannot be read (missing 1)" in text
    assert "No photograph could be read" in text
