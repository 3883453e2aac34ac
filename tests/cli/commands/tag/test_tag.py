"""``cocotag tag`` as it is called: what is kept where, what is written and what is refused."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from error_codes import ends_with
from image_files import draw, mpf
from PIL import Image
from toy_bundle import make_toy_bundle

from cocotag.cli.main import main
from cocotag.inference.tagger import Tagger
from cocotag.photos.decode import load_square
from cocotag.tagging.state.store import State

LONG_AGO = 10**18


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "album"
    for index, colour in enumerate(np.random.default_rng(0).integers(0, 256, (8, 3)).tolist()):
        path = folder / ("b" if index % 2 else "a") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 12), tuple(colour)).save(path)
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return folder


@pytest.fixture
def tag(capsys, toy_bundle):
    """Run the command: exit status, stdout, stderr."""

    def run(*words, model=toy_bundle):
        try:
            status = main(["tag", *map(str, words), "--model", str(model)])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


def table(path):
    return list(csv.DictReader(io.StringIO(path.read_text()), strict=True))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Where results are kept


def test_the_state_lies_beside_the_first_output(tag, album, tmp_path):
    assert tag(album, "--out", tmp_path / "o" / "t.csv", "--out", tmp_path / "t.jsonl", "--out", "-")[0] == 0
    assert names(tmp_path / "o") == ["t.csv", "t.csv.state"]
    assert names(tmp_path) == ["album", "o", "t.jsonl"]


def test_or_where_it_is_told(tag, album, tmp_path):
    assert tag(album, "--out", tmp_path / "t.csv", "--state", tmp_path / "s" / "mine")[0] == 0
    assert names(tmp_path) == ["album", "s", "t.csv"]
    with State.open(tmp_path / "s" / "mine", make=False) as state:
        assert len(state.last_run().models) == 1


def test_stdout_alone_leaves_nothing_unless_told(tag, album, tmp_path):
    status, out, _ = tag(album, "--out", "-")
    assert (status, len(rows(out))) == (0, 8)
    assert names(tmp_path) == ["album"]
    assert tag(album, "--out", "-", "--state", tmp_path / "s")[1] == out
    _, again, err = tag(album, "--out", "-", "--state", tmp_path / "s")
    assert again == out and "8 unchanged" in err


def test_what_lies_beside_the_images_has_its_state_in_the_users_folder(tag, album, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
    assert tag(album, "--txt")[0] == 0
    assert (album / "a" / "0.txt").exists()
    (kept,) = (tmp_path / "states" / "cocotag").iterdir()
    assert "8 unchanged" in tag(album, "--txt")[2]
    monkeypatch.chdir(album.parent)
    assert "8 unchanged" in tag("album", "--txt")[2]  # the same place, whatever the way to it
    tag(album / "a", "--txt")
    assert len(list(kept.parent.iterdir())) == 2


# Again


def test_again_only_what_is_needed_is_done(tag, album, tmp_path):
    out, other = tmp_path / "t.csv", tmp_path / "t.jsonl"
    tag(album, "--out", out)
    written = out.stat()
    status, _, err = tag(album, "--out", out, "--out", other)
    assert status == 0 and "up to date" in err and other.exists()
    assert out.stat().st_ino == written.st_ino
    _, _, err = tag(album, "--out", out, "--threshold", "0.9")
    assert "8 unchanged" in err and "already" not in err
    assert table(out) != table_of(album, tag, 0.5)
    assert table(out) == table_of(album, tag, 0.9)


def table_of(album, tag, threshold):
    text = tag(album, "--out", "-", "--threshold", threshold)[1]
    joined = [{**row, "tags": ";".join(row["tags"])} for row in rows(text)]
    return [{"path": one["path"], "status": "ok", "tags": one["tags"], "scores": shown(one["scores"])} for one in joined]


def shown(scores):
    return ";".join(np.format_float_positional(np.float16(score), trim="0") for score in scores)


def test_a_new_image_comes_to_its_place(tag, album, tmp_path):
    out = tmp_path / "t.csv"
    tag(album, "--out", out)
    Image.new("RGB", (9, 9), "red").save(album / "a" / "1 new.png")
    _, _, err = tag(album, "--out", out)
    assert "9 of 9 files tagged, 8 unchanged" in err
    assert [row["path"].rsplit("/", 1)[1] for row in table(out)][:4] == ["0.png", "1 new.png", "2.png", "4.png"]


def test_another_folder_with_the_same_output_is_another_table(tag, album, tmp_path):
    out = tmp_path / "t.csv"
    tag(album / "a", "--out", out)
    assert tag(album / "b", "--out", out)[0] == 0
    assert {row["path"].rsplit("/", 2)[1] for row in table(out)} == {"b"}
    _, _, err = tag(album, "--out", out)
    assert "8 unchanged" in err and len(table(out)) == 8


def test_another_bundle_is_said(tag, album, tmp_path):
    out = tmp_path / "t.csv"
    tag(album, "--out", out)
    other = make_toy_bundle(tmp_path / "other.onnx", seed=5)
    status, _, err = tag(album, "--out", out, model=other)
    assert status == 0 and "made with another bundle" in err and "known" not in err
    tagger = Tagger.load(other)
    for row in table(out):
        assert row["tags"] == ";".join(one.name for one in tagger.tag(row["path"]))


# What is in the way


def test_a_stored_smaller_version_is_tagged_and_full_decode_switches_it_off(tag, tmp_path, toy_bundle):
    folder, out = tmp_path / "phone", tmp_path / "t.jsonl"
    folder.mkdir()
    inverted = 255 - draw(480, 640)  # to see which of the two was tagged
    path = folder / "a.jpg"
    path.write_bytes(mpf(Image.fromarray(draw(480, 640)), Image.fromarray(inverted).resize((320, 240))))
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    tagger = Tagger.load(toy_bundle)
    side = tagger.metadata.image_size

    def seen(*words):
        status, _, err = tag(folder, "--out", out, "--all-scores", "--overwrite", *words)
        assert status == 0
        scores = json.loads(out.read_text())["all_scores"]
        return [scores[name] for name in tagger.metadata.vocabulary.names], err

    def expected(*, previews):
        return tagger.predict(load_square(path, side, previews=previews)[None])[0].astype(np.float16)

    assert not np.allclose(expected(previews=True), expected(previews=False), atol=0.01)
    np.testing.assert_allclose(seen()[0], expected(previews=True), atol=1e-3)
    scores, err = seen("--full-decode")
    np.testing.assert_allclose(scores, expected(previews=False), atol=1e-3)
    assert "without --full-decode" in err
    scores, err = seen()
    np.testing.assert_allclose(scores, expected(previews=True), atol=1e-3)
    assert "1 unchanged" in err


def test_an_output_of_somebody_else_is_refused_before_the_work(tag, album, tmp_path):
    out = tmp_path / "t.csv"
    out.write_text("mine")
    with ends_with("output_exists"):
        status, _, err = tag(album, "--out", out)
    assert status == 2 and "t.csv" in err and "--overwrite" in err and err.count("\n") == 1
    assert names(tmp_path) == ["album", "t.csv"] and out.read_text() == "mine"
    assert tag(album, "--out", out, "--overwrite")[0] == 0
    assert len(table(out)) == 8
    out.write_text(out.read_text() + "and mine\n")
    with ends_with("output_exists"):
        status, _, err = tag(album, "--out", out)
    assert status == 2 and "t.csv" in err and "--overwrite" in err and out.read_text().endswith("mine\n")
    assert tag(album, "--out", out, "--overwrite")[0] == 0
    assert len(table(out)) == 8


def test_a_second_run_on_one_state_is_refused(tag, album, tmp_path):
    with State.open(tmp_path / "t.csv.state") as state:
        state.put(b"/p", b"1", (1, 2))
        with ends_with("state_in_use"):
            status, _, err = tag(album, "--out", tmp_path / "t.csv")
    assert status == 2 and "t.csv.state" in err and err.count("\n") == 1


def test_a_state_that_is_none_is_refused(tag, album, tmp_path):
    (tmp_path / "t.csv.state").write_text("no database" * 1000)
    with ends_with("state_damaged"):
        status, _, err = tag(album, "--out", tmp_path / "t.csv")
    assert status == 2 and "t.csv.state" in err and err.count("\n") == 1
    assert names(tmp_path) == ["album", "t.csv.state"]


@pytest.mark.parametrize(
    ("words", "code", "fact"),  # the parser's own errors have no code
    [
        ([], "no_output", "--out FILE, --txt"),
        (["--out", "t.csv", "--threshold", "0.5", "--precision", "0.5"], "flags_contradict", "--precision"),
        (["--out", "t.csv", "--precision", "0.9"], "no_precision_thresholds", "cocotag tune-thresholds"),
        (["--out", "t.csv", "--threshold-for", "dog"], None, "NAME=T"),
        (["--out", "t.csv", "--threshold-for", "dog=2"], None, "0 and 1"),
        (["--out", "t.csv", "--threshold-for", "dgo=0.2"], "unknown_class", "'dog'"),
        (["--out", "t.csv", "--no-backup"], "flag_without_other", "--embed"),
        (["--embed", "--embed-into", "copies"], "flags_contradict", "--embed-into"),
        (["--out", "t.csv", "--sidecar-name", "adobe"], "flag_without_other", "--xmp"),
        (["--txt", "--sidecar-name", "append"], "flag_without_other", "--xmp"),
        (["--out", "t.csv", "--out", "t.csv"], "given_twice", "t.csv"),
    ],
)
def test_what_cannot_be_is_a_line_and_leaves_nothing(tag, album, tmp_path, monkeypatch, words, code, fact):
    monkeypatch.chdir(tmp_path)
    with ends_with(code):
        status, out, err = tag(album, *words)
    assert status == 2 and fact in err and err.count("\n") == 1 and out == ""
    assert names(tmp_path) == ["album"]


# What is walked


def test_lists_globs_exclude_and_hidden(tag, album, tmp_path, toy_bundle):
    assert len(rows(tag(album, "--out", "-", "--exclude", "a", "--exclude", "1.png")[1])) == 3
    assert len(rows(tag(album / "*" / "[0-3].png", "--out", "-")[1])) == 4
    (album / ".hidden").mkdir()
    (album / ".hidden" / "x.png").write_bytes((album / "a" / "0.png").read_bytes())
    assert len(rows(tag(album, "--out", "-", "--hidden")[1])) == 9
    listed = "\0".join(str(path) for path in sorted((album / "a").iterdir())) + "\0gone.png"
    words = ["tag", "-", "--model", toy_bundle, "--out", "-"]
    done = subprocess.run([sys.executable, "-m", "cocotag", *words], input=listed, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "gone.png" in done.stderr
    assert [row["status"] for row in rows(done.stdout)] == ["ok"] * 4 + ["missing"]


def test_other_files_are_counted_and_no_fault(tag, album):
    for name in ("film.mp4", "a/0.png.xmp", "b/notes.txt"):
        (album / name).touch()
    status, out, err = tag(album, "--out", "-")
    assert (status, len(rows(out))) == (0, 8)
    assert "3 other files" in err


# Rows as they come


def test_rows_come_before_the_work_is_done(album, toy_bundle, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    data = (album / "a" / "0.png").read_bytes()
    for number in range(1000):  # more rows than a pipe holds
        (folder / f"{number:04}.png").write_bytes(data)
    command = [sys.executable, "-m", "cocotag", "tag", folder, "--model", toy_bundle, "--out", "-", "--out", tmp_path / "t.csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        first = json.loads(process.stdout.readline())
        assert not (tmp_path / "t.csv").exists()
        rest = process.stdout.read().splitlines()
    assert first["path"].endswith("0000.png") and len(rest) == 999
    assert len(table(tmp_path / "t.csv")) == 1000


def test_a_reader_that_goes_does_not_keep_the_files_from_being_made(album, toy_bundle, tmp_path):
    for number in range(1500):  # more rows than a pipe holds
        (album / f"{number}.png").write_bytes((album / "a" / "0.png").read_bytes())
    command = [sys.executable, "-m", "cocotag", "tag", album, "--model", toy_bundle, "--out", "-"]
    for more, status in (([], 1), (["--out", tmp_path / "t.csv"], 1)):
        with subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.readline()
            process.stdout.close()
            assert b"Traceback" not in process.stderr.read()
        assert process.returncode == status
    assert len(table(tmp_path / "t.csv")) == 1508


# Words


def test_json_log_is_json_lines_and_nothing_else(tag, album, tmp_path):
    (album / "bad.jpg").write_text("bad")
    status, _, err = tag(album, "--out", tmp_path / "t.csv", "--json-log")
    assert status == 1
    *_, progress, end = rows(err)
    assert progress["files"] == 9 and progress["errors"] == 1 and {"rate", "eta", "total"} <= set(progress)
    assert end["event"] == "end" and end["ok"] == 8 and end["failed"] == {"not_an_image": 1}
    assert "bad.jpg" in end["first_failures"][0]
    (tmp_path / "t.csv").write_text("mine")
    status, _, err = tag(album, "--out", tmp_path / "t.csv", "--json-log")
    assert status == 2
    assert "--overwrite" in rows(err)[-1]["text"]


def test_thresholds_of_single_classes(tag, album):
    plain = rows(tag(album, "--out", "-")[1])
    name = plain[0]["tags"][0]
    without = rows(tag(album, "--out", "-", "--threshold-for", f"{name}=1")[1])
    assert [row["tags"] for row in without] == [
        [one for one, score in zip(row["tags"], row["scores"], strict=True) if one != name or score == 1] for row in plain
    ]


def test_little_is_done_before_the_first_row(album, toy_bundle):
    """It is to come within 1.5 s on an idle machine; a loaded one is slow, but makes no more work of it."""
    command = [sys.executable, "-m", "cocotag", "tag", str(album), "--model", str(toy_bundle), "--out", "-"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert used.ru_utime + used.ru_stime < 1.5


def test_copies_do_not_go_where_the_originals_are(tag, album, tmp_path):
    with ends_with("output_is_input"):
        status, _, _ = tag(album, "--embed-into", album / "a" / "..", "--state", tmp_path / "s")
    assert status == 2
    assert not (tmp_path / "s").exists()


def test_ctrl_c_while_outputs_are_made_says_how_to_go_on(tag, album, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cocotag.tagging.outputs.plan.write_outputs", interrupted)
        with ends_with("interrupted"):
            status, _, err = tag(album, "--out", tmp_path / "t.csv")
    assert status == 130
    assert "8 files" in err and "t.csv.state" in err
    assert tag(album, "--out", tmp_path / "t.csv")[0] == 0
    assert len(table(tmp_path / "t.csv")) == 8
