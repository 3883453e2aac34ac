"""Real runs on two data sets that label different classes: what a source does not know changes nothing."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from cocotag.bundle import read_metadata, write_bundle
from cocotag.config import DataConfig, ModelConfig, SourceConfig, StageConfig, TrainConfig
from cocotag.data.annotations import load_split
from cocotag.data.loading.datamodule import TaggingData
from cocotag.data.sources import join_sources
from cocotag.data.splits import Splits
from cocotag.errors import DataError
from cocotag.evaluation.run import evaluate_bundle
from cocotag.export.bundles import _thresholds
from cocotag.export.checkpoint import load_checkpoint
from cocotag.inference.tagger import Tagger
from cocotag.training.fit import Run, fit, resume, val_table
from cocotag.training.loop.interrupt import StopOnInterrupt


def part_of(sample_dir, root, images, classes, *, renamed=()):
    """A data set of some training images and classes of the drawn one, the pixels linked; ``renamed`` is a dict of names."""
    for split in ("train", "val"):
        document = json.loads((sample_dir / "annotations" / f"instances_{split}.json").read_text())
        document["images"] = document["images"][images if split == "train" else slice(None)]
        kept = {image["id"] for image in document["images"]}
        document["categories"] = [
            {**category, "name": dict(renamed).get(category["name"], category["name"])}
            for category in document["categories"][classes]
        ]
        ids = {category["id"] for category in document["categories"]}
        annotations = document["annotations"]
        document["annotations"] = [a for a in annotations if a["image_id"] in kept and a["category_id"] in ids]
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))
        (root / split).symlink_to(sample_dir / split)
    return str(root)


@pytest.fixture(scope="module")
def names(sample_dir):
    """The drawn classes."""
    return load_split(sample_dir, "val").vocabulary.names


@pytest.fixture(scope="module")
def config(sample_dir, names, tmp_path_factory):
    """The first half of the images with classes 0 to 11, the second with 8 to 19; one class of it has another name."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "aliases.yaml").write_text(json.dumps({"names": {"fruit": names[10]}}))
    first = part_of(sample_dir, folder / "first", slice(60), slice(12))
    renamed = {names[10]: "fruit"}
    second = part_of(sample_dir, folder / "second", slice(60, None), slice(8, None), renamed=renamed)
    sources = [SourceConfig(first), SourceConfig(second, aliases=str(folder / "aliases.yaml"))]
    return TrainConfig(
        data=DataConfig(sources=sources, classes="coco80", workers=0),
        model=ModelConfig(image_size=64, width=0.25),
        loss=replace(TrainConfig().loss, pos_weight="inverse"),
        stages=[StageConfig(2, "last:3", 1e-2)],
        batch_size=20,
        precision="float32",
    )


def train(config, directory):
    """Train without the export, which takes most of a small run's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cocotag.training.fit._finish", lambda config, data, directory: Run(directory, None, None, []))
        return (resume(directory) if config is None else fit(config, directory)).directory


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    return train(config, tmp_path_factory.mktemp("runs") / "joined")


@pytest.fixture(scope="module")
def bundle(run, toy_bundle):
    """What the run knows of itself, with the network of another bundle."""
    path = run / "tagger.onnx"
    write_bundle(onnx.load(toy_bundle), load_checkpoint(run / "checkpoints" / "best.ckpt")[1], path)
    return path


@pytest.fixture
def lies(monkeypatch):
    """Fills every unknown cell of a joined table with a label or none, by chance."""

    def join(*arguments, **options):
        joined = join_sources(*arguments, **options)
        noise = np.random.default_rng(0).random(joined.table.known.shape) < 0.5
        assert (noise & ~joined.table.known).sum() > 400
        return replace(joined, table=replace(joined.table, targets=np.where(joined.table.known, joined.table.targets, noise)))

    monkeypatch.setattr("cocotag.data.splits.join_sources", join)


def data_of(config, **changes):
    made = TaggingData(Splits(replace(config.data, **changes), seed=0), image_size=64, batch_size=8, seed=0)
    if made.splits.faults(8):
        raise DataError(" ".join(made.splits.faults(8)))
    return made


def metrics(directory):
    with (directory / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def test_what_stands_in_unknown_cells_changes_neither_loss_nor_score(run, config, tmp_path, lies):
    assert metrics(train(config, tmp_path / "lied")) == metrics(run)


def test_nor_the_thresholds(config, toy_bundle, request):
    truth = data_of(config).tune
    request.getfixturevalue("lies")
    lied = data_of(config).tune
    assert not np.array_equal(lied.targets, truth.targets)
    assert _thresholds(toy_bundle, lied) == _thresholds(toy_bundle, truth)


def test_positives_are_of_known_cells(bundle, config, names):
    data = data_of(config)
    known = dict(zip(data.vocabulary.names, data.train.known.sum(axis=0).tolist(), strict=True))
    assert all(known[name] < 62 for name in names[:8])  # the first source's alone
    assert all(known[name] > 100 for name in names[8:12])
    assert sum(count == 0 for count in known.values()) == 61  # pizza, and those that no source lists
    assert list(read_metadata(bundle).positives) == (data.train.targets & data.train.known).sum(axis=0).tolist()
    assert len(data.train) + len(data.tune) == len(data.splits.joined.table) == 120


def test_tune_images_are_of_every_source_and_have_the_rare_classes(config):
    data = data_of(config, tune_fraction=0.2)
    firsts = [name.startswith("first/") for name in data.tune.file_names.tolist()]
    assert 10 <= sum(firsts) <= 14
    assert 10 <= len(firsts) - sum(firsts) <= 14
    positives = data.splits.joined.table.positives
    assert data.tune.positives[positives >= 3].all()
    assert data.train.positives[positives >= 2].all()


def test_the_run_says_what_it_learned_from(run, bundle, config, names, sample_dir):
    records = json.loads((run / "sources.json").read_text())
    assert [record["split"] for record in records] == ["train", "train"]
    assert records[1]["classes"][names[10]] == ["fruit"]
    drawn = set(names)
    assert [name for name in records[0]["unknown"] if name in drawn] == names[12:]
    assert [name for name in records[1]["unknown"] if name in drawn] == [*names[:8], "pizza"]  # listed, but on no image
    metadata = read_metadata(bundle)
    assert metadata.tuned_on["split"] == "0.1 of first/train + second/train"
    assert [source["sha256"] for source in metadata.tuned_on["sources"]] == [record["sha256"] for record in records]
    assert str(Path(config.data.sources[0].root).parent) not in bundle.read_bytes().decode("latin1")
    assert TrainConfig.from_json(metadata.config).data.sources[1] == SourceConfig("second", "train", "aliases.yaml")


def test_each_source_line_is_on_stderr(config, tmp_path, capsys):
    data = replace(config.data, classes="own")
    train(replace(config, data=data, stages=[StageConfig(1, "head", 1e-2)]), tmp_path / "run")
    err = capsys.readouterr().err
    (line,) = [line for line in err.splitlines() if line.startswith("source first/train")]
    assert "60 images" in line and "12" in line
    (line,) = [line for line in err.splitlines() if line.startswith("source second/train")]
    assert "60 images" in line and "4" in line and line.count("8 classes") == 2


def test_every_source_is_flagged_and_other_images_are_not(bundle, config):
    tagger = Tagger.load(bundle)
    for source in config.data.sources:
        evaluation, _ = evaluate_bundle(tagger, load_split(source.root, "train"), split="train", progress=False)
        assert evaluation.optimistic
        other, _ = evaluate_bundle(tagger, load_split(source.root, "val"), split="val", progress=False)
        assert not other.optimistic
    tuned, _ = evaluate_bundle(tagger, data_of(config).tune, split="tune", progress=False)
    assert tuned.optimistic


def test_the_report_measures_what_the_source_of_the_split_knows(bundle, config, names):
    """The val split is the first source's, which looked for classes 0 to 11 alone; the bundle has 80."""
    val = val_table(config, data_of(config).splits)
    evaluation, _ = evaluate_bundle(Tagger.load(bundle), val, split="val", progress=False)
    frame = evaluation.per_class
    measured = frame[["tp", "fp", "fn", "tn"]].sum(axis=1) > 0
    assert frame["name"][measured].tolist() == names[:12]
    assert frame["status"][~measured].eq("no_positives_or_predictions").all()
    assert not evaluation.optimistic


def test_a_resumed_run_goes_on_from_another_folder(run, config, tmp_path, monkeypatch):
    """Its first epoch is learned where its relative paths lead to the data, its second one elsewhere."""
    monkeypatch.chdir(Path(config.data.sources[0].root).parent)
    sources = [SourceConfig("first"), SourceConfig("second", aliases="aliases.yaml")]
    with monkeypatch.context() as patch:
        patch.setattr(
            StopOnInterrupt, "on_train_epoch_end", lambda self, trainer, module: setattr(trainer, "should_stop", True)
        )
        train(replace(config, data=replace(config.data, sources=sources)), tmp_path / "run")
    assert len(metrics(tmp_path / "run")) == 1
    monkeypatch.chdir(tmp_path)
    train(None, tmp_path / "run")
    assert metrics(tmp_path / "run") == metrics(run)
    written = TrainConfig.from_json(yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()))
    assert written.data.root == written.data.sources[0].root
    assert all(source.root.startswith("/") for source in written.data.sources)
    assert written.data.sources[1].aliases.startswith("/")


def test_a_tune_split_of_its_own_is_in_the_learned_classes(config, names):
    data = data_of(config, root=config.data.sources[1].root, tune_split="val", val_split=None)
    assert data.tune.vocabulary == data.train.vocabulary
    known = np.array(data.vocabulary.names)[data.tune.known.all(axis=0)]
    assert known.tolist() == [name for name in names[8:] if name != "pizza"]
    assert data.tune.targets[:, data.vocabulary.names.index(names[10])].any()  # by its alias


def test_a_folder_that_is_no_source_knows_what_it_lists(config, sample_dir):
    data = data_of(config, root=str(sample_dir))
    val, plain = data.splits.of_root("val"), load_split(sample_dir, "val")
    assert len(val.vocabulary) == 80
    assert val.known.sum(axis=1).tolist() == [20] * len(plain)
    assert val.targets.sum() == plain.targets.sum()
    assert val.names_sha256() == plain.names_sha256()


@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_a_fraction_is_a_sample_with_every_class(config, fraction):
    data, whole = data_of(config, fraction=fraction), data_of(config)
    assert len(data.train) + len(data.tune) == pytest.approx(120 * fraction, abs=10)
    assert ((data.train.positives + data.tune.positives > 0) == (whole.splits.joined.table.positives > 0)).all()
    assert data.splits.tuned_on()["train_split_sha256"] == whole.splits.tuned_on()["train_split_sha256"]
    assert set(data.train.file_names) | set(data.tune.file_names) < set(whole.splits.joined.table.file_names)


def test_the_whole_fraction_changes_nothing(sample_dir):
    alone = DataConfig(root=str(sample_dir), workers=0)
    made = [
        TaggingData(Splits(data, seed=3), image_size=64, batch_size=8, seed=3) for data in (alone, replace(alone, fraction=1.0))
    ]
    assert made[0].splits.tuned_on() == made[1].splits.tuned_on()
    assert made[0].splits.joined is None
    part = TaggingData(Splits(replace(alone, fraction=0.5), seed=3), image_size=64, batch_size=8, seed=3)
    assert len(part.train) + len(part.tune) == pytest.approx(60, abs=6)


def test_fewer_classes_of_one_data_set(sample_dir):
    names = load_split(sample_dir, "train").vocabulary.names
    data = TaggingData(
        Splits(DataConfig(root=str(sample_dir), classes=names[3:5][::-1]), seed=0), image_size=64, batch_size=8, seed=0
    )
    assert data.vocabulary.names == names[3:5][::-1]
    assert data.splits.of_root("val").vocabulary == data.vocabulary
    assert data.splits.tuned_on()["split"] == "0.1 of train"
    assert "sources" not in data.splits.tuned_on()


def test_missing_files_are_looked_for_in_every_source(config, sample_dir, tmp_path):
    second = part_of(sample_dir, tmp_path / "second", slice(60, None), slice(None))
    (tmp_path / "second" / "train").unlink()
    (tmp_path / "second" / "train").mkdir()
    with pytest.raises(DataError) as caught:
        data_of(config, sources=[config.data.sources[0], SourceConfig(second)])
    assert f"cocotag check {second} --split train" in str(caught.value)


def test_a_link_out_of_the_data_set_is_refused_and_a_linked_folder_is_not(config, sample_dir, tmp_path):
    second = part_of(sample_dir, tmp_path / "second", slice(60, None), slice(None))
    sources = [config.data.sources[0], SourceConfig(second)]
    assert len(data_of(config, sources=sources).train) > 80  # both folders of images are links
    (tmp_path / "second" / "train").unlink()
    (tmp_path / "second" / "train").mkdir()
    (tmp_path / "second" / "kept").mkdir()
    paths = load_split(second, "train").paths()
    for path in paths:  # links within the data set lead nowhere else
        (tmp_path / "second" / "kept" / path.name).write_bytes((sample_dir / "train" / path.name).read_bytes())
        path.symlink_to(tmp_path / "second" / "kept" / path.name)
    data_of(config, sources=sources)
    document = json.loads((tmp_path / "second" / "annotations" / "instances_train.json").read_text())
    shutil.copytree(tmp_path / "second" / "annotations", tmp_path / "third" / "annotations")
    (tmp_path / "third" / "train").mkdir()
    (tmp_path / "third" / "train" / "sub").symlink_to(sample_dir / "train")
    for image in document["images"]:
        image["file_name"] = f"sub/{image['file_name']}"
    (tmp_path / "third" / "annotations" / "instances_train.json").write_text(json.dumps(document))
    with pytest.raises(DataError) as caught:
        data_of(config, sources=[config.data.sources[0], SourceConfig(str(tmp_path / "third"))])
    assert f"{tmp_path / 'third' / 'train' / 'sub'}" in str(caught.value) and f" -> {sample_dir}" in str(caught.value)
    paths[5].unlink()
    paths[5].symlink_to(sample_dir / "train" / paths[5].name)
    with pytest.raises(DataError) as caught:
        data_of(config, sources=sources)
    assert f"{paths[5]} -> {sample_dir}" in str(caught.value)
