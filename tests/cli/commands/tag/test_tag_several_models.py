"""One folder, several bundles."""

import csv
import json

import numpy as np
import pytest
from error_codes import ends_with
from toy_bundle import make_toy_bundle

from cocotag.cli.main import main
from cocotag.inference.stream import predict_files, predict_with_all
from cocotag.inference.tagger import Tagger
from cocotag.labels import Category, Vocabulary


@pytest.fixture
def bundles(tmp_path):
    """Three of other classes, sizes and weights; two files have one name."""
    few = Vocabulary((Category(1, "sky"), Category(2, "sea")))
    (tmp_path / "b").mkdir()
    return [
        make_toy_bundle(tmp_path / "one.onnx"),
        make_toy_bundle(tmp_path / "b" / "one.onnx", seed=1),
        make_toy_bundle(tmp_path / "two.onnx", size=48, vocabulary=few, seed=2),
    ]


@pytest.fixture
def photos(sample_dir, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted((sample_dir / "val").iterdir())[:7]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "bad.jpg").write_bytes(b"no image")
    return folder


def tag(photos, bundles, out, *words):
    models = [word for bundle in bundles for word in ("--model", str(bundle))]
    return main(["tag", str(photos), *models, "--out", str(out), *words])


def test_a_row_of_each_model_for_every_file_as_that_model_alone_gives_it(photos, bundles, tmp_path, capsys):
    assert tag(photos, bundles, tmp_path / "all.csv") == 1  # one file is no image
    assert "7 of 8 files" in capsys.readouterr().err
    rows = list(csv.DictReader((tmp_path / "all.csv").open(newline="")))
    assert list(rows[0]) == ["path", "status", "tags", "scores", "model"]
    names = [str(bundles[0]), str(bundles[1]), "two.onnx"]
    assert [row["model"] for row in rows] == names * 8
    assert [row["status"] for row in rows].count("not_an_image") == 3
    for name, bundle in zip(names, bundles, strict=True):
        alone = tmp_path / "alone.csv"
        tag(photos, [bundle], alone, "--overwrite")
        expected = list(csv.DictReader(alone.open(newline="")))
        assert list(expected[0]) == ["path", "status", "tags", "scores"]
        assert [{key: row[key] for key in expected[0]} for row in rows if row["model"] == name] == expected


def test_json_lines_name_the_model_and_its_own_classes(photos, bundles, tmp_path):
    assert tag(photos, bundles[1:], tmp_path / "all.jsonl", "--all-scores", "--top-k", "1") == 1
    rows = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [row["model"] for row in rows] == ["one.onnx", "two.onnx"] * 8
    assert [len(row["all_scores"]) for row in rows if row["status"] == "ok"] == [80, 2] * 7
    assert all(len(row["tags"]) <= 1 for row in rows)


def test_the_same_bundle_twice_is_refused(photos, bundles, tmp_path, capsys):
    with ends_with("given_twice"):
        assert tag(photos, [bundles[0], bundles[0]], tmp_path / "all.csv") == 2
    assert "one.onnx" in capsys.readouterr().err
    assert not (tmp_path / "all.csv").exists()


def test_predictions_are_those_of_each_tagger_alone(photos, bundles):
    taggers = [Tagger.load(bundle) for bundle in bundles]
    files = sorted(photos.iterdir())
    together = list(predict_with_all(taggers, files, batch_size=3, decoders=2))
    for place, tagger in enumerate(taggers):
        for group, alone in zip(together, predict_files(tagger, files, batch_size=3), strict=True):
            assert group[place].path == alone.path
            assert (group[place].error is None) == (alone.error is None)
            if alone.error is None:
                np.testing.assert_array_equal(group[place].probs, alone.probs)
