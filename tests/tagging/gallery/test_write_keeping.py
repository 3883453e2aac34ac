"""The command on the gallery's page that applies a threshold chosen there, pasted into a shell."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from in_chromium import NARROW, chromium, looking
from made_gallery import draw_photographs

from cocotag.cli.main import main

NAMES = ["plain", "it's 5  o'clock & $HOME `x`", "two\nlines", os.fsdecode(b"caf\xe9 'n'"), "日本"]


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def command_on(browser, gallery):
    """The command on the page when the slider is at 0.97; none at the bundle's own thresholds."""
    with looking(browser, gallery / "index.html", NARROW) as page:
        rest = page.locator("#keep").inner_text()
        page.locator("#level").evaluate("box => { box.value = '0.97'; box.dispatchEvent(new Event('input')); }")
        text = page.locator("#keep").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # however long
        page.locator("#decided").click()
        assert page.locator("#keep").inner_text() == rest == ""
    before, _, command = text.partition(": ")
    assert before and command
    return command


def paste(command, folder):
    """Run the command in bash."""
    shell = f'cocotag() {{ "{sys.executable}" -m cocotag "$@"; }}\n{command}\n'
    done = subprocess.run(["bash", "-c", os.fsencode(shell)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stderr


def thresholds(gallery):
    page = (gallery / "index.html").read_text(encoding="utf-8")
    about = json.loads(re.search(r'id="about">(.*?)</script>', page, re.DOTALL)[1])
    (model,) = about["models"]
    return [name for name, _ in model["classes"]], model["thresholds"]


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_from_any_folder_of_any_name(browser, toy_bundle, tmp_path, monkeypatch, name):
    """The photographs' paths are relative, and the state is in the gallery."""
    folder = tmp_path / name
    draw_photographs(tmp_path / "drawn", 3)
    folder.mkdir()
    (tmp_path / "drawn").rename(folder / "photos")
    monkeypatch.chdir(folder)
    assert main(["tag", "photos", "--model", str(toy_bundle), "--gallery", "look"]) == 0
    text = paste(command_on(browser, folder / "look"), tmp_path)
    assert "0 made, 6 kept" in text
    assert min(thresholds(folder / "look")[1]) > 0.96


def test_it_names_a_state_elsewhere_and_the_file_of_new_names(browser, toy_bundle, tmp_path, monkeypatch):
    draw_photographs(tmp_path / "photos", 3)
    (tmp_path / "names.yaml").write_text("dog: Hund\nperson: null\n")
    monkeypatch.chdir(tmp_path)
    words = ["--out", "t.csv", "--gallery", "pages/look", "--rename", "names.yaml"]
    assert main(["tag", str(tmp_path / "photos"), "--model", str(toy_bundle), *words]) == 0
    command = command_on(browser, tmp_path / "pages" / "look")
    assert "cd " not in command  # all paths are absolute
    paste(command, "/")
    names, values = thresholds(tmp_path / "pages" / "look")
    assert "Hund" in names and "person" not in names and min(values) > 0.96


def test_it_is_valid_after_gallery_and_state_were_moved_together(browser, toy_bundle, tmp_path, monkeypatch):
    folder = tmp_path / "before"
    draw_photographs(folder / "photos", 3)
    monkeypatch.chdir(folder)
    assert main(["tag", "photos", "--model", str(toy_bundle), "--out", "t.csv", "--gallery", "look"]) == 0
    monkeypatch.chdir(tmp_path)
    shutil.move(folder, tmp_path / "after")
    paste(command_on(browser, tmp_path / "after" / "look"), tmp_path)
    assert min(thresholds(tmp_path / "after" / "look")[1]) > 0.96 and not folder.exists()
