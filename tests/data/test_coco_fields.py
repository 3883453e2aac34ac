"""The fields of a COCO file: what both readers take for a side, a box, a name."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocotag.data.annotations import load_annotations
from cocotag.data.check.entries import read_entries
from cocotag.data.coco_fields import NO_BOX, box, box_area, id_and_name, is_crowd_flag, leaves_folder, parse_document, side
from cocotag.errors import DataError

NUMBERS = st.one_of(st.integers(-5, 2**40), st.floats(), st.just(10**400), st.text(max_size=2), st.none(), st.booleans())


@pytest.mark.parametrize(("value", "pixels"), [(640, 640), (640.0, 640), (0, 0), (-1, 0), (1.5, 0), (2**31, 0), (True, 0)])
def test_a_side_is_a_whole_number_above_zero(value, pixels):
    assert side(value) == pixels
    assert side(str(value)) == side(None) == side(math.nan) == side(math.inf) == 0


@given(st.lists(NUMBERS, min_size=4, max_size=4))
def test_the_area_of_a_valid_box_is_width_times_height(value):
    parsed = box(value)
    if parsed is not None and parsed[2] > 0 and parsed[3] > 0 and parsed[2] * parsed[3] < math.inf:
        assert box_area(value) == parsed[2] * parsed[3]
    elif parsed is not None:
        assert box_area(value) == 0


def test_no_box_and_an_invalid_box_are_two_things():
    assert box(None) is NO_BOX and box([]) is NO_BOX
    assert box([1, 2, 3]) is None and box("box") is None and box([1, 2, math.inf, 4]) is None
    assert box_area(None) == box_area([1, 2, 3]) == 0


@pytest.mark.parametrize("name", ["/a.jpg", "\\a.jpg", "C:a.jpg", "../a.jpg", "a/../../b.jpg", "a\\..\\b.jpg", ".."])
def test_a_name_that_leads_out_of_the_folder(name):
    assert leaves_folder(name)
    assert not leaves_folder(f"x{name.replace('..', 'y').replace('/', 'z').replace(chr(92), 'z').replace(':', 'z')}")


def test_entries_need_an_id_and_a_name():
    assert id_and_name({"id": 3, "file_name": "a.jpg"}, "file_name") == (3, "a.jpg")
    for entry in (None, [], {"id": 3}, {"file_name": "a"}, {"id": True, "file_name": "a"}, {"id": 3, "file_name": ""}):
        assert id_and_name(entry, "file_name") is None


def test_crowd_flags():
    assert all(map(is_crowd_flag, (0, 1, None, False, True, 1.0)))
    assert not any(map(is_crowd_flag, (2, -1, "0", [], {})))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "not_json"),
        (b"[]", "not_coco_json"),
        (b'{"images": [], "annotations": {}}', "not_coco_json"),
        (None, "file_missing"),
    ],
)
def test_both_readers_refuse_the_same_files_alike(content, code, tmp_path):
    path = tmp_path / "instances_val.json"
    if content is not None:
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            parse_document(content, Path("a.json"))
        assert caught.value.code == code
    for read in (load_annotations, read_entries):
        with pytest.raises(DataError) as caught:
            read(path)
        assert caught.value.code == code
        assert str(path) in str(caught.value)
