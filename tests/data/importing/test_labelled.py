"""What each shape of labels is understood as, and what is left out, by name."""

import os

import pytest
from own_labels import bag, packet, picture, table

from cocotag.data.importing.dataset import import_labels
from cocotag.data.importing.labelled import read_csv, read_folders, read_photographs
from cocotag.errors import ConfigError, DataError


def tags_of(found):
    return {image.name: set(image.tags) for image in found.images}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_what_spreadsheets_write(photos, delimiter, encoding):
    lines = [["Tags ", "note", "Path"], ["dog|café", "x", "0.png"], ["", "", "1.png"], ["", "", ""], [" dog | | ", "", "2.png"]]
    labels = table(photos / "l.csv", "\r\n".join(delimiter.join(cells) for cells in lines), encoding)
    found = read_csv(labels, progress=False)
    assert tags_of(found) == {"0.png": {"dog", "café"}, "1.png": set(), "2.png": {"dog"}}
    assert not found.left_out


@pytest.mark.parametrize(
    ("cells", "separator", "tags", "guessed"),
    [
        (["dog;cat", "Paris, France"], None, [{"dog", "cat"}, {"Paris, France"}], ";"),
        (["dog|cat", "Paris, France"], None, [{"dog", "cat"}, {"Paris, France"}], "|"),
        (["dog, cat", "dog"], None, [{"dog", "cat"}, {"dog"}], ","),
        (["dog, cat", "dog"], ";", [{"dog, cat"}, {"dog"}], ""),
        (["dog cat", "dog"], " ", [{"dog", "cat"}, {"dog"}], ""),
        (["traffic light", "dog"], None, [{"traffic light"}, {"dog"}], ""),
    ],
)
def test_the_mark_between_tags(photos, cells, separator, tags, guessed):
    labels = table(photos / "l.csv", "path,tags\n" + "".join(f'{n}.png,"{cell}"\n' for n, cell in enumerate(cells)))
    found = read_csv(labels, separator=separator, progress=False)
    assert [set(image.tags) for image in found.images] == tags
    assert len(found.notes) == bool(guessed)
    assert all(repr(guessed) in note and "--separator" in note for note in found.notes)


def test_every_row_that_cannot_be_used_is_left_out_by_name(photos, tmp_path):
    (photos / "text.png").write_text("this is no picture")
    (photos / "zero.png").write_bytes(b"")
    os.mkfifo(photos / "pipe.png")
    rows = "0.png,a\nnone.png,a\ntext.png,a\nzero.png,a\npipe.png,a\nmore,a\n1.png,a,b\n2.png\n,a\n3.png,b\n\n"
    found = read_csv(table(photos / "l.csv", "path,tags\n" + rows), progress=False)
    assert set(tags_of(found)) == {"0.png", "3.png"}
    counts = {reason.split(":")[0]: len(names) for reason, names in found.left_out.items()}
    assert counts == {
        "missing": 1,
        "not_an_image": 1,
        "empty": 1,
        "not_a_file": 2,
        "with more cells than columns": 1,
        "with too few cells": 1,
        "without a path": 1,
    }
    summary = import_labels(found, tmp_path / "data", val=0, progress=False)
    assert not summary.ok
    assert "missing: 1 (" in summary.to_text()
    assert "line 8" in summary.to_text()


@pytest.mark.parametrize(
    ("data", "code", "facts"),
    [
        (b"file,labels\n0.png,dog\n", "columns_missing", "path and tags.*file, labels"),
        (b"path,tags,tags\n0.png,dog,cat\n", "columns_missing", "path, tags, tags"),
        (b"", "columns_missing", "none"),
        ("path,tags\n0.png,café\n".encode("latin-1"), "not_utf8", "line 2: byte 0xe9.*CSV UTF-8"),
        ("path,tags\n0.png,dog\n".encode("utf-16")[:-1], "not_utf8", "UTF-16"),
        (b'path,tags\n0.png,"dog\n1.png,cat\n', "not_csv", "line 3"),
        (b"path,tags\n", "no_tagged_images", r"l\.csv"),
        (b"path,tags\n0.png,\n", "no_tagged_images", r"l\.csv"),
        (b"path,tags\nx/0.png,dog\n", "no_tagged_images", r"missing: 1 \(.*--images DIR"),
    ],
)
def test_an_invalid_table_is_refused_in_one_line(photos, data, code, facts):
    (photos / "l.csv").write_bytes(data)
    with pytest.raises(DataError, match=facts) as caught:
        read_csv(photos / "l.csv", progress=False)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_a_source_that_cannot_be_read_is_refused(photos):
    with pytest.raises(DataError, match=r"none\.csv") as caught:
        read_csv(photos / "none.csv", progress=False)
    assert caught.value.code == "not_readable"
    with pytest.raises(DataError, match="none") as caught:
        read_folders(photos / "none", progress=False)
    assert caught.value.code == "not_readable"
    with pytest.raises(DataError, match="none") as caught:
        read_photographs(photos / "none", progress=False)
    assert caught.value.code == "not_a_folder"
    with pytest.raises(ConfigError, match="--separator") as caught:
        read_csv(photos / "none.csv", separator="", progress=False)
    assert caught.value.code == "separator_empty"


def test_paths_start_where_they_are_said_to(photos, tmp_path):
    (tmp_path / "tables").mkdir()
    labels = table(tmp_path / "tables" / "l.csv", f"path,tags\n0.png,a\n{photos / 'more' / '7.png'},b\nmore\\8.png,c\n")
    found = read_csv(labels, images=photos, progress=False)
    assert tags_of(found) == {"0.png": {"a"}, "more/7.png": {"b"}, "more/8.png": {"c"}}
    up = table(tmp_path / "tables" / "up.csv", "path,tags\n../photos/0.png,a\n../photos/more/7.png,b\n")
    assert set(tags_of(read_csv(up, progress=False))) == {"0.png", "more/7.png"}  # never a name with .. in it


def test_what_lies_in_no_class_folder_is_named(folders, tmp_path):
    picture(folders / "loose.png", 99)
    (folders / "empty").mkdir()
    (folders / "notes.txt").write_text("not for training")
    found = read_folders(folders, progress=False)
    assert {reason: len(names) for reason, names in found.left_out.items()} == {
        "in no class folder": 1,
        "class folder without images": 1,
    }
    with pytest.raises(DataError, match="dog") as caught:
        read_folders(folders / "dog", progress=False)
    assert caught.value.code == "no_class_folders"


def test_photographs_without_keywords_are_not_negatives_unless_told(photos):
    (photos / "0.xmp").write_bytes(packet(bag("dc:subject", "dog")))
    (photos / "1.xmp").write_bytes(b"<broken")
    found = read_photographs(photos, progress=False)
    assert tags_of(found) == {"0.png": {"dog"}}
    assert any(": 10 (" in note and "--keep-untagged" in note for note in found.notes)
    assert dict(found.left_out) == {"with unreadable keywords": [str(photos / "1.png")]}
    kept = read_photographs(photos, keep_untagged=True, progress=False)
    assert len(kept.images) == 11
    with pytest.raises(DataError, match="more") as caught:
        read_photographs(photos / "more", progress=False)
    assert caught.value.code == "no_tagged_images"


# What other tools write


def test_cells_with_lists_are_the_names_in_them(photos):
    rows = """0.png,"[""cup"", ""cat""]"\n1.png,[]\n2.png,"['cup' 'dog']"\n3.png,"{""choices"": [""cat""]}"\n4.png,cup;dog\n"""
    found = read_csv(table(photos / "l.csv", f"path,tags\n{rows}"), progress=False)
    assert tags_of(found) == {
        "0.png": {"cup", "cat"},
        "1.png": set(),
        "2.png": {"cup", "dog"},
        "3.png": {"cat"},
        "4.png": {"cup", "dog"},
    }


def test_a_cell_that_only_looks_like_a_list_is_left_out_with_its_row(photos):
    found = read_csv(table(photos / "l.csv", 'path,tags\n0.png,dog\n1.png,"[cup, cat]"\n'), progress=False)
    assert set(tags_of(found)) == {"0.png"}
    assert [names for reason, names in found.left_out.items() if "list" in reason] == [["line 3"]]


@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\n', "SEP=;\n"])
def test_the_first_line_of_excel_names_the_delimiter(photos, first):
    found = read_csv(table(photos / "l.csv", f"{first}path;tags\n0.png;a, b|c\n"), progress=False)
    assert tags_of(found) == {"0.png": {"a, b", "c"}}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_table_in_utf_16_as_excel_saves_unicode_text(photos, encoding):
    content = "path\ttags\r\n0.png\tcafé;日本\r\n"
    mark = "" if encoding == "utf-16" else "\ufeff"  # Python writes the mark of the first itself
    (photos / "l.txt").write_bytes((mark + content).encode(encoding))
    assert tags_of(read_csv(photos / "l.txt", progress=False)) == {"0.png": {"café", "日本"}}


def test_one_column_per_class_with_zeros_and_ones(photos):
    found = read_csv(table(photos / "_classes.csv", "filename, Cat, dog\n0.png,1,0\n1.png, 1, 1\n2.png,0,0\n"), progress=False)
    assert tags_of(found) == {"0.png": {"Cat"}, "1.png": {"Cat", "dog"}, "2.png": set()}
    with pytest.raises(DataError) as caught:
        read_csv(table(photos / "l.csv", "filename,cat,dog\n0.png,1,2\n"), progress=False)
    assert caught.value.code == "columns_missing"


def test_folders_of_systems_and_excluded_ones_are_no_classes(folders):
    for name in ("@eaDir", "#recycle", "thumbs"):
        picture(folders / name / "x.png", 40)
    picture(folders / "dog" / "@eaDir" / "0.png", 41)
    found = read_folders(folders, exclude=["thumbs"], progress=False)
    assert {tag for image in found.images for tag in image.tags} == {"dog", "Cat"}
    assert not [image for image in found.images if "@eaDir" in image.name]


def test_a_keyword_with_a_comma_is_one_tag_and_this_is_said(tmp_path):
    picture(tmp_path / "0.png", 0)
    (tmp_path / "0.png.xmp").write_bytes(packet(bag("dc:subject", "dog, cat")))
    found = read_photographs(tmp_path, progress=False)
    assert tags_of(found) == {"0.png": {"dog, cat"}}
    assert any("--split-keywords" in note for note in found.notes)
    found = read_photographs(tmp_path, split_keywords=",", progress=False)
    assert tags_of(found) == {"0.png": {"dog", "cat"}}
    assert not found.notes
