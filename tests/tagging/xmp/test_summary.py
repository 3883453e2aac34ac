"""What the summary and the log say of keywords that other programs deleted or wrote over, and of files that programs read."""

import json

import pytest
from own_labels import picture
from photo_programs import WithoutExifTool, rewritten
from xmp_samples import bag, without, wrap

from cocotag.cli.main import main
from cocotag.inference.tags import Tag
from cocotag.tagging.decisions.rows import Row
from cocotag.tagging.xmp.embed import embed_keywords
from cocotag.tagging.xmp.packets.packet import Update
from cocotag.tagging.xmp.sidecars import write_sidecars
from cocotag.tagging.xmp.summary import SidecarSummary

DOG, CAT = Tag("dog", 0.9, 18, "animal"), Tag("cat", 0.8, 17, "animal")


@pytest.fixture
def photo(tmp_path):
    return picture(tmp_path / "IMG.jpg")


def write(photo, *tags):
    return write_sidecars([Row(photo, tags=tags)])


def test_refused_put_back_and_taken_back_keywords_are_counted_and_named(photo):
    sidecar = photo.with_name("IMG.jpg.xmp")
    write(photo, DOG, CAT)
    sidecar.write_bytes(rewritten(sidecar.read_bytes(), {"dc": [("Anna",)], "lr": [("Anna",)]}))
    summary = write(photo, DOG, CAT)
    assert (summary.put_back, summary.refused) == ({"cat": 1, "dog": 1}, {})
    assert any("put back" in line and "2 keywords (cat, dog)" in line for line in summary.to_text().splitlines())
    sidecar.write_bytes(without(sidecar.read_bytes(), "dog"))
    summary = write(photo, DOG, CAT)
    assert (summary.put_back, summary.refused) == ({}, {"dog": 1})
    assert any("refused" in line and "1 keyword (dog)" in line for line in summary.to_text().splitlines())
    back = dict.fromkeys(("dc", "lr", "digiKam"), (("Anna",), ("animal", "cat"), ("dog",)))
    sidecar.write_bytes(rewritten(sidecar.read_bytes(), back))
    summary = write(photo, DOG, CAT)
    assert (summary.reclaimed, summary.refused) == ({"dog": 1}, {})
    assert any("yours" in line and "1 keyword (dog)" in line for line in summary.to_text().splitlines())
    assert write(photo, DOG, CAT).to_text() == "sidecars: 1 unchanged"


def test_each_keyword_counts_once_per_photograph_and_the_most_frequent_are_named(tmp_path):
    summary = SidecarSummary()
    for number in range(7):
        updates = [Update(None, refused=tuple(f"word{one}" for one in range(number + 1)))] * 2
        summary.happened(tmp_path / f"{number}.jpg", updates)
    assert summary.refused.total() == len(summary.events) == 28
    assert summary.to_text().endswith("28 keywords (word0, word1, word2, word3, word4 and 2 more)")


def test_an_img_xmp_of_another_file_is_told(photo):
    photo.with_name("IMG.xmp").write_text(wrap(bag("dc:subject", "of the RAW file")))
    assert write(photo, DOG).hidden == 0  # it belongs to the photograph
    photo.with_suffix(".CR3").touch()
    summary = write(photo, DOG)
    assert summary.hidden == 1
    assert "digiKam" in summary.to_text()


@pytest.mark.parametrize(("ending", "heic"), [("heic", 1), ("HIF", 1), ("jpg", 0)])
def test_embedding_into_heic_says_that_programs_may_not_see_it(tmp_path, monkeypatch, ending, heic):
    monkeypatch.setattr("cocotag.tagging.xmp.embed.ExifTool", WithoutExifTool)
    photo = picture(tmp_path / "made.jpg").rename(tmp_path / f"IMG.{ending}")
    summary = embed_keywords([Row(photo, tags=(DOG,))], backup=False)
    assert summary.heic == heic
    assert ("--xmp" in summary.to_text()) == bool(heic)


def test_the_log_has_one_event_for_each_keyword(photo, toy_bundle, capsys):
    words = ["tag", str(photo), "--model", str(toy_bundle), "--xmp", "--json-log", "--threshold", "0.3"]

    def events():
        assert main(words) == 0
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        return [line for line in lines if line["event"] == "keyword"]

    assert events() == []
    sidecar = photo.with_name("IMG.jpg.xmp")
    first = sidecar.read_text().partition("<rdf:li>")[2].partition("</rdf:li>")[0]
    sidecar.write_bytes(without(sidecar.read_bytes(), first))
    (event,) = events()
    event.pop("time", None)
    assert event == {"event": "keyword", "what": "refused", "keyword": first, "path": str(photo)}
    assert events() == []
