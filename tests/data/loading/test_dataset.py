import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cocotag.config import DataConfig
from cocotag.data.annotations import load_split
from cocotag.data.loading.datamodule import TaggingData
from cocotag.data.loading.dataset import EpochSampler, TaggedImages
from cocotag.data.loading.transforms import MAX_ENLARGED, Augmentation, recolour, resized_crop
from cocotag.data.splits import Splits
from cocotag.errors import DataError
from cocotag.photos.decode import decode, load_square


def make(sample_dir, **changes):
    splits = Splits(DataConfig(root=str(sample_dir), **{"workers": 0, **changes}), seed=3)
    return TaggingData(splits, image_size=64, batch_size=8, seed=3)


def test_batches_are_uint8_and_fit_the_table(sample_dir):
    data = make(sample_dir)
    images, targets, known, items = next(iter(data.val_dataloader()))
    assert items.tolist() == list(range(8))
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
    assert data.splits.tuned_on()["split"] == "val"


def epoch_of(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return torch.cat([batch[0] for batch in loader])


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
    before = image.copy()
    augmentation = Augmentation(kind, size=64)
    made = augmentation(image, 1)
    assert (made.shape, made.dtype) == ((64, 64, 3), np.uint8)
    np.testing.assert_array_equal(augmentation(image, 1), made)
    assert any((augmentation(image, seed) != made).any() for seed in range(2, 6))
    np.testing.assert_array_equal(Augmentation(kind, size=64)(image, 1), made)
    np.testing.assert_array_equal(image, before)


def crops(augmentation, width, height, seeds):
    """Area and proportions of the crops, each over the image's or as width over height."""
    for seed in seeds:
        x1, y1, x2, y2 = augmentation.draw(seed, width, height).crop
        yield (x2 - x1) * (y2 - y1) / (width * height), (x2 - x1) / (y2 - y1)


def test_crops_have_the_area_and_proportions_that_are_asked_for():
    areas, ratios = np.array(list(crops(Augmentation("standard", size=64, min_crop=0.3), 640, 480, range(500)))).T
    assert 0.295 < areas.min() < 0.33
    assert areas.max() > 0.95
    assert 0.74 < ratios.min() < 0.8
    assert 1.28 < ratios.max() < 1.35


def test_flip_and_colour_are_drawn_apart_from_the_crop():
    seeds = range(400)
    augmentation = Augmentation("standard", size=32)
    ramp = np.repeat(np.linspace(40, 200, 400, dtype=np.uint8)[None, :, None], 300, axis=0).repeat(3, axis=2)
    areas = np.array([area for area, _ in crops(augmentation, 400, 300, seeds)])
    made = np.stack([augmentation(ramp, seed) for seed in seeds]).astype(float)
    flipped = made[:, :, 0].mean(axis=(1, 2)) > made[:, :, -1].mean(axis=(1, 2))
    brightness = made.mean(axis=(1, 2, 3))
    assert 0.4 < flipped.mean() < 0.6
    for other in (flipped, brightness):
        assert abs(np.corrcoef(areas, other)[0, 1]) < 0.15
    assert abs(np.corrcoef(flipped, brightness)[0, 1]) < 0.15


def test_the_crop_is_known_before_decoding(coco_mini):
    """An image that was decoded for its crop gives the same picture as the whole one, or nearly."""
    augmentation = Augmentation("standard", size=96)
    differences, halved = [], 0
    for number, path in enumerate(sorted((coco_mini / "val").iterdir())[:6]):
        whole = decode(path)
        height, width = whole.shape[:2]
        for seed in range(5 * number, 5 * number + 5):
            drawn = augmentation.draw(seed, width, height)
            side = augmentation.min_side(drawn)
            small = decode(path, min_side=side, headroom=1)
            halved += small.shape != whole.shape
            assert min(small.shape[:2]) >= side
            differences.append(np.abs(augmentation(small, seed, drawn).astype(int) - augmentation(whole, seed)).mean())
            np.testing.assert_array_equal(augmentation(whole, seed, drawn), augmentation(whole, seed))
    assert halved == 30
    assert np.median(differences) < 6
    assert max(differences) < 15


def test_what_was_drawn_for_another_shape_is_drawn_anew():
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    augmentation = Augmentation("standard", size=48)
    for seed in range(20):
        made = augmentation(image, seed, augmentation.draw(seed, 480, 640))  # the file lies, or was turned
        np.testing.assert_array_equal(made, augmentation(image, seed))
    assert augmentation.draw(0, 0, 0) is None
    assert augmentation(image[:1, :1], 0, augmentation.draw(0, 1, 1)).shape == (48, 48, 3)
    assert augmentation(image[:2, :1], 0, augmentation.draw(0, 900, 1801)).shape == (48, 48, 3)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (500, 500), (3000, 200), (0, 0)])
def test_a_decode_for_the_crop_enlarges_it_little(width, height):
    augmentation = Augmentation("standard", size=224, min_crop=0.5)
    short, long = sorted((width or 640, height or 480))
    for seed in range(50):
        (area, _) = next(crops(augmentation, width or 640, height or 480, [seed]))
        scale = augmentation.min_side(augmentation.draw(seed, width, height)) / short
        assert 224 / (scale * np.sqrt(area * short * long)) < MAX_ENLARGED * 1.01


def test_shrinking_averages_and_keeps_what_is_flat():
    flat = np.full((200, 200, 3), (10, 120, 250), np.uint8)
    for box in ((0, 0, 200, 200), (10, 20, 65, 70), (0, 0, 20, 190)):
        np.testing.assert_array_equal(resized_crop(flat, box, 40), flat[:40, :40])
    stripes = np.zeros((200, 200, 3), np.uint8)
    stripes[:, ::2] = 255
    for box in ((0, 0, 200, 200), (0, 0, 190, 30)):
        made = resized_crop(stripes, box, 40)
        assert np.abs(made.astype(int) - 128).max() < 30
        assert made.flags.c_contiguous
    np.testing.assert_array_equal(resized_crop(stripes, (7, 9, 47, 49), 40), stripes[9:49, 7:47])


def jitter(image, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0):
    image = image.copy()
    recolour(image, brightness, contrast, saturation, hue)
    return image


def test_colours_change_as_the_four_words_say():
    image = np.random.default_rng(0).integers(60, 180, (40, 50, 3), dtype=np.uint8)
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_array_equal(jitter(image), image)
    np.testing.assert_allclose(jitter(image, brightness=1.25), image * 1.25, atol=0.51)
    mean = (image @ luma).mean()
    np.testing.assert_allclose(jitter(image, contrast=0.6), mean + 0.6 * (image - mean), atol=0.6)
    grey = (image @ luma)[:, :, None]
    np.testing.assert_allclose(jitter(image, saturation=0), np.repeat(grey, 3, axis=2), atol=0.6)
    np.testing.assert_allclose(jitter(image, saturation=1.3), grey + 1.3 * (image - grey), atol=0.6)
    turned = jitter(image, hue=0.03)
    np.testing.assert_allclose(turned @ luma, image @ luma, atol=0.6)
    assert 2 < np.abs(turned.astype(int) - image).mean() < 20
    np.testing.assert_allclose(jitter(turned, hue=-0.03), image, atol=1.6)
    plain = np.full((9, 9, 3), 77, np.uint8)
    np.testing.assert_array_equal(jitter(plain, contrast=1.3, saturation=0.7, hue=0.03), plain)
    assert jitter(image, brightness=3).max() == 255


def test_hue_turns_the_way_that_hsv_does():
    red = np.full((4, 4, 3), (200, 60, 60), np.uint8)
    hue = cv2.cvtColor(jitter(red, hue=0.03), cv2.COLOR_RGB2HSV)[0, 0, 0]
    assert 3 <= hue <= 9  # OpenCV counts to 180, so 0.03 of a circle is 5.4; the two circles are not spaced alike


def test_standard_takes_any_shape_and_none_takes_nothing_away():
    image = np.random.default_rng(0).integers(0, 256, (90, 200, 3), dtype=np.uint8)
    assert Augmentation("standard", size=48)(image, 0).shape == (48, 48, 3)
    assert Augmentation("none", size=48)(image, 0) is image


def test_an_unreadable_image_stops_training_by_name_and_is_never_replaced(sample_dir, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"")
    table = replace(load_split(sample_dir, "val").take([0]), image_dir=tmp_path, file_names=np.array(["bad.jpg"]))
    with pytest.raises(DataError) as caught:
        TaggedImages(table, image_size=32)[0]
    assert caught.value.code == "image_unreadable"
    assert "bad.jpg" in str(caught.value) and "cocotag check" in str(caught.value)


def copied(sample_dir, tmp_path):
    import shutil

    shutil.copytree(sample_dir, tmp_path / "copy")
    return tmp_path / "copy"


def test_missing_files_are_counted_before_the_first_epoch(sample_dir, tmp_path):
    root = copied(sample_dir, tmp_path)
    victims = sorted((root / "train").iterdir())[:3]
    for path in victims:
        path.unlink()
    found = " ".join(make(root).splits.faults(8))
    assert re.search(r"\b[23] files", found)  # one may be a tune image
    assert any(path.name in found for path in victims)


def test_what_cannot_be_learned_from_is_said(sample_dir):
    [fault] = Splits(DataConfig(root=str(sample_dir)), seed=0).faults(batch_size=500)
    assert "batch_size 500" in fault
    assert make(sample_dir).splits.faults(8) == []
    with pytest.raises(DataError) as caught:
        make(sample_dir, train_split="other")
    assert caught.value.code == "split_missing"
    assert "'other'" in str(caught.value)


def test_stopping_at_the_crops_last_row_changes_nothing(coco_mini, monkeypatch):
    from cocotag.data.loading.transforms import Drawn

    table = load_split(coco_mini, "train").take(np.arange(12))
    images = TaggedImages(table, image_size=224, augmentation=Augmentation("standard", size=224))
    early = [images[index][0] for index in range(48)]
    monkeypatch.setattr(Drawn, "rows", lambda self, width, height: height)
    whole = [images[index][0] for index in range(48)]
    assert all(np.array_equal(one, two) for one, two in zip(early, whole, strict=True))
