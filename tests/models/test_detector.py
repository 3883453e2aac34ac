"""A tagger out of torchvision's detector."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import lively
from torch import nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from cocotag.bundle import read_metadata
from cocotag.cli.main import main
from cocotag.errors import ConfigError
from cocotag.inference.tagger import Tagger
from cocotag.labels import COCO80
from cocotag.models.detector import DetectorTagger, build_detector


@pytest.fixture(scope="module")
def detector():
    """torchvision's, with random weights that tell images and classes apart, and its thresholds off."""
    torch.manual_seed(0)
    made = lively(ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None))
    with torch.no_grad():
        for parameter in made.backbone.parameters():
            if parameter.ndim == 4:  # as it is built, what it sees dies away in the backbone
                nn.init.kaiming_normal_(parameter)
        for name, parameter in made.head.classification_head.named_parameters():
            if parameter.ndim == 4:
                parameter.normal_(0, 0.003)
            elif name.endswith("bias"):
                parameter.normal_()
    made.score_thresh, made.nms_thresh = 0.0, 1.0
    made.topk_candidates, made.detections_per_img = 2, 200  # the best of each class are among them
    return made


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), spread=st.sampled_from([10, 60]))
@torch.no_grad()
def test_a_tags_probability_is_its_best_detections_score(detector, seed, spread):
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (2, 4, 4, 3)).repeat(80, axis=1).repeat(80, axis=2)
    images = torch.from_numpy(rng.normal(patches, spread).clip(0, 255).astype(np.uint8))
    probs = DetectorTagger(detector).eval()(images)
    found = detector(list(images.permute(0, 3, 1, 2) / 255))
    assert probs.shape == (2, 80)
    for row, one in zip(probs, found, strict=True):
        best = torch.zeros(91).scatter_reduce(0, one["labels"], one["scores"], "amax")
        torch.testing.assert_close(row, best[[category.id for category in COCO80]], atol=1e-4, rtol=0)
    # Ten times what is accepted, or it would be no test: the picture must matter, and the order of its colours.
    assert (probs[0] - probs[1]).abs().max() > 1e-3
    assert (probs - DetectorTagger(detector).eval()(images.flip(3))).abs().max() > 1e-3


def test_the_command_makes_a_bundle_that_tags(detector, coco_mini, tmp_path, capsys):
    torch.save(detector.state_dict(), tmp_path / "ssd.pth")
    out = tmp_path / "tagger.onnx"
    assert main(["pretrained", str(out), "--weights", str(tmp_path / "ssd.pth")]) == 0
    printed = capsys.readouterr().out
    assert f"cocotag tune-thresholds {out}" in printed
    assert printed.splitlines()[-1] == str(out)
    metadata = read_metadata(out)
    assert metadata.vocabulary == COCO80
    assert metadata.config["model"] == {"name": "ssdlite320_mobilenet_v3_large", "weights": "ssd.pth"}
    assert metadata.parity["largest_difference"] < 1e-4
    photos = sorted((coco_mini / "val").glob("*.jpg"))[:3]
    words = [*map(str, photos), "--model", str(out), "--out", str(tmp_path / "tags.jsonl"), "--all-scores"]
    assert main(["tag", *words]) == 0
    rows = [json.loads(line) for line in (tmp_path / "tags.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok"] * 3
    tagger, network = Tagger.load(out), DetectorTagger(detector).eval()
    images = np.random.default_rng(1).integers(0, 256, (2, 320, 320, 3), dtype=np.uint8)
    with torch.no_grad():
        np.testing.assert_allclose(tagger.predict(images), network(torch.from_numpy(images)).numpy(), atol=1e-4)
    assert main(["pretrained", str(out)]) == 2  # not replaced unasked
    assert "already exists" in capsys.readouterr().err


def test_wrong_weights_are_refused(detector, tmp_path, capsys):
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    out = tmp_path / "o.onnx"
    assert main(["pretrained", str(out), "--weights", str(tmp_path / "other.pth")]) == 2
    error = capsys.readouterr().err
    assert "other.pth" in error
    assert "ssdlite320_mobilenet_v3_large" in error
    state = detector.state_dict()
    first = next(iter(state))
    torch.save({**state, first: torch.ones(2, 2)}, tmp_path / "shape.pth")
    with pytest.raises(ConfigError, match=rf"--weights: {first} of .* has shape \(2, 2\)") as caught:
        build_detector(str(tmp_path / "shape.pth"))
    assert caught.value.code == "weights_mismatch"
    with pytest.raises(ConfigError) as caught:
        build_detector(str(tmp_path / "missing.pth"))
    assert caught.value.code == "not_a_state_dict"
    assert "missing.pth" in str(caught.value)
    assert not out.exists()


def test_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch, tmp_path, capsys):
    """Without a network, as torchvision meets it."""
    from urllib.error import URLError

    def unreachable(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    assert main(["pretrained", str(tmp_path / "o.onnx")]) == 2
    error = capsys.readouterr().err
    assert "no route to host" in error
    assert "--weights FILE" in error
    assert error.count("\n") == 1
