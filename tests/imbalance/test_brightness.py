import json
import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cocotag.data.annotations import load_split
from cocotag.data.check.doctor import check_split
from cocotag.data.check.survey import FED_SIDE
from cocotag.imbalance import brightness as room
from cocotag.imbalance.brightness import measure_brightness, three_ways
from cocotag.imbalance.integrity import look_over
from cocotag.models.normalization import normalize
from cocotag.photos.brightness import brightness
from cocotag.photos.decode import load_square


def measured(root, split):
    table = load_split(root, split)
    path = root / "annotations" / f"instances_{split}.json"
    _, seen = look_over(path, split, root / split, progress=False)
    return measure_brightness(seen, root / split, table.file_names.tolist())


def make_data(root, pictures):
    """A split ``val`` of these pictures, lossless, all with the same class."""
    (root / "annotations").mkdir(parents=True)
    (root / "val").mkdir()
    for name, picture in pictures.items():
        cv2.imwrite(str(root / "val" / name), picture[:, :, ::-1])
    images = [{"id": place, "file_name": name} for place, name in enumerate(pictures)]
    marks = [{"id": place, "image_id": place, "category_id": 1} for place in range(len(images))]
    document = {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "thing"}]}
    (root / "annotations" / "instances_val.json").write_text(json.dumps(document))
    return root


def noise(rng, low, high):
    return rng.integers(low, high, (60, 80, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def lit(tmp_path_factory):
    """Forty ordinary pictures, two dark ones, a bright one and a grey one."""
    rng = np.random.default_rng(0)
    pictures = {f"{place}.png": noise(rng, 0, 170 + place) for place in range(40)}
    pictures |= {"dark1.png": noise(rng, 0, 30), "dark2.png": noise(rng, 0, 40), "bright.png": noise(rng, 215, 256)}
    pictures["grey.png"] = np.full((60, 80, 3), 120, np.uint8)
    return make_data(tmp_path_factory.mktemp("light") / "data", pictures)


def test_brightness_of_known_colours():
    for color, luma in (((0, 0, 0), 0), ((255, 255, 255), 255), ((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)):
        assert brightness(np.full((4, 5, 3), color, np.uint8)) == luma
    assert brightness(np.array([[[0] * 3, [255] * 3]], np.uint8)) == 127.5


def test_the_outliers_are_those_of_cocotag_check(lit):
    light = measured(lit, "val")
    found = {finding.code: finding.count for finding in check_split(lit, "val", progress=False).findings}
    counts = [light.measures[key] for key in ("dark", "bright", "low_contrast")]
    assert counts == [found["dark_images"], found["bright_images"], found["low_contrast_images"]]
    assert [photo.name for photo in light.darkest] == ["dark1.png", "dark2.png"]  # darkest first
    assert [photo.name for photo in light.brightest] == ["bright.png"]
    assert light.measures["measured"] == sum(light.counts) == 44


def test_a_few_pictures_have_no_outliers_by_comparison(tmp_path):
    rng = np.random.default_rng(1)
    root = make_data(
        tmp_path / "data", {"a.png": noise(rng, 0, 250), "b.png": noise(rng, 0, 250), "c.png": noise(rng, 90, 250)}
    )
    light = measured(root, "val")
    assert (light.measures["dark"], light.measures["bright"]) == (0, 0)
    assert len(light.views) == 3


def test_measures_computed_in_a_second_way(coco_mini):
    light = measured(coco_mini, "val").measures
    files = load_split(coco_mini, "val").paths()
    pictures = np.stack([load_square(path, FED_SIDE) for path in files])
    values = normalize(pictures)
    assert light["negative_share"] == pytest.approx((values < 0).mean(), rel=1e-9)
    assert light["above_one_share"] == pytest.approx((values > 1).mean(), rel=1e-9)
    assert 0.4 < light["negative_share"] < 0.6  # about half, as the page says
    assert light["normalized_mean"] == pytest.approx(values.mean(axis=(0, 1, 2), dtype=np.float64).tolist(), abs=1e-4)
    assert light["normalized_std"] == pytest.approx(values.std(axis=(0, 1, 2), dtype=np.float64).tolist(), abs=1e-4)
    means = [brightness(picture) for picture in pictures]
    expected = {"mean": np.mean(means), "std": np.std(means, ddof=1), "median": np.median(means), "min": min(means)}
    assert {key: light[key] for key in expected} == pytest.approx(expected, rel=1e-5)
    naive = np.rint(255 * values.clip(0, 1)).astype(np.uint8)
    assert light["shown_mean"] == pytest.approx(np.mean(means), abs=0.5)  # luma rounds each pixel
    assert light["naive_mean"] == pytest.approx(np.mean([brightness(picture) for picture in naive]), abs=0.5)
    assert light["naive_mean"] < light["shown_mean"]  # good photographs look dark


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
@settings(deadline=None)
def test_nothing_is_lost_by_normalising(picture):
    assert three_ways("a", picture).error == 0


def test_naive_is_black_below_the_mean_and_full_above_a_standard_deviation(monkeypatch):
    levels = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    drawn = []
    monkeypatch.setattr(room, "data_uri", lambda rgb, **_: str(drawn.append(rgb)))
    three_ways("a", levels)
    as_it_is, naive, restored = drawn
    np.testing.assert_array_equal(as_it_is, levels)
    np.testing.assert_array_equal(restored, levels)
    for channel, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        level = np.arange(256) / 255
        assert not naive[level < mean, 0, channel].any()
        assert (naive[level > mean + std, 0, channel] == 255).all()


def test_unreadable_files_are_named_and_counted(lit, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(lit, root)
    (root / "val" / "3.png").write_bytes(b"")
    (root / "val" / "4.png").unlink()
    (root / "val" / "5.png").write_text("words")
    (root / "val" / "dark1.png").write_bytes((root / "val" / "dark1.png").read_bytes()[:200])
    light = measured(root, "val")
    assert light.measures["unreadable"] == 4
    assert light.faults == {"empty": 1, "missing": 1, "not_an_image": 1, "truncated": 1}
    assert dict(light.unreadable) == {
        "3.png": "empty",
        "4.png": "missing",
        "5.png": "not_an_image",
        "dark1.png": "truncated",
    }
    assert [photo.name for photo in light.darkest] == ["dark2.png"]
    assert "4 of 44 cannot be read (first: 3.png: empty)" in light.to_text()


def test_without_readable_files_measures_are_undefined_and_not_zero(lit, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(lit, root)
    for file in (root / "val").iterdir():
        file.write_bytes(b"")
    light = measured(root, "val")
    document = json.loads(json.dumps(light.to_json(), allow_nan=False))
    assert document["measured"] == 0
    assert {document[key] for key in ("mean", "std", "negative_share", "naive_mean")} == {None}
    assert len(document["unreadable_examples"]) == 20
    assert document["unreadable_reasons"] == {"empty": 44}
    assert light.views == []


def test_a_picture_that_vanishes_meanwhile_is_left_out(lit, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(lit, root)
    table = load_split(root, "val")
    _, seen = look_over(root / "annotations" / "instances_val.json", "val", root / "val", progress=False)
    (root / "val" / "dark1.png").unlink()
    light = measure_brightness(seen, root / "val", table.file_names.tolist())
    assert [photo.name for photo in light.darkest] == ["dark2.png"]
    assert light.measures["dark"] == 2
