"""The command line as other people's scripts rely on it: words in, exit status, stdout and files out."""

import csv
import json
import os
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from error_codes import ends_with

from cocotag.cli.main import COMMANDS, main
from cocotag.data.annotations import load_split


def run(capsys, *words):
    """Exit status, stdout, stderr."""
    try:
        status = main([str(word) for word in words])
    except SystemExit as stop:  # argparse's way out
        status = stop.code
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def mistake(capsys):
    """A user's mistake: exit status 2, one line with these facts, no stack trace. The parser's own errors have no code."""

    def check(words, *needles, code=None):
        with ends_with(code):
            status, out, err = run(capsys, *words)
        assert status == 2
        assert out == ""
        assert err.endswith("\n")
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        for needle in needles:
            assert needle in err
        return err

    return check


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(capsys, name, pytestconfig):
    status, out, _ = run(capsys, name, "--help")
    assert status == 0
    assert f"cocotag {name}" in out
    assert COMMANDS[name].about[:40] in " ".join(out.split())
    assert f"cocotag {name}" in (pytestconfig.rootpath / "README.md").read_text(encoding="utf-8")


def test_overview_and_version(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    assert all(name in out for name in COMMANDS)
    assert run(capsys, "--version")[1].startswith("cocotag 0.")
    assert run(capsys)[0] == 2


def test_the_module_runs():
    done = subprocess.run([sys.executable, "-m", "cocotag", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("cocotag 0.")


def shell(line, **env):
    """A line of sh, with C for the command: exit status of its first command, stdout, stderr."""
    command = f'C() {{ {shlex.quote(sys.executable)} -m cocotag "$@"; }}; {line}'
    env = {**{name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}, **env}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=env, check=False)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("env", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("words", ["--help", "--version", "tag --help", "info BUNDLE"])
def test_a_reader_that_goes_is_no_stack_trace(toy_bundle, words, env):
    words = words.replace("BUNDLE", shlex.quote(str(toy_bundle)))
    status, _, err = shell(f"C {words} | true; exit ${{PIPESTATUS[0]}}", **env)
    assert status in (0, 1) and err == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no disk that is always full")  # noqa: PTH110
@pytest.mark.parametrize("words", ["--help", "info BUNDLE", "tag PHOTOS --model BUNDLE --out -"])
def test_a_full_disk_behind_stdout_is_one_line(toy_bundle, sample_dir, words):
    words = words.replace("BUNDLE", shlex.quote(str(toy_bundle))).replace("PHOTOS", shlex.quote(str(sample_dir / "val")))
    status, _, err = shell(f"C {words} > /dev/full")
    assert status == 2 and err.count("\n") == 1
    assert "stdout" in err


def test_streams_that_are_closed_are_one_line(toy_bundle, sample_dir, tmp_path):
    bundle, photos, out = (shlex.quote(str(path)) for path in (toy_bundle, sample_dir / "val", tmp_path / "t.csv"))
    status, _, err = shell(f"C tag - --model {bundle} --out {out} <&-")
    assert status == 2 and err.count("\n") == 1 and "stdin" in err
    assert shell(f"C tag {photos} --model {bundle} --out {out} <&- >&- 2>&-")[0] == 0
    assert (tmp_path / "t.csv").read_text().startswith("path,status,tags,scores\n")
    for words in (f"tag {photos} --model {bundle}", f"retag {out}"):
        status, _, err = shell(f"C {words} --out - >&-")
        assert status == 2 and err.count("\n") == 1 and "stdout" in err
    assert shell(f"C tag {photos}/nowhere --model {bundle} --out {out} 2>&-") == (2, "", "")


def test_an_empty_path_is_not_the_current_folder(mistake, toy_bundle, sample_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(sample_dir)
    mistake(["tag", "", "--model", toy_bundle, "--out", tmp_path / "t.csv"], code="path_empty")
    mistake(["untag", ""], "argument PATH")


def test_a_mistyped_command_is_guessed(mistake):
    mistake(["trian"], "'trian'", "train?")
    mistake(["xyzzy"], "'xyzzy'", "tag, retag")


def test_flags_are_never_guessed(mistake, toy_bundle, sample_dir):
    mistake(["tag", sample_dir, "--model", toy_bundle, "--ou", "a.csv"], "--ou a.csv")


def test_sample_prints_where_it_is(capsys, tmp_path):
    status, out, _ = run(capsys, "sample", tmp_path / "d", "--train", 3, "--val", 2, "--size", 48)
    assert (status, out.strip()) == (0, str(tmp_path / "d"))
    assert len(list((tmp_path / "d" / "train").iterdir())) == 3


def test_tag_writes_a_row_for_every_file_and_evaluate_agrees(capsys, toy_bundle, sample_dir, tmp_path):
    status, out, _ = run(capsys, "tag", sample_dir / "val", "--model", toy_bundle, "--out", tmp_path / "tags.csv")
    assert (status, out) == (0, "")
    with (tmp_path / "tags.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "status", "tags", "scores"]
    table = load_split(sample_dir, "val")
    assert sorted(row["path"] for row in rows) == sorted(map(str, table.paths()))
    assert {row["status"] for row in rows} == {"ok"}
    for row in rows:
        scores = [float(score) for score in row["scores"].split(";") if score]
        assert len(scores) == len([tag for tag in row["tags"].split(";") if tag])
        assert scores == sorted(scores, reverse=True)
        assert all(score >= 0.5 for score in scores)

    status, out, _ = run(capsys, "evaluate", toy_bundle, "--root", sample_dir, "--split", "val", "--out", tmp_path / "e")
    assert status == 0
    assert "mAP" in out
    report = json.loads((tmp_path / "e" / "report.json").read_text())
    predicted = {entry["name"]: entry["predicted"] for entry in report["per_class"]}
    for name in table.vocabulary.names:
        assert predicted[name] == sum(name in row["tags"].split(";") for row in rows), name


def test_threshold_and_top_k(capsys, toy_bundle, sample_dir, tmp_path):
    words = ["tag", sample_dir / "val", "--model", toy_bundle, "--out", "-"]
    many = [json.loads(line) for line in run(capsys, *words, "--threshold", 0)[1].splitlines()]
    assert {len(row["tags"]) for row in many} == {80}
    few = [json.loads(line) for line in run(capsys, *words, "--threshold", 0, "--top-k", 3)[1].splitlines()]
    assert [row["tags"] for row in few] == [row["tags"][:3] for row in many]
    sure = [json.loads(line) for line in run(capsys, *words, "--threshold", 0.9)[1].splitlines()]
    assert [row["scores"] for row in sure] == [[s for s in row["scores"] if s >= 0.9] for row in many]


def test_a_broken_image_is_named_and_the_rest_is_tagged(capsys, toy_bundle, sample_dir, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(sample_dir / "val", folder)
    (folder / "zero.jpg").write_bytes(b"")
    (folder / "words.jpg").write_text("this is no picture")
    status, _, err = run(capsys, "tag", folder, "--model", toy_bundle, "--out", tmp_path / "tags.jsonl")
    assert status == 1
    assert "zero.jpg" in err
    rows = [json.loads(line) for line in (tmp_path / "tags.jsonl").read_text().splitlines()]
    assert len(rows) == 42
    states = {row["path"].rsplit("/", 1)[-1]: row["status"] for row in rows if row["status"] != "ok"}
    assert states == {"zero.jpg": "empty", "words.jpg": "not_an_image"}


def test_evaluate_names_what_it_could_not_read(capsys, toy_bundle, sample_dir, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(sample_dir, root)
    victim = next((root / "val").iterdir())
    victim.write_bytes(b"")
    status, out, _ = run(capsys, "evaluate", toy_bundle, "--root", root, "--split", "val", "--out", tmp_path / "e")
    assert status == 1
    assert victim.name in out
    assert json.loads((tmp_path / "e" / "report.json").read_text())["data"]["images"] == 39


def test_imbalance_of_two_splits(capsys, sample_dir, tmp_path):
    files = [sample_dir / "annotations" / f"instances_{split}.json" for split in ("train", "val")]
    status, out, _ = run(capsys, "imbalance", *files, "--out", tmp_path / "i")
    assert status == 0
    assert "train" in out
    assert {"dataset.json", "classes.csv", "pairs.csv", "imbalance.html"} <= {path.name for path in (tmp_path / "i").iterdir()}
    assert json.loads((tmp_path / "i" / "dataset.json").read_text())["images"] == 120


def test_check_says_what_is_wrong_and_exits_1(capsys, sample_dir, tmp_path):
    assert run(capsys, "check", sample_dir, "--split", "train")[0] == 0
    root = tmp_path / "data"
    shutil.copytree(sample_dir, root)
    victim = next((root / "train").iterdir())
    victim.unlink()
    status, out, _ = run(capsys, "check", root, "--split", "train", "--json")
    assert status == 1
    findings = {finding["code"]: finding for finding in json.loads(out)["findings"]}
    assert findings["missing_images"]["count"] == 1
    assert victim.name in findings["missing_images"]["examples"][0]


def test_info_for_people_and_for_programs(capsys, toy_bundle):
    status, out, _ = run(capsys, "info", toy_bundle)
    assert status == 0
    assert "toothbrush" in out
    document = json.loads(run(capsys, "info", toy_bundle, "--json")[1])
    assert len(document["vocabulary"]) == len(document["thresholds"]) == 80
    assert len(document["sha256"]) == 64


def test_what_is_there_is_not_overwritten_unless_told(capsys, mistake, toy_bundle, sample_dir, tmp_path):
    tags = tmp_path / "tags.csv"
    tags.write_text("mine")
    words = ["tag", sample_dir / "val", "--model", toy_bundle, "--out", tags]
    mistake(words, "tags.csv", "--overwrite", code="output_exists")
    assert tags.read_text() == "mine"
    assert run(capsys, *words, "--overwrite")[0] == 0
    assert tags.read_text().startswith("path,status,tags,scores")

    report = tmp_path / "e" / "report.json"
    report.parent.mkdir()
    report.write_text("mine")
    words = ["evaluate", toy_bundle, "--root", sample_dir, "--split", "val", "--out", report.parent]
    mistake(words, str(report), "--overwrite", code="output_exists")
    mistake(["sample", report.parent], str(report.parent), code="output_exists")
    report.rename(report.with_name("summary.csv"))
    mistake(words, "summary.csv", "--overwrite", code="output_exists")
    report.with_name("summary.csv").rename(report)
    assert report.read_text() == "mine"


def test_bad_input_is_one_line_that_says_what_to_do(mistake, toy_bundle, sample_dir, tmp_path):
    (tmp_path / "words.onnx").write_text("hello")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "odd.yaml").write_text("nonsense: 1\n")
    (tmp_path / "file").write_text("")
    out = tmp_path / "out.csv"
    root = ["--root", sample_dir, "--out", tmp_path / "e"]
    tag = ["tag", sample_dir, "--model", toy_bundle, "--out", out]
    mistake(["tag", sample_dir, "--model", tmp_path / "words.onnx", "--out", out], "words.onnx", code="not_onnx")
    mistake(
        ["tag", sample_dir, "--model", tmp_path / "none.onnx", "--out", out], "none.onnx", "tagger.onnx", code="bundle_missing"
    )
    mistake(["tag", tmp_path / "nowhere", "--model", toy_bundle, "--out", out], "nowhere", code="path_missing")
    mistake([*tag, "--out", tmp_path / "tags.docx"], "tags.docx", ".csv", code="unknown_format")
    mistake([*tag, "--out", tmp_path / "file" / "tags.csv"], str(tmp_path / "file"), code="not_writable")
    mistake([*tag, "--threshold", "2"], "--threshold", "2", "0 and 1")
    mistake([*tag, "--top-k", "0"], "--top-k", "0", "1")
    mistake([*tag, "--top-k", "x"], "--top-k", "x")
    mistake(["evaluate", toy_bundle, "--split", "test", *root], "'test'", "train, val", code="split_missing")
    mistake(["imbalance", tmp_path / "list.json", "--out", tmp_path / "i"], "list.json", code="not_coco_json")
    mistake(["imbalance", tmp_path / "none.json", "--out", tmp_path / "i"], "none.json", code="file_missing")
    mistake(["check", tmp_path / "nowhere", "--split", "train"], "nowhere", code="split_missing")
    mistake(["info", tmp_path / "list.json"], "list.json", code="not_onnx")
    mistake(["export", tmp_path / "list.json", "--out", tmp_path / "a.onnx"], "list.json", "best.ckpt", code="not_a_checkpoint")
    mistake(["sample", tmp_path / "s", "--train", "0"], "train", "0", code="out_of_range")
    mistake(["train"], "data.root", code="config_invalid")
    mistake(["train", "--data.root", tmp_path], "'train'", code="split_missing")
    mistake(["train", "--config", tmp_path / "odd.yaml"], "odd.yaml", "nonsense")
    mistake(["train", "--config", "nothing"], "nothing", "sample", code="config_missing")
    mistake(["train", "--data.rooot", tmp_path], "--data.rooot")
    mistake(["train", "--model.width", "wide"], "width", "wide")
    mistake(
        ["train", "--data.root", sample_dir, "--model.output_stride", "5", "--batch_size", "0"],
        "output_stride is 5",
        "batch_size",
        code="config_invalid",
    )
    stages = '[{"train": "tail"}]'
    mistake(["train", "--data.root", sample_dir, "--stages", stages], "stages[0].train", "tail", code="config_invalid")
    weights = ["--model.weights", tmp_path / "list.json"]
    mistake(["train", "--data.root", sample_dir, *weights], "list.json", code="not_a_state_dict")
    mistake(["train", "--resume", tmp_path], str(tmp_path), code="not_a_run")
    mistake(["train", "--resume", tmp_path, "--seed", "1"], "--resume", code="flags_contradict")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"words.onnx", "list.json", "odd.yaml", "file"}


def test_train_ends_with_the_run_directory(capsys, sample_dir, tmp_path):
    words = [
        "--config",
        "sample",
        "--data.root",
        sample_dir,
        "--data.workers",
        0,
        "--model.image_size",
        64,
        "--model.width",
        0.25,
    ]
    words += ["--stages", '[{"epochs": 1, "train": "head", "lr": 0.01}]', "--out", tmp_path / "run"]
    status, out, err = run(capsys, "train", *words)
    assert status == 0
    assert out.splitlines()[-1] == str(tmp_path / "run")
    assert "macro-F1" in out
    assert "epoch   1/1" in err
    status, out, _ = run(capsys, "export", tmp_path / "run" / "checkpoints" / "best.ckpt", "--out", tmp_path / "b.onnx")
    assert (status, out.splitlines()[-1]) == (0, str(tmp_path / "b.onnx"))


def test_python_says_the_same_as_the_command(capsys, toy_bundle, sample_dir):
    import cocotag

    path = load_split(sample_dir, "val").path(0)
    tags = cocotag.Tagger.load(toy_bundle).tag(path)
    row = json.loads(run(capsys, "tag", path, "--model", toy_bundle, "--out", "-")[1])
    assert row["tags"] == [tag.name for tag in tags]
    np.testing.assert_allclose(row["scores"], [tag.score for tag in tags], atol=1e-3)


def changed(sample_dir, root, change):
    """A copy of the sample whose validation labels were changed."""
    shutil.copytree(sample_dir, root)
    path = root / "annotations" / "instances_val.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return root


def test_evaluate_matches_names_as_training_does(capsys, toy_bundle, sample_dir, tmp_path):
    def shout(document):
        for category in document["categories"]:
            category["name"] = category["name"].upper().replace(" ", "_")

    root = changed(sample_dir, tmp_path / "data", shout)
    reports = []
    for number, place in enumerate((sample_dir, root)):
        out = tmp_path / str(number)
        assert run(capsys, "evaluate", toy_bundle, "--root", place, "--split", "val", "--out", out)[0] == 0
        reports.append((out / "summary.csv").read_text())
    assert reports[0] == reports[1]


def test_evaluate_without_positives_says_so(capsys, toy_bundle, sample_dir, tmp_path):
    root = changed(sample_dir, tmp_path / "data", lambda document: document["annotations"].clear())
    status, _, _ = run(capsys, "evaluate", toy_bundle, "--root", root, "--split", "val", "--out", tmp_path / "e")
    assert status == 1
    rows = csv.DictReader((tmp_path / "e" / "per_class.csv").open())
    assert {row["status"] for row in rows} <= {"no_positives", "no_positives_or_predictions"}
    report = json.loads((tmp_path / "e" / "report.json").read_text())
    assert report["summary"]["macro_f1"]["n_classes"] == 0
    assert "Every class with positives" not in (tmp_path / "e" / "report.html").read_text()


def test_evaluate_does_not_praise_what_only_positives_are_known_of(capsys, toy_bundle, sample_dir, tmp_path):
    (tmp_path / "only.yaml").write_text("known: [clock]\nnames: {}\n")
    words = ["--root", sample_dir, "--split", "val", "--out", tmp_path / "e", "--aliases", tmp_path / "only.yaml"]
    status, out, _ = run(capsys, "evaluate", toy_bundle, *words)
    assert status == 0
    assert "umbrella" in out
    rows = {row["name"]: row for row in csv.DictReader((tmp_path / "e" / "per_class.csv").open())}
    assert rows["clock"]["status"] in ("ok", "no_predictions")
    assert {rows[name]["status"] for name in ("umbrella", "tie")} == {"no_negatives"}
    assert rows["umbrella"]["ap"] == rows["umbrella"]["f1"] == rows["umbrella"]["optimistic_best_f1"] == ""


def test_evaluate_follows_no_link_out_of_the_data(mistake, toy_bundle, sample_dir, tmp_path):
    root = changed(sample_dir, tmp_path / "data", lambda document: None)
    first = sorted((root / "val").iterdir())[0]
    first.rename(tmp_path / "elsewhere.png")
    first.symlink_to(tmp_path / "elsewhere.png")
    words = ["evaluate", toy_bundle, "--root", root, "--split", "val", "--out", tmp_path / "e"]
    mistake(words, f"{first} -> {tmp_path / 'elsewhere.png'}", code="links_outside")


def test_a_link_to_itself_is_one_unreadable_image(capsys, toy_bundle, sample_dir, tmp_path):
    root = changed(sample_dir, tmp_path / "data", lambda document: None)
    first = sorted((root / "val").iterdir())[0]
    first.unlink()
    first.symlink_to(first)
    status, out, _ = run(capsys, "evaluate", toy_bundle, "--root", root, "--split", "val", "--out", tmp_path / "e")
    assert status == 1
    assert "1 of 40 images" in out


def test_a_report_that_could_not_be_written_is_refused_before_the_work(mistake, toy_bundle, sample_dir, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr("cocotag.evaluation.run.evaluate_bundle", None)  # it is not come to
    words = ["evaluate", toy_bundle, "--root", sample_dir, "--split", "val", "--out", tmp_path / "file" / "report"]
    mistake(words, str(tmp_path / "file"), code="not_writable")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_config_that_is_not_utf8_is_one_line(mistake, tmp_path, sample_dir):
    (tmp_path / "c.yaml").write_bytes("data: {}".encode("utf-16"))
    mistake(["train", "--config", tmp_path / "c.yaml", "--data.root", sample_dir], "c.yaml", "UTF-8", code="not_utf8")


def test_a_terminal_without_unicode_gets_a_report_all_the_same(toy_bundle, sample_dir, tmp_path):
    words = ["evaluate", toy_bundle, "--root", sample_dir, "--split", "val", "--out", tmp_path / "e"]
    command = [sys.executable, "-m", "cocotag", *map(str, words)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, text=True)
    assert done.returncode == 0, done.stderr


def test_images_that_are_no_folder_are_refused(mistake, sample_dir, tmp_path):
    labels = sample_dir / "annotations" / "instances_val.json"
    words = ["imbalance", labels, "--images", tmp_path / "no", "--out", tmp_path / "i"]
    mistake(words, f"--images {tmp_path / 'no'}", code="not_a_folder")
