"""A .txt beside each image: right, whole, and never in the place of somebody's own."""

import errno
import os
import stat
from pathlib import Path

import pytest

from cocotag.errors import OutputError
from cocotag.inference.tags import Tag
from cocotag.labels import Category, Vocabulary
from cocotag.tagging.outputs.own_files import LIST
from cocotag.tagging.outputs.text_files import check_texts, write_texts
from cocotag.tagging.outputs.write import Context, Row


def row(path, *tags, model=""):
    """A row of an image that is there; tags as ``("dog", 0.5)``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return Row(path, tags=tuple(Tag(name, score, 1, "") for name, score in tags), model=model)


def bad(path):
    return Row(path, status="truncated", error="cut short")


def texts(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*.txt"))}


def counts(summary):
    return summary.written, summary.unchanged, summary.removed, summary.kept, summary.errors


def test_a_line_for_each_tag_the_highest_score_first(tmp_path):
    rows = [
        row(tmp_path / "a.jpg", ("hot dog", 0.9), ("dog", 0.5)),
        row(tmp_path / "b" / "c.d.PNG", ("猫", 0.5)),
        row(tmp_path / "b" / "none.webp"),
        bad(tmp_path / "broken.jpg"),
        row(tmp_path / "z.jpg", ("dog", 1.0)),
    ]
    assert counts(write_texts(rows)) == (4, 0, 0, 0, 0)
    assert texts(tmp_path) == {"a.txt": "hot dog\ndog\n", "b/c.d.txt": "猫\n", "b/none.txt": "", "z.txt": "dog\n"}


def test_done_twice_is_done_once_and_other_tags_replace_our_own(tmp_path):
    images = [tmp_path / folder / f"{number}.jpg" for folder in ("", "x") for number in range(20)]
    first = [row(image, ("dog", 0.5)) for image in images]
    assert counts(write_texts(first)) == (40, 0, 0, 0, 0)
    before = (tmp_path / "0.txt").stat().st_ino
    assert counts(write_texts(first)) == (0, 40, 0, 0, 0)
    assert (tmp_path / "0.txt").stat().st_ino == before
    assert counts(write_texts([row(image, ("cat", 0.5)) for image in images[:25]])) == (25, 0, 0, 0, 0)
    assert counts(write_texts(first)) == (25, 15, 0, 0, 0)
    assert set(texts(tmp_path).values()) == {"dog\n"}
    assert len((tmp_path / LIST).read_text().splitlines()) < 25, "what was replaced is struck off"


def test_somebodys_own_text_is_never_replaced_and_named(tmp_path):
    (tmp_path / "mine.txt").write_text("a caption of mine")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "long.txt").write_text("x" * 3_000_000)
    (tmp_path / "elsewhere").write_text("dog\n")
    (tmp_path / "link.txt").symlink_to("elsewhere")
    (tmp_path / "folder.txt").mkdir()
    names = ["mine", "empty", "long", "link", "folder", "free"]
    rows = [row(tmp_path / f"{name}.jpg", ("dog", 0.5)) for name in names]
    for written, unchanged in ((1, 0), (0, 1)):
        summary = write_texts(rows)
        assert counts(summary) == (written, unchanged, 0, 5, 0)
        assert summary.failed == 5
        text = summary.to_text()
        assert "5 kept as yours" in text and str(tmp_path / "mine.txt") in text and "and 2 more" in text
    assert (tmp_path / "mine.txt").read_text() == "a caption of mine"
    assert (tmp_path / "empty.txt").read_bytes() == b""
    assert (tmp_path / "link.txt").is_symlink()
    write_texts([bad(tmp_path / f"{name}.jpg") for name in names])
    assert [(tmp_path / f"{name}.txt").exists() for name in names] == [True] * 5 + [False]


def test_our_own_that_somebody_corrected_is_theirs(tmp_path):
    image = tmp_path / "a.jpg"
    write_texts([row(image, ("dog", 0.5), ("cat", 0.25))])
    (tmp_path / "a.txt").write_text("dog\n")
    assert counts(write_texts([row(image, ("sheep", 0.5))])) == (0, 0, 0, 1, 0)
    assert counts(write_texts([bad(image)])) == (0, 0, 0, 0, 0)
    assert texts(tmp_path) == {"a.txt": "dog\n"}
    # One that says the same by chance is theirs as well: later other tags do not replace it.
    assert counts(write_texts([row(image, ("dog", 0.5))])) == (0, 1, 0, 0, 0)
    assert counts(write_texts([row(image, ("sheep", 0.5))])) == (0, 0, 0, 1, 0)


def test_a_text_of_one_image_is_not_taken_for_another_images(tmp_path):
    write_texts([row(tmp_path / "a.jpg", ("dog", 0.5))])
    (tmp_path / "b.txt").write_text("dog\n")  # the same words as ours, in a file of their own
    assert counts(write_texts([row(tmp_path / "b.jpg", ("cat", 0.5))])) == (0, 0, 0, 1, 0)


def test_a_folder_that_is_moved_keeps_what_is_ours(tmp_path):
    write_texts([row(tmp_path / "old" / "a.jpg", ("dog", 0.5))])
    (tmp_path / "old").rename(tmp_path / "new")
    assert counts(write_texts([row(tmp_path / "new" / "a.jpg", ("cat", 0.5))])) == (1, 0, 0, 0, 0)


def test_an_image_that_cannot_be_used_any_more_loses_its_text(tmp_path):
    image = tmp_path / "a.jpg"
    write_texts([row(image, ("dog", 0.5))])
    assert counts(write_texts([bad(image)])) == (0, 0, 1, 0, 0)
    assert texts(tmp_path) == {}
    assert counts(write_texts([row(image, ("dog", 0.5))])) == (1, 0, 0, 0, 0)


def test_images_that_would_share_a_text_have_one_each(tmp_path):
    write_texts([row(tmp_path / "IMG_1.jpg", ("dog", 0.5))])
    assert list(texts(tmp_path)) == ["IMG_1.txt"]
    rows = [row(tmp_path / name, (name, 0.5)) for name in ("IMG_1.DNG", "IMG_1.jpg", "IMG_2.jpg")]
    write_texts(rows)
    assert texts(tmp_path) == {"IMG_1.DNG.txt": "IMG_1.DNG\n", "IMG_1.jpg.txt": "IMG_1.jpg\n", "IMG_2.txt": "IMG_2.jpg\n"}
    assert counts(write_texts(rows)) == (0, 3, 0, 0, 0)


def test_names_that_differ_in_case_alone_are_one_on_some_disks(tmp_path):
    write_texts([row(tmp_path / "a.png", ("x", 0.5)), row(tmp_path / "A.jpg", ("y", 0.5))])
    assert set(texts(tmp_path)) == {"a.png.txt", "A.jpg.txt"}


def test_an_image_without_an_ending_never_has_the_text_of_another(tmp_path):
    rows = [row(tmp_path / name, (name, 0.5)) for name in ("photo", "photo.jpg", "scan", "notes.txt")]
    summary = write_texts(rows)
    assert texts(tmp_path) == {
        "notes.txt": "",
        "notes.txt.txt": "notes.txt\n",
        "photo.txt": "photo.jpg\n",
        "scan.txt": "scan\n",
    }
    assert summary.errors == 1 and "photo.txt" in summary.to_text()


def test_several_models_come_to_one_text(tmp_path):
    image = tmp_path / "a.jpg"
    rows = [
        row(image, ("dog", 0.5), ("cat", 0.25), model="1"),
        row(image, ("sky", 0.75), ("dog", 0.125), model="2"),
        row(tmp_path / "b.jpg", ("sea", 0.5), model="1"),
        row(tmp_path / "b.jpg", model="2"),
    ]
    write_texts(rows)
    assert texts(tmp_path) == {"a.txt": "sky\ndog\ncat\n", "b.txt": "sea\n"}


def test_bytes_that_are_not_utf8_and_long_names(tmp_path):
    names = [os.fsdecode(b"caf\xe9.jpg"), "x" * 250 + ".jpg", "\u00e9" * 120 + ".jpg", "a\nb.jpg"]
    assert counts(write_texts(row(tmp_path / name, ("dog", 0.5)) for name in names)) == (4, 0, 0, 0, 0)
    assert (tmp_path / os.fsdecode(b"caf\xe9.txt")).read_text() == "dog\n"
    assert counts(write_texts(row(tmp_path / name, ("cat", 0.5)) for name in names)) == (4, 0, 0, 0, 0)


def test_a_terminal_is_told_no_commands(tmp_path):
    (tmp_path / "a\x1b[31m.txt").write_text("mine")
    summary = write_texts([row(tmp_path / "a\x1b[31m.jpg", ("dog", 0.5))])
    assert r"a\x1b[31m.txt was not written by cocotag" in summary.to_text() and "\x1b" not in summary.to_text()


def test_more_folders_than_are_held_open(tmp_path):
    rows = [row(tmp_path / f"{folder:02}" / name, ("dog", 0.5)) for name in ("a.jpg", "b.jpg") for folder in range(40)]
    assert counts(write_texts(rows)) == (80, 0, 0, 0, 0)
    again = [row(one.path, ("cat", 0.5)) for one in rows]
    assert counts(write_texts(again)) == (80, 0, 0, 0, 0)
    assert set(texts(tmp_path).values()) == {"cat\n"}


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_run_that_is_killed_knows_its_own_again(tmp_path, monkeypatch, after):
    """Whichever step it is killed before: the hash is there before the text is."""
    images = [tmp_path / f"{number}.jpg" for number in range(3)]
    steps = []
    replace = Path.replace

    def killed(self, target):
        steps.append(target)
        if len(steps) > after:
            os._exit(9)
        return replace(self, target)

    if not (child := os.fork()):
        monkeypatch.setattr(Path, "replace", killed)
        write_texts([row(image, ("dog", 0.5)) for image in images])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with (tmp_path / LIST).open("a") as stream:
        stream.write("0123")  # and a line that was cut short
    assert len(texts(tmp_path)) == after
    assert counts(write_texts([row(image, ("cat", 0.5)) for image in images])) == (3, 0, 0, 0, 0)
    assert counts(write_texts([row(image, ("dog", 0.5)) for image in images])) == (3, 0, 0, 0, 0)


def test_a_damaged_list_makes_ours_theirs_and_never_theirs_ours(tmp_path):
    write_texts([row(tmp_path / "a.jpg", ("dog", 0.5))])
    (tmp_path / LIST).write_bytes(b"\xff\0nonsense\n" + b"z" * 16 + b"\n" + b"0" * 17 + b"\n")
    assert counts(write_texts([row(tmp_path / "a.jpg", ("cat", 0.5))])) == (0, 0, 0, 1, 0)
    assert counts(write_texts([row(tmp_path / "b.jpg", ("cat", 0.5))])) == (1, 0, 0, 0, 0)
    assert counts(write_texts([row(tmp_path / "b.jpg", ("dog", 0.5))])) == (1, 0, 0, 0, 0)


def test_a_folder_that_may_not_be_written_to_stops_nothing(tmp_path, monkeypatch):
    rows = [row(tmp_path / folder / "a.jpg", ("dog", 0.5)) for folder in ("closed", "open")]
    opened = os.open

    def refuse(path, *args, **kwargs):
        if Path(path).parent.name == "closed" and args and args[0] & os.O_CREAT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    summary = write_texts(rows)
    assert counts(summary) == (1, 0, 0, 0, 1)
    assert os.strerror(errno.EACCES) in summary.to_text() and str(tmp_path / "closed" / "a.jpg") in summary.to_text()
    gone = Row(tmp_path / "gone" / "x.jpg", tags=(Tag("dog", 0.5, 1, ""),))
    assert write_texts([gone]).errors == 1
    assert not (tmp_path / "gone").exists(), "no folder is made for an image that is not there"


def test_a_full_disk_stops_with_one_line(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError) as caught:
        write_texts([row(tmp_path / "a.jpg", ("dog", 0.5)), row(tmp_path / "b.jpg")])
    assert caught.value.code == "disk_full"
    assert str(tmp_path) in str(caught.value) and "a.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LIST, "a.jpg", "b.jpg"]


def test_a_class_that_is_no_line_is_refused_before_the_work():
    check_texts(Context({"": Vocabulary((Category(1, "a;b"), Category(2, "=1")))}))
    with pytest.raises(OutputError) as caught:
        check_texts(Context({"": Vocabulary((Category(1, "two\nlines"),))}))
    assert caught.value.code == "name_not_writable"
    assert r"'two\nlines'" in str(caught.value) and "--rename" in str(caught.value)


def test_texts_have_the_rights_of_any_new_file(tmp_path):
    write_texts([row(tmp_path / "a.jpg", ("dog", 0.5))])
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / LIST).stat().st_mode) == 0o666 & ~mask
