"""The folder of a gallery: it has all tags and scores, upright thumbnails, and no stopped run breaks it."""

import base64
import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes, urljoin

import cv2
import numpy as np
import pytest
from made_gallery import draw_photographs, made_context, made_rows, made_scores
from PIL import Image

from cocotag.cli.main import main
from cocotag.errors import OutputError
from cocotag.labels import Category, Vocabulary
from cocotag.photos.walk import find_images
from cocotag.tagging.decisions.rename import load_rename
from cocotag.tagging.decisions.rows import Row
from cocotag.tagging.gallery import check_gallery, chunks, write_gallery
from cocotag.tagging.gallery.place import MARKER, Place
from cocotag.tagging.gallery.thumbnails import SIDE, Thumbnails


@pytest.fixture
def paths(tmp_path):
    return draw_photographs(tmp_path / "photos", 7, a_folder=3)


@pytest.fixture
def rows(paths):
    return made_rows(paths, made_scores(len(paths)), made_context())


def write(rows, directory, context=None):
    return write_gallery(lambda: iter(rows), directory, made_context() if context is None else context)


def about(directory):
    page = (directory / "index.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'id="about">(.*?)</script>', page, re.DOTALL)[1])


def read(directory):
    """All images of a gallery, read as the page reads them, and the errors."""
    page, images, errors = about(directory), [], []
    for number in range(page["chunks"]):
        text = (directory / page["data"] / f"{number:06d}.js").read_text(encoding="ascii")
        chunk = json.loads(text.removeprefix("cocotagChunk(").removesuffix(");\n"))
        where = [
            chunk["folders"][folder] for folder, many in zip(*[iter(chunk["where"])] * 2, strict=True) for _ in range(many)
        ]
        thumbs = [f"{key:016x}" for key in numbers(chunk["thumbs"], ">u8")]
        found = [
            {"folder": folder, "name": name, "thumb": None if int(thumb, 16) == 0 else f"{thumb[:2]}/{thumb}.jpg", "models": []}
            for folder, name, thumb in zip(where, chunk["names"], thumbs, strict=True)
        ]
        for model, stored in zip(page["models"], chunk["models"], strict=True):
            ends = np.cumsum(numbers(stored["counts"]))[:-1]
            classes, scores = (np.split(numbers(stored[what]), ends) for what in ("classes", "scores"))
            for image, mine, bits in zip(found, classes, scores, strict=True):
                values = (bits & 0x7FFF).view(np.float16)
                names = [model["classes"][one][0] for one in mine]
                image["models"].append(list(zip(names, values, bits >= 0x8000, strict=True)))
        images += found
        errors += [(chunk["folders"][folder][0], *rest) for folder, *rest in chunk["errors"]]
    return images, errors


def numbers(text, kind="<u2"):
    return np.frombuffer(base64.b64decode(text), kind)


def tags_in(image, model=0):
    return {name: float(value) for name, value, decided in image["models"][model] if decided}


def thumbs(directory):
    return sorted(str(path.relative_to(directory / "cocotag" / "thumbs")) for path in directory.glob("cocotag/thumbs/*/*"))


def files(directory):
    return {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


# What is in it


def test_it_holds_every_tag_and_every_score_that_could_become_one(rows, tmp_path):
    summary = write(rows, tmp_path / "gallery")
    images, errors = read(tmp_path / "gallery")
    assert (summary.images, summary.errors, len(images), errors) == (7, 0, 7, [])
    for row, image in zip(rows, images, strict=True):
        assert image["name"] == row.path.name
        assert tags_in(image) == {tag.name: tag.score for tag in row.tags}
        (scores,) = image["models"]
        assert {name: float(value) for name, value, _ in scores} == {
            name: float(value) for name, value in zip(made_context().tags("").names, row.probs, strict=True) if value >= 0.02
        }
        values = [value for _, value, _ in scores]
        assert values == sorted(values, reverse=True)
    assert about(tmp_path / "gallery")["models"][0]["pairs"] == sum(len(image["models"][0]) for image in images)


def test_images_come_in_order_for_any_chunk_size(rows, tmp_path, monkeypatch):
    write(rows, tmp_path / "whole")
    monkeypatch.setattr(chunks, "CHUNK", 2)
    write(rows, tmp_path / "many")
    assert about(tmp_path / "many")["chunks"] == 4
    near = [
        [(image["name"], image["thumb"], image["models"]) for image in read(tmp_path / name)[0]] for name in ("whole", "many")
    ]
    assert near[0] == near[1]


def test_a_threshold_near_the_floor_keeps_lower_scores(paths, tmp_path):
    vocabulary = Vocabulary((Category(1, "rare", ""), Category(2, "common", "")))
    context = made_context(vocabulary)
    context.thresholds[""][:] = [0.02, 0.5]
    scores = np.tile(np.array([0.012, 0.012], np.float16), (len(paths), 1))
    write(made_rows(paths, scores, context), tmp_path / "gallery", context)
    assert [name for name, _, _ in read(tmp_path / "gallery")[0][0]["models"][0]] == ["rare"]


def test_tags_are_those_of_the_rows_even_if_thresholds_alone_differ(paths, tmp_path):
    context = made_context()
    rows = made_rows(paths, (made_scores(len(paths)) + np.float16(0.2)).clip(0, 1), context, top_k=2)
    assert any((row.probs >= context.thresholds[""]).sum() > 2 for row in rows)
    write(rows, tmp_path / "gallery", context)
    for row, image in zip(rows, read(tmp_path / "gallery")[0], strict=True):
        assert tags_in(image) == {tag.name: tag.score for tag in row.tags}


def test_renamed_classes_are_the_pages_classes(paths, tmp_path):
    plain = made_context()
    names = tmp_path / "names.yaml"
    names.write_text("dog: Tier\ncat: Tier\nperson: null\n")
    context = made_context(rename=load_rename(names, plain.vocabularies.values()))
    scores = np.full((len(paths), 80), 0.001, np.float16)
    index = plain.vocabularies[""].index_by_name()
    for name in ("dog", "cat", "person"):
        scores[:, index[name]] = 0.875 if name == "dog" else 0.75
    context.thresholds[""][[index["dog"], index["cat"]]] = [0.5, 0.25]
    write(made_rows(paths, scores, context), tmp_path / "gallery", context)
    (model,) = about(tmp_path / "gallery")["models"]
    called = [name for name, _ in model["classes"]]
    assert "person" not in called and "dog" not in called
    assert model["thresholds"][called.index("Tier")] == 0.25
    assert tags_in(read(tmp_path / "gallery")[0][0]) == {"Tier": 0.875}


def test_each_class_has_its_group_unless_it_has_the_same_name(rows, tmp_path):
    write(rows, tmp_path / "gallery")
    classes = dict(about(tmp_path / "gallery")["models"][0]["classes"])
    assert (classes["dog"], classes["person"]) == ("animal", "")


def test_several_models(paths, tmp_path):
    context = made_context(models=("a", "b"))
    scores = {"a": made_scores(len(paths)), "b": made_scores(len(paths), seed=1)}
    rows = made_rows(paths, scores, context)
    summary = write(rows, tmp_path / "gallery", context)
    images, _ = read(tmp_path / "gallery")
    assert (summary.images, len(images), summary.made) == (7, 7, 7)
    for number, image in enumerate(images):
        for model in (0, 1):
            assert tags_in(image, model) == {tag.name: tag.score for tag in rows[2 * number + model].tags}


def test_errors_are_listed_with_their_reason_and_not_as_images(rows, tmp_path):
    bad = tmp_path / "photos" / "bad.jpg"
    error = Row(bad, status="truncated", error=f"{bad}: cut short. Copy it again.")
    summary = write([rows[0], error, rows[1]], tmp_path / "gallery")
    images, errors = read(tmp_path / "gallery")
    assert [image["name"] for image in images] == [rows[0].path.name, rows[1].path.name]
    assert errors == [(str(bad.parent), "bad.jpg", "truncated", "cut short. Copy it again.")]
    assert (summary.errors, about(tmp_path / "gallery")["errors"]) == (1, 1)
    assert "truncated: cut short." in (tmp_path / "gallery" / "index.html").read_text()
    assert "2 images, 1 not tagged" in summary.to_text()


def test_a_gallery_without_files_is_a_page(tmp_path):
    assert write([], tmp_path / "gallery").images == 0
    assert read(tmp_path / "gallery") == ([], [])


# Names and addresses

NASTY = [
    "<img src=x onerror=alert(1)>.jpg",
    "</script><script>alert(2)<",
    "50% off #1? yes&no;.jpg",
    "%41.jpg",
    "\"quoted\" 'twice'.jpg",
    "new\nline.jpg",
    os.fsdecode(b"caf\xe9.jpg"),
    "日本語.jpg",
    "\u2028.jpg",
]


def test_addresses_lead_to_photographs_of_any_name(tmp_path, paths):
    folder = tmp_path / "a b%#?" / os.fsdecode(b"\xff'&\"<")
    folder.mkdir(parents=True)
    named = [folder / name.replace("/", "_") for name in NASTY]
    for path in named:
        path.write_bytes(paths[0].read_bytes())
    write(made_rows(named, made_scores(len(named)), made_context()), tmp_path / "pages" / "gallery")
    base = (tmp_path / "pages" / "gallery" / "index.html").as_uri()
    for path, image in zip(named, read(tmp_path / "pages" / "gallery")[0], strict=True):
        assert image["name"] == path.name
        _, near, far = image["folder"]
        for address in (urljoin(base, near), far):
            linked = Path(os.fsdecode(unquote_to_bytes(address.removeprefix("file://"))))
            assert linked.samefile(folder)
        assert "#" not in near and "?" not in near and near.isascii()


def test_no_name_becomes_code(tmp_path, paths):
    evil = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
    context = made_context(Vocabulary((Category(1, evil, evil + "group"),)))
    bad = tmp_path / evil / "bad.jpg"
    rows = [*made_rows(paths[:1], np.ones((1, 1), np.float16), context), Row(bad, status="missing", error=f"{bad}: gone")]
    write(rows, tmp_path / "gallery", context)
    page = (tmp_path / "gallery" / "index.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and "<script>alert" not in page
    data = next((tmp_path / "gallery").glob("cocotag/data-*/*.js")).read_bytes()
    assert data.isascii() and b"<" not in data
    assert about(tmp_path / "gallery")["models"][0]["classes"] == [[evil, evil + "group"]]


def test_relative_paths_are_shown_as_given(tmp_path, paths, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [path.relative_to(tmp_path) for path in paths]
    write(made_rows(given, made_scores(len(given)), made_context()), Path("gallery"))
    image = read(tmp_path / "gallery")[0][0]
    assert image["folder"][:2] == [str(given[0].parent), f"../{given[0].parent}/"]
    assert (tmp_path / "gallery" / image["folder"][1] / image["name"]).samefile(paths[0])


# Thumbnails


def test_thumbnails_are_small_and_show_the_photograph(rows, tmp_path):
    write(rows, tmp_path / "gallery")
    for row, image in zip(rows, read(tmp_path / "gallery")[0], strict=True):
        small = cv2.imread(str(tmp_path / "gallery" / "cocotag" / "thumbs" / image["thumb"]))
        whole = cv2.imread(str(row.path))
        assert max(small.shape) == SIDE
        assert abs(small.shape[0] / small.shape[1] - whole.shape[0] / whole.shape[1]) < 0.02
        expected = cv2.resize(whole, small.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - expected).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_thumbnails_are_upright(tmp_path, orientation):
    """For every EXIF orientation, the top left corner is red, the top right green, the bottom left blue."""
    upright = np.full((240, 320, 3), 255, np.uint8)
    upright[:120, :160], upright[:120, 160:], upright[120:, :160] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    turns = {1: [], 2: [1], 3: [0, 1], 4: [0], 5: ["t"], 6: ["t", 0], 7: ["t", 0, 1], 8: ["t", 1]}[orientation]
    stored = upright
    for turn in turns:
        stored = stored.transpose(1, 0, 2) if turn == "t" else np.flip(stored, turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=95)
    write(made_rows([path], made_scores(1), made_context()), tmp_path / "gallery")
    small = cv2.imread(str(next((tmp_path / "gallery").glob("cocotag/thumbs/*/*.jpg"))))[:, :, ::-1]
    height, width = small.shape[:2]
    assert width > height
    corners = [small[height // 4, width // 4], small[height // 4, 3 * width // 4], small[3 * height // 4, width // 4]]
    assert np.abs(np.array(corners) - [(255, 0, 0), (0, 255, 0), (0, 0, 255)]).max() < 40


def test_done_twice_is_done_once(rows, tmp_path):
    first = write(rows, tmp_path / "gallery")
    before = files(tmp_path / "gallery")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "gallery").glob("cocotag/thumbs/*/*")}
    second = write(rows, tmp_path / "gallery")
    assert (first.made, first.kept) == (7, 0)
    assert (second.made, second.kept, second.removed) == (0, 7, 0)
    assert files(tmp_path / "gallery") == before
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_only_changed_thumbnails_are_made_again_and_unused_ones_removed(rows, tmp_path):
    write(rows, tmp_path / "gallery")
    before = thumbs(tmp_path / "gallery")
    changed = rows[0].path
    data = changed.read_bytes()
    changed.unlink()  # a hard link: other files share its content
    changed.write_bytes(data)
    os.utime(changed, ns=(1, 1))
    summary = write(rows[:-1], tmp_path / "gallery")
    assert (summary.made, summary.kept, summary.removed) == (1, 5, 2)
    after = thumbs(tmp_path / "gallery")
    assert len(after) == 6 and len(set(after) & set(before)) == 5
    assert {image["thumb"] for image in read(tmp_path / "gallery")[0]} == set(after)


def test_only_its_own_files_are_removed(rows, tmp_path):
    write(rows, tmp_path / "gallery")
    folder = next((tmp_path / "gallery" / "cocotag" / "thumbs").iterdir())
    mine = [folder / "mine.jpg", folder.parent / "note.txt", tmp_path / "gallery" / "mine.html", tmp_path / "gallery" / "state"]
    for path in mine:
        path.write_text("mine")
    write(rows[:1], tmp_path / "gallery")
    assert all(path.read_text() == "mine" for path in mine)
    assert len(thumbs(tmp_path / "gallery")) == 1 + 1  # and mine.jpg


def test_a_missing_or_broken_photograph_has_no_thumbnail(rows, tmp_path):
    rows[0].path.unlink()
    rows[1].path.unlink()
    rows[1].path.write_bytes(b"\xff\xd8 broken")
    summary = write(rows, tmp_path / "gallery")
    images, _ = read(tmp_path / "gallery")
    assert [image["thumb"] is None for image in images] == [True, True] + [False] * 5
    assert (summary.images, summary.made, summary.failed) == (7, 5, 2)


@pytest.mark.parametrize("unread", ["missing", "broken"])
def test_thumbnails_of_unreadable_photographs_are_kept(rows, paths, tmp_path, unread):
    write(rows, tmp_path / "gallery")
    before, files_before = read(tmp_path / "gallery")[0], thumbs(tmp_path / "gallery")
    (tmp_path / "gallery" / "cocotag" / "thumbs" / before[1]["thumb"]).unlink()
    if unread == "missing":
        (tmp_path / "photos").rename(tmp_path / "not plugged in")
    else:
        for path in paths:
            path.unlink()
            path.write_bytes(b"\xff\xd8 broken")
    summary = write(rows, tmp_path / "gallery")
    images, _ = read(tmp_path / "gallery")
    assert [image["thumb"] for image in images] == [None if at == 1 else one["thumb"] for at, one in enumerate(before)]
    assert thumbs(tmp_path / "gallery") == [name for name in files_before if name != before[1]["thumb"]]
    assert (summary.made, summary.kept, summary.unread, summary.removed, summary.failed) == (0, 6, 6, 0, 1)
    assert "cannot be read now: 6." in summary.to_text()
    assert "cannot be read now and have no thumbnail: 1." in summary.to_text()


def test_a_missing_photograph_never_gets_the_thumbnail_of_another(rows, tmp_path):
    write(rows[1:], tmp_path / "gallery")
    rows[0].path.unlink()
    write(rows, tmp_path / "gallery")
    assert [image["thumb"] is None for image in read(tmp_path / "gallery")[0]] == [True] + [False] * 6


def test_a_file_given_twice_is_on_the_page_twice(rows, tmp_path):
    write([*rows, *rows], tmp_path / "gallery")
    images, _ = read(tmp_path / "gallery")
    assert len(images) == 14 and len({image["thumb"] for image in images}) == 7


def test_rows_are_not_gathered(paths, tmp_path, monkeypatch):
    """Memory is bounded: only a few more rows are read than are written."""
    context, taken, most = made_context(), [], []
    added = chunks.Chunks.add
    monkeypatch.setattr(chunks.Chunks, "add", lambda self, *args: (most.append(len(taken) - len(most)), added(self, *args)))
    rows = made_rows(paths * 40, made_scores(280), context)

    def coming():
        for number, row in enumerate(rows):
            taken.append(number)
            yield Row(row.path.with_name(f"{number}.jpg"), tags=row.tags, probs=row.probs)

    write_gallery(coming, tmp_path / "gallery", context)
    assert len(most) == 280
    assert max(most) <= Thumbnails(tmp_path).at_once + 2


# The owner of the folder


@pytest.mark.parametrize("names", [[], ["state"], ["state", "state-wal", "state-shm"], [".DS_Store"]])
def test_an_empty_folder_is_accepted(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("")
    check_gallery(tmp_path)
    check_gallery(tmp_path / "new" / "deep")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize("name", ["photo.jpg", "index.html", "cocotag/x", "statement"])
def test_a_folder_with_other_files_is_refused(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    with pytest.raises(OutputError) as caught:
        check_gallery(tmp_path)
    assert caught.value.code == "folder_not_empty"
    assert str(tmp_path) in str(caught.value) and repr(name.split("/")[0]) in str(caught.value)
    assert "--overwrite" in str(caught.value) and "\n" not in str(caught.value)
    check_gallery(tmp_path, overwrite=True)


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for overwrite in (False, True):
        with pytest.raises(OutputError) as caught:
            check_gallery(tmp_path / "file", overwrite=overwrite)
        assert caught.value.code == "not_a_folder"
        assert str(tmp_path / "file") in str(caught.value)


def test_a_gallery_is_accepted_even_if_unfinished(rows, tmp_path):
    write(rows, tmp_path / "gallery")
    check_gallery(tmp_path / "gallery")
    (tmp_path / "gallery" / "index.html").unlink()
    check_gallery(tmp_path / "gallery")


def test_overwriting_keeps_other_files(rows, tmp_path):
    (tmp_path / "gallery" / "data-0123456789abcdef").mkdir(parents=True)
    (tmp_path / "gallery" / "ab").mkdir()
    theirs = ["photo.jpg", "data-0123456789abcdef/000000.js", "ab/abcdefabcdefabcd.jpg"]
    for name in theirs:
        (tmp_path / "gallery" / name).write_text("mine")
    write(rows, tmp_path / "gallery")
    assert all((tmp_path / "gallery" / name).read_text() == "mine" for name in theirs)


def test_thumbnails_are_never_walked_but_photographs_beside_a_gallery_are(rows, paths, tmp_path):
    before = list(find_images([tmp_path]))
    write(rows, tmp_path / "photos")
    assert list((tmp_path / "photos").glob("cocotag/thumbs/*/*.jpg"))
    assert list(find_images([tmp_path])) == before
    assert not list(find_images([tmp_path / "photos" / "cocotag"]))


# Runs that are stopped


def usable(directory):
    """Whether the page's data and thumbnails all exist."""
    images, _ = read(directory)
    return all((directory / "cocotag" / "thumbs" / image["thumb"]).is_file() for image in images)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OutputError])
def test_a_stopped_run_leaves_the_old_gallery(rows, tmp_path, stop):
    write(rows[:5], tmp_path / "gallery")
    before = files(tmp_path / "gallery")

    def stopping():
        yield from rows[2:]
        raise stop("now")

    with pytest.raises(stop):
        write_gallery(stopping, tmp_path / "gallery", made_context())
    now = files(tmp_path / "gallery")
    assert {path: now[path] for path in before} == before
    assert not list(tmp_path.glob("gallery/cocotag/*.part"))
    assert usable(tmp_path / "gallery")


def test_a_killed_run_leaves_the_old_gallery_and_the_next_clears_up(rows, tmp_path, monkeypatch):
    """As if the process had ended between two statements, without any cleanup."""
    write(rows[:5], tmp_path / "gallery")
    with monkeypatch.context() as killed:
        killed.setattr(Place, "abandon", lambda self: None)
        killed.setattr(Place, "publish", lambda self, *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write(rows[3:], tmp_path / "gallery")
    left = tmp_path / "gallery" / "cocotag" / "data-99999999.part"
    left.mkdir()
    (next((tmp_path / "gallery").glob("cocotag/thumbs/*")) / "0123456789abcdef.jpg.part").write_text("half")
    assert len(read(tmp_path / "gallery")[0]) == 5 and usable(tmp_path / "gallery")
    summary = write(rows[3:], tmp_path / "gallery")
    assert (summary.made, summary.kept) == (0, 4)  # those of the killed run
    assert len(list(tmp_path.glob("gallery/cocotag/data-*"))) == 1
    assert not list(tmp_path.glob("gallery/**/*.part"))
    assert len(thumbs(tmp_path / "gallery")) == 4 and usable(tmp_path / "gallery")


@pytest.mark.parametrize("kind", ["jpg", "js"])
def test_a_full_disk_is_one_line_and_leaves_the_old_gallery(rows, tmp_path, monkeypatch, kind):
    write(rows[:5], tmp_path / "gallery")
    write_bytes = Path.write_bytes

    def full(self, data):
        if f".{kind}" in self.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError) as caught:
        write(rows[3:], tmp_path / "gallery")
    assert caught.value.code == "disk_full"
    assert "\n" not in str(caught.value) and str(tmp_path / "gallery") in str(caught.value)
    assert len(read(tmp_path / "gallery")[0]) == 5 and usable(tmp_path / "gallery")


# From the command line


def test_it_loads_neither_torch_nor_pandas():
    code = "import sys, cocotag.tagging.gallery; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pandas", "sklearn"} & set(loaded)


def test_the_command_writes_a_gallery_and_retag_updates_it_without_the_network(
    toy_bundle, tmp_path, paths, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["tag", "photos", "--model", str(toy_bundle), "--gallery", "gallery"]) == 0
    assert (tmp_path / "gallery" / "cocotag" / MARKER).is_file()
    images, _ = read(tmp_path / "gallery")
    assert len(images) == 7 + 7  # and the drawn files, to which they are hard links
    assert main(["retag", "gallery", "--gallery", "gallery", "--threshold", "0.99"]) == 0
    again, _ = read(tmp_path / "gallery")
    assert sum(len(tags_in(image)) for image in again) < sum(len(tags_in(image)) for image in images)
    assert [image["thumb"] for image in again] == [image["thumb"] for image in images]
    assert main(["tag", "photos", "--model", str(toy_bundle), "--gallery", "photos"]) == 2
    err = capsys.readouterr().err
    assert "photos" in err and "--overwrite" in err


def test_without_the_disk_of_the_photographs_retag_leaves_a_whole_gallery(toy_bundle, tmp_path, paths, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["tag", "photos", "--model", str(toy_bundle), "--gallery", "gallery"]) == 0
    (tmp_path / "photos").rename(tmp_path / "off")
    assert main(["retag", "gallery", "--gallery", "gallery", "--threshold", "0.6"]) == 0
    assert len(thumbs(tmp_path / "gallery")) == 14 and usable(tmp_path / "gallery")
    (tmp_path / "gallery" / "cocotag" / "thumbs" / thumbs(tmp_path / "gallery")[0]).unlink()
    capsys.readouterr()
    assert main(["retag", "gallery", "--gallery", "gallery", "--threshold", "0.6"]) == 1
    assert "cannot be read now and have no thumbnail: 1." in capsys.readouterr().err
