import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from made_evaluations import made, table_of
from PIL import Image

from cocotag.bundle import BundleMetadata
from cocotag.cli.main import main
from cocotag.data.annotations import load_annotations
from cocotag.evaluation import page as evaluation_page
from cocotag.evaluation.result import evaluate
from cocotag.metrics import SUMMARY

HOSTILE = ["<img src=x onerror=alert(1)>", '"><script>alert(2)</script>', "a & b", "{{ 7 * 7 }}"]


class Page(HTMLParser):
    """What a browser fetches, runs or shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.shown = [], [], []
        self._silent = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        self._silent = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._silent = False

    def handle_data(self, data):
        if not self._silent:
            self.shown.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.shown).split())

    def values(self, name):
        return [value for _, key, value in self.attributes if key == name]


@pytest.fixture(scope="module")
def four():
    rng = np.random.default_rng(0)
    return table_of(rng.random((200, 4)) < [0.5, 0.3, 0.2, 0.1], HOSTILE)


@pytest.fixture(scope="module")
def page(four):
    return evaluation_page.page(made(four))


def test_the_page_fetches_nothing_and_runs_no_data(page):
    seen = Page(page)
    assert not [value for name in ("src", "href", "action", "srcset") for value in seen.values(name) if value[0] != "#"]
    assert not re.search(r"url\((?!#)|@import", page)  # a pattern of the page itself may fill a drawing
    assert seen.tags.count("script") == 1
    assert not {"i", "img"} & {*seen.tags}
    assert not [name for _, name, _ in seen.attributes if name.startswith("on")]
    for name in HOSTILE:
        assert name in seen.text
    assert "<i>group" in seen.text


def test_the_main_measures_have_tiles_with_their_full_value(four, page):
    found = made(four)
    seen = Page(page)
    tiles = dict(zip(seen.values("data-measure"), seen.values("data-value"), strict=False))
    assert list(tiles) == ["map", "macro_f1", "micro_f1", "cf1"]
    document = found.to_json()
    for name, value in tiles.items():
        entry = document["summary"][name]
        assert float(value) == entry["value"]
        shown = [f"{100 * entry[key]:.1f}" for key in ("value", "lo", "hi")]
        assert f"{shown[0]} " in seen.text
        assert f"{shown[1]} \N{EN DASH} {shown[2]}" in seen.text
    assert "4 of 4 classes have a positive" in seen.text


def test_the_class_table_has_the_values_of_the_json(four, page):
    document = json.loads(json.dumps(made(four).to_json()))
    rows = re.findall(r'<tr data-details="class-(\d+)">(.*?)</tr>', page, re.DOTALL)
    assert [int(index) for index, _ in rows] == [0, 1, 2, 3]
    columns = ("f1", "ap", "precision", "recall", "support", "predicted", "tp", "fp", "fn", "threshold")
    for row, (_, cells) in zip(document["per_class"], rows, strict=True):
        assert [float(value) for value in re.findall(r'data-value="([^"]*)"', cells)][:10] == [row[name] for name in columns]


def test_every_row_opens_four_plots_that_are_visible_without_a_script(page):
    ids = re.findall(r'<details class="row-details" id="([^"]+)">', page)
    assert ids == re.findall(r'<tr data-details="([^"]+)"', page)
    parts = page.split('<details class="row-details"')[1:]
    assert [part.split("</details>")[0].count("<svg") for part in parts] == [4] * 4


def test_every_plot_explains_how_to_read_it(page):
    assert page.count("<svg") == page.count('<p class="how-to-read">') >= 4 * 4 + 2 + 2
    assert all(re.search(r"\w{3,}", text) for text in re.findall(r'<p class="how-to-read">(.*?)</p>', page, re.DOTALL))


def test_every_measure_is_explained_with_its_zero0_value(four):
    text = Page(evaluation_page.page(made(four))).text
    for name in SUMMARY:
        assert name in text or name.endswith("_zero0")
    rows = {row["name"]: row for row in evaluation_page._measures(made(four).summary)}
    assert set(rows) == {name for name in SUMMARY if not name.endswith("_zero0")}
    assert all(row["meaning"] for row in rows.values())
    assert rows["map"]["zero0"] == made(four).to_json()["summary"]["map_zero0"]["value"]
    assert not rows["coverage"]["share"]


def test_undefined_is_a_dash_and_never_a_zero():
    targets = np.zeros((30, 3), bool)
    targets[:10, 0] = True
    found = evaluate(
        table_of(targets, ["some", "none", "never"]),
        np.tile([0.9, 0.1, 0.1], (30, 1)),
        BundleMetadata(table_of(targets, ["some", "none", "never"]).vocabulary, 64, (0.5,) * 3, (1, 1, 1), 1),
        run={},
        data={},
    )
    text = evaluation_page.page(found)
    row = re.search(r'<tr data-details="class-1">(.*?)</tr>', text, re.DOTALL)[1]
    assert row.count("\N{EN DASH}") >= 6
    assert re.findall(r'data-value="([^"]*)"', row)[:4] == ["", "", "", ""]
    assert "no positives, never predicted" in row


@pytest.mark.parametrize("targets", [np.zeros((1, 2), bool), np.ones((1, 2), bool), np.zeros((0, 0)).reshape(0, 0)])
def test_extreme_labels_make_a_complete_page(targets):
    if not targets.size:
        targets = np.eye(2, dtype=bool)
    text = evaluation_page.page(made(table_of(targets, ["a", "b"][: targets.shape[1]])))
    assert text.rstrip().endswith("</html>")
    assert "too few images for slices" in text


def test_a_baseline_is_shown_with_regressions_first(four):
    baseline = made(four, noise=0.7).predictions
    found = made(four, noise=3.0, baseline=baseline, names=("<b>old</b>", "new"))
    text = evaluation_page.page(found)
    section = text[text.index('id="baseline"') : text.index('id="f1-by-class"')]
    assert "&lt;b&gt;old&lt;/b&gt;" in section
    assert section.index("clearly worse") < section.index("</table>", section.index('id="baseline-classes"'))
    changes = [float(value) for value in re.findall(r'data-value="(-?[\d.e-]+)">[+\N{MINUS SIGN}]', section)]
    assert changes[:4] == pytest.approx(
        found.comparison.summary.loc[["map", "macro_f1", "micro_f1", "cf1"], "difference"].tolist()
    )
    assert "lower than the baseline's (95% interval" in Page(text).text


@pytest.mark.parametrize(("classes", "images"), [(500, 200), (2000, 40)])
def test_the_page_stays_small_with_many_classes(tmp_path, classes, images):
    rng = np.random.default_rng(0)
    for number in range(images):
        Image.fromarray(rng.integers(0, 256, (120, 120, 3), dtype=np.uint8)).save(tmp_path / f"{number:06}.jpg")
    names = [f"class {number} {'<&>' * 12}" for number in range(classes)]
    found = made(table_of(rng.random((images, classes)) < 0.1, names, tmp_path))
    text = evaluation_page.page(found)
    assert len(text.encode()) <= 5_000_000
    assert "per_class.csv" in text or classes < evaluation_page.TABLE_ROWS
    assert text.count('src="data:image/jpeg') > 20


def test_pictures_are_dropped_before_plots(tmp_path, four, monkeypatch):
    rng = np.random.default_rng(0)
    for name in four.file_names:
        Image.fromarray(rng.integers(0, 256, (120, 120, 3), dtype=np.uint8)).save(tmp_path / name)
    found = made(table_of(four.targets, HOSTILE, tmp_path))
    whole = evaluation_page.page(found)
    assert whole.count("<img") == 24
    monkeypatch.setattr(evaluation_page, "MAX_BYTES", len(whole.encode()) - 30_000)
    smaller = evaluation_page.page(found)
    assert 0 < smaller.count("<img") < 24
    assert smaller.count("<svg") == whole.count("<svg")
    assert len(smaller.encode()) <= evaluation_page.MAX_BYTES


def test_a_file_whose_name_is_a_tag_is_text(tmp_path, toy_bundle):
    root = tmp_path / "data"
    (root / "annotations").mkdir(parents=True)
    (root / "val").mkdir()
    evil = "<img src=x onerror=alert(1)>.jpg"
    files = [evil, "\"'><script>alert(2)<!--.jpg", "&lt;b&gt;.jpg", "gone.jpg"]
    for number, name in enumerate(files[:3]):
        Image.new("RGB", (80, 60), (90 * number, 40, 200)).save(root / "val" / name, format="JPEG")
    categories = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 18, "name": "dog"}]
    boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [0, 0, 20, 20], "area": 400, "iscrowd": 0} for n in range(1, 5)]
    images = [{"id": n + 1, "file_name": name, "width": 80, "height": 60} for n, name in enumerate(files)]
    document = {"images": images, "annotations": boxes, "categories": categories}
    (root / "annotations" / "instances_val.json").write_text(json.dumps(document))
    words = ["evaluate", str(toy_bundle), "--root", str(root), "--split", "val", "--out", str(tmp_path / "report")]
    assert main([*words, "--thresholds", "fixed:0.01"]) == 1  # one image is gone
    text = (tmp_path / "report" / "report.html").read_text("utf-8")
    seen = Page(text)
    assert evil in seen.text
    assert seen.tags.count("script") == 1
    assert all(source.startswith("data:image/jpeg;base64,") for source in seen.values("src"))
    assert seen.values("src")
    assert not [name for _, name, _ in seen.attributes if name.startswith("on")]


def test_coco_val_at_full_size_is_measured_and_drawn(data_dir):
    labels = data_dir / "labels_val2017.json"
    if not labels.is_file():
        pytest.skip(f"no {labels}")
    photographs = sorted((data_dir / "coco-mini" / "val").iterdir())
    table = load_annotations(labels, data_dir / "coco-mini" / "val")
    names = np.array([photographs[row % len(photographs)].name for row in range(len(table))], dtype=np.str_)
    found = made(table)
    object.__setattr__(found.predictions, "file_names", names)  # every thumbnail is a real photograph
    text = evaluation_page.page(found)
    assert (len(table), len(found.per_class)) == (4952, 80)
    pictured = min(len(found.label_issues), evaluation_page.LABEL_ISSUES)
    assert text.count('src="data:image/jpeg') == len(found.mistakes) + pictured > 450
    assert len(text.encode()) <= 5_000_000
