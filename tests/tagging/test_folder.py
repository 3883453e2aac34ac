"""Folders -> one result for every file, in order, whatever the files are."""

import csv
import gc
import io
import json
import os
import threading
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cocotag.errors import ConfigError, DataError
from cocotag.images import load_square
from cocotag.tagging.folder import TagSummary, find_images, predict_files, tag_paths
from cocotag.tagging.outputs import open_writer
from cocotag.tagging.tagger import Tagger


@pytest.fixture(scope="module")
def tagger(toy_bundle):
    return Tagger.load(toy_bundle, threads=1)


@pytest.fixture
def album(tmp_path):
    """Twenty plain pictures of different colours, and three files that are none, in between."""
    folder = tmp_path / "album"
    folder.mkdir()
    for index, colour in enumerate(np.random.default_rng(0).integers(0, 256, (20, 3))):
        Image.new("RGB", (20, 12), tuple(colour.tolist())).save(folder / f"{index:02}.png")
    (folder / "03a.jpg").touch()
    (folder / "07a.jpg").write_text("text")
    (folder / "19a.jpg").symlink_to("nowhere.jpg")
    return folder


def decoders_alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("cocotag-decode")]


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def relative(found, folder):
    return [path.relative_to(folder).as_posix() for path in found]


def test_a_folder_gives_its_images_sorted_and_nothing_hidden(tmp_path):
    touch(tmp_path, "b.JPG", "a/z.png", "a/.hidden.jpg", ".git/x.jpg", "c.txt", "a.jpg", "d.HEIC", "a/b/c.webp", "noending")
    (tmp_path / "e.jpg").mkdir()
    touch(tmp_path, "e.jpg/inside.gif")
    assert relative(find_images([tmp_path]), tmp_path) == [
        "a/b/c.webp",
        "a/z.png",
        "a.jpg",
        "b.JPG",
        "d.HEIC",
        "e.jpg/inside.gif",
    ]


def test_what_is_named_is_taken_whatever_it_is_called(tmp_path):
    touch(tmp_path, "noending", ".hidden/x.jpg", ".dot.jpg")
    named = [tmp_path / "noending", tmp_path / ".dot.jpg", tmp_path / ".hidden"]
    assert relative(find_images(named), tmp_path) == ["noending", ".dot.jpg", ".hidden/x.jpg"]


def test_paths_begin_as_they_were_given(tmp_path, monkeypatch):
    touch(tmp_path, "photos/2024/a.jpg")
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in find_images(["photos"])] == ["photos/2024/a.jpg"]
    assert [str(path) for path in find_images(["../" + tmp_path.name])] == [f"../{tmp_path.name}/photos/2024/a.jpg"]


def test_links_are_followed_once_and_loops_end(tmp_path):
    touch(tmp_path, "real/a.jpg")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "also").symlink_to(tmp_path / "real")
    assert relative(find_images([tmp_path]), tmp_path) == ["also/a.jpg"]
    assert len(list(find_images([tmp_path / "real", tmp_path / "also"]))) == 1


def test_a_path_that_does_not_exist_stops_before_anything_starts(tmp_path):
    with pytest.raises(DataError, match=r"typo.*1 of 2 paths do not exist"):
        find_images([tmp_path, tmp_path / "typo"])


def test_a_folder_that_may_not_be_listed_gets_its_row(tmp_path, monkeypatch, tagger):
    touch(tmp_path, "closed/a.jpg", "z.jpg")
    closed = tmp_path / "closed"
    listing, access = type(closed).iterdir, os.access

    def refuse(self):
        if self == closed:
            raise PermissionError(13, "Permission denied")
        return listing(self)

    monkeypatch.setattr(type(closed), "iterdir", refuse)
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed and access(path, mode))
    found = list(find_images([tmp_path]))
    assert relative(found, tmp_path) == ["closed", "z.jpg"]
    assert [result.error.reason for result in predict_files(tagger, found)] == ["unreadable", "empty"]


@pytest.mark.parametrize("batch_size", [1, 4, 8, 64])
@pytest.mark.parametrize("decoders", [1, 3])
def test_every_file_has_its_own_result_in_order(tagger, album, batch_size, decoders):
    files = list(find_images([album]))
    results = list(predict_files(tagger, files, batch_size=batch_size, decoders=decoders))
    assert [result.path for result in results] == files
    failed = {result.path.name: result.error.reason for result in results if result.error}
    assert failed == {"03a.jpg": "empty", "07a.jpg": "not_an_image", "19a.jpg": "missing"}
    for result in results:
        assert (result.probs is None) == (result.error is not None)
        if result.probs is not None:
            np.testing.assert_allclose(result.probs, tagger.predict(load_square(result.path, 64)[None])[0], atol=1e-6)


def test_nothing_in_nothing_out_and_failures_alone(tagger, album):
    assert list(predict_files(tagger, [])) == []
    assert [result.error.reason for result in predict_files(tagger, [album / "03a.jpg"] * 20)] == ["empty"] * 20


def test_files_are_read_ahead_by_no_more_than_a_few_batches(tagger, album):
    taken = []

    def endless():
        while True:
            taken.append(album / "00.png")
            yield taken[-1]

    results = predict_files(tagger, endless(), batch_size=4, decoders=2)
    for _ in range(8):
        next(results)
    assert len(taken) <= 8 + 3 * 4 + 2
    results.close()


def test_a_stream_that_is_closed_leaves_no_threads(tagger, album):
    results = predict_files(tagger, [album / "00.png"] * 200)
    next(results)
    assert decoders_alive()
    results.close()
    assert not decoders_alive()
    abandoned = predict_files(tagger, [album / "00.png"] * 200)
    next(abandoned)
    del abandoned
    gc.collect()
    assert not decoders_alive()


def test_an_interrupt_between_files_leaves_no_threads(tagger, album):
    def interrupted():
        yield from [album / "00.png"] * 20
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(predict_files(tagger, interrupted(), batch_size=2))
    assert not decoders_alive()


def test_settings_that_cannot_be_are_refused_at_once(tagger):
    for settings in ({"batch_size": 0}, {"decoders": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            predict_files(tagger, [], **settings)


def test_tag_paths_writes_a_row_for_each_and_counts(tagger, album, tmp_path, capfd):
    out = tmp_path / "tags.csv"
    with open_writer(out, tagger.metadata) as writer:
        summary = tag_paths(tagger, [album], writer)
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["path"] for row in rows] == [str(path) for path in find_images([album])]
    assert summary.ok == 20 and summary.total == 23
    assert summary.failed == Counter(row["status"] for row in rows if row["status"] != "ok")
    for row in rows:
        if row["status"] == "ok":
            assert row["tags"].split(";")[: bool(row["tags"])] == [tag.name for tag in tagger.tag(row["path"])][:1]
            assert [t for t in row["tags"].split(";") if t] == [tag.name for tag in tagger.tag(row["path"])]
    text = summary.to_text()
    assert "20 of 23" in text and "1 empty" in text and "03a.jpg" in text
    assert "\r" not in capfd.readouterr().err  # no progress bar where nobody looks


def test_threshold_and_top_k_reach_the_rows(tagger, album, tmp_path):
    out = tmp_path / "tags.jsonl"
    with open_writer(out, tagger.metadata) as writer:
        tag_paths(tagger, [album / "00.png"], writer, threshold=0, top_k=3)
    row = json.loads(out.read_text())
    assert row["tags"] == [tag.name for tag in tagger.tag(album / "00.png", threshold=0, top_k=3)]
    assert row["scores"] == sorted(row["scores"], reverse=True)


def test_impossible_runs_do_not_begin(tagger, album, tmp_path):
    (tmp_path / "nothing").mkdir()
    for paths, settings, error in [
        ([tmp_path / "nothing"], {}, DataError),
        ([tmp_path / "typo"], {}, DataError),
        ([album], {"threshold": 2}, ConfigError),
        ([album], {"top_k": 0}, ConfigError),
    ]:
        out = tmp_path / "tags.csv"
        with pytest.raises(error), open_writer(out, tagger.metadata) as writer:
            tag_paths(tagger, paths, writer, **settings)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["album", "nothing"]


def test_a_summary_of_many_failures_names_the_first():
    summary = TagSummary(ok=1, failed=Counter(empty=5, missing=1), first_failures=["a", "b", "c"], seconds=2.0)
    assert summary.to_text().splitlines() == [
        "1 of 7 images tagged in 2.0 s (3.5 images/s); failed: 5 empty, 1 missing",
        "  a",
        "  b",
        "  c",
        "  and 3 more",
    ]
