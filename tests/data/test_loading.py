from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cocotag.config import DataConfig
from cocotag.data.annotations import load_split
from cocotag.data.datamodule import TaggingData
from cocotag.data.dataset import EpochSampler, TaggedImages
from cocotag.data.transforms import Augmentation
from cocotag.errors import DataError
from cocotag.images import load_square


def make(sample_dir, **changes):
    return TaggingData(DataConfig(root=str(sample_dir), **{"workers": 0, **changes}), image_size=64, batch_size=8, seed=3)


def test_batches_are_uint8_and_fit_the_table(sample_dir):
    data = make(sample_dir)
    images, targets, known = next(iter(data.val_dataloader()))
    assert (images.dtype, tuple(images.shape)) == (torch.uint8, (8, 64, 64, 3))
    assert targets.dtype == known.dtype == torch.bool
    np.testing.assert_array_equal(targets.numpy(), data.tune.targets[:8])
    np.testing.assert_array_equal(images[2].numpy(), load_square(data.tune.path(2), 64))


def test_train_and_tune_share_no_image_and_leave_none_out(sample_dir):
    data = make(sample_dir)
    train, tune = set(data.train.file_names.tolist()), set(data.tune.file_names.tolist())
    assert not train & tune
    assert train | tune == set(load_split(sample_dir, "train").file_names.tolist())
    assert len(tune) == pytest.approx(12, abs=3)


def test_a_tune_split_of_its_own_leaves_train_whole(sample_dir):
    data = make(sample_dir, tune_split="val", val_split=None)
    assert (len(data.train), len(data.tune)) == (120, 40)
    assert data.tuned_on()["split"] == "val"


def epoch_of(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return torch.cat([images for images, _, _ in loader])


def test_an_epoch_is_the_same_for_any_number_of_workers_and_after_a_resume(sample_dir):
    alone, pair = make(sample_dir).train_dataloader(), make(sample_dir, workers=2).train_dataloader()
    first = epoch_of(alone, 0)
    torch.testing.assert_close(epoch_of(pair, 0), first)
    second = epoch_of(alone, 1)
    assert not torch.equal(first, second)
    torch.testing.assert_close(epoch_of(make(sample_dir).train_dataloader(), 1), second)


def test_workers_start_after_opencv_used_its_threads_in_the_parent(sample_dir):
    cv2.setNumThreads(4)
    cv2.resize(np.zeros((4000, 4000, 3), np.uint8), (900, 900), interpolation=cv2.INTER_AREA)
    loader = make(sample_dir, workers=2).val_dataloader()
    loader.timeout = 60  # without the care taken they would wait for ever
    assert len(next(iter(loader))[0]) == 8


def test_every_epoch_has_every_row_once():
    sampler = EpochSampler(50, seed=1)
    orders = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert sorted(key - 50 * epoch for key in keys) == list(range(50))
        orders.append([key % 50 for key in keys])
    assert orders[0] != orders[1]


@pytest.mark.parametrize("kind", ["standard", "plain"])
def test_augmentation_depends_on_the_seed_alone(kind):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    augmentation = Augmentation(kind, size=64)
    made = augmentation(image, 1)
    assert (made.shape, made.dtype) == ((64, 64, 3), np.uint8)
    np.testing.assert_array_equal(augmentation(image, 1), made)
    assert any((augmentation(image, seed) != made).any() for seed in range(2, 6))
    np.testing.assert_array_equal(Augmentation(kind, size=64)(image, 1), made)


def test_standard_takes_any_shape_and_none_takes_nothing_away():
    image = np.random.default_rng(0).integers(0, 256, (90, 200, 3), dtype=np.uint8)
    assert Augmentation("standard", size=48)(image, 0).shape == (48, 48, 3)
    assert Augmentation("none", size=48)(image, 0) is image


def test_an_unreadable_image_stops_training_by_name_and_is_never_replaced(sample_dir, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"")
    table = replace(load_split(sample_dir, "val").take([0]), image_dir=tmp_path, file_names=np.array(["bad.jpg"]))
    with pytest.raises(DataError, match=r"bad\.jpg.*cocotag check"):
        TaggedImages(table, image_size=32)[0]


def copied(sample_dir, tmp_path):
    import shutil

    shutil.copytree(sample_dir, tmp_path / "copy")
    return tmp_path / "copy"


def test_missing_files_are_counted_before_the_first_epoch(sample_dir, tmp_path):
    root = copied(sample_dir, tmp_path)
    victims = sorted((root / "train").iterdir())[:3]
    for path in victims:
        path.unlink()
    with pytest.raises(DataError, match=r"name [23] files that are not in") as error:  # one may be a tune image
        make(root)
    assert any(path.name in str(error.value) for path in victims)


def test_what_cannot_be_learned_from_is_said(sample_dir):
    with pytest.raises(DataError, match="fewer than batch_size 500"):
        TaggingData(DataConfig(root=str(sample_dir)), image_size=64, batch_size=500, seed=0)
    with pytest.raises(DataError, match="no split 'other'"):
        make(sample_dir, train_split="other")
