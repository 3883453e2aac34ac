"""The measurement of other programs' exports, with what needs no other program."""

import importlib
import json
from pathlib import Path

import exports
import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts" / "measure"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


@pytest.fixture
def source(script, tmp_path):
    """Drawn pictures in COCO's own layout."""
    exports.supervision(tmp_path / "source")
    return script("export_source").Source(tmp_path / "source")


def shape(value):
    """The names and types in a document, without its values."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else type(value).__name__


def test_the_small_roboflow_layout_has_the_shape_of_the_measured_one(script, source, tmp_path):
    script("export_tools").roboflow(source, tmp_path / "measured")
    exports.roboflow(tmp_path / "small")
    for split in ("train", "valid"):
        measured, small = (
            json.loads((tmp_path / name / split / "_annotations.coco.json").read_text()) for name in ("measured", "small")
        )
        assert shape(measured["annotations"]) == shape(small["annotations"])
        assert shape(measured["categories"]) == shape(small["categories"])
        assert shape(small["images"])[0].items() <= shape(measured["images"])[0].items()
        names = [sorted(path.name for path in (tmp_path / name / split).iterdir()) for name in ("measured", "small")]
        assert names[0] == names[1]


def test_labels_that_are_lost_or_invented_are_counted(script, source, tmp_path):
    measuring, tools = script("measure_exports"), script("export_tools")
    labels = sum(map(len, exports.truth().values()))
    pictures = len(exports.truth())
    whole = (f"{pictures} of {pictures}", f"{labels} of {labels}")
    assert measuring.read_labels(source.root, tools.EXPORTS["coco"], source) == whole
    file = source.annotations("val")
    document = json.loads(file.read_text())
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] != 1]  # a dog
    document["annotations"].append({"id": 99, "image_id": 3, "category_id": 3, "bbox": [0, 0, 9, 9]})  # a bird on an empty one
    file.write_text(json.dumps(document))
    (source.root / "val" / "val5.jpg").unlink()
    found, read = measuring.read_labels(source.root, tools.EXPORTS["coco"], source)
    assert found == f"{pictures - 1} of {pictures}"
    assert read == f"{labels - 1} of {labels}, 1 invented"


def test_the_page_has_a_row_for_every_export_and_counts_those_that_work(script, source):
    measuring, tools = script("measure_exports"), script("export_tools")
    rows = [measuring.Row(name, dict.fromkeys(measuring.COMMANDS, measuring.AS_IT_IS)) for name in tools.EXPORTS]
    rows[3].cells["train"] = "There is no folder"
    text = measuring.page(rows, source)
    assert f"{len(rows) - 2} of {len(rows) - 1} exports" in text  # without COCO's own layout
    assert all(text.count(f"| {measuring.title(row.name)} |") == 2 for row in rows)


def test_a_message_in_a_cell_is_one_short_line_without_the_folder(script):
    shorten = script("measure_exports").shorten
    assert shorten("no\n  file in /a/b | c", Path("/a/b")) == "no file in ROOT \\| c"
    assert len(shorten("word " * 99)) <= script("measure_exports").CELL
