"""Data in which every image has exactly one tag, through the same door."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cocotag.config import DataConfig, LossConfig, ModelConfig, StageConfig, TrainConfig
from cocotag.data.importing.dataset import import_labels
from cocotag.data.importing.labelled import read_folders
from cocotag.errors import DataError
from cocotag.inference.tagger import Tagger
from cocotag.training.fit import fit

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Small pictures of one colour each, in COCO's layout: 90 to learn from, 18 to report on."""
    folder = tmp_path_factory.mktemp("colours")
    draws = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(36):
            pixels = np.clip(draws.normal(colour, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{number}.png")
    import_labels(read_folders(folder / "pictures"), folder / "data", val=1 / 6, progress=False)
    return folder / "data"


def config(root):
    return TrainConfig(
        data=DataConfig(root=str(root), augment="none", workers=0),
        model=ModelConfig(name="mobilenet_v3_small", width=0.25, image_size=32, strides=[1, 1, 2, 2, 2], dropout=0),
        loss=LossConfig(name="cross_entropy", smoothing=0.1),
        stages=[StageConfig(epochs=2, lr=0.003)],
        batch_size=16,
        precision="float32",
    )


def test_softmax_goes_all_the_way_to_the_bundle_and_the_report(colours, tmp_path):
    run = fit(config(colours), tmp_path / "run")
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open(newline="")))
    assert [0 <= float(row[key]) <= 1 for row in rows for key in ("train_top1", "tune_top1")] == [True] * 4
    tagger = Tagger.load(tmp_path / "run" / "tagger.onnx")
    pictures = sorted((colours / "val").rglob("*.png"))
    truth = {
        image["file_name"]: note["category_id"]
        for document in [json.loads((colours / "annotations" / "instances_val.json").read_text())]
        for image in document["images"]
        for note in document["annotations"]
        if note["image_id"] == image["id"]
    }
    ids = [category.id for category in tagger.metadata.vocabulary]
    probs = tagger.predict(np.stack([np.asarray(Image.open(path)) for path in pictures]))
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
    right = np.mean(
        [
            ids[row.argmax()] == truth[path.relative_to(colours / "val").as_posix()]
            for row, path in zip(probs, pictures, strict=True)
        ]
    )
    summary = json.loads((tmp_path / "run" / "report" / "report.json").read_text())["summary"]
    assert summary["top1_accuracy"]["value"] == pytest.approx(right)
    assert "top1_accuracy" in (tmp_path / "run" / "report" / "report.html").read_text()
    assert "top-1" in run.evaluation.to_text()


def test_images_of_several_tags_are_refused(sample_dir, tmp_path):
    with pytest.raises(DataError) as caught:
        fit(replace(config(sample_dir), model=ModelConfig(width=0.25, image_size=32)), tmp_path / "run")
    assert caught.value.code == "data_faults"
    assert not (tmp_path / "run").exists()
