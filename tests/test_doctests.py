"""The examples in the docstrings run and give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest
from own_labels import picture

PACKAGE = Path(__file__).resolve().parent.parent / "cocotag"
MODULES = sorted(
    ".".join(["cocotag", *path.relative_to(PACKAGE).with_suffix("").parts])
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.fixture
def folder(tmp_path, monkeypatch, toy_bundle):
    """What the examples use: ``tagger.onnx``, and ``photos`` with two pictures and a file that is not one."""
    (tmp_path / "tagger.onnx").symlink_to(toy_bundle)
    for number in (1, 2):
        picture(tmp_path / "photos" / f"{number}.png", number)
    (tmp_path / "photos" / "broken.jpg").write_text("not an image")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.usefixtures("folder")
def test_the_examples_in_the_docstrings_run(module):
    done = doctest.testmod(importlib.import_module(module))
    assert done.attempted and not done.failed
