"""Files written whole or not at all, and what a killed process left."""

import errno
import os

import pytest

from cocotag.errors import OutputError
from cocotag.files import atomic_path, remove_unfinished, write_text


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "t.csv", "old")
    with pytest.raises(KeyError), atomic_path(tmp_path / "t.csv") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("t.csv", "old")]


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path):
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(OutputError) as caught:
        write_text(tmp_path / "t.csv", "new")
    assert caught.value.code == "not_writable"
    assert "t.csv" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("name", ["t.csv", "[a]*?.csv", "x" * 40])
def test_what_a_killed_process_left_goes_and_nothing_else(tmp_path, name):
    with pytest.raises(KeyError), atomic_path(tmp_path / name) as temporary:
        unfinished = tmp_path / "copy"
        os.link(temporary, unfinished)
        raise KeyError
    unfinished.rename(temporary)  # as if it had never been removed
    others = {name, f".{name}.part", f".{name}.other.abcdefgh.part", ".u.csv.abcdefgh.part", f"{name}.abcdefgh.part"}
    for other in others:
        (tmp_path / other).touch()
    remove_unfinished(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == others


def test_names_that_temporary_files_share_are_left(tmp_path):
    left = tmp_path / f".{'x' * 40}.abcdefgh.part"
    left.touch()
    remove_unfinished(tmp_path / ("x" * 41))
    assert left.exists()
    remove_unfinished(tmp_path / "nowhere" / "t.csv")


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EACCES, "not_writable")]
)
def test_the_code_of_a_failed_write_says_whether_the_disk_is_full(tmp_path, number, code):
    with pytest.raises(OutputError) as caught, atomic_path(tmp_path / "t.csv"):
        raise OSError(number, "reason")
    assert caught.value.code == code
    assert not list(tmp_path.iterdir())
