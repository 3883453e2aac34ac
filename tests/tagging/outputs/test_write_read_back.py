"""What is written is read back, whatever paths and classes are called, by the readers that people have."""

import csv
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lxml import etree

from cocotag.data.importing.labelled import read_csv
from cocotag.inference.tags import Tag
from cocotag.labels import Category, Vocabulary
from cocotag.path_text import path_text, text_path
from cocotag.tagging.outputs.formats.cells import shortest
from cocotag.tagging.outputs.formats.csv_table import cell_of_name, name_of_cell
from cocotag.tagging.outputs.write import Context, Row, check_outputs, write_outputs

NASTY = [
    "a,b.jpg",
    'say "x".jpg',
    '"',
    "two\nlines\r.jpg",
    "=cmd|' /C calc'!A0",
    "=1+1.jpg",
    "+1",
    "-2;=3",
    "@SUM(A1)",
    "\t=1",
    "'=1",
    "''=1",
    "'quoted'",
    "a;b.jpg",
    "\u202egpj.exe",
    "жук 🐞.jpg",
    "cafe\u0301",
    " ",
    " lead and trail ",
    "1/2",
    "007",
    "2024-01-02",
    "1e5",
    "NaN",
    "null",
    "a\\b",
    "\\udce9",
    "\\\\udce9.jpg",
    "x" * 4000,
    "\uff1d1",
    "#",
    "%s{}",
    "\x1b[31m",
    "\x7f",
]
BYTES = [b"caf\xe9.jpg", b"\\\xe9", b"\xff" * 100, b"=\xe9", b"\\udce9\xe9"]

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20) | st.sampled_from(
    NASTY
)
paths = st.one_of(
    st.sampled_from([*NASTY, *map(os.fsdecode, BYTES)]),
    text,
    st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name).map(os.fsdecode),
).map(Path)
half = st.floats(0, 1, width=16)


@st.composite
def tables(draw, names=text):
    """Rows of two models whose classes are called anything."""
    classes = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    vocabulary = Vocabulary(tuple(Category(number, name, draw(text | st.just(""))) for number, name in enumerate(classes)))
    several = draw(st.booleans())
    models = draw(st.lists(names, min_size=2, max_size=2, unique=True)) if several else [""]
    rows = []
    for path in draw(st.lists(paths, max_size=8)):
        for model in models:
            found = draw(st.lists(st.sampled_from(vocabulary.categories), unique=True))
            scores = sorted(draw(st.lists(half, min_size=len(found), max_size=len(found))), reverse=True)
            tags = tuple(Tag(one.name, score, one.id, one.supercategory) for one, score in zip(found, scores, strict=True))
            bad = draw(st.booleans())
            error = f"{path}: cut short" if bad else ""
            rows.append(Row(path, "truncated" if bad else "ok", () if bad else tags, error, model=model))
    return rows, Context(dict.fromkeys(models, vocabulary), several=several)


def joinable(name):
    return not re.search(r"[;\x00-\x1f\x7f]", name)


def plain(rows):
    """What of rows is in every form."""
    return [
        (str(row.path), row.status, [tag.name for tag in row.tags], [np.float16(tag.score) for tag in row.tags], row.model)
        for row in rows
    ]


def write(folder, name, rows, context):
    check_outputs([folder / name], context)
    write_outputs([folder / name], lambda: rows, context)
    return folder / name


several_tables = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@several_tables
@given(tables(text.filter(joinable)))
def test_csv_by_the_csv_module_and_pandas(tmp_path, table):
    rows, context = table
    out = write(tmp_path, "t.csv", rows, context)

    def read(cells):
        names = [name_of_cell(name) for name in cells["tags"].split(";")] if cells["tags"] else []
        scores = [np.float16(score) for score in cells["scores"].split(";")] if cells["scores"] else []
        return str(text_path(cells["path"])), cells["status"], names, scores, name_of_cell(cells.get("model", ""))

    with out.open(encoding="utf-8", newline="") as stream:
        assert [read(cells) for cells in csv.DictReader(stream, strict=True)] == plain(rows)
    frame = pd.read_csv(out, dtype=str, keep_default_na=False, lineterminator="\n")
    assert [read(cells) for cells in frame.to_dict("records")] == plain(rows)


@several_tables
@given(tables())
def test_json_lines_by_json(tmp_path, table):
    rows, context = table
    read = [json.loads(line) for line in write(tmp_path, "t.jsonl", rows, context).read_bytes().decode("ascii").splitlines()]
    assert [
        (str(text_path(one["path"])), one["status"], one["tags"], list(map(np.float16, one["scores"])), one.get("model", ""))
        for one in read
    ] == plain(rows)
    assert [one["supercategories"] for one in read] == [[tag.supercategory for tag in row.tags] for row in rows]
    assert [one.get("error", "") for one in read] == [row.error for row in rows]


@several_tables
@given(tables())
def test_parquet_by_pyarrow_and_pandas(tmp_path, table):
    rows, context = table
    out = write(tmp_path, "t.parquet", rows, context)
    pq.read_table(out).validate(full=True)
    for read in (pq.read_table(out).to_pylist(), pd.read_parquet(out).to_dict("records")):
        assert [
            (
                str(text_path(one["path"])),
                one["status"],
                list(one["tags"]),
                list(map(np.float16, one["scores"])),
                one.get("model", ""),
            )
            for one in read
        ] == plain(rows)
        assert [list(one["supercategories"]) for one in read] == [[tag.supercategory for tag in row.tags] for row in rows]
        assert [one["error"] is None or pd.isna(one["error"]) for one in read] == [row.status == "ok" for row in rows]


@several_tables
@given(tables())
def test_sqlite_by_sqlite(tmp_path, table):
    rows, context = table
    with closing(sqlite3.connect(write(tmp_path, "t.db", rows, context))) as database:
        images = database.execute("SELECT id, path, status, model FROM images ORDER BY id").fetchall()
        tags = {number: [] for number, *_ in images}
        for number, *tag in database.execute(
            "SELECT image_id, name, score, supercategory, category_id FROM tags JOIN classes ON classes.id = class_id "
            "ORDER BY image_id, score DESC, class_id"
        ):
            tags[number].append((tag[0], np.float16(tag[1]), *tag[2:]))
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        viewed = database.execute("SELECT count(*) FROM tagged").fetchone()[0]
    assert [(str(text_path(path)), status, model) for _, path, status, model in images] == [
        (str(row.path), row.status, row.model) for row in rows
    ]
    expected = [[(tag.name, np.float16(tag.score), tag.supercategory, tag.category_id) for tag in row.tags] for row in rows]
    assert list(map(sorted, tags.values())) == list(map(sorted, expected))
    assert viewed == sum(map(len, expected))


@given(paths)
@example(Path(os.fsdecode(b"\\\\\\udce9\xe9\\")))
def test_a_path_comes_back_from_its_text_and_the_text_is_utf8_and_the_same_file(path):
    written = path_text(path)
    written.encode("utf-8")
    assert text_path(written) == path
    assert os.fsencode(text_path(written)).removeprefix(b"./") == os.fsencode(path)


@given(text)
def test_a_class_name_comes_back_from_its_cell(name):
    assert name_of_cell(cell_of_name(name)) == name


FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")


@several_tables
@given(tables(text.filter(joinable)), st.sampled_from(",;\t"))
def test_no_cell_is_a_formula_whatever_a_reader_separates_by(tmp_path, table, separator):
    rows, context = table
    written = write(tmp_path, "t.csv", rows, context).read_bytes().decode("utf-8")
    for cells in csv.reader(io.StringIO(written, newline=""), delimiter=separator):
        assert not [cell for cell in cells if FORMULA.match(cell)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["a;=1+1.jpg", "a,=1.jpg", "a\t=1", 'a";=1', '";=1', "a\n=1;=2", "=1;=2", ";;@a", "-1,+2"])
def test_a_path_stays_in_its_cell(tmp_path, name, separator):
    rows = [Row(Path(name), tags=(Tag("cat", 0.5, 1, ""),)), Row(Path("b.jpg"))]
    written = write(tmp_path, "t.csv", rows, Context({"": Vocabulary((Category(1, "cat"),))})).read_bytes().decode("utf-8")
    _, first, _ = csv.reader(io.StringIO(written, newline=""), delimiter=separator)
    assert text_path(first[0].removesuffix(",ok,cat,0.5") if separator != "," else first[0]) == Path(name)
    assert not [cell for cell in first if FORMULA.match(cell)]


if shutil.which("soffice"):  # only where it is: no part of cocotag needs it

    def test_libreoffice_shows_every_path_and_no_formula(tmp_path):
        names = [name for name in NASTY if joinable(name) and name == " ".join(name.split())]
        tags = tuple(Tag(name, 0.5, number, "") for number, name in enumerate(names))
        classes = Vocabulary(tuple(Category(tag.category_id, tag.name) for tag in tags))
        rows = [Row(Path(name), tags=tags) for name in names] + [Row(Path(f"{name}.jpg"), tags=tags) for name in names]
        out = write(tmp_path, "t.csv", rows, Context({"": classes}))
        options = "CSV:44,34,76,1,,0,false,true,false,false,false,-1,true"  # UTF-8, numbers and dates seen, formulas evaluated
        command = ["soffice", f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", f"--infilter={options}"]
        subprocess.run([*command, "--convert-to", "fods", "--outdir", tmp_path, out], check=True, capture_output=True)
        sheet = etree.parse(tmp_path / "t.fods")
        table = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
        assert not [cell for cell in sheet.iter(f"{table}table-cell") if cell.get(f"{table}formula")]
        shown = ["".join(next(row.iter(f"{table}table-cell")).itertext()).strip() for row in sheet.iter(f"{table}table-row")]
        assert shown[1 : len(rows) + 1] == [path_text(row.path) for row in rows]


@pytest.mark.parametrize("name", ["1/2", "007", "2024-01-02", "1e5", "12:30", "50%", "-1", "TRUE", "Jan-1", "1.e5", "May/1"])
def test_a_path_that_could_be_a_number_or_a_date_is_none_in_a_spreadsheet(name):
    assert path_text(Path(name)) == f"./{name}"


@pytest.mark.parametrize(
    "name", ["a.jpg", "2024/01/02.jpg", "/1/2", "IMG 1.jpg", "../1.jpg", "C:\\x.jpg", "x=1.jpg", "é.jpg", "a/b"]
)
def test_other_paths_are_written_as_they_are(name):
    assert path_text(Path(name)) == name


def test_the_table_can_be_imported_as_labels(tmp_path, sample_dir, monkeypatch):
    """As the README says: paths with bytes that are not UTF-8, and those that would be formulas, are found again."""
    names = [b"=cmd.jpg", b"caf\xe9.jpg", b" x,y.jpg", b"1"]
    (picture,) = sorted((sample_dir / "val").iterdir())[:1]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(picture.read_bytes())
    monkeypatch.chdir(tmp_path)
    rows = [Row(Path(os.fsdecode(name)), tags=(Tag("cat", 0.5, 1, ""), Tag("dog", 0.25, 2, ""))) for name in names]
    out = write(tmp_path, "t.csv", rows, Context({"": Vocabulary((Category(1, "cat"), Category(2, "dog")))}))
    found = read_csv(out, progress=False)
    assert not any(found.left_out.values())
    assert sorted(os.fsencode(one.path.name) for one in found.images) == sorted(names)
    assert {one.tags for one in found.images} == {("cat", "dog")}


def test_shortest_is_the_shortest_of_every_float16_between_0_and_1():
    scores = np.arange(np.float16(1).view(np.uint16) + 1, dtype=np.uint16).view(np.float16)
    found = shortest(scores)
    np.testing.assert_array_equal(found.astype(np.float16), scores)
    assert (np.diff(found) > 0).all()
    assert found[np.searchsorted(scores, np.float16(0.9))] == 0.9
