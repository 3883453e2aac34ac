"""Round trips: photo programs and cocotag change the keywords of a photograph in turn, in any order."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photo_programs import PROGRAMS, TAGS, WithoutExifTool, World, do

SEQUENCES = int(os.environ.get("COCOTAG_ROUND_TRIPS", "500"))
STEPS = st.one_of(
    st.tuples(st.just("tag"), st.sets(st.sampled_from(sorted(TAGS))).map(sorted), st.sampled_from(["", "", "adobe", "embed"])),
    st.tuples(st.just("rename"), st.sets(st.sampled_from(sorted(TAGS)), min_size=1).map(sorted), st.just("")),
    st.just(("untag",)),
    *[
        st.tuples(
            st.just(program.name),
            st.sampled_from(["add", "delete", "rename", "rate"]),
            st.integers(0, 9),
            st.booleans() if program.name == "darktable" else st.just(False),
        )
        for program in PROGRAMS
        if program.writes
    ],
)


@pytest.fixture
def without_exiftool(monkeypatch):
    monkeypatch.setattr("cocotag.tagging.xmp.embed.ExifTool", WithoutExifTool)


@settings(max_examples=SEQUENCES, deadline=None, report_multiple_bugs=False, derandomize=True)
@given(steps=st.lists(STEPS, min_size=2, max_size=12))
def test_no_sequence_of_programs_loses_or_returns_a_keyword(steps):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("cocotag.tagging.xmp.embed.ExifTool", WithoutExifTool)
        world = World(Path(folder))
        for step in steps:
            do(world, step)
