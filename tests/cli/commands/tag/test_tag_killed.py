"""Whatever ends ``cocotag tag``, the next run goes on: no file twice, none missing, no half line."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time

import killed_tagging
import numpy as np
import pytest
from PIL import Image

from cocotag.tagging.state.store import State

LONG_AGO = 10**18
FILES = 12


def pictures(folder, number, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(0, 256, (number, 3)).tolist()
    for index, colour in enumerate(colours):
        path = folder / f"{seed}-{index:03}.png"
        Image.new("RGB", (16, 16), tuple(colour)).save(path)
        os.utime(path, ns=(LONG_AGO, LONG_AGO))


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed") / "album"
    pictures(folder, FILES - 2)
    pictures(folder / "0-004a", 1)
    (folder / "0-005a.jpg").write_text("no picture")
    os.utime(folder / "0-005a.jpg", ns=(LONG_AGO, LONG_AGO))
    return folder


def words(album, bundle, place):
    return [album, "--model", bundle, "--out", place / "t.csv", "--out", place / "t.jsonl"]


def outputs(place):
    """The rows of both outputs; a half line would be no row."""
    with (place / "t.csv").open(newline="") as file:
        table = [(row["path"], row["status"], row["tags"]) for row in csv.DictReader(file, strict=True)]
    text = (place / "t.jsonl").read_text()
    assert text.endswith("\n")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(one["path"], one["status"], ";".join(one["tags"])) for one in lines] == table
    return table


@pytest.fixture(scope="module")
def expected(album, toy_bundle, tmp_path_factory):
    place = tmp_path_factory.mktemp("whole")
    assert killed_tagging.tag(words(album, toy_bundle, place), place / "said") == 1
    rows = outputs(place)
    assert len({path for path, *_ in rows}) == len(rows) == FILES
    return rows


def check_goes_on(album, bundle, place, expected):
    """Nothing that is there now is half; the next run makes it whole, the one after has nothing to do."""
    for name in ("t.csv", "t.jsonl"):
        assert not (place / name).exists() or len((place / name).read_text().splitlines()) >= FILES
    if (place / "t.csv").exists() and (place / "t.jsonl").exists():
        assert outputs(place) == expected
    assert killed_tagging.tag(words(album, bundle, place), place / "said") == 1, (place / "said").read_text()
    assert outputs(place) == expected
    assert killed_tagging.tag(words(album, bundle, place), place / "said") == 1
    assert f"{FILES} unchanged" in (place / "said").read_text()
    there = {path.name for path in place.iterdir()}
    assert there == {"t.csv", "t.jsonl", "t.csv.state", "said"}  # and nothing of what it was writing to


def test_killed_at_any_statement_to_the_database(album, toy_bundle, tmp_path, expected):
    number, ended = 1, -signal.SIGKILL
    step = 7  # coprime to the statements of a file, so that each of these is met at some file
    while ended == -signal.SIGKILL:
        place = tmp_path / str(number)
        place.mkdir()
        ended = killed_tagging.tag(words(album, toy_bundle, place), place / "said", "at_statement", number)
        check_goes_on(album, toy_bundle, place, expected)
        number += step
    assert ended == 1 and number > 60


def test_killed_at_any_statement_of_a_later_run(album, toy_bundle, tmp_path, expected):
    for number in range(10, 60, 12):
        place = tmp_path / str(number)
        place.mkdir()
        assert killed_tagging.tag(words(album / "0-004a", toy_bundle, place), place / "said") == 0
        before = (place / "t.csv").read_bytes()
        ended = killed_tagging.tag(words(album, toy_bundle, place), place / "said", "at_statement", number)
        assert ended == -signal.SIGKILL
        assert (place / "t.csv").read_bytes() == before
        assert killed_tagging.tag(words(album, toy_bundle, place), place / "said") == 1
        assert outputs(place) == expected


@pytest.mark.parametrize(
    "moment",
    [("before_an_output_takes_its_place", 0), ("before_an_output_takes_its_place", 1), ("when_all_outputs_are_there",)],
)
def test_killed_while_outputs_take_their_places(album, toy_bundle, tmp_path, expected, moment):
    assert killed_tagging.tag(words(album, toy_bundle, tmp_path), tmp_path / "said", *moment) == -signal.SIGKILL
    check_goes_on(album, toy_bundle, tmp_path, expected)


def test_killed_at_any_time(toy_bundle, tmp_path):
    pictures(tmp_path / "many", 400, seed=1)
    place, whole = tmp_path / "place", tmp_path / "whole"
    place.mkdir()
    whole.mkdir()
    assert killed_tagging.tag(words(tmp_path / "many", toy_bundle, whole), whole / "said") == 0
    moment = random.Random(0)
    command = [sys.executable, "-m", "cocotag", "tag", *map(str, words(tmp_path / "many", toy_bundle, place))]
    for _ in range(4):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 60
            while not (place / "t.csv.state").exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(moment.uniform(0, 0.4))
            process.kill()
    assert killed_tagging.tag(words(tmp_path / "many", toy_bundle, place), place / "said") == 0
    assert outputs(place) == outputs(whole)
    assert not list(place.glob(".*.part"))


# A full disk


def test_a_full_disk_stops_with_a_line_and_keeps_what_was_done(album, toy_bundle, tmp_path, expected):
    limits = []
    for size in (8_000, 20_000, 60_000, 100_000):
        place = tmp_path / str(size)
        place.mkdir()
        ended = killed_tagging.tag(words(album, toy_bundle, place), place / "said", "when_files_may_not_grow_beyond", size)
        said = (place / "said").read_text()
        if ended == 1:
            break
        limits.append(size)
        assert ended == 2, said
        assert said.count("\n") == 1 and "cannot" in said and "Traceback" not in said
        assert not (place / "t.csv").exists()
        check_goes_on(album, toy_bundle, place, expected)
    assert len(limits) > 1


def test_what_was_tagged_before_the_disk_was_full_is_known_after(toy_bundle, tmp_path):
    pictures(tmp_path / "many", 300, seed=2)
    all_words = words(tmp_path / "many", toy_bundle, tmp_path)
    assert killed_tagging.tag(all_words, tmp_path / "said", "when_files_may_not_grow_beyond", 300_000) == 2
    with State.open(tmp_path / "t.csv.state") as state:
        names = sorted(os.fsencode(path.name) for path in (tmp_path / "many").iterdir())
        known = state.known(os.fsencode(tmp_path / "many"), names)
    assert 0 < len(known) < 300
    assert killed_tagging.tag(all_words, tmp_path / "said") == 0
    assert f"{len(known)} unchanged" in (tmp_path / "said").read_text()


# Ctrl-C


@pytest.mark.parametrize("number", [1, 20])
def test_ctrl_c_writes_what_is_done_and_says_how_to_go_on(toy_bundle, tmp_path, number):
    pictures(tmp_path / "many", 200, seed=3)
    many, said = words(tmp_path / "many", toy_bundle, tmp_path), tmp_path / "said"
    assert killed_tagging.tag([*many, "--txt"], said, "ctrl_c_at_result", number) == 130
    assert "Run the same command again" in said.read_text() and "other outputs" in said.read_text()
    assert "Traceback" not in said.read_text()
    done = outputs(tmp_path)
    assert number <= len(done) < 200 and len({path for path, *_ in done}) == len(done)
    assert f"Stopped: {len(done)} files are done" in said.read_text()
    assert not (tmp_path / "many" / "3-000.txt").exists()
    assert killed_tagging.tag([*many, "--txt"], said) == 0
    assert f"{len(done)} unchanged" in said.read_text()
    assert len(outputs(tmp_path)) == 200 and outputs(tmp_path)[: len(done)] == done
    assert (tmp_path / "many" / "3-000.txt").exists()
