"""Rows -> CSV and JSON Lines, complete or not there."""

import csv
import errno
import io
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from cocotag.bundle import BundleMetadata
from cocotag.errors import Interrupted, OutputError
from cocotag.labels import Category, Vocabulary
from cocotag.tagging.outputs import Row, open_writer
from cocotag.tagging.tagger import Tag

METADATA = BundleMetadata(Vocabulary((Category(1, "cat"), Category(2, "hot dog"))), 64, (0.5, 0.5), (1, 1), 2)
PROBS = np.array([0.61234567, 0.98765], np.float32)
GOOD = Row(Path("a/b.jpg"), tags=(Tag("hot dog", 0.98765, 2, ""), Tag("cat", 0.61234567, 1, "")), probs=PROBS)
BAD = Row(Path("c.jpg"), status="truncated", error="c.jpg: cut short.")


def write(out, *rows, **options):
    with open_writer(out, METADATA, **options) as writer:
        for row in rows:
            writer.write(row)
    return Path(out)


def test_csv_rows(tmp_path):
    out = write(tmp_path / "new" / "tags.csv", GOOD, Row(Path("none.jpg")), BAD)
    assert out.read_text() == (
        "path,status,tags,scores\na/b.jpg,ok,hot dog;cat,0.988;0.6123\nnone.jpg,ok,,\nc.jpg,truncated,,\n"
    )


def test_jsonl_rows(tmp_path):
    out = write(tmp_path / "tags.JSONL", GOOD, BAD)
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {"path": "a/b.jpg", "status": "ok", "tags": ["hot dog", "cat"], "scores": [0.988, 0.6123]},
        {"path": "c.jpg", "status": "truncated", "tags": [], "scores": [], "error": "c.jpg: cut short."},
    ]


def test_the_scores_give_back_the_float16_that_was_decided_on(tmp_path):
    rng = np.random.default_rng(0)
    for score in [*rng.random(300), *(rng.random(300) ** 20), 0.0, 1.0]:
        tags = (Tag("cat", float(np.float16(score)), 1, ""),)
        text = write(tmp_path / "tags.csv", Row(Path("x"), tags=tags), overwrite=True).read_text()
        assert np.float16(text.strip().rpartition(",")[2]) == np.float16(score)


def test_all_scores_give_back_the_float16(tmp_path):
    rng = np.random.default_rng(0)
    probs = np.concatenate([rng.random(500), rng.random(500) ** 20, [0, 1]]).astype(np.float32)
    rows = [Row(Path("x"), probs=pair) for pair in probs.reshape(-1, 2)]
    lines = [json.loads(line) for line in write(tmp_path / "tags.jsonl", *rows, BAD, all_scores=True).read_text().splitlines()]
    assert lines.pop()["all_scores"] is None
    assert list(lines[0]["all_scores"]) == ["cat", "hot dog"]
    stored = np.array([list(line["all_scores"].values()) for line in lines])
    np.testing.assert_array_equal(stored.astype(np.float16).ravel(), probs.astype(np.float16))


@pytest.mark.parametrize("name", ["a,b.jpg", 'say "x".jpg', "two\nlines\r.jpg", "=cmd.jpg", "жук 🐞.jpg", "a;b.jpg"])
def test_odd_names_come_back_from_both_formats(tmp_path, name):
    row = Row(Path(name), status="empty", error="x")
    rows = list(csv.reader(io.StringIO(write(tmp_path / "t.csv", row).read_bytes().decode(), newline="")))
    assert rows[1] == [name, "empty", "", ""]
    assert json.loads(write(tmp_path / "t.jsonl", row).read_text())["path"] == name


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_bytes_that_are_not_utf8_are_written_escaped(tmp_path, ending):
    out = write(tmp_path / f"t.{ending}", Row(Path(os.fsdecode(b"caf\xe9.jpg"))))
    text = out.read_bytes().decode("utf-8")
    assert (json.loads(text)["path"] if ending == "jsonl" else text.splitlines()[1].split(",")[0]) == r"caf\udce9.jpg"


def test_a_dash_is_json_lines_on_stdout_row_by_row(capsys):
    with open_writer("-", METADATA) as writer:
        writer.write(GOOD)
        assert json.loads(capsys.readouterr().out)["path"] == "a/b.jpg"


@pytest.mark.parametrize("name", ["tags.txt", "tags", "tags.parquet", ".csv"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(OutputError, match=r"\.csv or \.jsonl"):
        write(tmp_path / name, GOOD)
    assert not list(tmp_path.iterdir())


def test_csv_has_no_room_for_all_scores(tmp_path):
    with pytest.raises(OutputError, match=r"Write to \.jsonl"):
        write(tmp_path / "t.csv", GOOD, all_scores=True)


def test_an_output_that_is_there_is_refused_and_replaced_only_when_told(tmp_path):
    out = tmp_path / "t.csv"
    out.write_text("mine")
    with pytest.raises(OutputError, match="there already"):
        write(out, GOOD)
    assert out.read_text() == "mine"
    write(out, GOOD, overwrite=True)
    assert out.read_text().startswith("path,")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutputError, match="there already"):
        write(tmp_path / "folder.csv", GOOD, overwrite=True)


def test_until_the_end_the_old_output_stands(tmp_path):
    out = tmp_path / "t.csv"
    out.write_text("mine")
    with open_writer(out, METADATA, overwrite=True) as writer:
        writer.write(GOOD)
        assert out.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
    assert out.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_interrupt_keeps_the_rows_beside_the_old_output(tmp_path):
    out = tmp_path / "t.jsonl"
    out.write_text("mine")
    with (
        pytest.raises(Interrupted, match=r"2 rows so far are in .*t\.jsonl\.partial"),
        open_writer(out, METADATA, overwrite=True) as writer,
    ):
        writer.write(GOOD)
        writer.write(BAD)
        raise KeyboardInterrupt
    assert out.read_text() == "mine"
    kept = (tmp_path / "t.jsonl.partial").read_text()
    assert kept.endswith("\n") and [json.loads(line)["status"] for line in kept.splitlines()] == ["ok", "truncated"]
    write(out, GOOD, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]


def test_an_error_keeps_the_rows_and_says_so(tmp_path, caplog):
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(RuntimeError, match="of another kind"),
        open_writer(tmp_path / "t.csv", METADATA) as writer,
    ):
        writer.write(GOOD)
        raise RuntimeError("of another kind")
    assert "t.csv.partial" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv.partial"]


def test_a_stop_before_the_first_row_leaves_nothing(tmp_path):
    for stop in (KeyboardInterrupt, ValueError):
        with pytest.raises(stop), open_writer(tmp_path / "t.csv", METADATA):
            raise stop
    assert not list(tmp_path.iterdir())


def test_no_rows_is_a_complete_table_of_none(tmp_path):
    assert write(tmp_path / "t.csv").read_text() == "path,status,tags,scores\n"
    assert write(tmp_path / "t.jsonl").read_text() == ""


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "file" / "t.csv", GOOD)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_an_output_error(tmp_path):
    (tmp_path / "t.csv.partial").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=os.strerror(errno.ENOSPC)):
        write(tmp_path / "t.csv", GOOD)
    assert not (tmp_path / "t.csv").exists()
