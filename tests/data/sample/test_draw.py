"""The drawn sample data set: the same from the same seed, in COCO's layout, with its long tail, and whole or absent."""

import json

import numpy as np
import pytest

from cocotag.data.annotations import load_split
from cocotag.data.sample import draw as sample
from cocotag.data.sample.canvas import Canvas
from cocotag.data.sample.draw import MAX_OBJECTS, draw_sample, plan_scenes
from cocotag.data.sample.scenes import SUBJECTS, Scene, draw_scene
from cocotag.errors import ConfigError, OutputError
from cocotag.labels import COCO80
from cocotag.photos.decode import decode


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def positives(scenes):
    """Images on which each subject is planned, in the order of SUBJECTS."""
    return np.array([sum(subject in scene.subjects for scene in scenes) for subject in SUBJECTS])


def plan(images, seed=0):
    return plan_scenes(images, np.random.default_rng(seed))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        draw_sample(tmp_path / name, train=4, val=2, size=48, seed=seed, progress=False)
    first, again, other = (contents(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_layout_counts_and_sizes(sample_dir):
    for split, images in (("train", 120), ("val", 40)):
        table = load_split(sample_dir, split)
        assert len(table) == images
        assert {path.name for path in (sample_dir / split).iterdir()} == set(table.file_names.tolist())
        assert (table.sizes == 96).all()
        assert decode(table.path(0)).shape == (96, 96, 3)
    assert not set(load_split(sample_dir, "train").image_ids) & set(load_split(sample_dir, "val").image_ids)


def test_categories_are_cocos_own(sample_dir):
    coco = {category.id: category for category in COCO80}
    table = load_split(sample_dir, "train")
    assert all(coco[category.id] == category for category in table.vocabulary)
    assert set(table.vocabulary.names) == {subject.name for subject in SUBJECTS}
    assert table.vocabulary.ids == sorted(table.vocabulary.ids)
    assert len(SUBJECTS) >= 16


def test_boxes_are_inside_the_image_and_areas_inside_the_boxes(sample_dir):
    document = json.loads((sample_dir / "annotations" / "instances_train.json").read_text())
    for annotation in document["annotations"]:
        x, y, width, height = annotation["bbox"]
        assert x >= 0 and y >= 0 and width > 0 and height > 0
        assert x + width <= 96 and y + height <= 96
        assert 0 < annotation["area"] <= width * height
    ids = [annotation["id"] for annotation in document["annotations"]]
    assert len(set(ids)) == len(ids)


def test_the_box_and_area_written_are_those_of_the_mask(tmp_path, monkeypatch):
    masks = []

    def record(*args):
        picture, objects = draw_scene(*args)
        masks.extend(mask for _, mask in objects)
        return picture, objects

    monkeypatch.setattr(sample, "draw_scene", record)
    draw_sample(tmp_path / "data", train=12, val=1, size=64, progress=False)
    document = json.loads((tmp_path / "data" / "annotations" / "instances_train.json").read_text())
    assert document["annotations"]
    for annotation, mask in zip(document["annotations"], masks, strict=False):
        rows, columns = np.nonzero(mask)
        left, top = columns.min(), rows.min()
        assert annotation["bbox"] == [left, top, columns.max() - left + 1, rows.max() - top + 1]
        assert annotation["area"] == mask.sum()


def test_a_mask_covers_what_the_object_changed():
    subject = next(subject for subject in SUBJECTS if subject.name == "stop sign")
    picture, [(name, mask)] = draw_scene(Scene((subject,), "room", dark=False), 128, np.random.default_rng(3))
    red = (picture[..., 0] > 150) & (picture[..., 1] < 80) & (picture[..., 2] < 100)
    assert name == "stop sign"
    assert red.sum() > 500
    assert mask[red].mean() > 0.99


def test_masks_do_not_overlap_and_objects_stay_visible():
    shares = []
    for seed, scene in enumerate(plan(40, seed=2)):
        _, objects = draw_scene(scene, 96, np.random.default_rng(seed))
        total = sum((mask.astype(int) for _, mask in objects), np.zeros((96, 96), int))
        assert total.max() <= 1
        shares.append(len(objects) / max(1, len(scene.subjects)) if scene.subjects else 1.0)
    assert np.mean(shares) > 0.98


def test_the_tail_is_long_and_every_class_has_enough():
    for images, least in ((1200, 25), (300, 5)):
        counts = positives(plan(images))
        assert counts.min() >= least
        assert counts.max() >= 20 * counts.min()
        assert (np.diff(counts) <= 0).all()


@pytest.mark.parametrize("images", [1, 2, 30, 500])
def test_class_counts_do_not_depend_on_the_seed(images):
    plans = [plan(images, seed) for seed in range(3)]
    assert all(len(scenes) == images for scenes in plans)
    assert max(len(scene.subjects) for scenes in plans for scene in scenes) <= MAX_OBJECTS
    if images >= 30:
        assert all((positives(scenes) == positives(plans[0])).all() for scenes in plans)


def test_some_images_are_empty_and_some_dark():
    scenes = plan(1200)
    assert np.mean([not scene.subjects for scene in scenes]) == pytest.approx(0.03, abs=0.01)
    assert np.mean([scene.dark for scene in scenes]) == pytest.approx(0.04, abs=0.01)
    lit, dark = (draw_scene(Scene((), "table", dark=dark), 64, np.random.default_rng(1))[0] for dark in (False, True))
    assert dark.mean() < 0.6 * lit.mean()


def test_pairs_meet_more_often_than_chance():
    scenes = plan(1200)
    shown = {subject.name: np.array([subject in scene.subjects for scene in scenes]) for subject in SUBJECTS}
    for first, second in sample.PAIRS:
        together = (shown[first] & shown[second]).mean()
        assert together > 1.25 * shown[first].mean() * shown[second].mean(), (first, second)


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_each_drawing_varies_and_fits_its_canvas(subject):
    pixels = []
    for seed in range(2):
        canvas = Canvas(80, angle=45)
        subject.draw(canvas, np.random.default_rng(seed))
        alpha = canvas.pixels[..., 3]
        rim = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert not rim.any()
        assert (alpha > 0).mean() > 0.03
        assert (canvas.pixels[..., :3] <= alpha[..., None]).all()  # premultiplied
        pixels.append(canvas.pixels)
    assert (pixels[0] != pixels[1]).any()


def test_a_folder_with_something_in_it_is_refused_and_untouched(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputError) as caught:
        draw_sample(tmp_path, train=1, val=1, size=32, progress=False)
    assert caught.value.code == "output_exists"
    assert str(tmp_path) in str(caught.value)
    assert contents(tmp_path) == {"mine.txt": b"keep"}
    with pytest.raises(OutputError) as caught:
        draw_sample(tmp_path / "mine.txt", train=1, val=1, size=32, progress=False)
    assert caught.value.code == "output_exists"


def test_an_empty_folder_is_filled(tmp_path):
    draw_sample(tmp_path, train=2, val=1, size=32, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations", "train", "val"]
    assert len(load_split(tmp_path, "train")) == 2


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
def test_a_failure_leaves_nothing(tmp_path, monkeypatch, error, exists):
    out = tmp_path / "data"
    if exists:
        out.mkdir()
    drawn = []

    def fail(*args):
        drawn.append(args)
        if len(drawn) == 3:
            raise error("the disk is full")
        return draw_scene(*args)

    monkeypatch.setattr(sample, "draw_scene", fail)
    with pytest.raises(OutputError if error is OSError else error, match="disk is full"):
        draw_sample(out, train=2, val=2, size=32, progress=False)
    assert list(tmp_path.rglob("*")) == ([out] if exists else [])


@pytest.mark.parametrize("numbers", [{"train": 0}, {"val": 0}, {"size": 31}, {"size": 5000}, {"seed": -1}, {"seed": 2**32}])
def test_impossible_numbers_are_refused_before_anything_is_written(tmp_path, numbers):
    name, value = next(iter(numbers.items()))
    with pytest.raises(ConfigError, match=f"{name} is {value}") as caught:
        draw_sample(tmp_path / "data", progress=False, **numbers)
    assert caught.value.code == "out_of_range"
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_printed(tmp_path, capfd):
    draw_sample(tmp_path / "data", train=1, val=1, size=32)
    assert capfd.readouterr().out == ""
