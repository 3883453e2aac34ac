"""Paths -> the image files under them, each once, in an order that depends on names alone."""

import io
import os
import random
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from cocotag.errors import DataError
from cocotag.photos import walk as walk_module
from cocotag.photos.exclusions import Exclusions
from cocotag.photos.walk import GALLERY, PART, Walk, find_images
from cocotag.tagging.gallery.place import MARKER


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def relative(found, folder):
    return [path.relative_to(folder).as_posix() for path in found]


def files(walk):
    return [os.fsdecode(part.prefix + name) for part in walk for name in part.names]


def names_of(walk):
    return [os.fsdecode(name) for part in walk for name in part.names]


def walked(folder, **settings):
    return [os.path.relpath(path, folder) for path in files(Walk([folder], **settings))]


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


def test_the_order_is_that_of_the_names_on_the_way(tmp_path):
    names = [
        "a.jpg",
        "a/b.jpg",
        "a-b/c.jpg",
        "a b.jpg",
        "B.jpg",
        "ä.jpg",
        "a/a/a.jpg",
        "a/a.jpg",
        "z/1.jpg",
        "z/10.jpg",
        "z/2.jpg",
    ]
    shuffled = random.Random(0).sample(names, len(names))
    touch(tmp_path, *shuffled)
    assert walked(tmp_path) == sorted(names, key=lambda name: [part.encode() for part in name.split("/")])


def test_what_is_no_image_is_counted_by_ending(tmp_path):
    touch(tmp_path, "a.jpg", "a.jpg.xmp", "b/c.XMP", "b/film.mp4", "b/none", "b/.hidden.mp4", "b/dots.", "t.csv.state")
    walk = Walk([tmp_path])
    assert names_of(walk) == ["a.jpg"]
    assert walk.skipped == {".xmp": 2, ".mp4": 1, "": 2}


def test_no_number_of_endings_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(walk_module, "MOST_ENDINGS", 10)
    touch(tmp_path, *(f"scan.{number:03}" for number in range(50)))
    walk = Walk([tmp_path])
    assert files(walk) == []
    assert len(walk.skipped) == 11 and walk.skipped.total() == 50


def test_what_is_named_is_taken_whatever_it_is_called(tmp_path):
    touch(tmp_path, "noending", ".hidden/x.jpg", ".dot.jpg")
    named = [tmp_path / "noending", tmp_path / ".dot.jpg", tmp_path / ".hidden"]
    assert relative(find_images(named), tmp_path) == ["noending", ".dot.jpg", ".hidden/x.jpg"]


def test_what_is_being_written_is_no_image_unless_it_is_named(tmp_path):
    unfinished = ".cocotag-0123456789abcdef.jpg"
    touch(tmp_path, unfinished, "a.jpg", ".b.jpg")
    assert walked(tmp_path, hidden=True) == [".b.jpg", "a.jpg"]
    assert sorted(names_of(Walk([tmp_path / ".*.jpg"], hidden=True))) == [".b.jpg"]
    assert names_of(Walk([tmp_path / unfinished])) == [unfinished]


def test_hidden_files_and_folders_are_taken_when_told(tmp_path):
    touch(tmp_path, ".a.jpg", ".b/.c/d.jpg", "e.jpg")
    assert walked(tmp_path, hidden=True) == [".a.jpg", ".b/.c/d.jpg", "e.jpg"]


def test_paths_begin_as_they_were_given(tmp_path, monkeypatch):
    touch(tmp_path, "photos/2024/a.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path)
    for given in ("photos", "photos/", "./photos", "photos//2024/.."):
        assert all(path.startswith("photos/") for path in files(Walk([given])))
    assert str(next(find_images(["../" + tmp_path.name]))) == f"../{tmp_path.name}/b.jpg"
    assert files(Walk(["."])) == ["b.jpg", "photos/2024/a.jpg"]
    assert files(Walk(["b.jpg"])) == ["b.jpg"]
    assert all(path.startswith("/") and Path(path).exists() for path in files(Walk([tmp_path])))


def test_links_are_followed_once_and_loops_end(tmp_path):
    touch(tmp_path, "real/a.jpg")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "also").symlink_to(tmp_path / "real")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "nowhere.jpg").symlink_to("none.jpg")
    (tmp_path / "linked.jpg").symlink_to("real/a.jpg")
    assert relative(find_images([tmp_path]), tmp_path) == ["also/a.jpg", "linked.jpg", "nowhere.jpg", "self.jpg"]
    assert len(list(find_images([tmp_path / "real", tmp_path / "also"]))) == 4


def test_a_path_that_does_not_exist_stops_before_anything_starts(tmp_path):
    with pytest.raises(DataError, match=r"typo'.*1 of 2") as caught:
        find_images([tmp_path, tmp_path / "typo"])
    assert caught.value.code == "path_missing"
    with pytest.raises(DataError, match=r"\*\.png") as caught:
        Walk([tmp_path / "*.png"])
    assert caught.value.code == "path_missing"
    with pytest.raises(DataError, match="typo'") as caught:
        Walk([tmp_path / "typo"])
    assert caught.value.code == "path_missing"


def test_an_empty_path_is_refused(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg")
    monkeypatch.chdir(tmp_path)
    for given in ([""], [".", ""]):
        with pytest.raises(DataError) as caught:
            Walk(given)
        assert caught.value.code == "path_empty"
    assert files(Walk([Path()])) == ["a.jpg"]


def test_a_folder_that_may_not_be_listed_is_given_itself(tmp_path, monkeypatch):
    touch(tmp_path, "closed/a.jpg", "z.jpg", "a/b.jpg")
    scan = os.scandir

    def refuse(folder):
        if os.fsdecode(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert walked(tmp_path) == ["a/b.jpg", "closed", "z.jpg"]
    assert files(Walk([tmp_path / "closed"])) == [str(tmp_path / "closed")]


if os.geteuid() == 0:  # nobody else can become someone without rights

    def test_a_folder_of_somebody_else_is_given_itself(tmp_path):
        touch(tmp_path, "closed/a.jpg", "z.jpg")
        (tmp_path / "closed").chmod(0)
        for folder in (tmp_path, *tmp_path.parents):
            if folder.owner() == "root" and folder.stat().st_mode & stat.S_IXOTH == 0:
                folder.chmod(folder.stat().st_mode | 0o055)
        code = (
            "import os, sys; from cocotag.photos.walk import find_images; os.setuid(65534); print(*find_images(sys.argv[1:]))"
        )
        done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [str(tmp_path / "closed"), str(tmp_path / "z.jpg")]


def test_folders_that_vanish_on_the_way_are_given_and_the_rest_goes_on(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "c/1.jpg")
    found = []
    for part in Walk([tmp_path]):
        found += [os.path.relpath(os.fsdecode(part.prefix + name), tmp_path) for name in part.names]
        if found == ["a/1.jpg"]:
            (tmp_path / "b" / "1.jpg").unlink()
            (tmp_path / "b").rmdir()
    assert found == ["a/1.jpg", "b", "c/1.jpg"]


def test_names_that_are_not_utf8_are_names(tmp_path):
    names = [b"caf\xe9.jpg", b"\xff/\xfe.png", "жук 🐞.jpg".encode(), b"two\nlines.jpg"]
    for name in names:
        path = tmp_path / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = {os.path.relpath(os.fsencode(path), os.fsencode(tmp_path)) for path in find_images([tmp_path])}
    assert found == set(names)


def test_folders_are_walked_however_deep_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(1500):
        Path("d").mkdir()
        os.chdir("d")
    Path("a.jpg").touch()
    os.chdir(tmp_path)
    try:
        found = files(Walk(["."]))
        assert len(found) == 1  # the file, or, where a path that long is none, the folder that cannot be listed
    finally:  # too deep for pytest to remove
        subprocess.run(["rm", "-r", "d"], check=True)


# Globs


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg", "b.jpg"]),
        ("[b-c].jpg", ["b.jpg"]),
        ("?.png", []),
        ("2024*/*.jpg", ["2024-01/x.jpg", "2024-02/x.jpg"]),
        ("2024-0?", ["2024-01/deep/y.jpg", "2024-01/x.jpg", "2024-02/x.jpg"]),
        ("*/x.jpg", ["2024-01/x.jpg", "2024-02/x.jpg", "other/x.jpg"]),
        ("**/y.jpg", ["2024-01/deep/y.jpg", "other/very/deep/y.jpg"]),
        ("**/deep", ["2024-01/deep/y.jpg", "other/very/deep/y.jpg"]),
        ("**/deep/*.jpg", ["2024-01/deep/y.jpg", "other/very/deep/y.jpg"]),
        ("other/**", ["other/very/deep/y.jpg", "other/x.jpg"]),
        (".h*/*.jpg", [".hidden/h.jpg"]),
        ("*", [
            "2024-01/deep/y.jpg", "2024-01/x.jpg", "2024-02/x.jpg", "a.jpg", "b.jpg", "other/very/deep/y.jpg", "other/x.jpg"
        ]),
    ],
)  # fmt: skip
def test_a_glob_that_no_shell_expanded(tmp_path, pattern, expected):
    touch(tmp_path, "a.jpg", "b.jpg", "notes.txt", "2024-01/x.jpg", "2024-01/deep/y.jpg", "2024-02/x.jpg", ".hidden/h.jpg")
    touch(tmp_path, "other/x.jpg", "other/very/deep/y.jpg")
    if not expected:
        with pytest.raises(DataError) as caught:
            Walk([tmp_path / pattern])
        assert caught.value.code == "path_missing"
        return
    assert [os.path.relpath(path, tmp_path) for path in files(Walk([tmp_path / pattern]))] == expected


def test_a_glob_takes_no_more_than_a_folder_would(tmp_path):
    touch(tmp_path, "a.jpg", "a.txt", "b.mov")
    walk = Walk([tmp_path / "*"])
    assert names_of(walk) == ["a.jpg"]
    assert walk.skipped == {".txt": 1, ".mov": 1}


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    touch(tmp_path, "a[1].jpg", "a1.jpg")
    assert names_of(Walk([tmp_path / "a[1].jpg"])) == ["a[1].jpg"]


def test_a_relative_glob_gives_relative_paths(tmp_path, monkeypatch):
    touch(tmp_path, "p/a.jpg")
    monkeypatch.chdir(tmp_path)
    assert files(Walk(["*/*.jpg"])) == ["p/a.jpg"]
    assert files(Walk(["**"])) == ["p/a.jpg"]


# What is left out


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (["b.jpg"], ["a/c/b.png", "a/x.jpg", "y/a/z.jpg"]),
        (["*.png"], ["a/b.jpg", "a/x.jpg", "b.jpg", "y/a/z.jpg"]),
        (["a"], ["b.jpg"]),
        (["a/"], ["b.jpg"]),
        (["b.jpg/"], ["a/b.jpg", "a/c/b.png", "a/x.jpg", "b.jpg", "y/a/z.jpg"]),
        (["a/b.jpg"], ["a/c/b.png", "a/x.jpg", "b.jpg", "y/a/z.jpg"]),
        (["./a/c"], ["a/b.jpg", "a/x.jpg", "b.jpg", "y/a/z.jpg"]),
        (["a/*.png"], ["a/b.jpg", "a/c/b.png", "a/x.jpg", "b.jpg", "y/a/z.jpg"]),
        (["a/**/*.png"], ["a/b.jpg", "a/x.jpg", "b.jpg", "y/a/z.jpg"]),
        (["**/a/z.jpg"], ["a/b.jpg", "a/c/b.png", "a/x.jpg", "b.jpg"]),
        (["*.png", "y", "?.jpg"], []),
    ],
)
def test_exclude(tmp_path, patterns, left):
    touch(tmp_path, "a/b.jpg", "a/c/b.png", "a/x.jpg", "b.jpg", "y/a/z.jpg")
    assert walked(tmp_path, exclude=patterns) == left


def test_a_given_folder_is_not_left_out_but_a_given_file_is(tmp_path):
    touch(tmp_path, "thumbs/a.jpg", "thumbs/b.png")
    assert walked(tmp_path / "thumbs", exclude=["thumbs"]) == ["a.jpg", "b.png"]
    assert names_of(Walk([*(tmp_path / "thumbs").iterdir()], exclude=["*.png"])) == ["a.jpg"]


def test_an_excluded_folder_is_not_even_listed(tmp_path, monkeypatch):
    touch(tmp_path, "huge/a.jpg", "b.jpg")
    scan = os.scandir
    seen = []
    monkeypatch.setattr(os, "scandir", lambda folder: seen.append(os.fsdecode(folder)) or scan(folder))
    assert walked(tmp_path, exclude=["huge"]) == ["b.jpg"]
    assert seen == [str(tmp_path)]


def test_no_exclusions_are_false():
    assert not Exclusions([])
    assert Exclusions(["a"]) and Exclusions(["a/"]) and Exclusions(["a/b"])


def test_globs_that_leave_nothing_out_are_known(tmp_path):
    touch(tmp_path, "a/b.jpg", "c/d.png", "e/f.jpg", "g.jpg")
    used = ["?.png", "a/", "./e/f.jpg"]
    idle = ["x", "y/", "g.jpg/", f"{tmp_path.name}/g.jpg", "d.*", "/"]  # d.png was left out by another
    walk = Walk([tmp_path], exclude=[*used, *idle])
    assert walk.idle_exclusions == [*used, *idle]
    assert names_of(walk) == ["g.jpg"]
    assert walk.idle_exclusions == idle


def test_folders_apart_are_not_gone_into(tmp_path):
    touch(tmp_path, "a.jpg", "gallery/thumbs/a.jpg")
    assert walked(tmp_path, apart=[tmp_path / "gallery", tmp_path / "not there yet"]) == ["a.jpg"]


def test_a_gallery_is_not_walked_wherever_it_lies(tmp_path):
    assert GALLERY == MARKER
    touch(tmp_path, "a.jpg", f"b/gallery/{GALLERY}", "b/gallery/thumbs/a.jpg", "b/gallery/x.jpg", "b/z.jpg")
    for hidden in (False, True):
        assert walked(tmp_path, hidden=hidden) == ["a.jpg", "b/z.jpg"]
    assert walked(tmp_path / "b" / "gallery") == []


# Lists


class Slow(io.RawIOBase):
    """Gives what it is told, a piece at a time."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def readable(self):
        return True

    def readinto(self, buffer):
        piece = self.pieces.pop(0) if self.pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


def listed(*pieces, **settings):
    return files(Walk(["-"], listed=io.BufferedReader(Slow(*pieces)), **settings))


def test_a_list_of_lines_or_of_names_ended_by_nul(tmp_path):
    touch(tmp_path, "a.jpg", "b/c.jpg", "two\nlines.jpg", "noending")
    names = [tmp_path / "noending", tmp_path / "b", tmp_path / "a.jpg", tmp_path / "gone.jpg"]
    lines = "".join(f"{name}\n" for name in names).encode()
    expected = [str(tmp_path / name) for name in ("noending", "b/c.jpg", "a.jpg", "gone.jpg")]
    assert sorted(listed(lines)) == sorted(expected)
    assert sorted(listed(lines[:-1])) == sorted(expected)
    assert sorted(listed(*(lines[place : place + 7] for place in range(0, len(lines), 7)))) == sorted(expected)
    assert sorted(listed(lines.replace(b"\n", b"\n\n"))) == sorted(expected)
    odd = f"{tmp_path}/two\nlines.jpg\0{tmp_path}/a.jpg\0".encode()
    assert listed(odd) == [f"{tmp_path}/two\nlines.jpg", f"{tmp_path}/a.jpg"]


def test_a_list_from_windows_has_its_line_ends_taken_off(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg", "b.jpg\r")
    folder = os.fsencode(tmp_path)
    lines = b"".join(folder + name + b"\r\n" for name in (b"/a.jpg", b"/b.jpg", b"/gone.jpg", b"/odd.jpg\r"))
    expected = [f"{tmp_path}/{name}" for name in ("a.jpg", "b.jpg\r", "gone.jpg", "odd.jpg\r")]
    assert listed(lines + b"\r\n") == expected
    assert listed(*(lines[place : place + 5] for place in range(0, len(lines), 5))) == expected
    assert listed(folder + b"/a.jpg\r\0" + folder + b"/b.jpg\0") == [f"{tmp_path}/a.jpg\r", f"{tmp_path}/b.jpg"]


def test_a_list_keeps_its_order(tmp_path):
    touch(tmp_path, *(f"{folder}/{name}.jpg" for folder in "ab" for name in range(5)))
    names = [str(tmp_path / f"{folder}/{name}.jpg") for name in range(5) for folder in "ba"]
    assert listed("\n".join(names).encode()) == names


def test_a_list_is_not_waited_for(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg")
    first, second = (f"{tmp_path}/{name}.jpg\n".encode() for name in "ab")
    slow = Slow(first, second)
    parts = iter(Walk(["-"], listed=io.BufferedReader(slow)))
    assert next(parts).names == [b"a.jpg"]
    assert slow.pieces == [second]


def test_an_empty_list_is_no_files():
    assert listed(b"") == []


def test_a_list_is_under_exclude_and_may_be_mixed_with_paths(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg", "c/d.jpg")
    text = f"{tmp_path}/a.jpg\n{tmp_path}/b.jpg".encode()
    walk = Walk([tmp_path / "c", "-"], listed=io.BytesIO(text), exclude=["b.*"])
    assert names_of(walk) == ["d.jpg", "a.jpg"]


def test_a_dash_is_a_file_where_there_is_no_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "-")
    assert files(Walk(["-"])) == ["-"]


# Size


def test_parts_are_small_and_files_come_before_the_rest_is_looked_at(tmp_path):
    touch(tmp_path, *(f"a/{number:05}.jpg" for number in range(2 * PART + 5)), *(f"b/{number}.jpg" for number in range(5)))
    parts = list(Walk([tmp_path]))
    assert [len(part.names) for part in parts] == [PART, PART, 5, 5]
    assert [name for part in parts for name in part.names] == sorted(
        [f"{number:05}.jpg".encode() for number in range(2 * PART + 5)]
    ) + [f"{number}.jpg".encode() for number in range(5)]
    walk = iter(Walk([tmp_path]))
    next(walk)
    touch(tmp_path, "b/5.jpg")
    assert [len(part.names) for part in walk] == [PART, 5, 6]


def test_memory_does_not_grow_with_the_number_of_folders(tmp_path):
    def peak(folders):
        root = tmp_path / str(folders)
        for number in range(folders):
            touch(root, *(f"{number:04}/{'name' * 10}{file:03}.jpg" for file in range(50)))
        tracemalloc.start()
        total = sum(len(part.names) for part in Walk([root]))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total == 50 * folders
        return most

    peak(2)  # what is made once
    assert peak(100) < peak(20) + 100 * 250  # a number and a name for each folder, nothing for a file


# What other systems put among photographs, and how they write lists


SYSTEM = ("@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "#snapshot", ".thumbnails")


def test_folders_of_systems_are_left_out_and_counted_unless_they_are_wanted(tmp_path):
    touch(tmp_path, "a.jpg", *(f"{name}/b.jpg" for name in SYSTEM), "@eaDir2/c.jpg")
    walk = Walk([tmp_path])
    assert [os.path.relpath(path, tmp_path) for path in files(walk)] == ["@eaDir2/c.jpg", "a.jpg"]
    assert walk.system_folders == dict.fromkeys(SYSTEM[:-1], 1)  # the last begins with a dot
    assert len(files(Walk([tmp_path], hidden=True))) == 8
    assert files(Walk([tmp_path / "@eaDir"])) == [str(tmp_path / "@eaDir" / "b.jpg")]


def test_of_an_apple_photos_library_the_originals_are_taken(tmp_path):
    touch(tmp_path, "P.photoslibrary/originals/0/a.jpg", "P.photoslibrary/resources/derivatives/a_1.jpg", "resources/b.jpg")
    walk = Walk([tmp_path])
    assert [os.path.relpath(path, tmp_path) for path in files(walk)] == ["P.photoslibrary/originals/0/a.jpg", "resources/b.jpg"]
    assert walk.system_folders == {"resources": 1}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("piece", [1, 3, 10_000])
def test_a_list_with_a_byte_order_mark_is_text(tmp_path, encoding, piece):
    touch(tmp_path, "Ünï.jpg", "b.jpg")
    text = f"{tmp_path}/Ünï.jpg\r\n{tmp_path}/b.jpg\r\n"
    data = b"\xfe\xff" * (encoding == "utf-16-be") + text.encode(encoding)
    pieces = [data[start : start + piece] for start in range(0, len(data), piece)]
    assert listed(*pieces) == [f"{tmp_path}/Ünï.jpg", f"{tmp_path}/b.jpg"]


def test_a_list_that_lies_about_its_encoding_is_refused_before_anything_is_walked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "a.jpg")
    with pytest.raises(DataError) as caught:
        listed(b"\xff\xfea\0\0\xd8b\0")
    assert caught.value.code == "list_not_decodable"


def test_two_folders_with_one_inode_number_are_two_folders(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.jpg", "b/2.jpg", "b/c/3.jpg")
    real = os.stat

    def one_inode(path, *args, **kwargs):
        status = real(path, *args, **kwargs)
        if os.fsdecode(path).endswith(("/a", "/b")):
            status = os.stat_result((status.st_mode, 4711, *status[2:]))
        return status

    monkeypatch.setattr(os, "stat", one_inode)
    assert len(list(find_images([tmp_path]))) == 3


def test_a_folder_that_is_its_own_ancestor_is_not_walked_again(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.jpg", "a/again/2.jpg")
    real = os.stat

    def looping(path, *args, **kwargs):
        path = os.fsdecode(path)
        return real(path.removesuffix("/again"), *args, **kwargs)

    monkeypatch.setattr(os, "stat", looping)
    assert [os.path.relpath(path, tmp_path) for path in find_images([tmp_path])] == ["a/1.jpg"]
