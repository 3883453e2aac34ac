import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cocotag.data.annotations import load_split
from cocotag.photos.decode import decode

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "data" / "cifar_to_coco.py"


def convert(*words):
    return subprocess.run([sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True, timeout=60)


def refused(match, *words):
    done = convert(*words)
    assert done.returncode == 2
    assert match in done.stderr
    assert done.stderr.count("\n") == 1 or "image" in done.stderr.splitlines()[0]  # a bar may stand before it
    assert "Traceback" not in done.stderr
    return done


def batch(labels, *, seed=0, key=b"labels", **more):
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    return {b"data": pixels, key: list(labels), **more}


def cifar10(folder):
    """The original's files, small: what Python 2 wrote has bytes for keys, in protocol 2."""
    folder.mkdir(parents=True)
    made = {f"data_batch_{number}": batch([number % 3, 2], seed=number) for number in range(1, 6)}
    made |= {"test_batch": batch([1, 0, 2], seed=9), "batches.meta": {b"label_names": [b"airplane", b"cat", b"ship"]}}
    for name, content in made.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return made


def assert_is(out, split, batches, names):
    """The data set has the labels and, to the bit, the pixels of the batches."""
    table = load_split(out, split)
    labels = [label for content in batches for label in content.get(b"fine_labels", content.get(b"labels"))]
    pixels = np.concatenate([content[b"data"] for content in batches])
    assert list(table.vocabulary.names) == names
    assert [category.id for category in table.vocabulary] == list(range(1, len(names) + 1))
    assert table.targets.argmax(axis=1).tolist() == labels
    assert table.targets.sum(axis=1).tolist() == [1] * len(labels)
    for path, row in zip(table.paths(), pixels, strict=True):
        assert np.array_equal(decode(path), row.reshape(3, 32, 32).transpose(1, 2, 0))


def test_the_original_of_cifar_10(tmp_path):
    made = cifar10(tmp_path / "cifar-10-batches-py")
    done = convert(tmp_path / "cifar-10-batches-py", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["3 classes, 10 images in train, 3 images in test", str(tmp_path / "out")]
    names = ["airplane", "cat", "ship"]
    assert_is(tmp_path / "out", "train", [made[f"data_batch_{number}"] for number in range(1, 6)], names)
    assert_is(tmp_path / "out", "test", [made["test_batch"]], names)


@pytest.mark.parametrize("ending", ["gz", "xz"])
def test_an_archive_of_cifar_100_with_its_groups(tmp_path, ending):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    parts = {
        "train": {**batch([2, 0, 1], key=b"fine_labels"), b"coarse_labels": [1, 0, 0]},
        "test": {**batch([1, 2], seed=1, key=b"fine_labels"), b"coarse_labels": [0, 1]},
        "meta": {b"fine_label_names": [b"apple", b"pear", b"whale"], b"coarse_label_names": [b"fruit", b"mammals"]},
    }
    for name, content in parts.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    with tarfile.open(tmp_path / f"cifar.tar.{ending}", f"w:{ending}") as archive:
        archive.add(folder, "cifar-100-python")
    done = convert(tmp_path / f"cifar.tar.{ending}", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert_is(tmp_path / "out", "train", [parts["train"]], ["apple", "pear", "whale"])
    categories = json.loads((tmp_path / "out" / "annotations" / "instances_test.json").read_text())["categories"]
    assert [category["supercategory"] for category in categories] == ["fruit", "fruit", "mammals"]


def folders(folder):
    for split, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((32, 32, 3), 40 * number + (name == "dog"), np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number:04d}.jpg")


def test_image_files_by_split_and_class_are_copied_as_they_are(tmp_path):
    folders(tmp_path / "in")
    assert convert(tmp_path / "in", tmp_path / "out", "--per-class", 2).returncode == 0
    table = load_split(tmp_path / "out", "train")
    assert table.targets.sum(axis=0).tolist() == [2, 2]
    copied = tmp_path / "out" / "train" / "dog" / "0001.jpg"
    assert copied.read_bytes() == (tmp_path / "in" / "train" / "dog" / "0001.jpg").read_bytes()
    assert len(load_split(tmp_path / "out", "test")) == 4


def test_the_archive_at_hand(tmp_path, data_dir):
    """A few of its members, repacked: the whole would take too long."""
    kept = 0
    with (
        tarfile.open(data_dir / "cifar10.tar.xz", "r|xz") as archive,
        tarfile.open(tmp_path / "some.tar.xz", "w:xz") as some,
    ):
        for member in archive:
            if member.isfile() and member.name.startswith("train/airplane/000"):
                content = archive.extractfile(member).read()
                for name in (member.name, member.name.replace("train/", "test/"), member.name.replace("airplane", "bird")):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(content)
                    some.addfile(entry, io.BytesIO(content))
                kept += 1
            if kept == 10:
                break
    assert convert(tmp_path / "some.tar.xz", tmp_path / "out").returncode == 0
    table = load_split(tmp_path / "out", "train")
    assert list(table.vocabulary.names) == ["airplane", "bird"]
    assert table.sizes.tolist() == [[32, 32]] * 20


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    cifar10(tmp_path / "in")
    (tmp_path / "in" / "data_batch_3").write_bytes(pickle.dumps({b"data": Evil(tmp_path / "ran")}, protocol=2))
    refused("system", tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


def test_bad_input_is_one_line_and_leaves_nothing(tmp_path):
    cifar10(tmp_path / "in")
    (tmp_path / "there").mkdir()
    refused(str(tmp_path / "there"), tmp_path / "in", tmp_path / "there")
    refused(str(tmp_path / "nothing"), tmp_path / "nothing", tmp_path / "out")
    refused("--per-class is 0", tmp_path / "in", tmp_path / "out", "--per-class", 0)
    (tmp_path / "empty").mkdir()
    refused("train/CLASS/", tmp_path / "empty", tmp_path / "out")
    (tmp_path / "damaged.tar.gz").write_bytes(b"\x1f\x8b not gzip")
    refused("damaged.tar.gz", tmp_path / "damaged.tar.gz", tmp_path / "out")
    (tmp_path / "in" / "data_batch_2").unlink()
    refused("lacks data_batch_2", tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "data_batch_2").write_bytes(pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [1, 1]}))
    refused("3072 bytes", tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "data_batch_2").write_bytes(pickle.dumps(batch([7, 1]), protocol=2))
    refused("has label 7; valid are 0 to 2", tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.tar.gz", "empty", "in", "there"]


@pytest.mark.parametrize("name", ["../outside.jpg", "/tmp/outside.jpg"])
def test_members_outside_of_the_archive_are_refused(tmp_path, name):
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    refused(repr(name), tmp_path / "evil.tar", tmp_path / "out")


def test_a_file_that_is_no_image_and_a_label_that_is_no_class_are_named(tmp_path):
    for split in ("train", "test"):
        picture = tmp_path / "folders" / split / "cat" / "1.png"
        picture.parent.mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(picture)
    (tmp_path / "folders" / "train" / "cat" / "Thumbs.db").write_bytes(b"no image")
    refused("Thumbs.db", tmp_path / "folders", tmp_path / "out")
    hundred = tmp_path / "cifar-100"
    hundred.mkdir()
    made = {name: batch([0, 200], key=b"fine_labels", coarse_labels=[0, 0]) for name in ("train", "test")}
    made = {name: {**content, b"coarse_labels": content.pop("coarse_labels")} for name, content in made.items()}
    made["meta"] = {b"fine_label_names": [b"apple", b"bear"], b"coarse_label_names": [b"fruit"]}
    for name, content in made.items():
        (hundred / name).write_bytes(pickle.dumps(content, protocol=2))
    refused("the fine label 200 of 2 and the coarse label 0 of 1", hundred, tmp_path / "out")
