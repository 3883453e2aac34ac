"""Whole jobs from Python, as a script calls them."""

import csv

import pytest

from cocotag.errors import ConfigError
from cocotag.tagging.gallery.output import Gallery
from cocotag.tagging.jobs import retag, tag
from cocotag.tagging.outputs.plan import OutputPlan
from cocotag.tagging.outputs.text_files import TextFiles
from cocotag.tagging.xmp.outputs import Embedded, Sidecars


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["text", "path"])
def test_paths_are_texts_or_paths_everywhere(kind, toy_bundle, sample_dir, tmp_path):
    table, other, state = (kind(tmp_path / name) for name in ("tags.csv", "other.csv", "kept"))
    plan = OutputPlan(tables=[table], beside=[Gallery(kind(tmp_path / "look"))])
    done = tag([kind(sample_dir / "val")], [kind(toy_bundle)], plan, state=state)
    assert (done.ok, done.whole, done.written) == (True, True, [str(table)])
    with (tmp_path / "tags.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == done.total == len(list((sample_dir / "val").iterdir()))
    again = retag([state], OutputPlan(tables=[other]))
    assert (again.ok, again.total, again.summary) == (True, done.total, None)


def test_no_paths_no_bundle_and_one_text_are_refused_by_name(toy_bundle, tmp_path):
    plan = OutputPlan(tables=[tmp_path / "tags.csv"])
    for call, what in [
        (lambda: tag([], [toy_bundle], plan), "path to tag"),
        (lambda: tag(["."], [], plan), "bundle"),
        (lambda: tag("photos", [toy_bundle], plan), "path to tag, not 'photos'"),
        (lambda: retag([], plan), "state, output or path"),
    ]:
        with pytest.raises(ConfigError, match=what) as caught:
            call()
        assert caught.value.code == "nothing_given"
    assert not (tmp_path / "tags.csv").exists()


def test_an_unknown_naming_is_refused_when_it_is_given():
    with pytest.raises(ConfigError, match="'nix'; it must be one of append, adobe"):
        Sidecars("nix")


def test_copies_do_not_go_into_a_folder_that_is_tagged(toy_bundle, tmp_path):
    with pytest.raises(ConfigError, match="is one of the folders to tag") as caught:
        tag([tmp_path], [toy_bundle], OutputPlan(beside=[TextFiles(), Embedded(str(tmp_path))]))
    assert caught.value.code == "output_is_input"
