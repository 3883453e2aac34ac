from dataclasses import replace

import pytest
import yaml

from cocotag.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    SourceConfig,
    StageConfig,
    TrainConfig,
    find_config,
    parse_groups,
    root_of,
)
from cocotag.config_problems import check, problems
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
        ("backbone", list(range(19))),
        ("first:3,head", [0, 1, 2, 19]),
    ],
)
def test_layer_groups_by_name_and_range(text, groups):
    assert parse_groups(text, 20) == groups


@pytest.mark.parametrize(
    "text", ["", "tail", "first:0", "first:21", "last:", "last:21", "last:0", "5-2", "1-2-3", "20", "-1", "0-20", "head,"]
)
def test_layer_groups_that_do_not_exist_are_refused(text):
    with pytest.raises(ConfigError) as caught:
        parse_groups(text, 20)
    assert caught.value.code == "layer_groups_invalid"
    assert repr(text) in str(caught.value)


def test_a_valid_config_has_no_problems(config):
    assert problems(config) == []
    check(config)


def test_every_problem_is_named_at_once_with_its_key(config):
    broken = replace(
        config,
        data=DataConfig(
            root="/nowhere/at/all", val_split="train", tune_fraction=0.9, min_crop=0, workers=-1, classes=[], fraction=0
        ),
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
        "data.classes",
        "data.fraction",
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
    with pytest.raises(ConfigError) as caught:
        check(broken)
    assert caught.value.code == "config_invalid"
    assert all(problem in str(caught.value) for problem in found)
    assert "\n" not in str(caught.value)


def test_choosing_and_claiming_on_one_split_is_refused(config):
    shared = replace(config, data=replace(config.data, tune_split="val", val_split="val"))
    assert any("data.tune_split" in problem for problem in problems(shared))


@pytest.mark.parametrize("name", ["", "..", "../other", "a/b", "/etc", "a\\b"])
def test_a_split_is_a_folder_of_the_data_set(config, name):
    for key in ("train_split", "val_split", "tune_split"):
        found = problems(replace(config, data=replace(config.data, **{key: name})))
        assert any(problem.startswith(f"data.{key} ") for problem in found)
    sources = [SourceConfig(config.data.root, name)]
    assert any(
        "data.sources[0].split" in problem for problem in problems(replace(config, data=replace(config.data, sources=sources)))
    )


def test_torchvisions_weights_only_fit_width_one(config):
    for model in (ModelConfig(width=0.5, weights="imagenet"), ModelConfig(channel_divisor=1, weights="imagenet")):
        assert any("width 1" in problem for problem in problems(replace(config, model=model)))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"strides": [2, 2]}, "model.strides is [2, 2]"),
        ({"strides": [1, 2, 2, 2, 4]}, "each 1 or 2"),
        ({"decoder_width": 100}, "model.decoder_width is 100"),
        ({"csra_heads": 0}, "model.csra_heads is 0, but must be 1 to 16"),
        ({"initialisation": "original", "head": "csra"}, "model.head is csra"),
    ],
)
def test_impossible_networks_are_problems(config, model, says):
    assert any(says in problem for problem in problems(replace(config, model=ModelConfig(**model))))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 30, "devices": 4}, "batch_size is 30, which 4 devices cannot share evenly"),
        ({"batch_size": 30, "devices": 2, "nodes": 2}, "use a multiple of 4"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"ema_decay": 1.0}, "ema_decay is 1"),
        ({"thresholds": "precision:2"}, "thresholds: "),
        ({"thresholds": "best"}, "thresholds: 'best'"),
        ({"best_by": "last", "patience": 3}, "best_by is last"),
        ({"loggers": ["mlflow", "mlflow"]}, "loggers names mlflow more than once"),
        ({"loss": LossConfig(pos_weight_beta=1.0)}, "loss.pos_weight_beta is 1"),
        ({"loss": LossConfig("cross_entropy", logit_adjustment=1.0)}, "loss.logit_adjustment is 1, but cross_entropy"),
        ({"best_by": "luck"}, "best_by is 'luck', but must be one of map, loss, last"),
        ({"model": ModelConfig(head="tail")}, "model.head is 'tail'"),
        ({"stages": [StageConfig(curve="bell")]}, "stages[0].curve is 'bell'"),
        ({"data": DataConfig(augment_views=0)}, "data.augment_views is 0"),
        ({"data": DataConfig(repeat_below=1.5)}, "data.repeat_below is 1.5"),
    ],
)
def test_impossible_combinations_are_problems(config, changes, says):
    assert any(says in problem for problem in problems(replace(config, **changes)))


def test_no_stages_is_a_problem(config):
    (problem,) = problems(replace(config, stages=[]))
    assert problem.startswith("stages is empty")


def test_saved_then_loaded_is_the_same(config):
    other = replace(config, stages=[StageConfig(3, "head", 1e-3), StageConfig(2, "last:5", 1e-4, 0.8)], seed=7)
    assert TrainConfig.from_json(yaml.safe_load(yaml.safe_dump(other.to_json()))) == other


def test_a_config_of_another_version_is_refused():
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_json({"model": {"novelty": 1}})
    assert caught.value.code == "config_unsupported"
    assert "novelty" in str(caught.value)


def test_the_configs_that_come_with_cocotag_are_valid(tmp_path):
    from cocotag.cli.commands.train.train import _train_config

    folder = find_config("--config", "sample").parent
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    assert {"coco_mini", "coco_mobilenetv2", "coco_original", "sample"} < set(names)
    for name in names:
        parsed, resume, out, rates_only = _train_config([f"--config={name}", "--data.root", str(tmp_path)])
        assert problems(parsed) == []
        assert resume is None
        assert not rates_only
        assert out.name.startswith(name)


def test_flags_override_the_yaml_wherever_it_stands(tmp_path):
    from cocotag.cli.commands.train.train import _train_config

    for words in (["--seed", "5", "--config", "sample"], ["--config", "sample", "--seed", "5"]):
        made, *_ = _train_config([*words, "--data.root", str(tmp_path), "--stages", '[{"epochs": 3, "lr": 0.5}]'])
        assert made.seed == 5
        assert made.model.image_size == 104
        assert made.stages == [StageConfig(epochs=3, lr=0.5)]


def with_sources(config, *sources, **changes):
    return replace(config, data=replace(config.data, sources=list(sources), **changes))


def test_every_problem_of_a_source_is_named_with_its_place(config, tmp_path):
    (tmp_path / "a").mkdir()
    sources = [
        SourceConfig(str(tmp_path / "a"), aliases="voc"),
        SourceConfig(str(tmp_path / "a" / ".." / "a")),
        SourceConfig("/nowhere"),
        SourceConfig("", aliases="vco"),
    ]
    found = problems(with_sources(config, *sources, root=None, tune_split="train", classes=["a", "b", "a"]))
    for words in (
        "data.sources[1] is data.sources[0] again",
        "data.sources[2].root is '/nowhere'",
        "data.sources[3].root is ''",
        "data.sources[3].aliases is vco, which is neither a file nor one of cocotag's own: imagenet, open_images, voc",
        "data.tune_split is 'train', the same as data.sources[0]",
        "data.classes names 'a' more than once",
    ):
        assert any(problem.startswith(words) for problem in found), words
    assert len(found) == 6


def test_a_split_of_one_name_in_another_folder_is_another(config, tmp_path):
    (tmp_path / "other").mkdir()
    source = SourceConfig(str(tmp_path / "other"), "val")
    assert problems(with_sources(config, source, train_split="val")) == []
    assert any("data.val_split" in problem for problem in problems(with_sources(config, source, root=source.root)))


def test_without_a_root_the_first_source_has_the_other_splits(config, tmp_path):
    assert root_of(with_sources(config, SourceConfig("b"), SourceConfig("c"), root=None).data) == "b"
    assert root_of(with_sources(config, SourceConfig("b"), root="a").data) == "a"
    assert root_of(DataConfig()) == ""


def test_sources_saved_then_loaded_are_the_same(config):
    sources = [SourceConfig("a"), SourceConfig("b", "dev", "voc", ["cat", "no"]), SourceConfig("c", known=[])]
    other = with_sources(config, *sources, root=None, classes=["cat", "dog"], fraction=0.1)
    assert TrainConfig.from_json(yaml.safe_load(yaml.safe_dump(other.to_json()))) == other


@pytest.mark.parametrize(
    "data", [{"sources": 3}, {"sources": [3]}, {"sources": ["a"]}, {"sources": [{"split": "a"}]}, None, "a"]
)
def test_an_invalid_data_config_is_refused(data):
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_json({"data": data})
    assert caught.value.code == "config_unsupported"


def test_sources_come_from_flags_and_yaml_alike(tmp_path):
    from cocotag.cli.commands.train.train import _train_config

    file = tmp_path / "mine.yaml"
    file.write_text("data:\n  sources:\n  - root: VOC\n    aliases: voc\n  - {root: mine, known: [a]}\n  classes: [a, b]\n")
    sources = '[{"root": "VOC", "split": "train", "aliases": "voc"}, {"root": "mine", "known": ["a"]}]'
    flags = _train_config(["--data.sources", sources, "--data.classes", '["a", "b"]'])[0]
    assert _train_config(["--config", str(file)])[0] == flags
    assert flags.data.sources == [SourceConfig("VOC", aliases="voc"), SourceConfig("mine", known=["a"])]
    assert _train_config(["--config", str(file), "--data.classes", "union"])[0].data.classes == "union"


@pytest.mark.parametrize(
    ("words", "needles"),
    [
        (
            ["--data.sources", '[{"root": "a", "splitt": "b"}]'],
            ["root, split, aliases, known", "there is no splitt; did you mean split"],
        ),
        (["--data.sources", '[{"split": "b"}]'], ["root, split, aliases, known", "required: root"]),
        (["--data.sources", '{"root": "a"}'], ["data.sources"]),
        (["--data.sources", "[3]"], ["data.sources"]),
        (["--data.classes", "cat"], ["data.classes", "coco80", "cat"]),
        (["--data.fraction", "x"], ["data.fraction"]),
    ],
)
def test_a_mistake_in_a_flag_is_one_line(capsys, words, needles):
    from cocotag.cli.main import main

    with pytest.raises(SystemExit) as stop:
        main(["train", *words])
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("cocotag train: ")
    assert all(needle in err for needle in needles)
