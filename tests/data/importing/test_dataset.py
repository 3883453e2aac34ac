"""People's own labels become a data set that reads back as they were, and nothing of theirs is touched."""

import csv
import json

import numpy as np
import pytest
from own_labels import picture, table

from cocotag.cli.main import main
from cocotag.data.annotations import load_split
from cocotag.data.check.doctor import check_split
from cocotag.data.importing.dataset import FIRST_OWN_ID, import_labels, refuse_place
from cocotag.data.importing.labelled import read_csv, read_folders
from cocotag.errors import ConfigError, DataError, OutputError
from cocotag.labels import COCO80


def tags_in(root, split="train"):
    """File name -> class names, read back as training reads them."""
    loaded = load_split(root, split)
    names = np.array(loaded.vocabulary.names)
    return {name: set(names[row].tolist()) for name, row in zip(loaded.file_names.tolist(), loaded.targets, strict=True)}


def test_a_table_becomes_a_data_set_that_can_be_trained_on(photos, tmp_path):
    rows = [f"{number}.png,{'dog;my cup' if number % 2 else 'dog' if number else ''}" for number in range(6)]
    rows += [f"more/{number}.png,zebra" for number in range(6, 12)]
    labels = table(photos / "labels.csv", "\n".join(["path,tags", *rows]))
    before = {path: path.stat().st_mtime_ns for path in photos.rglob("*")}
    summary = import_labels(read_csv(labels, progress=False), tmp_path / "data", val=0.25, progress=False)

    assert summary.ok
    assert summary.splits == {"train": 9, "val": 3}
    train, val = tags_in(tmp_path / "data"), tags_in(tmp_path / "data", "val")
    assert not train.keys() & val.keys()
    both = train | val
    assert both["0.png"] == set()  # somebody looked, and there is nothing
    assert both["3.png"] == {"dog", "my cup"}
    assert both["more/7.png"] == {"zebra"}
    assert summary.untagged == 1
    assert summary.classes == {"dog": 5, "zebra": 6, "my cup": 3}
    loaded = load_split(tmp_path / "data", "train")
    assert loaded.known.all()
    assert loaded.vocabulary.ids == [18, 24, FIRST_OWN_ID]  # COCO's own ids, then ours
    assert loaded.vocabulary.supercategories[:2] == ["animal", "animal"]
    assert loaded.sizes.tolist() == [[24, 16]] * 9
    assert set(loaded.image_ids) & set(load_split(tmp_path / "data", "val").image_ids) == set()
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*")} == before
    for split in ("train", "val"):
        assert check_split(tmp_path / "data", split, progress=False).ok


def test_a_box_is_its_whole_image_and_ids_do_not_repeat(photos, tmp_path):
    labels = table(photos / "l.csv", "path,tags\n" + "".join(f"{number}.png,a;b\n" for number in range(6)))
    import_labels(read_csv(labels, progress=False), tmp_path / "data", progress=False)
    documents = [json.loads(path.read_text()) for path in (tmp_path / "data" / "annotations").iterdir()]
    boxes = [annotation for document in documents for annotation in document["annotations"]]
    assert all(box["bbox"] == [0, 0, 24, 16] and box["area"] == 24 * 16 and box["iscrowd"] == 0 for box in boxes)
    assert sorted(box["id"] for box in boxes) == list(range(1, 13))
    assert sorted(image["id"] for document in documents for image in document["images"]) == list(range(1, 7))
    assert all("imported by cocotag" in document["info"]["description"] for document in documents)


def test_pycocotools_makes_a_mask_of_the_whole_image(photos, tmp_path):
    from pycocotools.coco import COCO

    labels = table(photos / "l.csv", "path,tags\n" + "".join(f"{number}.png,a;b\n" for number in range(6)))
    import_labels(read_csv(labels, progress=False), tmp_path / "data", progress=False)
    coco = COCO(str(tmp_path / "data" / "annotations" / "instances_train.json"))
    (mask, *_) = (coco.annToMask(annotation) for annotation in coco.loadAnns(coco.getAnnIds()))
    assert mask.shape == (16, 24)
    assert mask.all()


def test_the_same_table_gives_the_same_bytes_and_another_seed_another_split(photos, tmp_path):
    labels = table(photos / "l.csv", "path,tags\n" + "".join(f"{number}.png,a\n" for number in range(6)))

    def annotations(name, **options):
        import_labels(read_csv(labels, progress=False), tmp_path / name, val=0.5, progress=False, **options)
        return [path.read_bytes() for path in sorted((tmp_path / name / "annotations").iterdir())]

    first = annotations("a")
    assert annotations("b") == first
    assert any(annotations(f"c{seed}", seed=seed) != first for seed in range(1, 4))


def test_names_in_any_script_and_form(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"  # the second is how macOS writes the first
    picture(tmp_path / f"{apart} 東京.png", 1)
    picture(tmp_path / "b\udcff.png", 2)  # a byte that is not UTF-8
    rows = f"{composed} 東京.png,{apart}\nb\\udcff.png,{composed}\n"
    found = read_csv(table(tmp_path / "l.csv", "path,tags\n" + rows), progress=False)
    assert not found.left_out
    summary = import_labels(found, tmp_path / "data", val=0, progress=False)
    assert summary.classes == {composed: 2}
    assert check_split(tmp_path / "data", "train", progress=False).ok
    summary.to_text().encode()


def test_splits_that_the_table_has_are_kept_to(photos, tmp_path):
    rows = "0.png,a,train\n1.png,b,validation\n2.png,a,\n3.png,a,../x\n4.png,b,annotations\n5.png,b,Train\n"
    found = read_csv(table(photos / "l.csv", "path,tags,split\n" + rows), progress=False)
    assert {reason: len(names) for reason, names in found.left_out.items()} == {"with an invalid split": 3}
    with pytest.raises(ConfigError, match=r"train, val.*--val") as caught:
        import_labels(found, tmp_path / "data", val=0.2, progress=False)
    assert caught.value.code == "val_not_allowed"
    summary = import_labels(found, tmp_path / "data", progress=False)
    assert summary.splits == {"train": 2, "val": 1}
    assert not summary.held_out
    assert load_split(tmp_path / "data", "train").vocabulary == load_split(tmp_path / "data", "val").vocabulary
    only = read_csv(table(photos / "o.csv", "path,tags,split\n0.png,a,test\n"), progress=False)
    with pytest.raises(DataError, match="test") as caught:
        import_labels(only, tmp_path / "other", progress=False)
    assert caught.value.code == "train_split_missing"


def test_what_tag_writes_can_be_imported_as_it_is(photos, tmp_path, toy_bundle, capsys, monkeypatch):
    (photos / "zero.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)  # its paths are as they were given: from here
    assert main(["tag", "photos", "--model", str(toy_bundle), "--out", "tags.csv", "--top-k", "3"]) == 1
    assert main(["import", "tags.csv", "data"]) == 1
    out = capsys.readouterr().out
    assert "with status empty: 1 (photos/zero.png)" in out
    with (tmp_path / "tags.csv").open(newline="") as file:
        expected = {row["path"].removeprefix("photos/"): set(row["tags"].split(";")) - {""} for row in csv.DictReader(file)}
    del expected["zero.png"]
    assert tags_in("data") | tags_in("data", "val") == expected


def test_folders_are_classes_and_the_same_picture_in_two_has_both(folders, tmp_path):
    summary = import_labels(read_folders(folders, progress=False), tmp_path / "data", val=0.25, progress=False)
    assert summary.ok
    assert summary.classes == {"cat": 4, "dog": 5}  # COCO's spelling
    assert any("cat for Cat" in note for note in summary.notes)
    assert any("Duplicate files: 1" in note for note in summary.notes)
    both = tags_in(tmp_path / "data") | tags_in(tmp_path / "data", "val")
    assert both == {
        **{f"dog/{number}.png": {"dog"} for number in range(4)},
        **{f"Cat/kittens/{number}.png": {"cat"} for number in range(1, 4)},
        "Cat/4.png": {"cat", "dog"},
    }
    for name in both:  # dog/1.png and Cat/kittens/1.png are two pictures
        made = next(path for path in (tmp_path / "data" / split / name for split in ("train", "val")) if path.exists())
        assert made.read_bytes() == (folders / name).read_bytes()


def test_folders_of_splits_are_no_classes(tmp_path):
    for split, first in (("train", 0), ("test", 4)):
        for number in range(first, first + 4):
            picture(tmp_path / "photos" / split / ("train" if number % 2 else "bus") / f"{number}.png", number)
    summary = import_labels(read_folders(tmp_path / "photos", progress=False), tmp_path / "data", progress=False)
    assert summary.splits == {"train": 4, "test": 4}
    assert summary.classes == {"bus": 4, "train": 4}
    assert "--data.val_split test" in summary.to_text()
    assert tags_in(tmp_path / "data", "test")["train/5.png"] == {"train"}
    # Among other names train is a vehicle.
    among = read_folders(tmp_path / "photos" / "train", progress=False)
    assert next(image.tags for image in among.images if image.name == "train/1.png") == ("train",)


def test_the_images_are_hard_links_to_what_links_point_to_or_copies(photos, tmp_path):
    (photos / "link.png").symlink_to("0.png")
    labels = table(photos / "l.csv", "path,tags\nlink.png,a\n1.png,b\n")
    assert import_labels(read_csv(labels, progress=False), tmp_path / "a", val=0, progress=False).linked == 2
    assert not (tmp_path / "a" / "train" / "link.png").is_symlink()
    assert (tmp_path / "a" / "train" / "link.png").samefile(photos / "0.png")
    summary = import_labels(read_csv(labels, progress=False), tmp_path / "b", val=0, copy=True, progress=False)
    assert summary.linked == 0
    assert not (tmp_path / "b" / "train" / "1.png").samefile(photos / "1.png")
    assert (tmp_path / "b" / "train" / "1.png").read_bytes() == (photos / "1.png").read_bytes()


def test_where_hard_links_are_impossible_images_are_copied(photos, tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError("another file system")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    labels = table(photos / "l.csv", "path,tags\n0.png,a\n1.png,b\n")
    summary = import_labels(read_csv(labels, progress=False), tmp_path / "data", val=0, progress=False)
    assert summary.linked == 0
    assert "Copies: 2." in summary.to_text()
    assert (tmp_path / "data" / "train" / "0.png").read_bytes() == (photos / "0.png").read_bytes()


def test_names_that_some_file_systems_take_for_one_stay_two(tmp_path):
    for seed, name in enumerate(("A.png", "a.png", "d/a.png", "D/a.png")):
        picture(tmp_path / "p" / name, seed)
    if len(list((tmp_path / "p").iterdir())) < 4:
        pytest.skip("this file system takes A for a")
    labels = table(tmp_path / "p" / "l.csv", "path,tags\nA.png,x\na.png,x\nd/a.png,x\nD/a.png,x\n")
    import_labels(read_csv(labels, progress=False), tmp_path / "data", val=0, progress=False)
    names = load_split(tmp_path / "data", "train").file_names.tolist()
    assert names == ["A.png", "a-2.png", "d/a.png", "D/a-2.png"]
    assert len({(tmp_path / "data" / "train" / name).read_bytes() for name in names}) == 4


def test_a_path_that_is_listed_twice_has_the_tags_of_both(photos, tmp_path):
    found = read_csv(table(photos / "l.csv", "path,tags\n0.png,a\n./0.png,b\n1.png,a\n"), progress=False)
    summary = import_labels(found, tmp_path / "data", val=0, progress=False)
    assert summary.ok
    assert tags_in(tmp_path / "data") == {"0.png": {"a", "b"}, "1.png": {"a"}}


def test_a_copy_of_a_picture_is_never_in_the_other_split(tmp_path):
    for number in range(40):
        picture(tmp_path / "p" / f"{number}.png", number % 20)
    rows = "".join(f"{number}.png,{'a' if number < 20 else 'b'}\n" for number in range(40))
    found = read_csv(table(tmp_path / "p" / "l.csv", "path,tags\n" + rows), progress=False)
    summary = import_labels(found, tmp_path / "data", val=0.5, progress=False)
    assert sum(summary.splits.values()) == 20
    assert summary.classes == {"a": 20, "b": 20}
    pixels = [{path.read_bytes() for path in (tmp_path / "data" / split).iterdir()} for split in ("train", "val")]
    assert not pixels[0] & pixels[1]


def test_spellings_are_joined_and_rare_tags_become_no_class(photos, tmp_path):
    rows = ["0.png,Birthday;DOG", "1.png,Birthday", "2.png,birthday", "3.png,once", "4.png,dog", "5.png,BIRTHDAY"]
    found = read_csv(table(photos / "l.csv", "\n".join(["path,tags", *rows])), progress=False)
    summary = import_labels(found, tmp_path / "data", val=0, min_images=2, progress=False)
    assert summary.classes == {"dog": 2, "Birthday": 4}
    assert tags_in(tmp_path / "data")["3.png"] == set()
    assert any(": 1 (once)" in note for note in summary.notes)
    with pytest.raises(DataError, match=r"9 images.*--min-images") as caught:
        import_labels(found, tmp_path / "none", min_images=9, progress=False)
    assert caught.value.code == "no_classes_left"


def test_nothing_half_written_is_left(photos, tmp_path, monkeypatch):
    found = read_csv(table(photos / "l.csv", "path,tags\n0.png,a\n1.png,b\n2.png,b\n"), progress=False)
    out = tmp_path / "data"

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.hardlink_to", full)
        patch.setattr("shutil.copyfile", full)
        with pytest.raises(OutputError, match="No space left on device") as caught:
            import_labels(found, out, val=0, progress=False)
        assert caught.value.code == "disk_full"
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_ctrl_c_leaves_nothing_behind(photos, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    found = read_csv(table(photos / "l.csv", "path,tags\n0.png,a\n1.png,b\n"), progress=False)
    monkeypatch.setattr("pathlib.Path.hardlink_to", stop)
    with pytest.raises(KeyboardInterrupt):
        import_labels(found, tmp_path / "data", val=0, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_what_is_there_is_not_written_over(photos, tmp_path):
    found = read_csv(table(photos / "l.csv", "path,tags\n0.png,a\n1.png,b\n"), progress=False)
    out = tmp_path / "data"
    out.mkdir()
    with pytest.raises(OutputError, match="data") as caught:
        import_labels(found, out, val=0, progress=False)
    assert caught.value.code == "output_exists"


def test_a_data_set_inside_its_source_is_refused(photos):
    with pytest.raises(OutputError, match="data") as caught:
        refuse_place(photos / "data", photos)
    assert caught.value.code == "output_inside_source"
    refuse_place(photos.parent / "data", photos)


def test_too_few_images_for_two_splits(photos, tmp_path):
    found = read_csv(table(photos / "l.csv", "path,tags\n0.png,a\n1.png,b\n"), progress=False)
    with pytest.raises(DataError, match=r"2 images .*0\.01") as caught:
        import_labels(found, tmp_path / "data", val=0.01, progress=False)
    assert caught.value.code == "too_few_images"
    with pytest.raises(ConfigError, match="--val is 1") as caught:
        import_labels(found, tmp_path / "data", val=1, progress=False)
    assert caught.value.code == "out_of_range"
    with pytest.raises(ConfigError, match="--seed is -1") as caught:
        import_labels(found, tmp_path / "data", seed=-1, progress=False)
    assert caught.value.code == "out_of_range"
    summary = import_labels(found, tmp_path / "data", val=0, progress=False)
    assert "--data.val_split null" in summary.to_text()


def test_a_folder_of_photographs_becomes_a_data_set(exiftool, photographs, tmp_path, capsys):
    exiftool(photographs[0], "-XMP-dc:Subject=dog", "-XMP-dc:Subject=beach")
    exiftool(photographs[1], "-IPTC:Keywords=Beach")
    exiftool(photographs[2].with_suffix(".xmp"), "-XMP-dc:Subject=dog")  # exiftool makes the sidecar
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in photographs[0].parent.iterdir()}
    status = main(["import", str(tmp_path / "photos"), str(tmp_path / "data"), "--from", "keywords", "--val", "0.34"])
    out = capsys.readouterr().out
    assert status == 0, out
    assert ": 1 (3.jpg)" in out
    assert "--keep-untagged" in out
    assert out.endswith(f"Next: cocotag check {tmp_path / 'data'} --split train\n{tmp_path / 'data'}\n")
    both = tags_in(tmp_path / "data") | tags_in(tmp_path / "data", "val")
    assert {name: {tag.lower() for tag in tags} for name, tags in both.items()} == {
        "0.jpg": {"dog", "beach"},
        "1.jpg": {"beach"},
        "2.jpg": {"dog"},
    }
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in photographs[0].parent.iterdir()} == before


def test_the_command_asks_for_what_it_cannot_know(folders, tmp_path, capsys):
    def refused(*words):
        with pytest.raises(SystemExit) as stop:
            main(["import", *map(str, words)])
        assert stop.value.code == 2
        return capsys.readouterr().err

    out = tmp_path / "data"
    assert "add --from folders" in refused(folders, out)
    assert "--keep-untagged needs --from keywords" in refused(folders, out, "--from", "folders", "--keep-untagged")
    assert "--images needs --from csv" in refused(folders, out, "--from", "keywords", "--images", "x")
    assert main(["import", str(folders), str(folders / "data"), "--from", "folders"]) == 2
    error = capsys.readouterr().err
    assert str(folders / "data") in error
    assert error.count("\n") == 1
    assert main(["import", str(tmp_path / "none.csv"), str(out)]) == 2
    assert not out.exists()


def test_help_has_an_example_of_each(capsys):
    with pytest.raises(SystemExit):
        main(["import", "--help"])
    out = capsys.readouterr().out
    for example in ("labels.csv data", "photos data --from folders", "photos data --from keywords"):
        assert f"cocotag import {example}" in out


def test_coco_names_keep_their_ids_whatever_else_there_is(tmp_path):
    for place, name in enumerate([*COCO80.names, "aardvark", "Zoo"]):
        picture(tmp_path / "p" / name / "a.png", place)
    import_labels(read_folders(tmp_path / "p", progress=False), tmp_path / "data", val=0, progress=False)
    vocabulary = load_split(tmp_path / "data", "train").vocabulary
    assert vocabulary.categories[:80] == COCO80.categories
    assert [(category.id, category.name) for category in vocabulary][80:] == [(1001, "aardvark"), (1002, "Zoo")]


def test_what_the_loader_would_refuse_is_written_otherwise(tmp_path):
    photos = tmp_path / "photos"
    for number, name in enumerate(["a:b.png", "plain.png", "C:/c.png", "C:/d.png"]):
        picture(photos / name, number)
    rows = ["path,tags", "a:b.png,dog\0", "plain.png,dog", "C:/c.png,dog", "C:/d.png,cat"]
    labels = table(photos / "labels.csv", "\n".join(rows))
    assert import_labels(read_csv(labels, progress=False), tmp_path / "data", val=0.25, progress=False).ok
    both = tags_in(tmp_path / "data") | tags_in(tmp_path / "data", "val")
    assert set.union(*both.values()) == {"dog", "cat"}
    assert {name.rpartition("/")[2] for name in both} == {"a_b.png", "plain.png", "c.png", "d.png"}
    assert "error" not in {finding.severity for finding in check_split(tmp_path / "data", "train", progress=False).findings}


def test_a_split_is_no_name_that_some_file_systems_take_for_annotations(photos, tmp_path):
    rows = [f"{number}.png,dog,{'train' if number else 'Annotations'}" for number in range(6)]
    labels = table(photos / "labels.csv", "\n".join(["path,tags,split", *rows]))
    summary = import_labels(read_csv(labels, progress=False), tmp_path / "data", progress=False)
    assert (summary.splits, summary.ok) == ({"train": 5}, False)  # the one row is left out and named
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"annotations", "train"}
