"""Probabilities and tags of one image, or of a folder of images."""

import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import cocotag
from cocotag.errors import BundleError, ConfigError, DataError, ImageError
from cocotag.inference.tagger import Tagger
from cocotag.inference.tags import decide
from cocotag.labels import COCO80

PROBS = hnp.arrays(np.float32, 12, elements=st.floats(0, 1, width=32))


@pytest.fixture(scope="module")
def tagger(toy_bundle):
    return Tagger.load(toy_bundle)


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def test_load_reads_the_metadata(tagger, toy_bundle):
    assert tagger.path == toy_bundle
    assert tagger.metadata.vocabulary == COCO80
    assert cocotag.Tagger is Tagger


def test_a_file_that_is_not_a_bundle_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("not a network")
    for name, code in (("text.onnx", "not_onnx"), ("missing.onnx", "bundle_missing")):
        with pytest.raises(BundleError, match=name) as caught:
            Tagger.load(tmp_path / name)
        assert caught.value.code == code


def test_predict_of_a_batch_is_predict_of_each(tagger):
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    probs = tagger.predict(images)
    assert probs.shape == (5, 80) and probs.dtype == np.float32
    np.testing.assert_allclose(probs, np.concatenate([tagger.predict(image[None]) for image in images]), atol=1e-6)
    np.testing.assert_allclose(tagger.predict(images[::-1]), probs[::-1], atol=1e-6)


def test_predict_of_nothing_is_nothing(tagger):
    assert tagger.predict(np.empty((0, 64, 64, 3), np.uint8)).shape == (0, 80)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((1, 32, 64, 3), np.uint8),
        np.zeros((1, 3, 64, 64), np.uint8),
        np.zeros((1, 64, 64, 3)),
    ],
    ids=["no batch", "another size", "channels first", "floats"],
)
def test_predict_refuses_another_shape_or_dtype(tagger, images):
    with pytest.raises(ValueError, match=r"uint8 \(N, 64, 64, 3\)"):
        tagger.predict(images)


def test_a_file_an_array_and_a_pillow_image_get_the_same_tags(tagger, photo, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    tags = tagger.tag(path)
    assert tags
    assert tags == tagger.tag(str(path)) == tagger.tag(photo) == tagger.tag(Image.fromarray(photo))
    assert tags == tagger.tag(path.read_bytes())


def test_the_error_for_another_type_names_it_and_the_valid_types(tagger, photo):
    for thing, name in ((None, "NoneType"), ([photo], "list"), (io.BytesIO(), "BytesIO")):
        with pytest.raises(TypeError, match=rf"{name};.* path, .* bytes .* Pillow image .* RGB uint8 array"):
            tagger.tag(thing)


def test_tags_are_sorted_and_carry_their_category(tagger, photo):
    tags = tagger.tag(photo, threshold=0)
    assert len(tags) == 80
    assert [tag.score for tag in tags] == sorted((tag.score for tag in tags), reverse=True)
    by_id = {category.id: category for category in COCO80}
    assert all(by_id[tag.category_id].name == tag.name for tag in tags)
    assert all(by_id[tag.category_id].supercategory == tag.supercategory for tag in tags)
    assert tagger.tag(photo, threshold=0, top_k=3) == tags[:3]
    assert tagger.tag(photo) == [tag for tag in tags if tag.score >= 0.5]


def test_impossible_settings_are_named(tagger, photo):
    for settings in ({"threshold": 1.5}, {"threshold": -0.1}, {"threshold": float("nan")}, {"top_k": 0}):
        ((name, value),) = settings.items()
        with pytest.raises(ConfigError, match=f"{name}.*{value}") as caught:
            tagger.tag(photo, **settings)
        assert caught.value.code == f"{name}_out_of_range"
    with pytest.raises(ImageError) as caught:
        tagger.tag("nowhere.jpg")
    assert caught.value.reason == "missing"
    with pytest.raises(ValueError, match="RGB uint8"):
        tagger.tag(photo[:, :, 0])


def test_a_score_that_rounds_up_to_its_threshold_is_a_tag():
    just_below, below = np.float32(0.49999), np.float32(0.4995)
    assert np.float16(just_below) == 0.5 > np.float16(below)
    assert decide(np.array([just_below, below], np.float32), np.full(2, 0.5, np.float32)).tolist() == [0]


def test_equal_scores_keep_the_order_of_the_classes():
    assert decide(np.array([0.6, 0.9, 0.6, 0.9]), np.array(0.5)).tolist() == [1, 3, 0, 2]


@given(probs=PROBS, thresholds=PROBS)
def test_decided_on_stored_scores_is_decided_on_scores(probs, thresholds):
    indices = decide(probs, thresholds)
    np.testing.assert_array_equal(decide(probs.astype(np.float16), thresholds), indices)
    expected = {i for i in range(len(probs)) if np.float32(np.float16(probs[i])) >= thresholds[i]}
    assert set(indices.tolist()) == expected
    assert (np.diff(probs.astype(np.float16)[indices].astype(np.float64)) <= 0).all()


@given(probs=PROBS, threshold=st.floats(0, 1, width=32), top_k=st.integers(1, 15))
def test_top_k_is_the_head_of_all(probs, threshold, top_k):
    np.testing.assert_array_equal(decide(probs, np.float32(threshold), top_k), decide(probs, np.float32(threshold))[:top_k])


def test_tagging_imports_neither_torch_nor_pandas(toy_bundle, tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    code = f"""
import sys, cocotag
from cocotag.tagging.folder import tag_paths
from cocotag.tagging.state.store import State
from cocotag.photos.walk import Walk
tagger = cocotag.Tagger.load({str(toy_bundle)!r})
with State.temporary() as state:
    assert tag_paths(tagger, Walk([{str(tmp_path)!r}]), state).ok == 1
heavy = {{"torch", "pandas", "lightning", "albumentations", "sklearn"}} & set(sys.modules)
sys.exit(", ".join(heavy) or None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_written_score_used_as_a_threshold_is_met(toy_bundle):
    image = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    tagger = Tagger.load(toy_bundle)
    for tag in tagger.tag(image, threshold=0):
        written = float(str(np.float16(tag.score)))
        assert tag.name in [other.name for other in tagger.tag(image, threshold=written)]


def test_one_thread_and_all_of_them_predict_the_same(toy_bundle):
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    one, several = (Tagger.load(toy_bundle, threads=threads, provider="cpu") for threads in (1, 3))
    assert (one.runs_on, several.runs_on) == ("CPU, 1 thread", "CPU, 3 threads")
    for probs in (one.predict_here(images), several.predict(images), several.predict_here(images)):
        np.testing.assert_allclose(probs, one.predict(images), atol=1e-6)
    assert several.predict_here(images[:0]).shape == (0, 80)
    with pytest.raises(ConfigError, match=r"threads.*-1") as caught:
        Tagger.load(toy_bundle, threads=-1)
    assert caught.value.code == "threads_out_of_range"


@pytest.fixture
def folder(tmp_path):
    """Two pictures and a file that is not an image, in a folder ``photos``."""
    (tmp_path / "photos").mkdir()
    for number, colour in ((1, "red"), (2, "navy")):
        Image.new("RGB", (30, 20), colour).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "broken.jpg").write_text("text")
    return tmp_path / "photos"


def test_a_file_in_a_folder_gets_the_same_tags_as_alone(tagger, folder):
    results = list(tagger.tag_folder(folder, threshold=0.2, top_k=5))
    assert [one.path for one in results] == [folder / "1.png", folder / "2.png", folder / "broken.jpg"]
    assert [one.status for one in results] == ["ok", "ok", "not_an_image"]
    for one in results[:2]:
        assert list(one.tags) == tagger.tag(one.path, threshold=0.2, top_k=5) != []
    assert results[0].tags != results[1].tags
    assert results[2].tags == () and isinstance(results[2].error, ImageError)
    assert all(isinstance(one, cocotag.Tagged) for one in results)
    files = list(tagger.tag_folder([folder / "2.png", str(folder / "*.png")], exclude=["1.*"]))
    assert {one.path.name for one in files} == {"2.png"}
    assert [one.path.name for one in tagger.tag_folder(folder, exclude="1.*")] == ["2.png", "broken.jpg"]


def test_a_folder_as_a_frame_has_one_row_per_file(tagger, folder):
    frame = tagger.tag_folder(folder, threshold=0).to_frame()
    assert list(frame.columns) == ["path", "status", "tags", "scores", "supercategories", "error"]
    assert frame["status"].tolist() == ["ok", "ok", "not_an_image"]
    expected = tagger.tag(folder / "1.png", threshold=0)
    assert frame.at[0, "tags"] == [tag.name for tag in expected]
    assert frame.at[0, "scores"] == [tag.score for tag in expected]
    assert frame.at[0, "supercategories"] == [tag.supercategory for tag in expected]
    assert frame.at[2, "tags"] == [] and "broken.jpg" in frame.at[2, "error"]
    (folder / "empty").mkdir()
    assert list(tagger.tag_folder(folder / "empty").to_frame().columns) == list(frame.columns)


def test_a_path_in_a_frame_can_be_opened_even_if_it_is_not_utf8(tagger, folder):
    name = os.fsencode(folder) + b"/latin\xe9.png"
    (folder / "1.png").rename(os.fsdecode(name))
    for file in (folder / "2.png", folder / "broken.jpg"):
        file.unlink()
    (path,) = tagger.tag_folder(folder).to_frame()["path"]
    assert os.fsencode(path) == name
    assert tagger.tag(path)


def test_consumed_results_are_an_error_and_never_silently_missing(tagger, folder):
    results = tagger.tag_folder(folder)
    assert next(results).path.name == "1.png"
    with pytest.raises(RuntimeError, match="1 results"):
        results.to_frame()
    assert [one.path.name for one in results] == ["2.png", "broken.jpg"]
    for again in (list, type(results).to_frame):
        with pytest.raises(RuntimeError, match="tag_folder"):
            again(results)
    with tagger.tag_folder(folder) as closed:
        pass
    with pytest.raises(RuntimeError, match="tag_folder"):
        closed.to_frame()


def test_a_folder_is_checked_at_once_and_can_be_left_early(tagger, folder):
    for settings, code in (({"threshold": 2}, "threshold_out_of_range"), ({"top_k": 0}, "top_k_out_of_range")):
        with pytest.raises(ConfigError) as caught:
            tagger.tag_folder(folder, **settings)
        assert caught.value.code == code
    with pytest.raises(DataError, match="nowhere") as caught:
        tagger.tag_folder(folder / "nowhere")
    assert caught.value.code == "path_missing"
    with pytest.raises(DataError) as caught:
        tagger.tag_folder("")
    assert caught.value.code == "path_empty"
    with tagger.tag_folder(folder) as results:
        assert next(results).status == "ok"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cocotag-decode")]
    with pytest.raises(StopIteration):
        next(results)
