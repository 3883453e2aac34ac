"""Outputs are recognised by path and content: moved, copied or touched they are cocotag's; edited they are not."""

import os
import shutil

import numpy as np
import pytest

from cocotag.bundle import BundleMetadata
from cocotag.errors import OutputError
from cocotag.labels import COCO80
from cocotag.tagging.state.made import about_to_make, has_made, how_made, refuse_others
from cocotag.tagging.state.models import Model
from cocotag.tagging.state.store import State

METADATA = BundleMetadata(COCO80, 64, (0.5,) * 80, (1,) * 80, 3)


@pytest.fixture
def made(tmp_path):
    """A folder with a state and its outputs: in the folder, in a subfolder, and elsewhere."""
    folder = tmp_path / "album"
    outputs = [folder / "t.csv", folder / "deep" / "t.csv", tmp_path / "elsewhere.csv"]
    with State.open(folder / "t.csv.state") as state:
        state.begin([Model("", "b.onnx", "00", "ff", METADATA)], {})
        state.put(b"/p", b"1.jpg", (1, 2), probs=[np.zeros(80)])
        for output in outputs:
            output.parent.mkdir(exist_ok=True)
            output.write_text(f"made: {output.parent.name}")
        about_to_make(outputs, state)
        has_made(outputs, state, "so")
    return outputs


def known(output, place):
    with State.open(place) as state:
        return how_made(output, state)


def test_where_it_was_made(made):
    assert [known(output, made[0].parent / "t.csv.state") for output in made] == ["so"] * 3


@pytest.mark.parametrize("way", ["moved", "copied", "linked"])
def test_a_folder_that_is_moved_or_copied_with_its_state(made, tmp_path, way):
    folder, other = made[0].parent, tmp_path / "other"
    if way == "moved":
        folder.rename(other)
    elif way == "copied":
        shutil.copytree(folder, other, copy_function=shutil.copyfile)  # with new modification times
    else:
        other.symlink_to(folder)
    assert known(other / "t.csv", other / "t.csv.state") == "so"
    assert known(other / "deep" / "t.csv", other / "t.csv.state") == "so"
    assert known(made[2], other / "t.csv.state") == "so"


def test_a_state_that_was_copied_alone_does_not_claim_other_files(made, tmp_path):
    (tmp_path / "other").mkdir()
    state = shutil.copy(made[0].parent / "t.csv.state", tmp_path / "other" / "t.csv.state")
    (tmp_path / "other" / "t.csv").write_text("theirs: other")
    assert known(tmp_path / "other" / "t.csv", state) is None
    assert known(made[0], state) is None


def test_touched_it_is_the_same(made):
    os.utime(made[0], ns=(1, 1))
    assert known(made[0], made[0].parent / "t.csv.state") == "so"


@pytest.mark.parametrize("text", ["made: album!", "MADE: album"])
def test_edited_it_is_another_file_even_with_equal_size(made, text):
    time = made[0].stat().st_mtime_ns
    made[0].write_text(text)
    os.utime(made[0], ns=(time + 1, time + 1))
    with State.open(made[0].parent / "t.csv.state") as state:
        assert how_made(made[0], state) is None
        with pytest.raises(OutputError) as caught:
            refuse_others(made, state)
        assert caught.value.code == "output_exists"
        assert str(made[0]) in str(caught.value) and "--overwrite" in str(caught.value)
        refuse_others(made[1:], state)


def test_an_output_that_was_being_written_at_a_kill_is_cocotags(made):
    with State.open(made[0].parent / "t.csv.state") as state:
        about_to_make(made[:1], state)
    made[0].write_text("half, or whole")
    assert known(made[0], made[0].parent / "t.csv.state") == ""
