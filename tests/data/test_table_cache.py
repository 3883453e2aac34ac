"""The cache of tables: later readings equal the first, and nothing that is not of this very content is believed."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cocotag.data import annotations, table_cache
from cocotag.data.annotations import PER_IMAGE, load_annotations
from cocotag.data.table_cache import FIRST_LINE, SETTLED_NS, Stamp, Stored
from cocotag.errors import DataError


def document(images=5):
    return {
        "images": [{"id": 10 * i, "file_name": f"{i}.jpg", "width": 20, "height": 10} for i in range(images)],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 90, "bbox": [0, 0, 10, 5]},
            {"id": 2, "image_id": 10, "category_id": 90, "bbox": [0, 0, 10, 10]},
            {"id": 3, "image_id": 20, "category_id": 3, "bbox": [0, 0, 10, 10], "iscrowd": 1},
        ],
        "categories": [
            {"id": 3, "name": "car", "supercategory": "vehicle"},
            {"id": 90, "name": "cat"},
            {"id": 91, "name": "cat"},
        ],
    }


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def digest(table):
    """Of everything that a table holds."""
    parts = [repr(table.vocabulary.to_json()), *(repr((name, getattr(table, name).tolist())) for name in PER_IMAGE)]
    parts += [str(getattr(table, name).dtype) for name in PER_IMAGE]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@pytest.fixture
def source(tmp_path, monkeypatch):
    """An annotation file that is worth a cache and was not changed just now, as far as the cache can tell."""
    monkeypatch.setattr(table_cache, "MIN_BYTES", 0)
    monkeypatch.setattr(table_cache, "SETTLED_NS", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return write(tmp_path / "data" / "annotations" / "instances_train.json", document())


def beside(source):
    return source.parent / ".cocotag" / f"{source.name}.table"


def inuser_folder(tmp_path):
    return list((tmp_path / "user" / "cocotag").glob("*.table"))


@pytest.fixture
def readings(monkeypatch):
    """How often the JSON was read in earnest."""
    seen = []
    tabulate = annotations._tabulate
    monkeypatch.setattr(annotations, "_tabulate", lambda *words, **more: seen.append(1) or tabulate(*words, **more))
    return seen


@pytest.fixture
def hashings(monkeypatch):
    """How often the file was hashed to compare it."""
    seen = []
    stamp = table_cache._stamp
    monkeypatch.setattr(table_cache, "_stamp", lambda source: seen.append(1) or stamp(source))
    return seen


def test_the_second_reading_is_the_first_without_reading(source, readings, hashings, caplog):
    first = load_annotations(source)
    told = caplog.text
    caplog.clear()
    annotations._said.clear()  # as in another process
    second = load_annotations(source)
    assert digest(second) == digest(first)
    assert (len(readings), len(hashings)) == (1, 0)
    assert caplog.text == told != ""  # that two categories have one name is said again
    second.targets[0] = True  # as writeable as a fresh one
    assert digest(load_annotations(source)) == digest(first)


def test_the_image_folder_is_the_callers(source, tmp_path):
    assert load_annotations(source).image_dir == tmp_path / "data" / "train"
    assert load_annotations(source, tmp_path / "elsewhere").image_dir == tmp_path / "elsewhere"


def test_a_cached_start_imports_no_pycocotools(source):
    load_annotations(source)
    code = (
        "import sys\nfrom cocotag.data import table_cache\ntable_cache.MIN_BYTES = table_cache.SETTLED_NS = 0\n"
        "from cocotag.data.annotations import load_annotations\nload_annotations(sys.argv[1])\n"
        "assert not {'pycocotools', 'torch', 'pandas', 'cv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, source], check=True)


def test_beside_small_files_nothing_is_left(source, monkeypatch, tmp_path):
    monkeypatch.setattr(table_cache, "MIN_BYTES", 8 * 2**20)
    load_annotations(source)
    assert list(source.parent.iterdir()) == [source]
    assert not (tmp_path / "user").exists()


def test_version_control_does_not_see_the_cache(source):
    load_annotations(source)
    assert (beside(source).parent / ".gitignore").read_text() == "*\n"
    assert {path.name for path in beside(source).parent.iterdir()} == {".gitignore", beside(source).name}


def test_a_stale_cache_that_cannot_be_written_does_not_stand_before_the_right_one(source, tmp_path, hashings, monkeypatch):
    load_annotations(source)
    os.utime(source)  # as where a data set was copied with its cache
    shutil.copytree(beside(source).parent, tmp_path / "copied")
    atomic = table_cache.atomic_path

    def read_only(place):
        if place.parent == beside(source).parent:
            raise table_cache.OutputError("read-only")
        return atomic(place)

    monkeypatch.setattr(table_cache, "atomic_path", read_only)
    first = load_annotations(source)
    assert len(hashings) == 1
    assert len(inuser_folder(tmp_path)) == 1
    assert digest(load_annotations(source)) == digest(first)
    assert len(hashings) == 1


# The source changes


def test_other_times_and_the_same_content_keep_the_cache_and_are_noted(source, readings, hashings):
    first = load_annotations(source)
    os.utime(source, (1, 1))
    assert digest(load_annotations(source)) == digest(first)
    assert (len(readings), len(hashings)) == (1, 1)
    load_annotations(source)
    assert (len(readings), len(hashings)) == (1, 1)


def test_a_copied_data_set_brings_its_cache_along(source, readings, tmp_path):
    first = load_annotations(source)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    assert digest(load_annotations(tmp_path / "copy" / "annotations" / source.name)) == digest(first)
    assert len(readings) == 1


def test_other_content_is_read_though_size_and_mtime_are_the_same(source, readings):
    before = source.stat()
    load_annotations(source)
    text = source.read_text()
    source.write_text(text.replace('"category_id": 90', '"category_id":  3'))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source.stat().st_size == before.st_size
    assert source.stat().st_mtime_ns == before.st_mtime_ns
    assert load_annotations(source).positives.tolist() == [1, 0]
    assert len(readings) == 2


def test_content_of_another_size_is_read_without_hashing(source, readings, hashings):
    load_annotations(source)
    write(source, document(images=6))
    assert len(load_annotations(source)) == 6
    assert (len(readings), len(hashings)) == (2, 0)
    assert len(load_annotations(source)) == 6
    assert len(readings) == 2


def test_a_file_changed_just_before_it_was_read_is_hashed(source, readings, hashings, monkeypatch):
    monkeypatch.setattr(table_cache, "SETTLED_NS", SETTLED_NS)
    load_annotations(source)  # and once more at the end: the times may have settled by then
    assert (len(readings), len(hashings)) == (1, 1)
    load_annotations(source)
    assert (len(readings), len(hashings)) == (1, 2)
    monkeypatch.setattr(table_cache, "SETTLED_NS", 0)  # time passes
    load_annotations(source)
    assert (len(readings), len(hashings)) == (1, 2)


def test_times_settle_two_seconds_from_either_change():
    second = 10**9
    for mtime, ctime, settled in [(0, 0, True), (9, 0, False), (0, 9, False), (8, 8, True), (11, 0, False), (99, 0, True)]:
        assert Stamp(1, mtime * second, ctime * second, 10 * second, "").settled == settled


def test_a_file_that_changes_while_it_is_read_is_not_kept(source, monkeypatch):
    look = os.fstat

    def looks(handle):
        os.utime(source, ns=(0, time.time_ns()))
        return look(handle)

    monkeypatch.setattr(table_cache.os, "fstat", looks)
    load_annotations(source)
    assert not beside(source).exists()


def test_the_cache_of_a_deleted_file_is_not_used(source):
    load_annotations(source)
    source.unlink()
    with pytest.raises(DataError) as caught:
        load_annotations(source)
    assert caught.value.code == "file_missing"


# The cache is damaged, foreign or forged


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_cache_is_noticed(tmp_path_factory, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_cache, "MIN_BYTES", 0)
        patch.setattr(table_cache, "SETTLED_NS", 0)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("user")))
        source = write(tmp_path_factory.mktemp("data") / "instances_train.json", document())
        first = load_annotations(source)
        sound = beside(source).read_bytes()
        place = data.draw(st.integers(0, len(sound) - 1))
        if data.draw(st.booleans()):
            damaged = sound[:place]
        else:
            damaged = bytearray(sound)
            damaged[place] ^= 1 << data.draw(st.integers(0, 7))
        beside(source).write_bytes(damaged)
        assert table_cache._read(beside(source), 2**20) is None
        assert digest(load_annotations(source)) == digest(first)
        assert beside(source).read_bytes()[: len(FIRST_LINE)] == FIRST_LINE  # made anew
        assert table_cache._read(beside(source), 2**20) is not None


def seal(body, first_line=FIRST_LINE):
    return first_line + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"PK\x03\x04" + bytes(500),
        FIRST_LINE,
        seal(b""),
        seal(b"{}\n"),
        seal(b'{"arrays": [["a", "O", [1]]]}\n12345678'),
        seal(b'{"arrays": [["a", "<i8", [-1]]], "stamp": {}, "facts": {}}\n12345678'),
        seal(b'{"arrays": [["a", "<i8", [1000000000000]]], "stamp": {}, "facts": {}}\n'),
        seal(b'{"arrays": [], "stamp": {"size": 1}, "facts": {}}\n'),
        seal(b"[" * 100_000 + b"\n"),
        seal(b'{"arrays": [["a", "<i8", [1180591620717411303424]]], "stamp": {}, "facts": {}}\n'),
        seal(b'{"arrays": [["a", "i4,(", [1]]], "stamp": {}, "facts": {}}\n12345678'),
        seal(
            b'{"arrays": [], "stamp": {"size": 1, "mtime_ns": 1, "ctime_ns": 1, "seen_ns": "x", "sha256": ""}, "facts": {}}\n'
        ),
    ],
)
def test_what_is_no_cache_is_replaced(source, content, readings):
    beside(source).parent.mkdir()
    beside(source).write_bytes(content)
    first = load_annotations(source)
    assert digest(load_annotations(source)) == digest(first)
    assert len(readings) == 1


def test_the_cache_of_another_file_or_version_is_not_believed(source, readings):
    other = write(source.with_name("instances_val.json"), document(images=7))
    load_annotations(other)
    beside(other).rename(beside(source))
    assert len(load_annotations(source)) == 5
    assert len(readings) == 2
    beside(source).write_bytes(beside(source).read_bytes().replace(FIRST_LINE, b"cocotag 0.0.0 table 1\n"))
    load_annotations(source)
    assert len(readings) == 3


def forge(source, change):
    """Rewrite the cache with its checksum right."""
    stamp, stored = table_cache._read(beside(source), 2**20)
    change(stored)
    assert table_cache._write(source, stamp, stored) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored.arrays.update(file_names=np.frombuffer(b"../x\0" * 4 + b"/etc/x", np.uint8)),
        lambda stored: stored.arrays.update(file_names=np.frombuffer(b"a\0b", np.uint8)),
        lambda stored: stored.arrays.update(file_names=np.frombuffer(b"\xff\0a\0a\0a\0a", np.uint8)),
        lambda stored: stored.arrays.update(cells=np.array([10**9]), instances=np.array([1], np.uint16)),
        lambda stored: stored.arrays.update(unknown=np.array([0.5])),
        lambda stored: stored.arrays.update(cells=np.array([-1]), instances=np.array([1], np.uint16)),
        lambda stored: stored.arrays.update(unknown=np.array([3, 2])),
        lambda stored: stored.arrays.update(sizes=np.zeros((5, 3), np.int32)),
        lambda stored: stored.arrays.update(sizes=np.zeros((5, 2), np.int64)),
        lambda stored: stored.arrays.update(largest=np.zeros(5, np.complex64)),
        lambda stored: stored.arrays.update(image_ids=np.zeros(5, np.float64)),
        lambda stored: stored.arrays.pop("largest"),
        lambda stored: stored.facts.pop("notes"),
        lambda stored: stored.facts.update(categories=[{"id": 1}]),
        lambda stored: stored.facts.update(categories=5),
    ],
)
def test_a_forged_cache_gives_no_table_that_the_file_could_not(source, change, readings):
    first = load_annotations(source)
    forge(source, change)
    assert digest(load_annotations(source)) == digest(first)
    assert len(readings) == 2


# Where it lies


def block(folder):
    """A file where a folder should be: nobody can write there, not even root."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("")


def test_a_folder_that_takes_no_cache_is_no_problem(source, tmp_path, readings, caplog):
    block(source.parent / ".cocotag")
    first = load_annotations(source)
    assert len(inuser_folder(tmp_path)) == 1
    assert digest(load_annotations(source)) == digest(first)
    assert len(readings) == 1
    assert "not kept" not in caplog.text


def test_a_link_that_came_with_the_data_is_not_written_through(source, tmp_path, readings):
    (tmp_path / "victim").mkdir()
    beside(source).parent.symlink_to(tmp_path / "victim")
    first = load_annotations(source)
    assert digest(load_annotations(source)) == digest(first)
    assert len(readings) == 1  # kept in the user's folder
    assert not list((tmp_path / "victim").iterdir())


def test_a_cache_larger_than_its_file_is_not_read(source, readings):
    beside(source).parent.mkdir()
    with beside(source).open("wb") as file:
        file.truncate(2**40)  # sparse
    load_annotations(source)
    assert len(readings) == 1


def test_a_truly_read_only_folder_is_no_problem(source, tmp_path, monkeypatch, readings):
    places = table_cache._cache_paths
    monkeypatch.setattr(table_cache, "_cache_paths", lambda path: [Path("/proc/.cocotag/a.table"), *list(places(path))[1:]])
    load_annotations(source)
    load_annotations(source)
    assert len(inuser_folder(tmp_path)) == 1
    assert len(readings) == 1


def test_without_a_writable_folder_there_is_a_warning_of_one_line(source, tmp_path, readings, caplog):
    block(source.parent / ".cocotag")
    block(tmp_path / "user")
    first = load_annotations(source)
    assert digest(load_annotations(source)) == digest(first)
    assert len(readings) == 2
    lines = [record.getMessage() for record in caplog.records if record.name == table_cache.logger.name]
    assert len(lines) == 2
    assert "\n" not in lines[0]


def test_a_full_disk_costs_only_the_cache(source, tmp_path, monkeypatch, caplog):
    def full(path, content):
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert len(load_annotations(source)) == 5
    assert "No space left on device" in caplog.text
    assert not list(tmp_path.rglob("*.table")) + list(tmp_path.rglob("*.part"))


def test_without_a_home_there_is_only_the_place_beside(source, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert list(table_cache._cache_paths(source)) == [beside(source)]
    block(source.parent / ".cocotag")
    assert len(load_annotations(source)) == 5


def test_the_users_folder_is_that_of_the_specification(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert table_cache.user_folder() == Path("/somewhere/.cache/cocotag")
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
    assert table_cache.user_folder() == Path("/fast/cocotag")


def test_two_files_of_one_name_have_two_caches_in_the_users_folder(source, tmp_path):
    block(source.parent / ".cocotag")
    other = write(tmp_path / "other" / "annotations" / source.name, document(images=7))
    block(other.parent / ".cocotag")
    for _ in range(2):
        assert (len(load_annotations(source)), len(load_annotations(other))) == (5, 7)
    assert len(inuser_folder(tmp_path)) == 2


def test_arrays_and_facts_come_back_as_they_were(source):
    look = source.stat()
    stamp = Stamp.of(look, look.st_mtime_ns, "0" * 64)
    arrays = {
        "big": np.arange(6, dtype=">i4").reshape(2, 3),
        "empty": np.zeros((0, 4), np.float32),
        "bytes": np.frombuffer(b"abc", np.uint8),
        "turned": np.arange(6.0).reshape(2, 3).T,
    }
    table_cache.save(source, stamp, Stored({"a": ["é", None, 1.5]}, arrays))
    back = table_cache.load(source)
    assert back.facts == {"a": ["é", None, 1.5]}
    for name, array in arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)


# Several at once

TOGETHER = """
import sys, time
from pathlib import Path
from cocotag.data import table_cache
from cocotag.data.annotations import load_annotations
sys.path.insert(0, sys.argv[3])
from test_table_cache import digest
table_cache.MIN_BYTES = table_cache.SETTLED_NS = 0
source, flag = Path(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
while not flag.exists():
    time.sleep(0.001)
seen = set()
for turn in range(30):
    seen.add(digest(load_annotations(source)))
    if turn % 3 == 0:
        (source.parent / ".cocotag" / f"{source.name}.table").unlink(missing_ok=True)
print(*seen, flush=True)
"""


def test_processes_that_build_it_at_once_do_no_harm(source, tmp_path):
    expected = digest(load_annotations(source))
    beside(source).unlink()
    flag = tmp_path / "go"
    command = [sys.executable, "-c", TOGETHER, source, flag, Path(__file__).parent]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for other in others:
        assert other.stdout.readline() == "ready\n"
    flag.touch()
    for other in others:
        out, errors = other.communicate(timeout=60)
        assert other.returncode == 0, errors
        assert out.split() == [expected]
    assert digest(load_annotations(source)) == expected
    assert {path.name for path in beside(source).parent.iterdir()} == {".gitignore", beside(source).name}
