"""The state returns stored results in the order of the walk, however a process ends, and changes no other files."""

import os
import random
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from cocotag.bundle import read_metadata
from cocotag.errors import DataError, OutputError
from cocotag.tagging.state.made import about_to_make, has_made, how_made, refuse_others
from cocotag.tagging.state.models import Model
from cocotag.tagging.state.store import UNRELIABLE, State
from cocotag.tagging.state.tables import APPLICATION_ID, VERSION


@pytest.fixture(scope="module")
def metadata(toy_bundle):
    return read_metadata(toy_bundle)


@pytest.fixture
def models(metadata):
    return [Model("", "one.onnx", "00", "aa", metadata)]


@pytest.fixture
def place(tmp_path):
    return tmp_path / "tags.csv.state"


RNG = np.random.default_rng(0)


def probs(classes=80):
    return RNG.random(classes).astype(np.float32)


def put(state, name, folder=b"/p", stat=(10, 20), **settings):
    settings.setdefault("probs", [probs()] if settings.get("status", "ok") == "ok" else [])
    return state.put(folder, name, stat, **settings)


def stored(state):
    return [(str(one.path), one.status, one.error) for one in state.results()]


def test_results_come_out_in_the_order_of_the_walk(place, models):
    names = [f"{number}.jpg".encode() for number in range(50)]
    scores = {name: probs() for name in names}
    shuffled = random.Random(0).sample(names, len(names))
    with State.open(place) as state:
        state.begin(models, {"paths": ["p"]})
        numbers = {name: put(state, name, probs=[scores[name]]) for name in shuffled}
        bad = put(state, b"caf\xe9.jpg", status="truncated", error="cut short")
        state.met(b"p", [numbers[name] for name in names[:20]])
        state.met(b"", [bad])
        state.met(b"/p", [numbers[name] for name in names[20:]])
        state.end(whole=True)
        assert state.count() == 51
    with State.open(place, make=False) as state:
        run = state.last_run()
        assert run.whole and run.asked == {"paths": ["p"]} and run.models == tuple(models)
        state.use(run)
        results = list(state.results())
    paths = [os.fsencode(one.path) for one in results]
    assert paths == [b"p/" + name for name in names[:20]] + [b"caf\xe9.jpg"] + [b"/p/" + name for name in names[20:]]
    assert (results[20].status, results[20].error, results[20].probs) == ("truncated", "cut short", [])
    for name, one in zip(names, results[:20] + results[21:], strict=True):
        assert one.probs[0].dtype == np.float16
        np.testing.assert_array_equal(one.probs[0], scores[name].astype(np.float16))


def test_known_are_those_with_scores_of_every_model(place, metadata):
    both = [Model(name, f"{name}.onnx", "00", name * 2, metadata) for name in ("a", "b")]
    with State.open(place) as state:
        state.begin(both[:1], {})
        first = put(state, b"1.jpg", hash=b"h")
        state.commit()
        known = state.known(b"/p", [b"1.jpg", b"2.jpg"])
        assert known == {b"1.jpg": (first, 10, 20, b"h", "ok", 1)}
        assert state.known(b"/q", [b"1.jpg"]) == {}
    with State.open(place) as state:
        assert state.begin(both, {}) == both[1:]
        assert state.known(b"/p", [b"1.jpg"])[b"1.jpg"].scored == 1
        assert put(state, b"1.jpg", probs=[probs(), probs()]) == first
        assert state.known(b"/p", [b"1.jpg"])[b"1.jpg"].scored == 2


@pytest.mark.parametrize("now", [{"stat": (11, 20)}, {"stat": (10, 21)}, {"status": "empty"}, {"stat": (UNRELIABLE,) * 2}])
def test_a_changed_file_has_no_old_scores(place, metadata, now):
    a, b = ([Model("", f"{name}.onnx", "00", name, metadata)] for name in "ab")
    with State.open(place) as state:
        state.begin(a, {})
        put(state, b"1.jpg")
        state.begin(b, {})
        put(state, b"1.jpg", **now)
        state.begin(a, {})
        assert state.known(b"/p", [b"1.jpg"])[b"1.jpg"].scored == 0


def test_an_unchanged_file_keeps_the_scores_of_other_bundles(place, metadata):
    a, b = ([Model("", f"{name}.onnx", "00", name, metadata)] for name in "ab")
    with State.open(place) as state:
        assert state.begin(a, {}) == []
        put(state, b"1.jpg")
        assert state.begin(b, {}) == b
        put(state, b"1.jpg")
        assert state.begin(a, {}) == []
        assert state.known(b"/p", [b"1.jpg"])[b"1.jpg"].scored == 1


def test_names_of_any_bytes_in_folders_of_any_bytes(place, models):
    with State.open(place) as state:
        state.begin(models, {})
        names = [b"caf\xe9.jpg", b"two\nlines.jpg", b"'; DROP TABLE files; --.jpg", "жук 🐞.jpg".encode(), b"%_*.jpg"]
        for name in names:
            put(state, name, folder=b"/\xff/" + name)
            put(state, name)
        assert set(state.known(b"/p", names)) == set(names)
        assert all(list(state.known(b"/\xff/" + name, names)) == [name] for name in names)


def test_committed_results_stay_and_others_are_lost(place, models):
    with State.open(place) as state:
        state.begin(models, {})
        put(state, b"1.jpg")
        state.commit()
        put(state, b"2.jpg")
    with State.open(place) as state:
        assert list(state.known(b"/p", [b"1.jpg", b"2.jpg"])) == [b"1.jpg"]


def test_the_last_run_is_the_one_before_a_killed_run(place, models):
    with State.open(place) as state:
        state.begin(models, {"paths": ["whole"]})
        number = put(state, b"1.jpg")
        state.met(b"p", [number])
        state.end(whole=True)
        state.begin(models, {"paths": ["killed"]})
        state.met(b"q", [number])
        state.commit()
    with State.open(place) as state:
        run = state.last_run()
        assert run.asked == {"paths": ["whole"]}
        state.use(run)
        assert stored(state) == [("p/1.jpg", "ok", "")]
        state.begin(models, {"paths": ["next"]})
        state.met(b"r", [number])
        state.end(whole=False)
        run = state.last_run()
        assert run.asked == {"paths": ["next"]} and not run.whole
        assert stored(state) == [("r/1.jpg", "ok", "")]


def test_a_file_that_another_bundle_tagged_since_is_named(place, metadata):
    a, b = ([Model("", f"{name}.onnx", "00", name, metadata)] for name in "ab")
    with State.open(place) as state:
        state.begin(a, {})
        state.met(b"p", [put(state, b"1.jpg")])
        state.end(whole=True)
        state.begin(b, {})
        put(state, b"1.jpg", stat=(11, 20))
        state.commit()
        state.use(state.last_run())
        assert [(one.status, one.probs) for one in state.results()] == [("changed", [])]


def test_the_digest_depends_on_files_order_and_results(place, models):
    with State.open(place) as state:
        state.begin(models, {})
        numbers = [put(state, b"1.jpg"), put(state, b"2.jpg", status="empty", error="0 bytes")]
        digests = []

        def run(order, change=lambda: None):
            change()
            state.begin(models, {})
            state.met(b"p", order)
            state.end(whole=True)
            digests.append(state.digest())

        run(numbers)
        run(numbers)
        run(numbers, lambda: put(state, b"2.jpg", status="empty", error="0 bytes"))
        assert len(set(digests)) == 1
        run(numbers[::-1])
        run(numbers, lambda: put(state, b"1.jpg"))
        run(numbers, lambda: put(state, b"2.jpg", status="missing", error="gone"))
        assert len(set(digests)) == 4


# Errors


def test_a_state_is_opened_by_one_process_at_a_time(place, models):
    code = "import sys; from cocotag.tagging.state.store import State; State.open(sys.argv[1])"
    with State.open(place) as state:
        state.begin(models, {})
        with pytest.raises(OutputError) as caught:
            State.open(place)
        assert caught.value.code == "state_in_use"
        assert str(place) in str(caught.value) and "--state FILE" in str(caught.value)
        done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and f"OutputError: {caught.value}" in done.stderr
        put(state, b"1.jpg")
        state.commit()
    with State.open(place) as state:
        assert list(state.known(b"/p", [b"1.jpg"])) == [b"1.jpg"]


def test_a_process_that_was_killed_leaves_no_lock(place, models):
    code = (
        "import os, sys\nfrom cocotag.tagging.state.store import State\nstate = State.open(sys.argv[1])\n"
        "state.put(b'/p', b'1.jpg', (1, 2))\nstate.commit()\nstate.put(b'/p', b'2.jpg', (1, 2))\nos.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, place], check=False).returncode == -9
    with State.open(place) as state:
        state.begin(models, {})
        assert list(state.known(b"/p", [b"1.jpg", b"2.jpg"])) == [b"1.jpg"]


def assert_refused(path, code, match=None):
    """Opening fails with this code and leaves the file unchanged."""
    before = path.read_bytes(), path.stat().st_mtime_ns
    with pytest.raises(DataError, match=match) as caught:
        State.open(path)
    assert caught.value.code == code
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_newer_state_is_left_unchanged(place, models):
    with State.open(place) as state:
        state.begin(models, {})
        put(state, b"1.jpg")
        state.commit()
    with sqlite3.connect(place) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    assert_refused(place, "schema_unsupported", rf"newer.*\b{VERSION + 1}\b.*\b{VERSION}\b")


@pytest.mark.parametrize("marked", [False, True])
def test_another_programs_database_is_left_unchanged(place, marked):
    with sqlite3.connect(place) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
        if marked:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID + 1}")
    connection.close()
    assert_refused(place, "not_a_state")


def test_a_file_that_is_not_a_database_is_left_unchanged(place):
    place.write_text("path,status,tags,scores\n" * 100)
    assert_refused(place, "state_damaged")
    place.write_text("x")  # SQLite would take it for an empty database
    assert_refused(place, "not_a_state")


def test_a_damaged_state_is_left_unchanged(place, models):
    with State.open(place) as state:
        state.begin(models, {})
        for number in range(500):
            put(state, f"{number}.jpg".encode())
        state.end(whole=True)
    data = bytearray(place.read_bytes())
    data[4096 : len(data) // 2] = np.random.default_rng(0).bytes(len(data) // 2 - 4096)
    place.write_bytes(data)
    with pytest.raises(DataError) as caught, State.open(place) as state:
        state.use(state.last_run())
        list(state.results())
    assert caught.value.code == "state_damaged"
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)
    assert place.read_bytes() == data


def test_an_impossible_path_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"x\.state") as caught:
        State.open(tmp_path / "file" / "x.state")
    assert caught.value.code == "not_writable"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder") as caught:
        State.open(tmp_path / "folder")
    assert caught.value.code == "not_writable"
    with pytest.raises(DataError, match=r"none\.state") as caught:
        State.open(tmp_path / "none.state", make=False)
    assert caught.value.code == "state_missing"
    assert not (tmp_path / "none.state").exists()


def test_a_state_without_a_run_is_an_error(place):
    with State.open(place) as state, pytest.raises(DataError) as caught:
        state.last_run()
    assert caught.value.code == "no_run"


def test_a_new_state_that_stays_empty_is_removed(place, models):
    with State.open(place) as state:
        state.begin(models, {})
    assert not list(place.parent.iterdir())


def test_a_temporary_state_keeps_no_scores(models):
    with State.temporary() as state:
        state.begin(models, {})
        number = put(state, b"1.jpg")
        assert state.known(b"/p", [b"1.jpg"]) == {b"1.jpg": (number, 10, 20, None, "ok", 0)}


# Outputs


def test_outputs_are_recognised_until_they_change(place, models, tmp_path):
    out = tmp_path / "tags.csv"
    with State.open(place) as state:
        state.begin(models, {})
        put(state, b"1.jpg")
        refuse_others([out], state)
        about_to_make([out], state)
        out.write_text("ours")
        has_made([out], state, "this way")
        assert how_made(out, state) == "this way"
        refuse_others([out], state)
    with State.open(place) as state:
        assert how_made(out, state) == "this way"
        out.write_text("ours, and mine")
        assert how_made(out, state) is None
        with pytest.raises(OutputError, match=r"tags\.csv") as caught:
            refuse_others([out], state)
        assert caught.value.code == "output_exists"
        out.unlink()
        refuse_others([out], state)
        assert how_made(out, state) is None


def test_an_output_that_was_being_written_is_cocotags_but_maybe_outdated(place, models, tmp_path):
    out = tmp_path / "tags.csv"
    with State.open(place) as state:
        state.begin(models, {})
        put(state, b"1.jpg")
        about_to_make([out], state)
        out.write_text("old or new")
    with State.open(place) as state:
        refuse_others([out], state)
        assert how_made(out, state) == ""


def test_without_a_state_every_existing_file_is_refused(tmp_path):
    out = tmp_path / "tags.csv"
    refuse_others([out], None)
    out.touch()
    with pytest.raises(OutputError, match=r"tags\.csv") as caught:
        refuse_others([out], None)
    assert caught.value.code == "output_exists"
