"""Temporary files of killed processes are removed, those of running processes are not."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from own_labels import picture

from cocotag.inference.tags import Tag
from cocotag.tagging.outputs.write import Row
from cocotag.tagging.xmp.embed import embed_keywords, untag_embedded
from cocotag.tagging.xmp.in_place import Leftovers, Place, replacing
from cocotag.tagging.xmp.sidecars import untag, write_sidecars

DOG = Tag("dog", 0.9, 18, "animal")
WRITING = """
import sys
from pathlib import Path
from cocotag.tagging.xmp.in_place import Place, replacing
with replacing(Place.look(Path(sys.argv[1])), suffix=".jpg") as temporary:
    temporary.write_bytes(b"half")
    temporary.with_name(temporary.name + "_exiftool_tmp").touch()
    print(temporary.name, flush=True)
    sys.stdin.read()
"""
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from cocotag.tagging.decisions.rows import Row
from cocotag.inference.tags import Tag
from cocotag.tagging.xmp import embed
embed._write = lambda tool, *_: (shutil.rmtree(tool._folder), os.kill(os.getpid(), signal.SIGKILL))
embed.embed_keywords([Row(Path(sys.argv[1]), tags=(Tag("cat", 0.8, 17, "animal"),))])
"""


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def photo(tmp_path):
    return picture(tmp_path / "photos" / "IMG.jpg", size=(64, 48))


WORKS = {
    "embed": lambda photo: embed_keywords([Row(photo, tags=(DOG,))], backup=False),
    "embed no tags": lambda photo: embed_keywords([Row(photo)], backup=False),
    "untag embedded": lambda photo: untag_embedded([photo.parent]),
    "sidecars": lambda photo: write_sidecars([Row(photo, tags=(DOG,))]),
    "untag": lambda photo: (write_sidecars([Row(photo, tags=(DOG,))]), untag([photo.parent])),
}


@pytest.mark.usefixtures("exiftool")
@pytest.mark.parametrize("work", WORKS)
def test_the_next_work_in_the_folder_removes_the_files_of_a_killed_embed(photo, work):
    before = photo.read_bytes()
    done = subprocess.run([sys.executable, "-c", KILLED, photo], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [name for name in files(photo.parent) if name.startswith(".cocotag-")], "it was killed too early or too late"
    assert photo.read_bytes() == before
    WORKS[work](photo)
    assert not [name for name in files(photo.parent) if name.startswith(".")]
    assert photo.exists()


@pytest.mark.usefixtures("exiftool")
def test_the_folder_of_copies_is_cleaned_too_and_a_dry_run_removes_nothing(photo, tmp_path):
    left = [tmp_path / folder / ".cocotag-0123456789abcdef.jpg" for folder in ("photos", "copies")]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        shutil.copy(photo, path)
    assert untag_embedded([photo.parent], dry_run=True).unchanged == 1  # and it is not a photograph
    untag([photo.parent], dry_run=True)
    write_sidecars([Row(photo, tags=(DOG,))], dry_run=True)
    assert left[0].exists()
    embed_keywords([Row(photo, tags=(DOG,))], into=tmp_path / "copies", given=[photo])
    assert files(tmp_path / "copies") == ["IMG.jpg"]


def test_the_file_of_a_running_process_is_kept_until_it_is_killed(photo):
    with subprocess.Popen(
        [sys.executable, "-c", WRITING, photo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        name = writer.stdout.readline().strip()
        Leftovers().remove_in(photo.parent)
        assert files(photo.parent) == sorted(["IMG.jpg", name, f"{name}_exiftool_tmp"])
        os.kill(writer.pid, signal.SIGKILL)
    Leftovers().remove_in(photo.parent)
    assert files(photo.parent) == ["IMG.jpg"]


def test_two_processes_may_write_in_one_folder_at_once(photo):
    other = picture(photo.with_name("b.jpg"))
    with replacing(Place.look(photo)) as one, replacing(Place.look(other)) as two:
        one.write_bytes(b"one")
        Leftovers().remove_in(photo.parent)
        two.write_bytes(b"two")
    assert (photo.read_bytes(), other.read_bytes()) == (b"one", b"two")


def test_files_with_other_names_are_kept(photo):
    others = [
        ".cocotag-txt",
        ".cocotag-gallery",
        ".cocotag-0123456789abcdef",
        ".cocotag-0123456789abcde.jpg",
        ".cocotag-0123456789ABCDEF.jpg",
        ".cocotag-0123456789abcdef.jpg.part",
        "x.cocotag-0123456789abcdef.jpg",
        "cocotag-0123456789abcdef.jpg",
    ]
    for name in others:
        photo.with_name(name).touch()
    photo.with_name(".cocotag-0123456789abcdef.folder").mkdir()
    photo.with_name(".cocotag-fedcba9876543210.part").touch()
    Leftovers().remove_in(photo.parent)
    assert set(others) <= set(files(photo.parent))
    assert photo.with_name(".cocotag-0123456789abcdef.folder").is_dir()
    assert not photo.with_name(".cocotag-fedcba9876543210.part").exists()
    Leftovers().remove_in(photo.parent / "nowhere")


def test_a_folder_is_listed_once_in_any_order_of_photographs(tmp_path, monkeypatch):
    whole, listed = Path.iterdir, []
    monkeypatch.setattr(Path, "iterdir", lambda path: (listed.append(path), whole(path))[1])
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    leftovers = Leftovers()
    for folder in folders * 3:
        leftovers.remove_in(folder)
    assert listed == folders


@pytest.mark.parametrize("system", ["a network's", "Windows"])
def test_without_locks_on_folders_files_are_written_and_nothing_is_removed(photo, monkeypatch, system):
    def no_locks(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    if system == "Windows":
        monkeypatch.setattr("cocotag.tagging.xmp.in_place.fcntl", None)
    else:
        monkeypatch.setattr("fcntl.flock", no_locks)
    left = photo.with_name(".cocotag-0123456789abcdef.jpg")
    left.touch()
    Leftovers().remove_in(photo.parent)
    assert left.exists()
    Place.look(photo).write(b"new")
    assert photo.read_bytes() == b"new"
