"""`cocotag untag` as scripts call it."""

import io
import os
import subprocess
import sys

import pytest
from error_codes import ends_with
from own_labels import picture
from xmp_samples import DIGIKAM

from cocotag.cli.main import main
from cocotag.inference.tags import Tag
from cocotag.tagging.outputs.write import Row
from cocotag.tagging.xmp.embed import embed_keywords
from cocotag.tagging.xmp.sidecars import untag, write_sidecars

DOG = Tag("dog", 0.9, 18, "animal")


@pytest.fixture
def photos(tmp_path):
    """Three photographs, the first with a sidecar of the user's, all tagged."""
    paths = [picture(tmp_path / "photos" / f"{number}.jpg", number) for number in range(3)]
    (tmp_path / "photos" / "0.jpg.xmp").write_text(DIGIKAM)
    write_sidecars(Row(path, tags=(DOG,)) for path in paths)
    return tmp_path / "photos"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_dry_run_shows_a_diff_that_patch_would_take(photos, capsys):
    before = contents(photos)
    assert main(["untag", str(photos), "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert contents(photos) == before
    assert err == "sidecars (dry run): 1 changed, 2 removed\n"
    lines = out.splitlines()
    assert [line for line in lines if line.startswith("+++")] == [f"+++ {photos / '0.jpg.xmp'}", *["+++ /dev/null"] * 2]
    taken = [line[1:].strip() for line in lines if line.startswith("-     <rdf:li>")]
    assert taken[:3] == ["<rdf:li>animal/dog</rdf:li>", "<rdf:li>animal|dog</rdf:li>", "<rdf:li>dog</rdf:li>"]
    assert not [line for line in lines if line.startswith("+") and not line.startswith("+++")]


def test_untag_leads_back(photos, capsys):
    assert main(["untag", str(photos / "1.jpg"), str(photos / "2.jpg.xmp")]) == 0
    assert sorted(contents(photos)) == ["0.jpg", "0.jpg.xmp", "1.jpg", "2.jpg"]
    assert main(["untag", str(photos)]) == 0
    assert contents(photos)["0.jpg.xmp"] == DIGIKAM.encode()
    assert main(["untag", str(photos)]) == 0
    assert capsys.readouterr().err.splitlines() == ["sidecars: 2 removed", "sidecars: 1 changed", "sidecars: 1 unchanged"]


def test_photographs_are_untagged_where_that_is_asked_for(exiftool, photos, capsys):
    embed_keywords([Row(photos / "1.jpg", tags=(DOG,))])
    main(["untag", str(photos)])
    assert b"animal/dog" in (photos / "1.jpg").read_bytes()
    capsys.readouterr()
    assert main(["untag", str(photos), "--embed", "--dry-run"]) == 0
    assert "-     <rdf:li>animal/dog</rdf:li>" in capsys.readouterr().out.splitlines()
    assert main(["untag", str(photos), "--embed"]) == 0
    assert b"animal/dog" not in (photos / "1.jpg").read_bytes()
    assert "photographs with keywords in them: 1 changed, 2 unchanged" in capsys.readouterr().err


def test_faults_are_status_1_and_mistakes_2(photos, capsys, monkeypatch):
    (photos / "1.jpg.xmp").write_bytes((photos / "1.jpg.xmp").read_bytes()[:-60])
    assert main(["untag", str(photos)]) == 1
    assert "1 damaged" in capsys.readouterr().err
    with ends_with("path_missing"):
        assert main(["untag", str(photos / "none")]) == 2
    assert str(photos / "none") in capsys.readouterr().err
    write_sidecars([Row(photos / "0.jpg", tags=(DOG,))])
    before = contents(photos)
    monkeypatch.setenv("PATH", "")
    with ends_with("missing_exiftool"):
        assert main(["untag", str(photos), "--embed"]) == 2
    assert "apt install" in capsys.readouterr().err
    assert contents(photos) == before


def test_globs_and_a_list_on_stdin_are_paths_as_they_are_for_tag(photos, capsys, monkeypatch):
    assert main(["untag", str(photos / "[12].jpg")]) == 0
    assert sorted(contents(photos)) == ["0.jpg", "0.jpg.xmp", "1.jpg", "2.jpg"]
    write_sidecars([Row(photos / "1.jpg", tags=(DOG,))])
    assert main(["untag", str(photos / "*.xmp")]) == 0
    assert contents(photos)["0.jpg.xmp"] == DIGIKAM.encode()
    with ends_with("path_missing"):
        assert main(["untag", str(photos / "*.png")]) == 2
    assert "*.png" in capsys.readouterr().err
    write_sidecars([Row(photos / f"{number}.jpg", tags=(DOG,)) for number in range(3)])
    # a sidecar goes with the photograph before it in the list; what was never there is named
    listed = "\n".join(str(photos / name) for name in ("0.jpg", "1.jpg", "1.jpg.xmp", "2.jpg.xmp", "none.jpg"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed.encode())))
    assert main(["untag", "-"]) == 1
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == "sidecars: 1 changed, 2 removed; left unchanged: 1 missing"
    assert rest == [f"  {photos / 'none.jpg'} does not exist."]
    assert sorted(contents(photos)) == ["0.jpg", "0.jpg.xmp", "1.jpg", "2.jpg"]


def test_a_list_is_for_sidecars_and_photographs_alike(exiftool, photos, capsys, monkeypatch):
    embed_keywords([Row(photos / "1.jpg", tags=(DOG,))], backup=False)
    write_sidecars([Row(photos / "2.jpg", tags=(DOG,))])
    listed = b"\0".join(os.fsencode(photos / name) for name in ("1.jpg", "0.jpg.xmp"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed)))
    assert main(["untag", "-", "--embed"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told == ["sidecars: 1 changed, 1 removed", "photographs with keywords in them: 1 changed"]
    assert b"animal/dog" not in (photos / "1.jpg").read_bytes()
    assert (photos / "0.jpg.xmp").read_text() == DIGIKAM


def test_untag_needs_neither_network_nor_torch(photos):
    code = "import sys; from cocotag.cli.main import main; main(['untag', sys.argv[1]]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, photos], capture_output=True, text=True, check=True)
    assert not {"torch", "onnxruntime", "pandas"} & set(done.stdout.split())


def test_a_reader_that_has_seen_enough_is_no_fault_of_the_sidecars(photos):
    def gone(text):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        untag([photos], dry_run=True, show_diff=gone)
