"""The main job on real COCO photographs with real ImageNet weights, shortened to one stage of a few epochs."""

import csv
import json

import pytest

from cocotag.cli.main import main
from cocotag.data.annotations import load_split


@pytest.fixture(scope="module")
def run(coco_mini, imagenet_weights, tmp_path_factory):
    directory = tmp_path_factory.mktemp("real") / "run"
    words = ["--config", "coco_mini", "--data.root", str(coco_mini), "--model.weights", str(imagenet_weights)]
    words += ["--stages", '[{"epochs": 5, "train": "head", "lr": 0.006}]', "--model.image_size", "160", "--out", str(directory)]
    assert main(["train", *words]) == 0
    return directory


def test_it_learns_and_reports(run):
    report = json.loads((run / "report" / "report.json").read_text())
    assert report["data"]["images"] == 150
    # Chance is the mean share of positives, about 0.04; a few epochs of a head at 160 px are well above.
    assert report["summary"]["map"]["value"] > 0.25
    assert report["summary"]["map"]["lo"] <= report["summary"]["map"]["value"] <= report["summary"]["map"]["hi"]


def test_tags_of_the_val_folder_are_those_of_the_report(run, coco_mini, tmp_path):
    assert main(["tag", str(coco_mini / "val"), "--model", str(run / "tagger.onnx"), "--out", str(tmp_path / "tags.csv")]) == 0
    with (tmp_path / "tags.csv").open(newline="") as file:
        tagged = {row["path"]: {tag for tag in row["tags"].split(";") if tag} for row in csv.DictReader(file)}
    table = load_split(coco_mini, "val")
    names = table.vocabulary.names
    report = json.loads((run / "report" / "report.json").read_text())
    for index, entry in enumerate(report["per_class"]):
        assert entry["name"] == names[index]
        found = [entry["name"] in tagged[str(path)] for path in table.paths()]
        truth = table.targets[:, index]
        assert entry["tp"] == sum(f and t for f, t in zip(found, truth, strict=True))
        assert entry["fp"] == sum(f and not t for f, t in zip(found, truth, strict=True))


def test_figures_on_images_that_chose_are_called_optimistic(run, coco_mini, tmp_path):
    words = ["evaluate", str(run / "tagger.onnx"), "--root", str(coco_mini), "--split", "train", "--out", str(tmp_path / "e")]
    assert main(words) == 0
    assert json.loads((tmp_path / "e" / "report.json").read_text())["data"]["optimistic"] is True
