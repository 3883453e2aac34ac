"""Lists in cells of tables, as other programs write them."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocotag.data.importing.cells import looks_like_list, tags_of_list

NAMES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8), max_size=4)


@given(NAMES)
def test_what_json_and_python_write_is_read_back(names):
    for cell in (json.dumps(names), str(names), json.dumps({"choices": names}), json.dumps([{"choices": names}])):
        assert looks_like_list(cell)
        assert tags_of_list(cell) == names


@pytest.mark.parametrize("names", [[], ["cup"], ["cup", "hot dog"], ["it's", "a"], [f"class {number}" for number in range(40)]])
def test_what_pandas_and_numpy_write_is_read_back(names, tmp_path):
    frame = pd.DataFrame({"tags": [np.array(names, object), names, tuple(names)]})
    frame.to_csv(tmp_path / "a.csv")
    cells = pd.read_csv(tmp_path / "a.csv", dtype=str)["tags"].tolist()
    assert [tags_of_list(cell) if looks_like_list(cell) else None for cell in cells[:2]] == [names, names]
    assert tags_of_list(repr(np.array(names, object))) == names


@pytest.mark.parametrize("cell", ["cup;cat", "cup", "", "a [b] c", "[x", "{"])
def test_plain_text_is_no_list(cell):
    assert not looks_like_list(cell)


@pytest.mark.parametrize(
    "cell", ["[cup, cat]", "[1, 2]", "{}", '{"a": ["b"]}', "[[1]]", '["a", 1]', "[__import__('os')]", "[" * 500 + "]" * 500]
)
def test_what_only_looks_like_a_list_of_names_is_refused(cell):
    assert looks_like_list(cell)
    with pytest.raises(ValueError):
        tags_of_list(cell)
