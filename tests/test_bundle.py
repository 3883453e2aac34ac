import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from toy_bundle import make_toy_bundle

from cocotag.bundle import (
    METADATA_KEY,
    BundleMetadata,
    fingerprint,
    network_fingerprint,
    open_session,
    read_metadata,
    write_bundle,
)
from cocotag.errors import BundleError, DataError, OutputError
from cocotag.labels import COCO80, Category, Vocabulary


def rewritten(bundle, path, text):
    model = onnx.load(str(bundle))
    onnx.helper.set_model_props(model, {METADATA_KEY: text} if text is not None else {})
    onnx.save_model(model, str(path))
    return path


def test_saved_then_read_is_the_same(toy_bundle, tmp_path):
    metadata = replace(read_metadata(toy_bundle), thresholds=tuple(np.linspace(0.1, 0.9, 80).tolist()), config={"ü": [1, None]})
    write_bundle(onnx.load(str(toy_bundle)), metadata, tmp_path / "again.onnx")
    assert read_metadata(tmp_path / "again.onnx") == metadata
    assert BundleMetadata.from_json(json.loads(json.dumps(metadata.to_json()))) == metadata


def test_a_networks_fingerprint_is_that_of_the_network_alone(toy_bundle, tmp_path):
    changed = read_metadata(toy_bundle).with_thresholds(np.full(80, 0.25), {"rule": "fixed:0.25"})
    write_bundle(onnx.load(str(toy_bundle)), changed, tmp_path / "changed.onnx")
    assert fingerprint(tmp_path / "changed.onnx") != fingerprint(toy_bundle)
    assert network_fingerprint(tmp_path / "changed.onnx") == network_fingerprint(toy_bundle)
    for number, settings in enumerate(({"seed": 1}, {"size": 32})):
        other = make_toy_bundle(tmp_path / f"{number}.onnx", **settings)
        assert network_fingerprint(other) != network_fingerprint(toy_bundle)


def test_thresholds_for_precisions_are_kept_and_are_one_for_each_class(toy_bundle):
    held = {"0.9": {"thresholds": [0.5] * 80, "unmet": 3, "untold": [7]}}
    metadata = read_metadata(toy_bundle).with_thresholds(np.full(80, 0.25), {}, held)
    assert metadata.with_thresholds(np.full(80, 0.5), {}).for_precision == held
    document = json.loads(json.dumps(metadata.to_json()))
    assert BundleMetadata.from_json(document) == metadata
    document["for_precision"]["0.9"]["thresholds"].pop()
    with pytest.raises(BundleError) as caught:
        BundleMetadata.from_json(document)
    assert caught.value.code == "bundle_damaged"
    assert "for_precision" in str(caught.value)
    del document["for_precision"]  # a bundle of before
    assert BundleMetadata.from_json(document).for_precision == {}


def test_a_bundle_is_one_file_that_onnx_itself_finds_valid(toy_bundle):
    onnx.checker.check_model(str(toy_bundle), full_check=True)
    probs = open_session(toy_bundle).run(["probs"], {"images": np.zeros((2, 64, 64, 3), np.uint8)})[0]
    assert probs.shape == (2, 80)
    assert ((probs >= 0) & (probs <= 1)).all()


@pytest.mark.parametrize("text", ["hello", ""])
def test_a_file_that_is_not_onnx_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "a.onnx").write_text(text)
    with pytest.raises(BundleError) as caught:
        read_metadata(tmp_path / "a.onnx")
    assert caught.value.code == "not_onnx"
    assert "a.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_bundle_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(BundleError) as caught:
            read_metadata(path)
        assert caught.value.code == "bundle_missing"
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "code", "value"),
    [
        (None, "not_a_bundle", "b.onnx"),
        ("{", "bundle_damaged", "b.onnx"),
        ("{}", "schema_unsupported", "None"),
        ('{"schema_version": 99}', "schema_unsupported", "99"),
        ('{"schema_version": 1}', "bundle_damaged", "vocabulary"),
        ('{"schema_version": 1, "vocabulary": [{}]}', "bundle_damaged", "categories[0]"),
    ],
)
def test_invalid_metadata_are_refused(toy_bundle, tmp_path, text, code, value):
    with pytest.raises(BundleError) as caught:
        read_metadata(rewritten(toy_bundle, tmp_path / "b.onnx", text))
    assert caught.value.code == code
    assert value in str(caught.value)


def test_graph_and_metadata_must_agree(toy_bundle, tmp_path):
    wrong = replace(read_metadata(toy_bundle), image_size=32)
    with pytest.raises(BundleError) as caught:
        read_metadata(rewritten(toy_bundle, tmp_path / "b.onnx", json.dumps(wrong.to_json())))
    assert caught.value.code == "bundle_damaged"
    assert "[64, 64, 3]" in str(caught.value)
    assert "[32, 32, 3]" in str(caught.value)


def test_one_threshold_per_class(toy_bundle):
    with pytest.raises(BundleError) as caught:
        replace(read_metadata(toy_bundle), thresholds=(0.5, 0.5, 0.5))
    assert caught.value.code == "bundle_damaged"
    assert "3 thresholds for 80 classes" in str(caught.value)


def test_a_bundle_that_cannot_be_written_leaves_nothing(toy_bundle, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError) as caught:
        write_bundle(onnx.load(str(toy_bundle)), read_metadata(toy_bundle), tmp_path / "file" / "b.onnx")
    assert caught.value.code == "not_writable"
    assert "b.onnx" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_the_fingerprint_tells_bundles_apart(toy_bundle, tmp_path):
    same, other = make_toy_bundle(tmp_path / "same.onnx"), make_toy_bundle(tmp_path / "other.onnx", seed=1)
    assert fingerprint(same) == fingerprint(toy_bundle) != fingerprint(other)


def test_coco80_is_the_real_list(coco_mini):
    plain = json.loads((coco_mini / "annotations" / "instances_val.json").read_text())
    assert COCO80.to_json() == [{key: entry[key] for key in ("id", "name", "supercategory")} for entry in plain["categories"]]


def test_two_classes_of_one_name_cannot_be_told_apart():
    with pytest.raises(DataError) as caught:
        Vocabulary((Category(1, "cat"), Category(2, "cat")))
    assert caught.value.code == "category_duplicate"
    assert "name 'cat'" in str(caught.value)


def test_vocabulary_goes_both_ways():
    assert Vocabulary.from_json(COCO80.to_json()) == COCO80
    assert COCO80.ids.index(90) == COCO80.index_by_name()["toothbrush"] == 79
    assert len(COCO80) == len(set(COCO80.ids)) == 80
