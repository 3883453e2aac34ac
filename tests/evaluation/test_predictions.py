import zipfile

import numpy as np
import pytest

from cocotag.errors import DataError, OutputError
from cocotag.evaluation.predictions import Predictions

NASTY = ["<img onerror=alert(1)>.jpg", "a|b.jpg", "", "\ud83dlone.jpg", "日本.jpg", "-.jpg", "nan"]


def made(images=7, classes=11, seed=0) -> Predictions:
    rng = np.random.default_rng(seed)
    shape = (images, classes)
    names = [NASTY[i] if i < len(NASTY) else f"{i}.jpg" for i in range(images)]
    bools = [rng.random(shape) < 0.5 for _ in range(3)]
    return Predictions(np.array(names, dtype=np.str_), tuple(f"class {c}" for c in range(classes)), rng.random(shape), *bools)


@pytest.mark.parametrize("classes", [1, 7, 8, 9, 80])
def test_saved_then_loaded_is_the_same(tmp_path, classes):
    before = made(classes=classes)
    before.save(tmp_path / "new" / "predictions.npz")
    after = Predictions.load(tmp_path / "new" / "predictions.npz")
    assert after.file_names.tolist() == before.file_names.tolist()
    assert after.class_names == before.class_names
    assert after.probs.dtype == np.float32
    for name in ("probs", "predicted", "targets", "known"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        assert getattr(after, name).dtype == getattr(before, name).dtype


def test_the_file_has_no_python_objects(tmp_path):
    made().save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"targets is \(2, 3\).*\(2, 4\)"):
        Predictions(np.array(["a", "b"]), tuple("wxyz"), np.zeros((2, 4)), np.zeros((2, 4)), np.zeros((2, 3)), np.zeros((2, 4)))


def damaged(name, path):
    made().save(path)
    whole = path.read_bytes()
    match name:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("not an archive")
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "other_zip":
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("a.txt", "hello")
        case "other_arrays":
            np.savez(path, probs=np.zeros((2, 2)))
        case "one_array":
            with path.open("wb") as file:
                np.save(file, np.zeros(3))
        case "objects":
            np.savez(path, format=np.array([{}], dtype=object))
        case "other_version":
            np.savez(path, format=np.asarray("cocotag predictions 99"))
        case "flipped":
            middle = bytearray(whole)
            for offset in range(60, len(middle), 97):
                middle[offset] ^= 0xFF
            path.write_bytes(middle)
        case "fewer_images":
            with np.load(path) as file:
                parts = dict(file)
            np.savez(path, **{**parts, "probs": parts["probs"][:3]})
        case "not_numbers":
            with np.load(path) as file:
                parts = dict(file)
            np.savez(path, **{**parts, "probs": np.full_like(parts["probs"], np.nan)})


FAULTS = ("empty", "text", "cut", "other_zip", "other_arrays", "one_array", "objects", "other_version", "flipped")


@pytest.mark.parametrize("fault", [*FAULTS, "fewer_images", "not_numbers"])
def test_a_damaged_or_foreign_file_is_a_one_line_error(tmp_path, fault):
    path = tmp_path / "predictions.npz"
    damaged(fault, path)
    with pytest.raises(DataError, match=r"predictions\.npz") as caught:
        Predictions.load(path)
    assert caught.value.code == "predictions_damaged"
    assert "\n" not in str(caught.value)
    assert "cocotag evaluate" in str(caught.value)


def test_every_single_damage_is_found_or_harmless(tmp_path):
    """One byte at a time: a file loads unchanged or is a DataError, since a zip has checksums."""
    path, before = tmp_path / "predictions.npz", made(images=2, classes=3)
    before.save(path)
    whole = path.read_bytes()
    for offset in range(len(whole)):
        broken = bytearray(whole)
        broken[offset] ^= 0x55
        path.write_bytes(broken)
        try:
            after = Predictions.load(path)
        except DataError:
            continue
        np.testing.assert_array_equal(after.probs, before.probs)
        np.testing.assert_array_equal(after.targets, before.targets)


def test_missing_files_and_impossible_paths(tmp_path):
    with pytest.raises(DataError, match=r"predictions\.npz") as caught:
        Predictions.load(tmp_path / "predictions.npz")
    assert caught.value.code == "predictions_missing"
    with pytest.raises(DataError, match=tmp_path.name) as caught:
        Predictions.load(tmp_path)
    assert caught.value.code == "not_readable"
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        made().save(tmp_path / "file" / "predictions.npz")
    assert caught.value.code == "not_writable"
