"""--rename names.yaml: translate, merge, omit and group classes; errors name the line."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocotag.errors import ConfigError
from cocotag.inference.tags import Tag, decide, make_tags, round_scores
from cocotag.labels import COCO80, Category, Vocabulary
from cocotag.tagging.decisions.rename import levels, load_rename

OWN = {category.name: category for category in COCO80}


@pytest.fixture
def load(tmp_path):
    def load(text, *vocabularies):
        path = tmp_path / "names.yaml"
        path.write_text(text, encoding="utf-8")
        return load_rename(path, vocabularies or [COCO80])

    return load


def tags(*found):
    """Tags by COCO's names, highest score first."""
    return [Tag(name, 1 - 0.125 * index, OWN[name].id, OWN[name].supercategory) for index, name in enumerate(found)]


def names(found):
    return [tag.name for tag in found]


def test_translate_merge_and_leave_out(load):
    rename = load("dog: Hund\nwine glass: Tasse\ncup: Tasse\nperson: null\n")
    found = rename.apply(tags("person", "cup", "dog", "wine glass", "car"))
    assert [(tag.name, tag.score, tag.category_id, tag.supercategory) for tag in found] == [
        ("Tasse", 0.875, 47, "kitchen"),  # the highest score, and its id
        ("Hund", 0.75, 18, "animal"),
        ("car", 0.5, 3, "vehicle"),
    ]


def test_a_new_name_may_be_a_class_and_entries_are_not_chained(load):
    assert names(load("bus: car").apply(tags("truck", "bus", "car"))) == ["truck", "car"]
    assert names(load("cat: dog\ndog: cat").apply(tags("cat", "dog", "cow"))) == ["dog", "cat", "cow"]
    assert names(load("cat: dog\ndog: null").apply(tags("cat", "dog"))) == ["dog"]


def test_hierarchies(load):
    rename = load(
        "dog: Natur|Tiere|Hund\ncat: Natur | Tiere | Katze\nperson: '|Mensch'\nanimal: Tiere\nvehicle: Dinge|Fahrzeuge\n"
    )
    found = rename.apply(tags("dog", "cat", "horse", "person", "car", "cup"))
    assert [levels(tag) for tag in found] == [
        ("Natur", "Tiere", "Hund"),
        ("Natur", "Tiere", "Katze"),
        ("Tiere", "horse"),
        ("Mensch",),
        ("Dinge", "Fahrzeuge", "car"),
        ("kitchen", "cup"),
    ]
    assert [levels(tag) for tag in tags("dog", "person")] == [("animal", "dog"), ("person",)]
    assert levels(Tag("sky", 0.5, 1, "")) == ("sky",)
    assert levels(Tag("Person", 0.5, 1, "person")) == ("Person",)


def test_a_group_may_be_omitted_except_for_classes_with_an_entry(load):
    rename = load("animal: null\ndog: dog\n")
    assert names(rename.apply(tags("cat", "dog", "car", "cow"))) == ["dog", "car"]
    assert rename.apply(tags("dog"))[0].supercategory == "animal"


def test_a_name_of_a_class_and_a_group_renames_both_and_omits_only_the_class(load):
    things = Vocabulary((Category(1, "vehicle", "vehicle"), Category(2, "car", "vehicle")))
    assert [levels(one) for one in load("vehicle: Fahrzeug", things).of(things).vocabulary] == [
        ("Fahrzeug",),
        ("Fahrzeug", "car"),
    ]
    assert [levels(one) for one in load("vehicle: null", things).of(things).vocabulary] == [("vehicle", "car")]
    person = tags("person")
    assert [levels(tag) for tag in load("person: Mensch").apply(person)] == [("Mensch",)]


def test_merged_classes_have_one_group_whichever_is_found(load):
    rename = load("cup: thing\ndog: thing\n")
    assert {rename.apply(tags(name))[0].supercategory for name in ("dog", "cup")} == {"animal"}, "of the first class"
    rename = load("dog: thing\ncup: Welt|thing\n")
    assert {rename.apply(tags(name))[0].supercategory for name in ("dog", "cup")} == {"Welt"}, "what the file says"
    with pytest.raises(ConfigError, match=r"'thing' under 'Erde' and under 'Welt'") as caught:
        load("cup: Welt|thing\ndog: Erde|thing\n")
    assert caught.value.code == "conflicting_groups"


def test_several_bundles_share_a_file_and_each_name_must_be_of_one_of_them(load):
    sky = Vocabulary((Category(1, "sky", "outdoor stuff"), Category(2, "dog", "beast")))
    rename = load("dog: Hund\nsky: Himmel\n", COCO80, sky)
    assert names(rename.of(sky).vocabulary) == ["Himmel", "Hund"]
    assert "Hund" in names(rename.of(COCO80).vocabulary)
    nothing = load("dog: null\nsky: null\n", COCO80, sky).of(sky)
    assert len(nothing.vocabulary) == 0 and nothing.merge(np.ones((3, 2), np.float16)).shape == (3, 0)
    assert rename.apply([Tag("sky", 0.5, 1, "outdoor stuff")])[0].name == "Himmel"


@given(st.data())
def test_renaming_tags_is_deciding_on_the_merged_scores(tmp_path_factory, data):
    """Two ways to one result: the renamed tags, and the scores of the new classes for which an old one met its threshold."""
    words = st.sampled_from(["x", "y", "Tiere|z", *list(OWN)[:6]])
    entries = data.draw(st.dictionaries(st.sampled_from(list(OWN)[:12]), st.none() | words))
    path = tmp_path_factory.mktemp("rename") / "names.yaml"
    path.write_text(json.dumps(entries or {"dog": "dog"}))
    rename = load_rename(path, [COCO80])
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    probs, thresholds = rng.random(80).astype(np.float32), rng.random(80).astype(np.float32)
    found = rename.apply(make_tags(COCO80, probs, decide(probs, thresholds)))
    renamed = rename.of(COCO80)
    merged = renamed.merge(np.where(round_scores(probs) >= thresholds, round_scores(probs), 0))
    expected = dict(zip(names(renamed.vocabulary), merged.tolist(), strict=True))
    assert {tag.name: tag.score for tag in found} == {name: score for name, score in expected.items() if score}
    assert [tag.score for tag in found] == sorted((tag.score for tag in found), reverse=True)
    groups = {category.name: category.supercategory for category in renamed.vocabulary}
    assert all(groups[tag.name] == tag.supercategory for tag in found)
    np.testing.assert_array_equal(renamed.merge(np.stack([probs, probs]))[1], renamed.merge(probs))


def test_names_are_taken_literally(load):
    things = Vocabulary(tuple(Category(number, name) for number, name in enumerate(["no", "2024", "2:30", "null", "1e3"])))
    rename = load("no: Nein\n2024: year\n2:30: 0100\nnull: 2024-01-01\n1e3: 1_000\n", things)
    assert names(rename.of(things).vocabulary) == ["Nein", "year", "0100", "2024-01-01", "1_000"]


@pytest.mark.parametrize("word", ["no", "on", "yes", "off", "true", "No", "FALSE"])
def test_a_name_that_yaml_reads_as_a_boolean_is_an_error(load, word):
    with pytest.raises(ConfigError) as caught:
        load(f"cat: Katze\ndog: {word}\n")
    assert caught.value.code == "name_is_boolean"
    message = str(caught.value)
    assert "line 2" in message and f'dog: "{word}"' in message and "dog: null" in message and "\n" not in message
    assert names(load(f'dog: "{word}"').apply(tags("dog"))) == [word]


@pytest.mark.parametrize(
    ("text", "code", "value"),
    [
        ("dgo: Hund", "unknown_class", "'dgo' (did you mean 'dog'"),
        ("Wine-Glas: Glas", "unknown_class", "'wine glass'"),
        ("xyzzy: Hund", "unknown_class", "'xyzzy'"),
        ("\n".join(f"class {number}: x" for number in range(8)), "unknown_class", "and 3 more"),
        ("dog: Hund\ncat: Katze\ndog: Köter", "name_duplicate", "line 3: 'dog'"),
        ("dog:\n", "name_missing", "line 1: 'dog'"),
        ("dog: [Hund, Tier]", "name_invalid", "line 1: the new name of 'dog'"),
        ("Tiere:\n  dog: Hund", "name_invalid", "'Tiere'"),
        ("? [dog]\n: Hund", "name_invalid", "line 1"),
        ("dog: ''", "name_invalid", "''"),
        ("dog: 'Tiere|'", "name_invalid", "'Tiere|'"),
        ("dog: 'Tiere||Hund'", "name_invalid", "'Tiere||Hund'"),
        ('dog: "a\\nb"', "name_invalid", r"'a\nb'"),
        ("dog: |Hund", "not_yaml", "begins with |"),
        ("dog: Hund\n\tcat: Katze", "not_yaml", "names.yaml"),
        ("- dog", "not_a_mapping", "names.yaml"),
        ("", "not_a_mapping", "names.yaml"),
        ("dog", "not_a_mapping", "names.yaml"),
        ("\n".join(f"{group}: null" for group in dict.fromkeys(COCO80.supercategories)), "no_classes_left", "names.yaml"),
        ("<<: dog", "unknown_class", "'<<'"),
    ],
)
def test_errors_are_one_line_with_the_fault_and_its_value(load, text, code, value):
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert caught.value.code == code
    assert value in str(caught.value)
    assert "\n" not in str(caught.value) and "--rename" in str(caught.value)


def test_a_file_that_is_missing_or_not_text(tmp_path):
    (tmp_path / "bytes.yaml").write_bytes(b"dog: K\xf6ter\n")
    for name, code in (("none.yaml", "not_readable"), ("bytes.yaml", "not_utf8")):
        with pytest.raises(ConfigError, match=name) as caught:
            load_rename(tmp_path / name, [COCO80])
        assert caught.value.code == code


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path):
    path = Path(tmp_path / "names.yaml")
    path.write_text("dog: Hund\r\ncat: Katze\r\n", encoding="utf-8-sig", newline="")
    assert names(load_rename(path, [COCO80]).apply(tags("dog", "cat"))) == ["Hund", "Katze"]
