"""Files written whole or not at all, and what a killed process left."""

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
    with pytest.raises(OutputError, match=r"t\.csv cannot be written"):
        write_text(tmp_path / "t.csv", "new")
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
