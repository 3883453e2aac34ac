"""Rows -> files of every form: what is in them, whole or not there, several in one pass."""

import csv
import errno
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cocotag.errors import MissingExtraError, OutputError
from cocotag.inference.tags import Tag
from cocotag.labels import COCO80, Category, Vocabulary
from cocotag.tagging.decisions.rename import load_rename
from cocotag.tagging.outputs.write import ENDINGS, Context, Row, check_outputs, file_of, open_stdout, write_outputs

CLASSES = Vocabulary((Category(1, "cat", "animal"), Category(2, "hot dog", "food")))
PROBS = np.array([0.61234567, 0.98765], np.float32)
GOOD = Row(Path("a/b.jpg"), tags=(Tag("hot dog", 0.98765, 2, "food"), Tag("cat", 0.61234567, 1, "animal")), probs=PROBS)
BAD = Row(Path("c.jpg"), status="truncated", error="c.jpg: cut short.")
ONE = Context({"": CLASSES}, {"": np.array([0.5, 0.25])}, {"": {"bundle": "x.onnx", "sha256": "ab", "cocotag": "1"}})
TWO = Context({"a.onnx": CLASSES, "b.onnx": Vocabulary((Category("s", "sky", ""),))}, several=True)
TWO_ROWS = [
    Row(Path("x.jpg"), tags=(Tag("cat", 0.75, 1, "animal"),), model="a.onnx"),
    Row(Path("x.jpg"), tags=(Tag("sky", 0.5, "s", ""),), model="b.onnx"),
]


def write(out, *rows, context=ONE):
    write_outputs([out], lambda: rows, context)
    return Path(out)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def query(path, sql):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


def test_csv(tmp_path):
    out = write(tmp_path / "new" / "tags.csv", GOOD, Row(Path("none.jpg")), BAD)
    assert out.read_bytes() == (
        b"path,status,tags,scores\na/b.jpg,ok,hot dog;cat,0.988;0.6123\nnone.jpg,ok,,\nc.jpg,truncated,,\n"
    )
    assert write(tmp_path / "two.csv", *TWO_ROWS, context=TWO).read_text() == (
        "path,status,tags,scores,model\nx.jpg,ok,cat,0.75,a.onnx\nx.jpg,ok,sky,0.5,b.onnx\n"
    )


def test_json_lines(tmp_path):
    first = {"path": "a/b.jpg", "status": "ok", "tags": ["hot dog", "cat"], "scores": [0.988, 0.6123]}
    empty = {"path": "c.jpg", "status": "truncated", "tags": [], "scores": [], "supercategories": []}
    assert lines(write(tmp_path / "tags.JSONL", GOOD, BAD)) == [
        {**first, "supercategories": ["food", "animal"]},
        {**empty, "error": "c.jpg: cut short."},
    ]
    assert [line["model"] for line in lines(write(tmp_path / "two.jsonl", *TWO_ROWS, context=TWO))] == ["a.onnx", "b.onnx"]


def test_parquet(tmp_path):
    table = pq.read_table(write(tmp_path / "tags.parquet", GOOD, Row(Path("none.jpg")), BAD))
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("path", "string"),
        ("status", "string"),
        ("tags", "list<element: string>"),
        ("scores", "list<element: float>"),
        ("supercategories", "list<element: string>"),
        ("error", "string"),
    ]
    assert table.column("path").to_pylist() == ["a/b.jpg", "none.jpg", "c.jpg"]
    assert table.column("tags").to_pylist() == [["hot dog", "cat"], [], []]
    assert table.column("supercategories").to_pylist() == [["food", "animal"], [], []]
    assert table.column("error").to_pylist() == [None, None, "c.jpg: cut short."]
    scores = np.array(table.column("scores").to_pylist()[0], np.float32)
    np.testing.assert_array_equal(scores, np.array([0.988, 0.6123], np.float32))
    about = json.loads(table.schema.metadata[b"cocotag"])
    assert about["made_by"][""]["sha256"] == "ab" and about["thresholds"] == {"": {"cat": 0.5, "hot dog": 0.25}}
    assert about["classes"][""] == CLASSES.to_json()
    two = pq.read_table(write(tmp_path / "two.parquet", *TWO_ROWS, context=TWO))
    assert two.column("model").to_pylist() == ["a.onnx", "b.onnx"]


@pytest.mark.parametrize("ending", ["sqlite", "sqlite3", "db"])
def test_sqlite(tmp_path, ending):
    out = write(tmp_path / f"tags.{ending}", GOOD, Row(Path("none.jpg")), BAD)
    assert query(out, "SELECT id, path, model, status, error FROM images") == [
        (1, "a/b.jpg", "", "ok", ""),
        (2, "none.jpg", "", "ok", ""),
        (3, "c.jpg", "", "truncated", "c.jpg: cut short."),
    ]
    assert query(out, "SELECT * FROM tagged ORDER BY score DESC") == [
        ("a/b.jpg", "", "hot dog", "food", 0.988, 2),
        ("a/b.jpg", "", "cat", "animal", 0.6123, 1),
    ]
    about = dict(query(out, "SELECT key, value FROM about"))
    assert about["schema_version"] == "1" and json.loads(about["made_by"])[""]["bundle"] == "x.onnx"
    assert query(out, "PRAGMA integrity_check") == [("ok",)]
    assert query(out, "PRAGMA foreign_key_check") == []


def test_sqlite_has_every_class_of_every_model_and_finds_tags_by_index(tmp_path):
    out = write(tmp_path / "two.db", *TWO_ROWS, context=TWO)
    expected = [("a.onnx", "cat", 1), ("a.onnx", "hot dog", 2), ("b.onnx", "sky", "s")]
    assert query(out, "SELECT model, name, category_id FROM classes") == expected
    assert query(out, "SELECT path, model FROM tagged WHERE tag = 'sky'") == [("x.jpg", "b.onnx")]
    for question in (
        "SELECT path FROM tagged WHERE tag = 'cat' AND score >= 0.5",
        "SELECT tag FROM tagged WHERE path = 'x'",
        "SELECT path FROM images WHERE status <> 'ok'",
    ):
        plan = [step[-1] for step in query(out, f"EXPLAIN QUERY PLAN {question}")]
        assert all(step.startswith("SEARCH") or "INDEX" in step for step in plan), plan


def test_several_outputs_come_of_one_pass(tmp_path):
    passes = []

    def rows():
        passes.append(1)
        yield from [GOOD, BAD] * 1500  # more than are written at once

    outs = [tmp_path / f"tags{ending}" for ending in ENDINGS]
    write_outputs(outs, rows, ONE)
    assert passes == [1]
    assert len(outs[0].read_text().splitlines()) == 3001
    assert [line["path"] for line in lines(outs[1])] == ["a/b.jpg", "c.jpg"] * 1500
    assert pq.read_table(outs[2]).column("status").to_pylist() == ["ok", "truncated"] * 1500
    for database in outs[3:]:
        assert query(database, "SELECT count(*), min(id), max(id) FROM images") == [(3000, 1, 3000)]
        assert query(database, "SELECT count(*) FROM tags") == [(3000,)]
    assert sorted(tmp_path.iterdir()) == sorted(outs)


def test_parquet_is_written_in_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("cocotag.tagging.outputs.formats.parquet.ROWS_PER_GROUP", 7)
    out = write(tmp_path / "t.parquet", *[GOOD, BAD] * 1000)
    assert pq.ParquetFile(out).metadata.num_row_groups == 286
    assert pq.read_table(out).column("tags").to_pylist() == [["hot dog", "cat"], []] * 1000


def test_the_scores_give_back_the_float16_that_was_decided_on(tmp_path):
    rng = np.random.default_rng(0)
    scores = np.array([*rng.random(300), *(rng.random(300) ** 20), 0.0, 1.0]).astype(np.float16)
    rows = [Row(Path("x.jpg"), tags=(Tag("cat", float(score), 1, "animal"),)) for score in scores]
    outs = [tmp_path / f"t.{ending}" for ending in ("csv", "jsonl", "parquet", "db")]
    write_outputs(outs, lambda: rows, ONE)
    found = [
        [row["scores"] for row in csv.DictReader(outs[0].open(newline=""))],
        [line["scores"][0] for line in lines(outs[1])],
        [row[0] for row in pq.read_table(outs[2]).column("scores").to_pylist()],
        [row[0] for row in query(outs[3], "SELECT score FROM tags ORDER BY image_id")],
    ]
    for values in found:
        np.testing.assert_array_equal(np.array(values, np.float64).astype(np.float16), scores)
    assert list(map(float, found[0])) == found[1] == found[3], "one number everywhere"
    np.testing.assert_array_equal(np.array(found[2], np.float32), np.array(found[1], np.float32))


def test_all_scores_give_back_the_float16_in_json_lines_and_parquet(tmp_path):
    rng = np.random.default_rng(0)
    probs = np.concatenate([rng.random(500), rng.random(500) ** 20, [0, 1]]).astype(np.float32)
    rows = [*(Row(Path("x"), probs=pair) for pair in probs.reshape(-1, 2)), BAD]
    context = Context({"": CLASSES}, all_scores=True)
    write_outputs([tmp_path / "t.jsonl", tmp_path / "t.parquet"], lambda: rows, context)
    found = [line["all_scores"] for line in lines(tmp_path / "t.jsonl")]
    assert found.pop() is None
    assert list(found[0]) == ["cat", "hot dog"]
    np.testing.assert_array_equal(np.array([list(one.values()) for one in found], np.float16).ravel(), probs.astype(np.float16))
    columns = pq.read_table(tmp_path / "t.parquet").column("all_scores").to_pylist()
    assert columns.pop() is None
    np.testing.assert_array_equal(np.array(columns, np.float16).ravel(), probs.astype(np.float16))


def test_all_scores_are_of_the_renamed_classes(tmp_path):
    names = tmp_path / "names.yaml"
    names.write_text("cat: snack\nhot dog: snack\ndog: null\n")
    vocabulary = Vocabulary((*CLASSES, Category(3, "dog", "animal"), Category(4, "cow", "animal")))
    context = Context({"": vocabulary}, all_scores=True, rename=load_rename(names, [vocabulary]))
    row = Row(Path("x.jpg"), probs=np.array([0.25, 0.75, 0.9, 0.5], np.float16))
    assert lines(write(tmp_path / "t.jsonl", row, context=context))[0]["all_scores"] == {"snack": 0.75, "cow": 0.5}
    table = pq.read_table(write(tmp_path / "t.parquet", row, context=context))
    assert table.column("all_scores").to_pylist() == [[0.75, 0.5]]
    assert [one["name"] for one in json.loads(table.schema.metadata[b"cocotag"])["classes"][""]] == ["snack", "cow"]
    context = Context({"": vocabulary}, rename=context.rename)
    database = write(tmp_path / "t.db", row, context=context)
    assert query(database, "SELECT name, category_id FROM classes") == [("snack", 1), ("cow", 4)]


def test_a_dash_is_json_lines_on_stdout_row_by_row(capsys, tmp_path):
    stdout = open_stdout(ONE)
    stdout.write(GOOD)
    assert json.loads(capsys.readouterr().out)["path"] == "a/b.jpg"
    write_outputs(["-", tmp_path / "t.jsonl"], lambda: [GOOD, BAD], ONE)
    assert capsys.readouterr().out == (tmp_path / "t.jsonl").read_text()
    assert file_of("-") is None and file_of("a.csv") == Path("a.csv")


def test_when_the_reader_of_stdout_goes_the_files_are_written_all_the_same(tmp_path, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    with pytest.raises(BrokenPipeError):
        write_outputs([tmp_path / "t.csv", "-"], lambda: [GOOD] * 2500, ONE)
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 2501
    with pytest.raises(BrokenPipeError):
        write_outputs(["-"], lambda: iter(lambda: GOOD, None), ONE)  # endless: it must stop reading them


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_stdout_on_a_full_disk_is_an_error_of_stdout(tmp_path, monkeypatch):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        for outs in (["-"], ["-", tmp_path / "t.csv"]):
            with pytest.raises(OutputError) as caught:
                write_outputs(outs, lambda: [GOOD], ONE)
            assert caught.value.code == "disk_full"
            assert str(caught.value).startswith("stdout") and os.strerror(errno.ENOSPC) in str(caught.value)
        with suppress(OSError):
            full.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["tags.txt", "tags", "tags.xlsx", ".csv"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(OutputError) as caught:
        check_outputs([tmp_path / name], ONE)
    assert caught.value.code == "unknown_format"
    assert all(fact in str(caught.value) for fact in (str(tmp_path / name), ".csv", ".jsonl", ".parquet", ".db"))
    assert ("--txt" in str(caught.value)) == name.endswith(".txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["csv", "sqlite"])
def test_csv_and_sqlite_have_no_room_for_all_scores(tmp_path, ending):
    with pytest.raises(OutputError) as caught:
        check_outputs([tmp_path / f"t.{ending}"], Context({"": CLASSES}, all_scores=True))
    assert caught.value.code == "all_scores_unsupported"
    assert all(fact in str(caught.value) for fact in (f"t.{ending}", ".jsonl", ".parquet"))


def test_what_cannot_be_written_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_outputs(["-", "a/b.csv", "a/b.jsonl", "t.parquet", "t.db"], ONE)
    assert not list(tmp_path.iterdir()), "nothing is left behind"
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    for outs, code, name in (
        (["a.csv", tmp_path / "a.csv"], "given_twice", "a.csv"),
        (["-", "-"], "given_twice", "--out -"),
        (["folder.csv"], "not_a_file", "folder.csv"),
        (["file/t.csv"], "not_writable", "file"),
    ):
        with pytest.raises(OutputError) as caught:
            check_outputs(outs, ONE)
        assert caught.value.code == code
        assert name in str(caught.value)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError) as missing:
        check_outputs(["t.parquet"], ONE)
    assert missing.value.code == "missing_pyarrow"
    assert "pip install 'cocotag[parquet]'" in str(missing.value)


@pytest.mark.parametrize("name", ["a;b", "two\nlines", "tab\tin it"])
def test_csv_refuses_class_names_that_it_cannot_join_until_they_are_renamed(tmp_path, name):
    vocabulary = Vocabulary((Category(1, name), Category(2, "cat")))
    with pytest.raises(OutputError) as caught:
        check_outputs([tmp_path / "t.csv"], Context({"": vocabulary}))
    assert caught.value.code == "name_not_writable"
    assert repr(name) in str(caught.value) and "--rename" in str(caught.value) and "\n" not in str(caught.value)
    names = tmp_path / "names.yaml"
    names.write_text(f"{json.dumps(name)}: fine\n")
    check_outputs([tmp_path / "t.csv"], Context({"": vocabulary}, rename=load_rename(names, [vocabulary])))
    check_outputs([tmp_path / "t.jsonl", tmp_path / "t.db"], Context({"": vocabulary}))
    with pytest.raises(OutputError) as caught:
        check_outputs([tmp_path / "t.csv"], Context({f"{name}.onnx": COCO80, "b": COCO80}, several=True))
    assert caught.value.code == "name_not_writable"
    assert repr(f"{name}.onnx") in str(caught.value) and "--rename" not in str(caught.value)


@pytest.mark.parametrize("ending", ENDINGS)
def test_until_the_end_the_old_output_stands(tmp_path, ending):
    out = tmp_path / f"t{ending}"
    out.write_text("mine")

    def rows():
        yield from [GOOD] * 2000
        assert out.read_text() == "mine"

    write_outputs([out], rows, ONE)
    assert out.read_bytes()[:4] != b"mine"
    assert list(tmp_path.iterdir()) == [out]
    assert out.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_whatever_ends_it_early_leaves_every_old_output_and_no_others(tmp_path, stop):
    outs = [tmp_path / f"t{ending}" for ending in ENDINGS]
    for out in outs[::2]:
        out.write_text("mine")

    def rows():
        yield from [GOOD] * 50_000
        raise stop

    with pytest.raises(stop):
        write_outputs(outs, rows, ONE)
    assert sorted(tmp_path.iterdir()) == sorted(outs[::2])
    assert {out.read_text() for out in outs[::2]} == {"mine"}


def test_no_rows_is_a_complete_table_of_none(tmp_path):
    assert write(tmp_path / "t.csv").read_text() == "path,status,tags,scores\n"
    assert write(tmp_path / "t.jsonl").read_text() == ""
    assert pq.read_table(write(tmp_path / "t.parquet")).num_rows == 0
    assert query(write(tmp_path / "t.db"), "SELECT * FROM tagged") == []


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from cocotag.errors import OutputError
from cocotag.labels import COCO80
from cocotag.tagging.decisions.rows import Context, Row
from cocotag.tagging.outputs.write import write_outputs
from cocotag.inference.tags import Tag
rng = np.random.default_rng(0)
rows = [Row(Path("x" + rng.bytes(40).hex() + ".jpg"), tags=(Tag("cat", 0.5, 17, "animal"),)) for _ in range(60_000)]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))  # the next best to a full disk
try:
    write_outputs(sys.argv[1:], lambda: rows, Context({"": COCO80}))
except OutputError as error:
    print(error.code, error)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit on file sizes here")
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet", ".sqlite"])
def test_a_full_disk_is_one_line_with_the_name_of_the_output_and_leaves_the_old_ones(tmp_path, ending):
    out, other = tmp_path / f"t{ending}", tmp_path / "other.db"
    for old in (out, other):
        old.write_text("mine")
    done = subprocess.run([sys.executable, "-c", FULL, out, other], capture_output=True, text=True, check=True)
    message = done.stdout.splitlines()
    assert len(message) == 1, done
    code, _, text = message[0].partition(" ")
    assert code in ("disk_full", "not_writable")
    assert text.startswith((str(out), str(other))), "the output that reached the limit first"
    assert sorted(tmp_path.iterdir()) == sorted([out, other])
    assert out.read_text() == other.read_text() == "mine"
    assert done.stderr == ""


def test_an_error_names_the_output_that_it_is_of(tmp_path, monkeypatch):
    def fail(self, rows):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("cocotag.tagging.outputs.formats.json_lines.JsonLines.write", fail)
    outs = [tmp_path / "a.csv", tmp_path / "b.jsonl", tmp_path / "c.csv"]
    with pytest.raises(OutputError) as caught:
        write_outputs(outs, lambda: [GOOD], ONE)
    assert caught.value.code == "disk_full"
    assert str(caught.value).startswith(str(outs[1])) and os.strerror(errno.ENOSPC) in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_no_output_takes_its_place_before_all_are_complete(tmp_path, monkeypatch):
    def fail(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("cocotag.tagging.outputs.formats.parquet.ParquetTable.close", fail)
    for outs in (["a.csv", "b.parquet"], ["b.parquet", "a.csv"]):
        with pytest.raises(OutputError) as caught:
            write_outputs([tmp_path / out for out in outs], lambda: [GOOD], ONE)
        assert caught.value.code == "disk_full"
        assert str(caught.value).startswith(str(tmp_path / "b.parquet"))
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_database_that_another_program_is_changing_is_not_replaced(tmp_path, mode):
    out, stale = write(tmp_path / "t.db", GOOD), tmp_path / "stale.db"
    other = sqlite3.connect(out, isolation_level=None)
    other.executescript(f"PRAGMA journal_mode = {mode}; PRAGMA cache_spill = 1; BEGIN IMMEDIATE; UPDATE images SET status = 1")
    for attempt in (lambda: check_outputs([out], ONE), lambda: write(out, BAD)):
        with pytest.raises(OutputError) as caught:
            attempt()
        assert caught.value.code == "output_in_use"
        assert str(out) in str(caught.value)
    for left in tmp_path.glob("t.db*"):  # as a killed program leaves it
        shutil.copy(left, tmp_path / left.name.replace("t.db", stale.name))
    other.execute("COMMIT")
    other.close()
    assert query(out, "SELECT status FROM images") == [("1",)]
    for one in (out, stale):
        check_outputs([one], ONE)
        assert query(write(one, BAD), "SELECT status FROM images") == [("truncated",)]


def test_memory_does_not_grow_with_the_rows():
    code = """
import resource, sys, tempfile
from pathlib import Path
from cocotag.labels import COCO80
from cocotag.tagging.decisions.rows import Context, Row
from cocotag.tagging.outputs.write import write_outputs
from cocotag.inference.tags import Tag
tags = tuple(Tag(one.name, 0.5, one.id, one.supercategory) for one in list(COCO80)[:4])
def rows(number):
    return (Row(Path("photos/%09d.jpg" % one), tags=tags) for one in range(number))
peaks = []
with tempfile.TemporaryDirectory() as folder:
    outs = [Path(folder) / name for name in ("t.csv", "t.jsonl", "t.parquet", "t.db")]
    for number in (20_000, 100_000):
        write_outputs(outs, lambda: rows(number), Context({"": COCO80}))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(peaks[1] - peaks[0], "pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    more, pandas = done.stdout.split()
    assert float(more) < 60, "MB more for five times the rows"
    assert pandas == "False", "loaded by pyarrow, half a second and 40 MB for nothing"
