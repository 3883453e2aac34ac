"""Which class is which: the rules of matching.py, and the alias files that come with cocotag."""

import pytest
import yaml

from cocotag.config import find_config
from cocotag.data.matching import Aliases, load_aliases, match_classes
from cocotag.errors import ConfigError, DataError
from cocotag.labels import COCO80, Category, Vocabulary, fold


def vocabulary(*names, first=1):
    return Vocabulary(tuple(Category(first + number, name, f"group of {name}") for number, name in enumerate(names)))


def matched(classes, *sources):
    """Names that are learned, and for each source what its classes are, None where nothing."""
    pairs = [source if isinstance(source, tuple) else (source, Aliases()) for source in sources]
    learned, columns = match_classes(pairs, classes)
    return learned, [[learned.names[index] if index >= 0 else None for index in column.tolist()] for column in columns]


@pytest.mark.parametrize("name", ["potted plant", "Potted Plant", "potted_plant", "potted-plant", " pottedplant"])
def test_names_that_people_write_differently_are_one(name):
    assert matched(["potted plant"], vocabulary(name))[1] == [["potted plant"]]


def test_forms_of_unicode_are_one():
    assert fold("cafe\u0301") == fold("CAF\u00c9")


def test_the_exact_name_comes_before_the_alias_and_the_alias_before_the_similar_name():
    aliases = Aliases({"cat": "dog", "Orange": "dog"})
    assert matched("own", vocabulary("cat", "dog", "orange"), (vocabulary("cat", "Orange"), aliases))[1][1] == ["cat", "dog"]


def test_an_alias_to_nothing_or_to_a_class_that_is_not_learned_keeps_similar_names_apart():
    aliases = Aliases({"Mouse": None, "Cat": "lynx"})
    theirs = vocabulary("Mouse", "Cat", "Dog"), aliases
    assert matched("own", vocabulary("mouse", "cat", "dog"), theirs)[1][1] == [None, None, "dog"]


def test_alias_files_are_read_for_names_written_differently_too():
    assert matched(["frisbee"], (vocabulary("flying_disc"), Aliases({"Flying disc": "frisbee"})))[1] == [["frisbee"]]


def test_a_similar_name_of_two_classes_is_neither():
    assert matched("own", vocabulary("TV", "tv"), vocabulary("Tv", "tv"))[1][1] == [None, "tv"]


def test_several_classes_may_be_one():
    aliases = Aliases({"Man": "person", "Woman": "person"})
    assert matched("coco80", (vocabulary("Man", "Woman", "Person"), aliases))[1] == [["person"] * 3]


def test_own_has_the_first_ones_classes_as_they_are():
    first = vocabulary("a", "b", first=7)
    learned, columns = matched("own", first, vocabulary("b", "c"))
    assert learned == first
    assert columns == [["a", "b"], ["b", None]]


def test_own_is_named_by_the_aliases_so_that_others_find_it():
    voc = vocabulary("aeroplane", "dog"), Aliases({"aeroplane": "airplane"})
    learned, columns = matched("own", voc, vocabulary("dog", "airplane"))
    assert learned.names == ["airplane", "dog"]
    assert columns[1] == ["dog", "airplane"]


def test_a_union_keeps_ids_where_they_are_free():
    learned, columns = matched("union", vocabulary("a", "b", first=5), vocabulary("c", "b", "d", first=4), vocabulary("e"))
    assert learned.names == ["a", "b", "c", "d", "e"]
    assert learned.ids == [5, 6, 4, 7, 1]  # d had 6, which is b's
    assert learned.supercategories[2] == "group of c"
    assert columns == [["a", "b"], ["c", "b", "d"], ["e"]]


def test_a_union_does_not_melt_classes_of_one_data_set():
    assert matched("union", vocabulary("Turkey", "turkey"))[0].names == ["Turkey", "turkey"]


def test_a_class_that_joins_a_union_late_takes_nothing_from_an_earlier_one():
    """aeroplane of the second source is another class than the first one's, which is called airplane here."""
    voc = vocabulary("aeroplane"), Aliases({"aeroplane": "airplane"})
    learned, columns = matched("union", voc, vocabulary("aeroplane"), vocabulary("airplane"))
    assert learned.names == ["airplane", "aeroplane"]
    assert columns == [["airplane"], ["aeroplane"], ["airplane"]]


def test_a_list_has_cocos_ids_for_cocos_names():
    theirs = Vocabulary((Category(18, "badger", "animal"), Category("x", "dog"), Category(3, "car")))
    learned, columns = matched(["badger", "dog"], theirs)
    assert learned.names == ["badger", "dog"]
    assert learned.ids == [19, 18]  # dog is COCO's 18, so the badger got a new one
    assert learned.supercategories == ["animal", "animal"]
    assert columns == [["badger", "dog", None]]


def test_a_name_that_no_source_has_is_refused_with_the_nearest():
    with pytest.raises(DataError, match=r"'dgo'.*\(there is dog") as caught:
        match_classes([(vocabulary("cat", "dog"), Aliases())], ["cat", "dgo"])
    assert caught.value.code == "unknown_class"


VOC = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]  # fmt: skip


def test_all_of_voc_is_in_coco():
    _, [column] = matched("coco80", (vocabulary(*VOC), load_aliases("voc")))
    assert None not in column
    assert len(set(column)) == 20


def test_open_images_leads_to_coco_and_its_mouse_does_not():
    aliases = load_aliases("open_images")
    assert {name for name in aliases.names.values() if name} <= set(COCO80.names)
    names = ["Man", "Mouse", "Computer mouse", "Doughnut", "Donut", "Traffic light", "Kitchen & dining room table", "Accordion"]
    _, [column] = matched("coco80", (vocabulary(*names), aliases))
    assert column == ["person", None, "mouse", "donut", "donut", "traffic light", "dining table", None]
    assert aliases.known == []  # what has no box may be there all the same


def test_every_alias_file_that_comes_with_cocotag_can_be_read():
    folder = find_config("aliases", "voc", "aliases").parent
    assert {path.stem for path in folder.glob("*.yaml")} >= {"voc", "open_images"}
    for path in folder.glob("*.yaml"):
        assert load_aliases(path.stem) == load_aliases(str(path))


@pytest.mark.parametrize(
    ("text", "code", "value"),
    [
        ("names: [", "not_yaml", "mine.yaml"),
        ("a: b", "alias_file_invalid", "'names'"),
        ("names: {a: b}\nknow: []", "alias_file_invalid", "'names'"),
        ("- a", "alias_file_invalid", "'names'"),
        ("names: {no: b}", "alias_file_invalid", "False: 'b'"),
        ("names: {a: 3}", "alias_file_invalid", "'a': 3"),
        ("names: {a: b}\nknown: a", "alias_file_invalid", "'a'"),
        ("names: {a: b}\nknown: [3]", "alias_file_invalid", "[3]"),
        (b"\xff\xfe\x00", "not_utf8", "byte 0"),
    ],
)
def test_an_invalid_alias_file_is_refused_in_one_line(tmp_path, text, code, value):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_aliases(str(path), "data.sources[1].aliases")
    assert caught.value.code == code
    assert value in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("data.sources[1].aliases: ")


def test_an_own_alias_file_needs_no_more_than_names(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"names": {"Katze": "cat", "Maus": None}}))
    assert load_aliases(str(tmp_path / "mine.yaml")) == Aliases({"Katze": "cat", "Maus": None}, None)
    with pytest.raises(ConfigError, match="open_images, voc") as caught:
        load_aliases("nothing")
    assert caught.value.code == "config_missing"
