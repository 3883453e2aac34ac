"""The look at the image files: each is read once, measured as the network sees it, and Ctrl-C drops what is waiting."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cocotag.data.check import survey as room
from cocotag.data.check.survey import survey
from cocotag.photos.decode import load_square


def draw(path, seed=0, size=(12, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)


def look(root, names, others=None):
    return survey(root, root / "train", names, np.zeros(len(names), bool), others or {}, progress=False)


@pytest.fixture
def reads(monkeypatch):
    """The names of files that are read, as often as they are."""
    seen = []
    read_bytes = Path.read_bytes

    def counting(path):
        seen.append(path.name)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", counting)
    return seen


def test_every_file_is_read_once_however_often_it_is_listed(tmp_path, reads):
    for seed, name in enumerate(("train/a.png", "train/b.png", "val/c.png")):
        draw(tmp_path / name, seed)
    (tmp_path / "train" / "link.png").symlink_to("a.png")
    os.link(tmp_path / "train" / "a.png", tmp_path / "val" / "hard.png")
    names = ["a.png", "b.png", "a.png", "link.png"]
    found = look(tmp_path, names, {"val": (tmp_path / "val", ["c.png", "hard.png"])})
    assert sorted(reads) == ["a.png", "b.png", "c.png"]
    assert found.pixels[0] == found.pixels[2] == found.pixels[3] == found.others["val"].digests[1]
    assert len({*found.pixels, *found.others["val"].digests}) == 3
    assert found.levels.sum(axis=1).tolist() == [4 * room.FED_SIDE**2] * 3  # the network is fed each row


def test_of_a_split_too_large_only_files_of_a_known_size_are_read(tmp_path, reads, monkeypatch):
    draw(tmp_path / "train" / "a.png", 0)
    draw(tmp_path / "val" / "other.png", 1, (20, 30))
    (tmp_path / "val").mkdir(exist_ok=True)
    shutil.copy(tmp_path / "train" / "a.png", tmp_path / "val" / "copy.png")
    monkeypatch.setattr(room, "MAX_OTHERS", 1)
    other = look(tmp_path, ["a.png"], {"val": (tmp_path / "val", ["other.png", "copy.png", "gone.png"])}).others["val"]
    assert sorted(reads) == ["a.png", "copy.png"]
    assert other.by_bytes
    assert [bool(digest) for digest in other.digests] == [False, True, False]
    assert other.there == 2


def test_the_measures_are_of_what_the_network_gets(coco_mini):
    path = next((coco_mini / "val").iterdir())
    found = survey(coco_mini, path.parent, [path.name], np.zeros(1, bool), {}, progress=False)
    square = load_square(path, room.FED_SIDE)
    luma = square @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found.channels[0], square.reshape(-1, 3).mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(found.luma[0], [luma.mean(), *np.percentile(luma, [1, 99])], atol=1.01)
    np.testing.assert_array_equal(found.levels[1], np.bincount(square[..., 1].ravel(), minlength=256))


def test_an_interrupt_drops_what_is_waiting():
    done, gate = [], threading.Event()

    def work(number):
        gate.wait(5)
        done.append(number)
        return number

    pool = ThreadPoolExecutor(2)
    stream = room._each(pool, work, iter(range(100_000)))
    gate.set()
    assert [next(stream) for _ in range(5)] == [0, 1, 2, 3, 4]  # in order
    stream.close()
    pool.shutdown(wait=True, cancel_futures=True)
    assert len(done) < 1000


def test_ctrl_c_comes_through_and_leaves_no_thread(tmp_path, monkeypatch):
    for number in range(50):
        draw(tmp_path / "train" / f"{number}.png", number)

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        look(tmp_path, [f"{number}.png" for number in range(50)])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cocotag-check")]
