"""The parts of training that stand on their own: moving average, loss weights, order of images, kept features."""

import csv
import errno
import fcntl
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from cocotag.config import DataConfig, LossConfig, ModelConfig, StageConfig, TrainConfig
from cocotag.data.frequency import repeat_factors
from cocotag.data.loading.dataset import EpochSampler, InOrder, Share
from cocotag.errors import CocotagError, DataError, OutputError
from cocotag.export.checkpoint import load_checkpoint
from cocotag.training.checkpoints import held
from cocotag.training.fit import Run, fit
from cocotag.training.loop import features as kept
from cocotag.training.loop.ema import ramped
from cocotag.training.loop.loss import Loss
from cocotag.training.preflight import make_data


def small(root, **changes):
    config = TrainConfig(
        data=DataConfig(root=str(root), workers=0),
        model=ModelConfig(image_size=64, width=0.25),
        stages=[StageConfig(3, "all", 1e-2)],
        batch_size=20,
        precision="float32",
    )
    return replace(config, **changes)


@pytest.fixture
def without_bundle(monkeypatch):
    monkeypatch.setattr("cocotag.training.fit._finish", lambda config, data, directory: Run(directory, None, None, []))


def rows(directory):
    with (directory / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


# The loss


def test_logit_adjustment_is_a_shift_of_the_logits_by_the_log_odds():
    positives, known = np.array([9, 49]), np.array([98, 98])
    logits, targets = torch.randn(8, 2), torch.rand(8, 2).round()
    mask = torch.ones(8, 2, dtype=torch.bool)
    odds = torch.tensor([10 / 90, 1.0]).log()
    adjusted = Loss(LossConfig(logit_adjustment=0.5), positives, known)(logits, targets, mask)
    plain = Loss(LossConfig(), positives, known)(logits + 0.5 * odds, targets, mask)
    torch.testing.assert_close(adjusted, plain)


# Order of images


def test_without_factors_every_row_comes_once_an_epoch_and_the_draw_is_the_epoch():
    sampler = EpochSampler(10, seed=3)
    sampler.set_epoch(4)
    items = np.array(list(sampler))
    assert sorted(items % 10) == list(range(10))
    assert set(items // 10) == {4}


@pytest.mark.parametrize("seed", range(5))
def test_with_factors_a_row_comes_its_factor_rounded_down_or_up_and_never_as_the_same_draw(seed):
    factors = np.random.default_rng(seed).uniform(1, 4, 50)
    sampler = EpochSampler(50, seed, factors=factors)
    drawn, times = set(), np.zeros(50)
    for epoch in range(40):
        sampler.set_epoch(epoch)
        items = np.array(list(sampler))
        assert len(items) == len(sampler) == round(factors.sum())
        counts = np.bincount(items % 50, minlength=50)
        scaled = factors * len(sampler) / factors.sum()
        assert ((counts >= np.floor(scaled)) & (counts <= np.ceil(scaled))).all()
        assert drawn.isdisjoint(items.tolist())
        assert len(set(items.tolist())) == len(items)
        drawn |= set(items.tolist())
        times += counts
    assert times / 40 == pytest.approx(factors, abs=0.35)


def test_repeat_factors_are_those_of_the_rarest_class_of_an_image():
    targets = np.zeros((100, 3), bool)
    targets[:50, 0], targets[:4, 1], targets[0, 2] = True, True, True
    known = np.ones_like(targets)
    factors = repeat_factors(targets, known, below=0.16)
    assert factors[0] == pytest.approx(4)  # sqrt(0.16 / 0.01)
    assert factors[1] == pytest.approx(2)
    assert (factors[4:] == 1).all()  # classes that are common enough, and no class at all
    known[50:, 1] = False  # then 4 of 50
    assert repeat_factors(targets, known, below=0.16)[1] == pytest.approx(2**0.5)


def test_the_shares_of_several_processes_are_together_the_batches_of_one():
    whole = EpochSampler(50, seed=1)
    parts = [EpochSampler(50, seed=1, share=Share(rank, 2, 8)) for rank in range(2)]
    for sampler in (whole, *parts):
        sampler.set_epoch(2)
    batches = np.array(list(whole))[:48].reshape(6, 8)
    mine = [np.array(list(part)).reshape(6, 4) for part in parts]
    assert [len(part) for part in parts] == [24, 24]
    assert np.array_equal(np.hstack(mine), batches)


def test_every_image_is_scored_by_exactly_one_process():
    parts = [list(InOrder(11, Share(rank, 3, 3))) for rank in range(3)]
    assert sorted(item for part in parts for item in part) == list(range(11))
    assert [len(InOrder(11, Share(rank, 3, 3))) for rank in range(3)] == [4, 4, 3]


def test_views_come_in_turns(sample_dir):
    config = small(sample_dir, data=DataConfig(root=str(sample_dir), workers=0, augment_views=3))
    images = make_data(config).train_images()
    count = len(images)
    assert np.array_equal(images[5][0], images[5 + 3 * count][0])
    assert not np.array_equal(images[5][0], images[5 + count][0])
    assert images[5 + 3 * count][3] == 5 + 3 * count


# Moving average


def test_the_decay_ramps_up_to_what_was_asked():
    assert [ramped(0.9997, steps) for steps in (0, 8, 90)] == pytest.approx([0.1, 0.5, 0.91])
    assert ramped(0.9, 10_000) == 0.9


def test_the_best_checkpoint_holds_the_weights_that_were_scored(sample_dir, tmp_path, without_bundle):
    """Its weights, put in a new network, give the tune loss of that epoch again; the weights of the last step do not."""
    config = small(sample_dir, ema_decay=0.9, best_by="loss")
    run = fit(config, tmp_path / "run").directory
    best = min(rows(run), key=lambda row: row["tune_loss"])
    state = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert state["epoch"] + 1 == best["epoch"]
    data = make_data(config)
    loss = Loss(config.loss, data.train.positives, data.train.known.sum(axis=0))

    def scored(weights):
        network, _ = load_checkpoint(run / "checkpoints" / "best.ckpt")
        prefix = "network."
        network.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
        network.eval()
        with torch.no_grad():
            total = sum(loss(network(b[0]), b[1], b[2]).item() * len(b[0]) for b in data.val_dataloader())
        return total / len(data.tune)

    assert scored(state["state_dict"]) == pytest.approx(best["tune_loss"], rel=1e-4)
    assert scored(state["current_model_state"]) != pytest.approx(best["tune_loss"], rel=1e-3)


# Kept features


@pytest.mark.parametrize("head", ["linear", "csra"])
def test_a_run_with_kept_features_is_the_run_without(sample_dir, tmp_path, monkeypatch, without_bundle, head):
    data = DataConfig(root=str(sample_dir), workers=0, augment_views=2)
    stages = [StageConfig(5, "head", 1e-2), StageConfig(1, "last:2", 1e-3)]
    config = small(sample_dir, data=data, stages=stages, model=ModelConfig(image_size=64, width=0.25, head=head))
    loaded = []
    monkeypatch.setattr("cocotag.data.loading.dataset.TaggedImages._read", counting(loaded))
    quick = fit(config, tmp_path / "quick").directory
    with_features = len(loaded)
    loaded.clear()
    monkeypatch.setattr("cocotag.training.fit.kept_epochs", lambda *_: 0)
    slow = fit(config, tmp_path / "slow").directory
    assert with_features < len(loaded) * 0.65
    for mine, other in zip(rows(quick), rows(slow), strict=True):
        for name in ("train_loss", "tune_loss"):
            assert mine[name] == pytest.approx(other[name], abs=1e-4)
        # It goes in steps: scores that differ in the last digit may change places.
        assert mine["tune_map"] == pytest.approx(other["tune_map"], abs=2e-3)


def counting(loaded):
    from cocotag.data.loading.dataset import TaggedImages

    read = TaggedImages._read

    def counted(self, row, **options):
        loaded.append(row)
        return read(self, row, **options)

    return counted


def test_features_are_kept_only_where_that_is_sound(sample_dir, monkeypatch):
    from cocotag.training.loop.schedule import Schedule
    from cocotag.training.preflight import make_network

    base = small(
        sample_dir,
        data=DataConfig(root=str(sample_dir), workers=0, augment_views=2),
        stages=[StageConfig(5, "head"), StageConfig(5, "head"), StageConfig(5, "last:2"), StageConfig(5, "head")],
    )
    network = make_network(base, make_data(base))

    def epochs(config, processes=1):
        return kept.kept_epochs(config, Schedule(config.stages, 20, 5), network, 100, processes)

    assert epochs(base) == 10  # the last stage's backbone has learned meanwhile
    assert epochs(replace(base, data=replace(base.data, augment_views=None))) == 0
    assert epochs(replace(base, data=replace(base.data, augment="none", augment_views=None))) == 10
    assert epochs(replace(base, data=replace(base.data, augment_views=10))) == 0  # as many views as epochs: nothing is saved
    assert epochs(replace(base, stages=base.stages[2:])) == 0
    assert epochs(replace(base, stages=[StageConfig(5, "head", keep_norms=False)])) == 0
    assert epochs(base, processes=2) == 0
    monkeypatch.setattr(kept, "_memory", lambda: 1000)
    assert epochs(base) == 0


@pytest.mark.parametrize(("views", "most"), [(10, 4.0), (3, 2.5), (4, 3.0)])
def test_repeated_rows_go_through_all_views(views, most):
    factors = np.ones(20)
    factors[0] = most
    sampler = EpochSampler(20, 0, factors=factors, views=views)
    seen = {row: set() for row in range(20)}
    for epoch in range(2 * views):
        sampler.set_epoch(epoch)
        for item in sampler:
            seen[item % 20].add(item // 20 % views)
    assert all(len(found) == views for found in seen.values())


# Refusals


def test_a_loss_that_is_no_number_names_the_images_of_its_batch(sample_dir, tmp_path, without_bundle, monkeypatch):
    from cocotag.training.loop.module import TaggerModule

    step = TaggerModule.training_step

    def broken(self, batch, index):
        if self.current_epoch == 1 and index == 2:
            broken.rows = (batch[3] % len(self.trainer.datamodule.train)).tolist()
            with torch.no_grad():
                self.network.head.linear.bias.fill_(float("nan"))
        return step(self, batch, index)

    monkeypatch.setattr(TaggerModule, "training_step", broken)
    config = small(sample_dir)
    with pytest.raises(CocotagError) as caught:
        fit(config, tmp_path / "run")
    assert caught.value.code == "loss_not_finite"
    assert all(fact in str(caught.value) for fact in ("nan", "epoch 2", "batch 3", f"--resume {tmp_path / 'run'}"))
    names = make_data(config).train.file_names
    named = str(caught.value).split("The batch: ")[1].split(", ")
    assert named == [str(names[row]) for row in sorted(broken.rows)]


def test_everything_that_is_wrong_with_the_data_is_said_at_once(sample_dir, tmp_path):
    import json

    root = tmp_path / "data"
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        document = json.loads((sample_dir / "annotations" / f"instances_{split}.json").read_text())
        document["images"] = document["images"][:6]
        kept_ids = {image["id"] for image in document["images"]}
        wanted = [one for one in document["annotations"] if one["image_id"] in kept_ids and split == "train"]
        document["annotations"] = wanted
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))
        (root / split).mkdir()
        for image in document["images"][1 if split == "train" else 0 :]:
            (root / split / image["file_name"]).write_bytes((sample_dir / split / image["file_name"]).read_bytes())
    with pytest.raises(DataError) as caught:
        fit(small(root), tmp_path / "run")
    assert caught.value.code == "data_faults"
    message = str(caught.value)
    assert "batch_size 20" in message
    assert "'val'" in message
    assert "cocotag check" in message  # for the missing file
    assert not (tmp_path / "run").exists()


def test_two_runs_never_share_a_directory(sample_dir, tmp_path):
    with held(tmp_path), pytest.raises(OutputError) as caught, held(tmp_path):
        pass
    assert caught.value.code == "run_in_use"
    assert str(tmp_path) in str(caught.value)
    with held(tmp_path):  # let go of
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EACCES, errno.EOPNOTSUPP])
def test_a_run_directory_without_locks_is_not_called_in_use(tmp_path, monkeypatch, number):
    def failing(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", failing)
    with pytest.raises(OutputError) as caught, held(tmp_path):
        pass
    assert caught.value.code == "no_locks"
    assert str(tmp_path) in str(caught.value)
