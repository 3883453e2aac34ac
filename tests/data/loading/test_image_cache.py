import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cocotag.data.annotations import load_split
from cocotag.data.loading import image_cache
from cocotag.data.loading.image_cache import cached_paths, copy_side
from cocotag.errors import DataError, OutputError
from cocotag.photos.decode import decode

SIZE = 64  # so copies have 74 pixels on the shorter side


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
    folder = tmp_path / "user-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def picture(seed, width=300, height=200):
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    for number in range(6):
        picture(number).save(folder / f"{number}.jpg", quality=95)
    return folder.parent


def images(root):
    return sorted(path for path in (root / "train").rglob("*") if path.is_file())


def read(paths):
    return [Path(os.fsdecode(path)) for path in paths]


def made(root):
    """Copies and when each was written."""
    folder = root / ".cocotag" / f"images-{copy_side(SIZE)}" / "train"
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_copies_show_the_same_picture_and_leave_the_image_folder_alone(root, capsys):
    before = {path: path.read_bytes() for path in images(root)}
    copies = read(cached_paths(list(before), [root], SIZE))
    for path, copy in zip(before, copies, strict=True):
        assert copy == root / ".cocotag" / "images-74" / "train" / path.name
        small = decode(copy)
        assert small.shape == (74, 111, 3)
        wanted = np.asarray(Image.fromarray(decode(path)).resize((111, 74), Image.Resampling.BOX), int)
        assert np.abs(small - wanted).mean() < 2.5
    assert {path: path.read_bytes() for path in images(root)} == before
    said = capsys.readouterr().err
    assert "6 images" in said
    assert "74 pixels" in said
    assert str(root / ".cocotag") in said
    assert "6 new" in said


def test_done_twice_is_done_once(root, capsys):
    first = cached_paths(images(root), [root], SIZE)
    written = made(root)
    np.testing.assert_array_equal(cached_paths(images(root), [root], SIZE), first)
    assert made(root) == written
    assert "0 new" in capsys.readouterr().err


def test_only_what_differs_is_made_again(root):
    cached_paths(images(root), [root], SIZE)
    before = made(root)
    picture(99, 200, 300).save(root / "train" / "1.jpg")  # changed
    os.utime(root / "train" / "2.jpg", ns=(1, 1))  # of another time
    folder = root / ".cocotag" / "images-74"
    (folder / "train" / "3.jpg").unlink()
    (folder / "train" / "4.jpg").write_bytes(b"")
    copies = read(cached_paths(images(root), [root], SIZE))
    after = made(root)
    assert {name for name in after if after[name] != before[name]} == {"1.jpg", "2.jpg", "3.jpg", "4.jpg"}
    assert decode(copies[1]).shape == (111, 74, 3)
    assert all(decode(copy).shape == (74, 111, 3) for copy in (copies[3], copies[4]))


def test_a_journal_that_was_cut_or_tampered_with_costs_work_but_nothing_else(root):
    cached_paths(images(root), [root], SIZE)
    before = made(root)
    journal = root / ".cocotag" / "images-74" / image_cache.JOURNAL
    lines = [line for line in journal.read_bytes().splitlines() if line]
    junk = [b'["train/1.jpg", 1, 2]', b"[[], 1, 2, 3]", b"7", b'["train/2.jpg", null, 2, 3]', b"\xff\xfe", b"[" * 100_000]
    journal.write_bytes(b"\n".join([*junk, *lines[:-1], lines[-1][:-5]]))
    copies = cached_paths(images(root), [root], SIZE)
    after = made(root)
    assert sum(after[name] != before[name] for name in after) == 1
    np.testing.assert_array_equal(cached_paths(images(root), [root], SIZE), copies)
    assert made(root) == after


def test_small_images_are_read_directly(root, capsys):
    picture(1, 100, 74).save(root / "train" / "small.png")
    paths = images(root)
    copies = read(cached_paths(paths, [root], SIZE))
    assert copies[paths.index(root / "train" / "small.png")] == root / "train" / "small.png"
    assert "small.png" not in made(root)
    capsys.readouterr()
    cached_paths(paths, [root], SIZE)
    assert "1 are small" in capsys.readouterr().err


def test_another_input_size_has_copies_of_its_own(root):
    small, large = cached_paths(images(root), [root], SIZE), cached_paths(images(root), [root], 100)
    assert {decode(copy).shape[0] for copy in read(large)} == {115}
    assert {decode(copy).shape[0] for copy in read(small)} == {74}


def test_any_name_sub_folders_formats_and_orientation(root):
    folder = root / "train"
    names = ["sub/deep er/0.jpg", "0.png", "zürich 東京.jpg", "n" * 250 + ".jpg", "line\nbreak.jpg"]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / name)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(7).save(folder / "turned.jpg", exif=exif)
    paths = images(root)
    copies = read(cached_paths(paths, [root], SIZE))
    assert copies == [root / ".cocotag" / "images-74" / path.relative_to(root) for path in paths]
    shapes = {path.name: decode(copy).shape for path, copy in zip(paths, copies, strict=True)}
    assert shapes.pop("turned.jpg") == (111, 74, 3)
    assert set(shapes.values()) == {(74, 111, 3)}


def test_several_data_sets_keep_their_copies_apart(root, tmp_path):
    other = tmp_path / "other" / "train"
    other.mkdir(parents=True)
    picture(50, 200, 300).save(other / "0.jpg")
    paths = [*images(root), other / "0.jpg"]
    copies = read(cached_paths(paths, [root, other.parent], SIZE))
    assert [decode(copy).shape for copy in copies] == [(74, 111, 3)] * 6 + [(111, 74, 3)]
    assert copies[-1] == other.parent / ".cocotag" / "images-74" / "train" / "0.jpg"
    with pytest.raises(ValueError, match=f"{other}.*{root}"):
        cached_paths(paths, [root], SIZE)


def test_another_picture_of_the_same_size_and_time_is_noticed(root):
    path = root / "train" / "6.bmp"
    picture(6).save(path)
    look = path.stat()
    first = decode(read(cached_paths(images(root), [root], SIZE))[6])
    picture(7).save(path)
    os.utime(path, ns=(look.st_atime_ns, look.st_mtime_ns))
    assert path.stat().st_size == look.st_size
    again = decode(read(cached_paths(images(root), [root], SIZE))[6])
    assert np.abs(again.astype(int) - first).mean() > 10


@pytest.mark.parametrize(
    "link", [".cocotag", ".cocotag/images-74", ".cocotag/images-74/train", ".cocotag/images-74/copies-1.jsonl"]
)
def test_links_that_came_with_the_data_are_not_written_through(root, user_cache, tmp_path, link):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "0.jpg").write_text("mine")
    (root / link).parent.mkdir(parents=True, exist_ok=True)
    (root / link).symlink_to(victim / "0.jpg" if link.endswith("jsonl") else victim)
    copies = read(cached_paths(images(root), [root], SIZE))
    assert all(copy.is_relative_to(user_cache) for copy in copies)
    assert [path.name for path in victim.iterdir()] == ["0.jpg"]
    assert (victim / "0.jpg").read_text() == "mine"


def test_a_copy_that_became_a_link_is_made_again(root, tmp_path):
    copies = read(cached_paths(images(root), [root], SIZE))
    other = tmp_path / "other"
    other.write_bytes(bytes(copies[0].stat().st_size))
    copies[0].unlink()
    copies[0].symlink_to(other)
    assert decode(read(cached_paths(images(root), [root], SIZE))[0]).shape == (74, 111, 3)
    assert not copies[0].is_symlink()


def test_an_image_too_long_for_a_jpeg_is_read_itself(root):
    Image.new("L", (90_000, 90)).save(root / "train" / "long.png")
    assert read(cached_paths(images(root), [root], SIZE))[6] == root / "train" / "long.png"


def test_where_the_data_cannot_be_written_the_users_cache_folder_takes_them(root, user_cache):
    (root / ".cocotag").write_text("in the way, for root too")
    copies = read(cached_paths(images(root), [root], SIZE))
    assert all(copy.is_relative_to(user_cache) and decode(copy).shape == (74, 111, 3) for copy in copies)
    assert read(cached_paths(images(root), [root], SIZE)) == copies
    (user_cache / "cocotag").rename(user_cache / "gone")
    (user_cache / "cocotag").write_text("in the way too")
    with pytest.raises(OutputError) as caught:
        cached_paths(images(root), [root], SIZE)
    assert caught.value.code == "not_writable"
    assert str(caught.value).count("images-74") == 2 and "data.cache_images" in str(caught.value)


def test_unreadable_images_are_an_error_after_all_others_were_made(root):
    (root / "train" / "0.jpg").write_bytes(b"no picture")
    paths = [*images(root), root / "train" / "gone.jpg"]
    with pytest.raises(DataError) as caught:
        cached_paths(paths, [root], SIZE)
    assert caught.value.code == "images_unreadable"
    assert all(fact in str(caught.value) for fact in ("2 images", "0.jpg", "cocotag check"))
    assert len(made(root)) == 5
    picture(0).save(root / "train" / "0.jpg")
    before = made(root)
    cached_paths(images(root), [root], SIZE)
    assert {name: made(root)[name] for name in before} == before


def test_a_full_disk_is_reported_and_the_next_run_resumes(root, monkeypatch):
    write, count = Path.write_bytes, []

    def fill_up(self, data):
        count.append(self)
        if len(count) > 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return write(self, data)

    with monkeypatch.context() as context:
        context.setattr(Path, "write_bytes", fill_up)
        with pytest.raises(OutputError) as caught:
            cached_paths(images(root), [root], SIZE)
        assert caught.value.code == "disk_full"
        assert "images-74" in str(caught.value) and re.search(r"\d of 6", str(caught.value))
    kept = made(root)
    assert len(kept) == 3
    assert not list((root / ".cocotag").rglob("*.part"))
    assert len(read(cached_paths(images(root), [root], SIZE))) == 6
    assert len(made(root)) == 6


CHILD = """
import sys
from pathlib import Path
from cocotag.data.loading import image_cache
from cocotag.errors import Interrupted
image_cache.FLUSH_SECONDS = 0
root = Path(sys.argv[1])
try:
    image_cache.cached_paths(sorted((root / "train").iterdir()), [root], 64)
except Interrupted as error:
    sys.exit(f"interrupted: {error}")
"""


def start(root):
    return subprocess.Popen([sys.executable, "-c", CHILD, str(root)], stderr=subprocess.PIPE, text=True)


@pytest.fixture
def slow_root(tmp_path):
    """Some seconds of work."""
    folder = tmp_path / "slow" / "train"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "0.jpg", quality=95)
    for number in range(1, 120):
        os.link(folder / "0.jpg", folder / f"{number}.jpg")
    return folder.parent


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_was_stopped_leaves_what_it_made(slow_root, sign):
    child = start(slow_root)
    journal = slow_root / ".cocotag" / "images-74" / image_cache.JOURNAL
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (journal.is_file() and journal.read_bytes().count(b"\n") > 5):
        time.sleep(0.01)
    child.send_signal(sign)
    _, said = child.communicate(timeout=60)
    assert child.returncode == (-signal.SIGKILL if sign == signal.SIGKILL else 1)
    assert sign == signal.SIGKILL or "interrupted: Stopped." in said
    before = made(slow_root)
    assert 5 <= len(before) < 120
    assert all(decode(slow_root / ".cocotag" / "images-74" / "train" / name).shape[0] == 74 for name in before)
    listed = [json.loads(line)[0] for line in journal.read_bytes().splitlines() if line.endswith(b"]")]
    cached_paths(images(slow_root), [slow_root], SIZE)
    after = made(slow_root)
    assert len(after) == 120
    assert all(after[Path(name).name] == before[Path(name).name] for name in listed)


def test_processes_at_once_do_each_other_no_harm(slow_root):
    for path in images(slow_root)[40:]:
        path.unlink()
    children = [start(slow_root) for _ in range(3)]
    said = [child.communicate(timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], said
    before = made(slow_root)
    assert len(before) == 40
    copies = cached_paths(images(slow_root), [slow_root], SIZE)
    assert made(slow_root) == before
    assert all(decode(copy).shape[0] == 74 for copy in read(copies))


def test_training_reads_the_copies_and_falls_back_on_the_images(root, sample_dir):
    from cocotag.data.loading.dataset import TaggedImages
    from cocotag.data.loading.transforms import Augmentation

    names = np.array([path.name for path in images(root)])
    table = load_split(sample_dir, "val").take(range(6))
    table = replace(table, image_dir=root / "train", file_names=names, sizes=np.tile(np.int32([300, 200]), (6, 1)))
    copies = cached_paths(table.paths(), [root], SIZE)
    options = {"image_size": SIZE, "augmentation": Augmentation("standard", size=SIZE), "seed": 1}
    cached, plain = TaggedImages(table, **options, cached=copies), TaggedImages(table, **options)
    for index in range(12):
        assert np.abs(cached[index][0].astype(int) - plain[index][0]).mean() < 8
    whole = TaggedImages(table, image_size=SIZE, cached=copies)[0][0]
    read(copies)[0].write_bytes(b"damaged")
    fallen_back = TaggedImages(table, image_size=SIZE, cached=copies)[0][0]
    np.testing.assert_array_equal(fallen_back, TaggedImages(table, image_size=SIZE)[0][0])
    assert 0 < np.abs(whole.astype(int) - fallen_back).mean() < 3
    (root / "train" / "0.jpg").unlink()
    with pytest.raises(DataError) as caught:
        TaggedImages(table, image_size=SIZE, cached=copies)[0]
    assert caught.value.code == "image_unreadable"
    assert "0.jpg" in str(caught.value) and "cocotag check" in str(caught.value)


def test_a_run_makes_copies_for_train_and_tune_once(sample_dir, tmp_path, capsys):
    from cocotag.config import DataConfig
    from cocotag.data.loading.datamodule import TaggingData
    from cocotag.data.splits import Splits

    root = tmp_path / "linked"
    root.mkdir()
    for part in ("annotations", "train"):
        (root / part).symlink_to(sample_dir / part)
    config = DataConfig(root=str(root), cache_images=True, workers=0)
    data = TaggingData(Splits(config, seed=3), image_size=32, batch_size=8, seed=3)
    assert not (root / ".cocotag").exists()  # who only exports needs none
    data.prepare_data()
    assert "120 new" in capsys.readouterr().err
    train, tune = data.train_dataloader().dataset, data.val_dataloader().dataset
    assert capsys.readouterr().err == ""
    for dataset in (train, tune):
        assert [Path(path).name for path in read(dataset.cached)] == dataset.table.file_names.tolist()
        assert dataset[0][0].shape == (32, 32, 3)
