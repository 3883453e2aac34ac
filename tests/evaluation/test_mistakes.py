import numpy as np
import pytest
from PIL import Image

from cocotag.evaluation import mistakes as room
from cocotag.evaluation.mistakes import FALSE_POSITIVE, LEVELS, MISS, OVERALL, confident_mistakes, load_examples, shown_name


def mistakes_of(probs, targets, threshold=0.5, known=None, **more):
    probs, targets = np.asarray(probs, np.float32), np.asarray(targets, bool)
    known = np.ones(targets.shape, bool) if known is None else known
    return confident_mistakes(probs, probs >= threshold, targets, known, np.full(probs.shape[1], threshold), **more)


def test_the_surest_are_the_highest_false_positives_and_the_lowest_misses():
    probs = [[0.9], [0.6], [0.7], [0.1], [0.4], [0.3], [0.99]]
    targets = [[0], [0], [0], [1], [1], [1], [1]]
    found = mistakes_of(probs, targets, per_class=2)
    assert found[["kind", "row", "rank"]].values.tolist() == [
        [FALSE_POSITIVE, 0, 0],
        [FALSE_POSITIVE, 2, 1],
        [MISS, 3, 0],
        [MISS, 5, 1],
    ]
    assert found["score"].tolist() == pytest.approx([0.9, 0.7, 0.1, 0.3])
    assert (found["threshold"] == 0.5).all()


def test_unknown_cells_are_not_mistakes():
    known = np.array([[False], [True]])
    assert mistakes_of([[0.9], [0.2]], [[0], [0]], known=known).empty


def test_with_many_classes_only_the_surest_overall_are_taken():
    rng = np.random.default_rng(0)
    probs = rng.random((30, 300))
    found = mistakes_of(probs, probs < 0.5)
    assert found["kind"].value_counts().to_dict() == {FALSE_POSITIVE: OVERALL, MISS: OVERALL}
    best = np.sort(np.sort(probs, axis=0)[-3:].ravel())[-OVERALL:]  # of the three highest of each class
    np.testing.assert_allclose(np.sort(found.loc[found["kind"] == FALSE_POSITIVE, "score"]), best, rtol=1e-6)
    assert found.groupby(["kind", "index"]).size().max() <= 3


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(0)
    for name in "abcdef":
        Image.fromarray(rng.integers(0, 256, (150, 200, 3), dtype=np.uint8)).save(tmp_path / f"{name}.jpg")
    return tmp_path


NAMES = [f"{name}.jpg" for name in "abcdef"]


def six(classes=4):
    probs = np.tile(np.linspace(0.5, 0.9, 6)[:, None], (1, classes))
    return mistakes_of(probs, np.zeros(probs.shape))


def test_examples_have_pictures_names_scores_and_thresholds(photographs):
    shown = load_examples(six(), NAMES, photographs, budget=10**7)
    assert len(shown) == 12
    assert all(example.picture.startswith("data:image/jpeg;base64,") for example in shown)
    assert {example.file_name for example in shown} == {"f.jpg", "e.jpg", "d.jpg"}
    assert [example.score for example in shown if example.index == 0] == pytest.approx([0.9, 0.82, 0.74])


@pytest.mark.parametrize("budget", [0, 1000, 20_000, 60_000, 100_000, 10**7])
def test_examples_stay_within_the_budget_and_keep_the_surest(photographs, budget):
    mistakes = six()
    shown = load_examples(mistakes, NAMES, photographs, budget=budget)
    assert sum(example.weight for example in shown) <= budget
    left_out = mistakes[~mistakes["score"].round(4).isin([round(example.score, 4) for example in shown])]
    assert not shown or left_out.empty or min(example.surety for example in shown) >= left_out["score"].max() - 1e-6


def test_the_number_of_examples_is_reduced_before_their_size(photographs):
    whole = sum(example.weight for example in load_examples(six(), NAMES, photographs, budget=10**7))
    fewer = load_examples(six(), NAMES, photographs, budget=whole - 1)
    full = {example.file_name: example.picture for example in load_examples(six(), NAMES, photographs, budget=10**7)}
    assert len(fewer) == 8
    assert all(example.picture == full[example.file_name] for example in fewer)
    assert LEVELS[0][1:] == LEVELS[1][1:]


def test_unreadable_images_have_no_picture_and_are_not_an_error(photographs):
    (photographs / "f.jpg").write_bytes(b"cut")
    (photographs / "e.jpg").unlink()
    (photographs / "d.jpg").unlink()
    (photographs / "d.jpg").mkdir()
    shown = load_examples(six(), NAMES, photographs, budget=10**7)
    assert len(shown) == 12
    assert not any(example.picture for example in shown)
    assert len(load_examples(six(), NAMES, None, budget=10**7)) == 12


def test_every_picture_is_decoded_once(photographs, monkeypatch):
    seen = []
    original = room.decode
    monkeypatch.setattr(room, "decode", lambda path, **more: seen.append(path) or original(path, **more))
    load_examples(six(), NAMES, photographs, budget=30_000)
    assert len(seen) == len(set(seen)) == 3


def test_without_mistakes_there_are_no_examples(tmp_path):
    none = mistakes_of([[0.9]], [[1]])
    assert none.empty
    assert load_examples(none, ["a.jpg"], tmp_path, budget=10**6) == []


def test_a_long_name_is_shown_by_its_end():
    assert shown_name("a" * 500 + "/last.jpg").endswith("a/last.jpg")
    assert len(shown_name("a" * 500)) == 80
    assert shown_name("a\nb\x1b.jpg") == "a b .jpg"
