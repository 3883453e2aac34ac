from dataclasses import replace

import pytest
import yaml

from cocotag.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    StageConfig,
    TrainConfig,
    check,
    parse_groups,
    problems,
)
from cocotag.errors import ConfigError


@pytest.fixture
def config(tmp_path):
    return TrainConfig(data=DataConfig(root=str(tmp_path)))


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("all", list(range(20))),
        ("head", [19]),
        ("last:5", [15, 16, 17, 18, 19]),
        ("2-4", [2, 3, 4]),
        ("7", [7]),
        ("0, head,3-4", [0, 3, 4, 19]),
        ("last:20", list(range(20))),
        ("head,head", [19]),
    ],
)
def test_layer_groups_by_name_and_range(text, groups):
    assert parse_groups(text, 20) == groups


@pytest.mark.parametrize("text", ["", "tail", "last:", "last:21", "last:0", "5-2", "1-2-3", "20", "-1", "0-20", "head,"])
def test_layer_groups_that_do_not_exist_are_refused(text):
    with pytest.raises(ConfigError, match="layer groups"):
        parse_groups(text, 20)


def test_a_sound_config_has_no_problems(config):
    assert problems(config) == []
    check(config)


def test_every_problem_is_named_at_once_with_its_key(config):
    broken = replace(
        config,
        data=DataConfig(root="/nowhere/at/all", val_split="train", tune_fraction=0.9, min_crop=0, workers=-1),
        model=ModelConfig(
            output_stride=7, width=0.0, image_size=8, prior=0.9, dropout=1.0, weights="/no/file.pth", num_classes=0
        ),
        loss=LossConfig(gamma=-1, alpha=2, gamma_neg=-2, gamma_pos=float("nan"), shift=1, pos_weight_cap=0),
        stages=[StageConfig(epochs=0, train="nothing", lr=0, lr_decay=2)],
        batch_size=0,
        weight_decay=-1,
        gradient_clip=0,
        patience=0,
        seed=-1,
    )
    keys = [
        "data.root",
        "data.val_split",
        "data.tune_fraction",
        "data.min_crop",
        "data.workers",
        "model.output_stride",
        "model.width",
        "model.image_size",
        "model.prior",
        "model.dropout",
        "model.weights",
        "model.num_classes",
        "loss.gamma",
        "loss.alpha",
        "loss.gamma_neg",
        "loss.gamma_pos",
        "loss.shift",
        "loss.pos_weight_cap",
        "stages[0].epochs",
        "stages[0].train",
        "stages[0].lr",
        "stages[0].lr_decay",
        "batch_size",
        "weight_decay",
        "gradient_clip",
        "patience",
        "seed",
    ]
    found = problems(broken)
    for key in keys:
        assert any(problem.startswith((f"{key} ", f"{key}:")) for problem in found), key
    with pytest.raises(ConfigError) as error:
        check(broken)
    assert all(problem in str(error.value) for problem in found)
    assert "\n" not in str(error.value)


def test_choosing_and_claiming_on_one_split_is_refused(config):
    shared = replace(config, data=replace(config.data, tune_split="val", val_split="val"))
    assert any("data.tune_split" in problem for problem in problems(shared))


def test_weights_only_fit_width_one(config, tmp_path):
    (tmp_path / "w.pth").write_bytes(b"x")
    narrow = replace(config, model=ModelConfig(width=0.5, weights=str(tmp_path / "w.pth")))
    assert any("width 1" in problem for problem in problems(narrow))


def test_no_stages_is_a_problem(config):
    assert problems(replace(config, stages=[])) == ["stages is empty, so nothing would be trained"]


def test_saved_then_loaded_is_the_same(config):
    other = replace(config, stages=[StageConfig(3, "head", 1e-3), StageConfig(2, "last:5", 1e-4, 0.8)], seed=7)
    assert TrainConfig.from_json(yaml.safe_load(yaml.safe_dump(other.to_json()))) == other


def test_a_config_of_another_version_is_refused():
    with pytest.raises(ConfigError, match="novelty"):
        TrainConfig.from_json({"model": {"novelty": 1}})


def test_the_configs_that_come_with_cocotag_are_sound(tmp_path):
    from cocotag.cli import _find_config, _train_config

    folder = _find_config("sample").parent
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    assert names == ["coco_mini", "coco_mobilenetv2", "coco_original", "sample"]
    for name in names:
        made, resume, out = _train_config([f"--config={name}", "--data.root", str(tmp_path)])
        assert problems(made) == []
        assert resume is None
        assert out.name.startswith(name)


def test_flags_override_the_yaml_wherever_it_stands(tmp_path):
    from cocotag.cli import _train_config

    for words in (["--seed", "5", "--config", "sample"], ["--config", "sample", "--seed", "5"]):
        made, _, _ = _train_config([*words, "--data.root", str(tmp_path), "--stages", '[{"epochs": 3, "lr": 0.5}]'])
        assert made.seed == 5
        assert made.model.image_size == 112
        assert made.stages == [StageConfig(epochs=3, lr=0.5)]
