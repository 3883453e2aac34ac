"""A decoder that ends the process: the command goes on, and every other file has its result exactly once."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import planted
import pytest
from image_files import draw, mpf
from PIL import Image
from planted import MARK

from cocotag.photos.formats import table
from cocotag.photos.trial import crash
from cocotag.process.restarts import Attempt

PLANTED = Path(__file__).parents[1] / "support" / "planted.py"
GUILTY = ["b.jpg", "e.jpg"]

if not sys.platform.startswith("linux"):
    pytest.skip("commands are watched on Linux only", allow_module_level=True)


def run(*words, stdin=None, **environment):
    """Run a command whose decoder crashes; also check that nothing is left in the folder for temporary files."""
    kept = Path(environment["TMPDIR"])
    kept.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(PLANTED), *map(str, words)],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )
    assert list(kept.glob("cocotag-*")) == []
    return done


@pytest.fixture
def photos(sample_dir, tmp_path):
    """Six drawn photographs, two of which end the decoder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, source in zip("abcdef", sorted((sample_dir / "val").iterdir()), strict=False):
        data = source.read_bytes()
        (folder / f"{name}.jpg").write_bytes(data + MARK if f"{name}.jpg" in GUILTY else data)
    return folder


@pytest.fixture
def dataset(sample_dir, tmp_path):
    """A drawn data set in which an image of train and two of val end the decoder."""
    root = tmp_path / "data"
    shutil.copytree(sample_dir, root)
    for split, guilty in (("train", 1), ("val", 2)):
        for image in sorted((root / split).iterdir())[:guilty]:
            image.write_bytes(image.read_bytes() + MARK)
    return root


def guilty_in(said):
    """The file names that were said to have ended a process; two at once are named together."""
    named = re.findall(r"Decoding (.*?) ended the process \(SIGABRT\)", said)
    return sorted(Path(path).name for paths in named for path in paths.split(", "))


def statuses(lines):
    return Counter((Path(row["path"]).name, row["status"]) for row in lines)


EXPECTED = Counter((f"{name}.jpg", "decoder_crashed" if f"{name}.jpg" in GUILTY else "ok") for name in "abcdef")


def test_tables_have_every_file_once_and_the_guilty_is_not_tried_again(photos, toy_bundle, tmp_path):
    def tag():
        return run("tag", photos, "--model", toy_bundle, "--out", out, TMPDIR=str(tmp_path / "t"))

    out = tmp_path / "tags.csv"
    first = tag()
    with out.open() as file:
        assert statuses(csv.DictReader(file)) == EXPECTED
    assert first.returncode == 1
    assert guilty_in(first.stderr) == GUILTY
    again = tag()
    assert "ended the process" not in again.stderr
    assert again.returncode == 1
    guilty = photos / GUILTY[0]
    guilty.write_bytes(guilty.read_bytes().removesuffix(MARK))  # now it has changed
    tag()
    with out.open() as file:
        assert statuses(csv.DictReader(file))[GUILTY[0], "ok"] == 1


def test_a_stored_smaller_version_may_be_the_guilty_one(photos, toy_bundle, tmp_path):
    picture = Image.fromarray(draw(480, 640))
    stored = mpf(picture, picture.resize((320, 240)), after=MARK)
    (photos / "g.jpg").write_bytes(stored + b"more")  # decoding the picture itself does no harm
    done = run("tag", photos / "g.jpg", photos / "a.jpg", "--model", toy_bundle, "--out", "-", TMPDIR=str(tmp_path / "t"))
    expected = {("g.jpg", "decoder_crashed"): 1, ("a.jpg", "ok"): 1}
    assert statuses(map(json.loads, done.stdout.splitlines())) == expected
    assert guilty_in(done.stderr) == ["g.jpg"]


def test_a_trial_repeats_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setitem(table.FORMATS, "JPEG", replace(planted.JPEG, decode=planted.decode))
    picture, path = Image.fromarray(draw(480, 640)), tmp_path / "g.jpg"
    path.write_bytes(mpf(picture, picture.resize((320, 240)), after=MARK) + b"more")
    assert crash(Attempt(str(path), "preview", 64, 0)) == "SIGABRT"
    assert crash(Attempt(str(path), "image", 64, 0)) == ""


def test_rows_on_stdout_come_once_and_a_list_on_stdin_is_read_on(photos, toy_bundle, tmp_path):
    names = "\n".join(map(str, sorted(photos.iterdir())))
    done = run("tag", "-", "--model", toy_bundle, "--out", "-", stdin=names, TMPDIR=str(tmp_path / "t"))
    assert statuses(map(json.loads, done.stdout.splitlines())) == EXPECTED


@pytest.mark.parametrize("stdout", ["/dev/full", "a file"])
def test_stdout_that_is_a_file_is_written_or_the_fault_is_named(photos, toy_bundle, tmp_path, stdout):
    place = tmp_path / "rows.jsonl" if stdout == "a file" else Path(stdout)
    words = [sys.executable, "-m", "cocotag", "tag", str(photos), "--model", str(toy_bundle), "--out", "-"]
    with place.open("w") as file:
        done = subprocess.run(words, stdout=file, stderr=subprocess.PIPE, text=True)
    if stdout == "a file":
        assert done.returncode == 0, done.stderr
        assert len(place.read_text().splitlines()) == 6
    else:
        assert done.returncode == 2
        assert "stdout cannot be written (No space left on device)" in done.stderr


def test_a_reader_of_stdout_may_leave_early(photos, toy_bundle):
    command = f"{sys.executable} -m cocotag tag {photos} --model {toy_bundle} --out - | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["status"] == "ok"
    assert "Traceback" not in done.stderr


def test_a_log_of_json_lines_stays_one(photos, toy_bundle, tmp_path):
    words = ("--out", tmp_path / "tags.csv", "--json-log")
    done = run("tag", photos, "--model", toy_bundle, *words, TMPDIR=str(tmp_path / "t"))
    events = list(map(json.loads, done.stderr.splitlines()))
    messages = [event for event in events if event["event"] == "message"]
    assert {event["code"] for event in messages} == {"decoder_crashed"}
    assert guilty_in("".join(event["text"] for event in messages)) == GUILTY
    assert events[-1]["failed"] == {"decoder_crashed": len(GUILTY)}


def test_a_gallery_is_finished_without_the_thumbnail(photos, toy_bundle, tmp_path):
    from cocotag.tagging.gallery.thumbnails import SIDE

    words = ("--out", tmp_path / "tags.csv", "--gallery", tmp_path / "gallery")
    done = run("tag", photos, "--model", toy_bundle, *words, TMPDIR=str(tmp_path / "t"), PLANTED_SIDE=str(SIDE))
    assert guilty_in(done.stderr) == GUILTY
    with (tmp_path / "tags.csv").open() as file:
        assert Counter(row["status"] for row in csv.DictReader(file)) == {"ok": 6}
    assert "have no thumbnail: 2." in done.stderr
    assert not list(tmp_path.rglob("*.part"))


def test_a_death_without_a_guilty_file_is_no_files_fault(photos, toy_bundle, tmp_path):
    once = {"PLANTED_ONCE": str(tmp_path / "once"), "PLANTED_SIGNAL": "SIGKILL"}  # as when memory runs out
    done = run("tag", photos, "--model", toy_bundle, "--out", tmp_path / "tags.csv", TMPDIR=str(tmp_path / "t"), **once)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "tags.csv").open() as file:
        assert Counter(row["status"] for row in csv.DictReader(file)) == {"ok": 6}


def test_check_names_the_guilty(dataset, tmp_path):
    done = run("check", dataset, "--split", "val", "--json", TMPDIR=str(tmp_path / "t"))
    assert done.returncode == 1
    found = {one["code"]: one for one in json.loads(done.stdout)["findings"]}
    assert found["unreadable_images"]["count"] == 2


def test_evaluation_leaves_the_guilty_out(dataset, toy_bundle, tmp_path):
    words = (toy_bundle, "--root", dataset, "--split", "val", "--out", tmp_path / "report")
    done = run("evaluate", *words, TMPDIR=str(tmp_path / "t"))
    assert done.returncode == 1, done.stderr
    assert len(guilty_in(done.stderr)) == 2
    assert json.loads((tmp_path / "report" / "report.json").read_text())["data"]["images"] == 38


def test_brightness_is_measured_without_the_guilty(dataset, tmp_path):
    words = ("imbalance", dataset / "annotations" / "instances_val.json", "--out", tmp_path / "report")
    done = run(*words, TMPDIR=str(tmp_path / "t"))
    assert done.returncode == 1, done.stderr
    assert "38 photographs" in done.stdout


def tiny(dataset, tmp_path, **data):
    flags = [word for name, value in data.items() for word in (f"--data.{name}", str(value))]
    words = ("--config", "sample", "--data.root", dataset, "--model.image_size", 64, "--out", tmp_path / "run", *flags)
    return run("train", *words, TMPDIR=str(tmp_path / "t"))


def test_copies_are_made_of_all_other_images(dataset, tmp_path):
    done = tiny(dataset, tmp_path, cache_images="true")
    assert done.returncode == 2
    assert len(guilty_in(done.stderr)) == 1
    assert "1 images cannot be read" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_training_names_the_image_as_any_that_cannot_be_read(dataset, tmp_path, workers):
    done = tiny(dataset, tmp_path, workers=workers)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert "its decoder crashed (SIGABRT)" in last
    assert (tmp_path / "run" / "config.yaml").exists()  # the run can be resumed when the image has been removed


# Everything else that a parent owes


def start(*words, **options):
    return subprocess.Popen([sys.executable, "-m", "cocotag", *map(str, words)], stderr=subprocess.PIPE, text=True, **options)


def wait_for(path, seconds=60):
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert path.exists()


def begin_list(process, photos, tmp_path):
    """Give a command the first file of a list, so that it works and waits for more."""
    process.stdin.write(f"{photos / 'a.jpg'}\n")
    process.stdin.flush()
    wait_for(tmp_path / "tags.csv.state")
    time.sleep(2)


@pytest.fixture
def waiting(toy_bundle, tmp_path):
    """A run that waits for more of a list, and the number of its child."""
    state = tmp_path / "tags.csv.state"
    process = start("tag", "-", "--model", toy_bundle, "--out", tmp_path / "tags.csv", stdin=subprocess.PIPE)
    wait_for(state)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    yield process, int(child)
    process.kill()
    process.wait()


def test_interrupt_sent_to_the_parent_reaches_the_command(waiting):
    process, _ = waiting
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.stdin.close()
    assert process.wait(30) in (130, 2)


def test_a_signal_to_the_whole_group_counts_once(photos, toy_bundle, tmp_path):
    """Ctrl-C that reaches both processes, as by ``timeout``, is not a second one that stops at once."""
    words = ("tag", "-", "--model", toy_bundle, "--out", tmp_path / "tags.csv")
    process = start(*words, stdin=subprocess.PIPE, start_new_session=True)
    begin_list(process, photos, tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    process.stdin.close()
    assert process.wait(30) in (0, 130)  # 0 if the list had ended
    said = process.stderr.read()
    assert said.count("Stopping after") == 1
    assert "no unfinished files" not in said  # what a second Ctrl-C says


def test_a_stopped_command_is_not_started_again_after_a_crash(photos, toy_bundle, tmp_path):
    words = [sys.executable, str(PLANTED), "tag", "-", "--model", str(toy_bundle), "--out", str(tmp_path / "tags.csv")]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    begin_list(process, photos, tmp_path)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    os.kill(int(child), signal.SIGABRT)
    process.stdin.close()
    assert process.wait(30) == -signal.SIGINT
    assert "starts again" not in process.stderr.read()


@pytest.mark.parametrize("more", [False, True])
def test_one_signal_ends_it_though_its_rows_are_not_read(photos, toy_bundle, more):
    """Also while it waits for more of a list: then the signal ends the child, and the parent may not wait for the reader."""
    words = ("tag", "-", "--model", toy_bundle, "--out", "-", "--all-scores")
    process = start(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pipesize=4096)
    process.stdin.write("".join(f"{photo}\n" for photo in sorted(photos.iterdir())))
    process.stdin.flush()
    if not more:
        process.stdin.close()
    time.sleep(4)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == -signal.SIGTERM


def test_children_that_the_caller_ignores_are_waited_for():
    done = subprocess.run(
        [sys.executable, "-m", "cocotag", "--version"],
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_without_room_for_notes_nothing_is_noted(tmp_path, monkeypatch):
    from cocotag.process import restarts

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv(restarts.VARIABLE, str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(restarts, "_opened", None)
    with restarts.decoding("a.jpg"):
        pass
    assert restarts.watched() is None


def test_notes_of_runs_that_were_killed_are_removed(tmp_path):
    left = tmp_path / "cocotag-4194304-0badc0de"  # no process has such a number
    left.mkdir()
    (left / "1.decoding").touch()
    subprocess.run([sys.executable, "-m", "cocotag", "--version"], env={**os.environ, "TMPDIR": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_parent_takes_its_command_with_it(waiting):
    process, child = waiting
    process.kill()
    process.wait()
    end = time.monotonic() + 10
    while Path(f"/proc/{child}/status").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not Path(f"/proc/{child}/status").exists()


def test_a_terminated_command_ends_its_parent_likewise(waiting):
    process, child = waiting
    os.kill(child, signal.SIGTERM)
    assert process.wait(30) == -signal.SIGTERM


def test_without_a_place_for_notes_the_command_runs_unwatched(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cocotag", "--version"],
        env={**os.environ, "TMPDIR": str(tmp_path / "missing")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("cocotag ")


def test_exit_status_is_that_of_the_command():
    assert start("tag", "nothing", "--model", "nothing").wait() == 2
