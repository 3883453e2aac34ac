"""``cocotag retag``: what ``cocotag tag`` would have written, without network and photographs."""

import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from error_codes import ends_with
from PIL import Image
from toy_bundle import make_toy_bundle

from cocotag.bundle import read_metadata, write_bundle
from cocotag.cli.main import main
from cocotag.labels import Category, Vocabulary
from cocotag.thresholds import thresholds_for_precision


@pytest.fixture
def run(capsys):
    def run(*words):
        try:
            status = main(list(map(str, words)))
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "album"
    folder.mkdir()
    for index, colour in enumerate(np.random.default_rng(0).integers(0, 256, (8, 3)).tolist()):
        path = folder / f"{index}.png"
        Image.new("RGB", (20, 12), tuple(colour)).save(path)
        os.utime(path, ns=(10**18, 10**18))
    (folder / "5a.jpg").write_text("no picture")
    return folder


@pytest.fixture
def bundle(tmp_path):
    """With thresholds for some precisions."""
    import onnx

    path = make_toy_bundle(tmp_path / "toy.onnx")
    rng = np.random.default_rng(0)
    cells = rng.random((50, 80)), rng.random((50, 80)) < 0.5, np.ones((50, 80), bool)
    metadata = read_metadata(path).with_thresholds(np.full(80, 0.5), {}, thresholds_for_precision(*cells))
    write_bundle(onnx.load_model(str(path)), metadata, path)
    return path


WISHES = [
    [],
    ["--threshold", "0.7"],
    ["--threshold", "0.1", "--top-k", "2"],
    ["--precision", "0.8", "--threshold-for", "dog=0.25"],
    ["--precision", "0.5", "--rename", "names.yaml", "--top-k", "3"],
]


@pytest.mark.parametrize("wish", WISHES)
def test_it_is_what_tagging_anew_would_give(run, album, bundle, tmp_path, monkeypatch, wish):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.yaml").write_text("dog: Hund\ncat: Hund\nperson: null\n")
    outs = ["csv", "jsonl"]
    assert run("tag", album, "--model", bundle, "--out", "first.csv", "--state", "kept")[0] == 1
    anew = [word for out in outs for word in ("--out", f"anew.{out}")]
    assert run("tag", album, "--model", bundle, *anew, *wish)[0] == 1
    album.rename(tmp_path / "away")
    bundle.unlink()
    again = [word for out in outs for word in ("--out", f"again.{out}")]
    status, _, err = run("retag", "kept", *again, *wish)
    assert status == 1 and "8 of 9 files" in err and "1 failed" in err
    for out in outs:
        assert (tmp_path / f"again.{out}").read_bytes() == (tmp_path / f"anew.{out}").read_bytes()


def test_the_output_stands_for_its_state(run, album, bundle, tmp_path):
    out = tmp_path / "t.csv"
    run("tag", album, "--model", bundle, "--out", out)
    before = out.read_text()
    assert run("retag", out, "--out", out, "--threshold", "0.9")[0] == 1  # its own output is replaced
    assert out.read_text() != before
    assert run("retag", tmp_path / "t.csv.state", "--out", out)[0] == 1
    assert out.read_text() == before
    _, stdout, _ = run("retag", out, "--out", "-", "--all-scores")
    lines = [json.loads(line) for line in stdout.splitlines()]
    assert len(lines) == 9 and len(lines[0]["all_scores"]) == 80


def test_nobody_elses_file_is_replaced(run, album, bundle, tmp_path):
    run("tag", album, "--model", bundle, "--out", tmp_path / "t.csv")
    (tmp_path / "mine.csv").write_text("mine")
    with ends_with("output_exists"):
        status, _, err = run("retag", tmp_path / "t.csv", "--out", tmp_path / "mine.csv")
    assert status == 2 and "mine.csv" in err and "--overwrite" in err and (tmp_path / "mine.csv").read_text() == "mine"
    assert run("retag", tmp_path / "t.csv", "--out", tmp_path / "mine.csv", "--overwrite")[0] == 1


@pytest.mark.parametrize(
    "words",
    [
        ["t.csv"],
        ["none.csv", "--out", "x.csv"],
        ["album", "--out", "x.csv"],
        ["t.csv", "--out", "x.doc"],
        ["t.csv", "--out", "x.csv", "--sidecar-name", "adobe"],
    ],
)
def test_what_cannot_be_is_a_line(run, album, bundle, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    run("tag", album, "--model", bundle, "--out", "t.csv")
    before = sorted(path.name for path in tmp_path.iterdir())
    status, out, err = run("retag", *words)
    assert status == 2 and err.count("\n") == 1 and out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_table_without_its_state_is_refused_unharmed(run, album, bundle, tmp_path):
    out = tmp_path / "t.csv"
    run("tag", album, "--model", bundle, "--out", out)
    (tmp_path / "t.csv.state").unlink()
    before = out.read_bytes()
    with ends_with("state_missing"):
        assert run("retag", out, "--out", tmp_path / "x.csv")[0] == 2
    assert out.read_bytes() == before and not (tmp_path / "x.csv").exists()


def test_several_bundles(run, album, tmp_path):
    few = Vocabulary((Category(1, "sky"), Category(2, "sea")))
    models = [make_toy_bundle(tmp_path / "one.onnx"), make_toy_bundle(tmp_path / "two.onnx", vocabulary=few, size=48)]
    words = ["--model", models[0], "--model", models[1]]
    run("tag", album, *words, "--out", tmp_path / "t.csv", "--threshold-for", "sea=0")
    run("retag", tmp_path / "t.csv", "--out", tmp_path / "again.csv", "--threshold-for", "sea=0")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "t.csv").read_bytes()
    rows = list(csv.DictReader((tmp_path / "t.csv").open(newline="")))
    assert all("sea" in row["tags"] for row in rows if row["model"] == "two.onnx" and row["status"] == "ok")


def test_relative_paths_are_looked_up_from_here_and_refused_where_they_lead_to_nothing(
    run, album, bundle, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    run("tag", "album", "--model", bundle, "--out", "t.csv")
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    with ends_with("photographs_elsewhere"):
        status, _, err = run("retag", "../t.csv", "--txt")
    assert status == 2 and err.count("\n") == 1 and f"{tmp_path}." in err
    assert not list(tmp_path.rglob("*.txt"))
    shutil.copytree(album, tmp_path / "else" / "album")
    run("retag", "../t.csv", "--txt")
    assert (tmp_path / "else" / "album" / "0.txt").exists() and not (album / "0.txt").exists()


def test_tags_are_not_written_beside_other_photographs_of_the_same_names(run, album, bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("tag", "album", "--model", bundle, "--out", "t.csv")
    (tmp_path / "else" / "album").mkdir(parents=True)
    for path in album.iterdir():
        (tmp_path / "else" / "album" / path.name).write_bytes(path.read_bytes() + b"another")
    monkeypatch.chdir(tmp_path / "else")
    with ends_with("photographs_elsewhere"):
        assert run("retag", "../t.csv", "--xmp")[0] == 2
    assert not list(tmp_path.rglob("*.xmp"))


def test_a_folder_that_is_no_longer_where_it_was_is_looked_up_from_here(run, album, bundle, tmp_path, monkeypatch):
    (tmp_path / "before").mkdir()
    album.rename(tmp_path / "before" / "album")
    monkeypatch.chdir(tmp_path / "before")
    run("tag", "album", "--model", bundle, "--out", "t.csv")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "before").rename("after")
    with ends_with("photographs_elsewhere"):
        status, _, err = run("retag", "after/t.csv", "--xmp")
    assert status == 2 and str(tmp_path / "before") in err
    monkeypatch.chdir(tmp_path / "after")
    assert run("retag", "t.csv", "--xmp")[0] == 1
    assert (tmp_path / "after" / "album" / "0.png.xmp").exists()


def test_absolute_paths_are_found_from_anywhere(run, album, bundle, tmp_path, monkeypatch):
    run("tag", album, "--model", bundle, "--out", tmp_path / "t.csv")
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    assert run("retag", "../t.csv", "--txt")[0] == 1
    assert (album / "0.txt").exists()
    album.rename(tmp_path / "off")  # there is no better place to run it at
    status, _, err = run("retag", "../t.csv", "--gallery", "look")
    assert status == 1 and "have no thumbnail: 8." in err and (tmp_path / "else" / "look" / "index.html").exists()


@pytest.mark.parametrize("given", [["album"], ["album/5a.jpg", "album/0.png"], ["album/*.png"]])
def test_the_paths_that_were_tagged_stand_for_their_state(run, album, bundle, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    tagged = run("tag", *given, "--model", bundle, "--xmp", "--threshold", "0.9")[0]
    before = {path: path.read_bytes() for path in album.glob("*.xmp")}
    assert run("retag", *given, "--xmp", "--threshold", "0.1")[0] == tagged
    assert {path: path.read_bytes() for path in album.glob("*.xmp")} != before
    assert run("retag", *(f"{tmp_path}/{path}" for path in given), "--xmp", "--threshold", "0.9")[0] == tagged
    with ends_with("state_missing"):
        status, _, err = run("retag", "album/0.png", "--xmp")
    assert status == 2 and err.count("\n") == 1 and str(tmp_path / "xdg" / "cocotag") in err


def test_what_is_missing_is_named_by_what_the_command_has(run, album, bundle, tmp_path):
    run("tag", album, "--model", bundle, "--out", tmp_path / "t.csv")
    assert "--out FILE, --txt, --xmp or --gallery DIR" in run("retag", tmp_path / "t.csv")[2]
    assert "--out FILE, --txt, --xmp, --embed or --gallery DIR" in run("tag", album, "--model", bundle)[2]


@pytest.fixture
def locked(run, album, bundle, tmp_path, monkeypatch):
    """A table and its state in a folder that cannot be written."""
    folder = tmp_path / "locked"
    run("tag", album, "--model", bundle, "--out", folder / "t.csv")
    folder.chmod(0o555)
    (folder / "t.csv.state").chmod(0o444)
    if os.geteuid() == 0:  # to whom everything is open
        free = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: folder not in (path, path.parent) and free(path, mode))
    yield folder
    folder.chmod(0o755)


def test_a_state_that_cannot_be_written_can_be_read(run, locked, tmp_path):
    before = {path.name: path.read_bytes() for path in locked.iterdir()}
    status, _, err = run("retag", locked / "t.csv", "--out", tmp_path / "new.csv")
    assert status == 1 and "is read-only" in err
    assert (tmp_path / "new.csv").read_bytes() == before["t.csv"]
    assert {path.name: path.read_bytes() for path in locked.iterdir()} == before
    with ends_with("output_exists"):
        status, _, err = run("retag", locked / "t.csv", "--out", tmp_path / "new.csv")
    assert status == 2 and "t.csv.state" in err and "--overwrite" in err
    assert run("retag", locked / "t.csv", "--out", tmp_path / "new.csv", "--overwrite", "--threshold", "0.9")[0] == 1
    assert (tmp_path / "new.csv").read_bytes() != before["t.csv"]


def test_what_a_killed_run_left_beside_a_state_is_not_left_out_in_silence(run, locked, tmp_path):
    locked.chmod(0o755)
    (locked / "t.csv.state-wal").write_bytes(b"some")
    locked.chmod(0o555)
    status, _, err = run("retag", locked / "t.csv", "--out", tmp_path / "new.csv")
    assert status == 2 and "t.csv.state-wal" in err and not (tmp_path / "new.csv").exists()


def test_the_last_line_says_what_was_written_and_nothing_else(run, album, bundle, tmp_path):
    (album / "5a.jpg").unlink()
    out, more = tmp_path / "t.csv", tmp_path / "more.csv"
    run("tag", album, "--model", bundle, "--out", out)
    assert run("retag", out, "--out", out)[2] == f"{out} is up to date.\n"
    words = ["--out", out, "--out", more]
    assert run("retag", out, *words)[2] == f"{out} is up to date.\n8 of 8 files: tags written to {more}\n"
    assert run("retag", out, *words, "--threshold", "0.9")[2] == f"8 of 8 files: tags written to {out}, {more}\n"


def test_a_state_that_was_copied_elsewhere_is_enough(run, album, bundle, tmp_path):
    run("tag", album, "--model", bundle, "--out", tmp_path / "t.csv")
    (tmp_path / "else").mkdir()
    shutil.copy(tmp_path / "t.csv.state", tmp_path / "else" / "s")
    assert run("retag", tmp_path / "else" / "s", "--out", tmp_path / "else" / "t.csv")[0] == 1
    assert (tmp_path / "else" / "t.csv").read_bytes() == (tmp_path / "t.csv").read_bytes()


def test_neither_network_nor_torch_nor_pandas_is_loaded(run, album, bundle, tmp_path):
    run("tag", album, "--model", bundle, "--out", tmp_path / "t.csv")
    code = (
        "import sys\nfrom cocotag.cli.main import main\nassert main(['retag', *sys.argv[1:]]) == 1\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    words = [tmp_path / "t.csv", "--out", tmp_path / "x.jsonl", "--threshold", "0.2"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "pandas", "onnxruntime", "onnx", "pyarrow"}


def test_the_work_goes_on_when_whoever_read_the_messages_has_gone(run, album, bundle, tmp_path, monkeypatch):
    out = tmp_path / "t.csv"
    run("tag", album, "--model", bundle, "--out", out)
    read, write = os.pipe()
    os.close(read)
    with monkeypatch.context() as context, os.fdopen(write, "w", buffering=1) as gone:
        context.setattr(sys, "stderr", gone)
        assert main(["retag", str(out), "--out", str(out), "--txt", "--xmp", "--threshold", "0.1"]) == 1  # for what is no image
    assert len(list(album.glob("*.txt"))) == len(list(album.glob("*.xmp"))) == 8
