"""The gallery in a real browser, opened as a file: 5,000 images, nasty names, several models, a part of 20,000.

What is shown is compared with what Python finds among the rows.
"""

import os
import time
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from in_chromium import CONTRAST, NARROW, WIDE, chromium, looking
from made_gallery import draw_photographs, made_context, made_rows, made_scores
from PIL import Image

from cocotag.labels import COCO80, Category, Vocabulary
from cocotag.tagging.decisions.rows import Row
from cocotag.tagging.gallery import write_gallery

MANY = 5000
ERRORS = 3


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """5,000 images and three errors: the gallery's page and its rows."""
    folder = tmp_path_factory.mktemp("many")
    paths = draw_photographs(folder / "photos", MANY, scale=0.5)
    context = made_context()
    scores = made_scores(MANY)
    scores[3, :6] = 0.9  # more tags than a card has room for
    rows = made_rows(paths, scores, context)
    errors = [
        Row(folder / f"bad {number}.jpg", status=("empty", "truncated")[number % 2], error="No.") for number in range(ERRORS)
    ]
    write_gallery(lambda: iter([*rows[:10], *errors, *rows[10:]]), folder / "gallery", context)
    return folder / "gallery" / "index.html", rows, context


@pytest.fixture
def look(browser):
    return lambda path, size=WIDE, **options: looking(browser, path, size, **options)


def until(page, expression, seconds=30):
    """Wait for something on the page. (Playwright's own waiting evaluates text, which the page forbids.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never: {expression}"
        page.wait_for_timeout(30)


def when_loaded(page):
    until(page, "images.count === about.images && document.querySelector('.card') !== null")


def names(page):
    """Names of all selected images in order, on the screen or not."""
    return page.evaluate("Array.from(shown, nameOf)")


def on_screen(page):
    return page.locator(".card .open").evaluate_all(
        "all => all.filter((one) => one.getBoundingClientRect().bottom > 0 && one.getBoundingClientRect().top < innerHeight)"
        ".sort((a, b) => a.parentNode.number - b.parentNode.number).map((one) => one.getAttribute('aria-label'))"
    )


def act(page, selector, value, event):
    """Set a control and read the page in the same browser task."""
    return page.evaluate(
        "([selector, value, event]) => { const box = document.querySelector(selector); box.value = value;"
        "box.dispatchEvent(new Event(event, { bubbles: true }));"
        "return [document.getElementById('count').textContent, shown.length,"
        " document.querySelector('.card')?.textContent ?? '']; }",
        [selector, value, event],
    )


def choose(page, *tags):
    for tag in tags:
        page.locator(f"#tag-list label:has(.name:text-is('{tag}')) input").check()


def scores_of(rows):
    return np.array([row.probs for row in rows])


def has(rows, tag, threshold=None):
    if threshold is None:
        return np.array([any(one.name == tag for one in row.tags) for row in rows])
    return scores_of(rows)[:, COCO80.index_by_name()[tag]] >= np.float32(np.float16(threshold))


# Seen


def test_only_cards_near_the_screen_are_in_the_document(look, many):
    page_file, rows, _ = many
    with look(page_file) as page:
        when_loaded(page)
        assert on_screen(page)[:12] == [row.path.name for row in rows[:12]]
        assert 12 <= page.locator(".card").count() <= 120
        until(page, "Array.from(document.images).filter((one) => one.src).every((one) => one.complete)")
        assert page.evaluate("Array.from(document.querySelectorAll('.card img')).every((one) => one.naturalWidth > 0)")
        assert page.locator("#count").inner_text() == "5,000 images"
        assert "thumbnail" not in page.locator("#grid").inner_text()


def test_a_card_shows_the_tags_and_their_scores(look, many):
    page_file, rows, _ = many
    with look(page_file) as page:
        when_loaded(page)
        for index, row in enumerate(rows[:12]):
            card = page.locator(".card").nth(index)
            fit = row.tags if len(row.tags) <= 4 else row.tags[:3]
            assert card.locator(".tag .name").all_inner_texts() == [tag.name for tag in fit]
            shown = [float(text) for text in card.locator(".tag .score").all_inner_texts()]
            assert shown == pytest.approx([tag.score for tag in fit], abs=0.0051)
            more = "no tag" if not row.tags else f"and {len(row.tags) - 3} more" if len(row.tags) > 4 else ""
            assert "".join(card.locator(".more").all_inner_texts()) == more


PLACED = """() => {
  const boxes = Array.from(document.querySelectorAll(".card"), (card) => card.getBoundingClientRect()), faults = [];
  const within = grid.getBoundingClientRect();
  for (const [at, a] of boxes.entries()) {
    if (a.left < within.left - 1 || a.right > within.right + 1 || a.bottom > within.bottom + 1) faults.push(`outside ${at}`);
    for (const b of boxes.slice(at + 1))
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
        faults.push(`${at} is over another`);
  }
  return faults;
}"""


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1440", "390"])
def test_cards_never_overlap_at_any_scroll_position(look, many, size):
    page_file, rows, _ = many
    with look(page_file, size) as page:
        when_loaded(page)
        for part in (0.3, 0.71, 1):
            page.evaluate("part => scrollTo(0, part * document.scrollingElement.scrollHeight)", part)
            page.wait_for_timeout(150)
            assert page.evaluate(PLACED) == []
            assert len(on_screen(page)) >= 4
            assert page.locator(".card").count() <= 120
        assert on_screen(page)[-1] == rows[-1].path.name
        assert page.locator(".card").last.get_attribute("aria-posinset") == str(MANY)
        order = page.locator(".card").evaluate_all("all => all.map((one) => one.number)")
        assert order == sorted(order)


# Asked for


def test_a_threshold_is_rounded_to_float16_as_in_python(look, many):
    values = np.r_[np.arange(0, 1.01, 0.01), np.random.default_rng(0).random(2000), np.float16(0.3) + 2.0**-13, 1e-7, 6e-6]
    with look(many[0]) as page:
        bits = page.evaluate("values => values.map(bitsOf)", values.tolist())
        assert bits == values.astype(np.float16).view(np.uint16).tolist()
        shown = page.evaluate("bits => bits.map((one) => valueOf[one])", bits)
        assert shown == values.astype(np.float16).astype(float).tolist()


@pytest.mark.parametrize("threshold", [0.02, 0.29, 0.87])
def test_the_threshold_acts_before_the_next_frame(look, many, threshold):
    page_file, rows, _ = many
    with look(page_file) as page:
        when_loaded(page)
        choose(page, "dog")
        assert page.evaluate("shown.length") == has(rows, "dog").sum()
        text, count, card = act(page, "#level", str(threshold), "input")
        expected = [row.path.name for row, there in zip(rows, has(rows, "dog", threshold), strict=True) if there]
        assert count == len(expected)
        assert text == f"{len(expected):,} of 5,000 images"
        assert names(page) == expected
        if expected:
            assert expected[0] in page.locator(".card .open").first.get_attribute("aria-label")
            assert "dog" in card
        assert page.locator("#level-text").inner_text() == f"{threshold:.2f} for every tag"
        page.locator("#decided").click()
        assert page.evaluate("shown.length") == has(rows, "dog").sum()


def test_every_tag_has_its_count_as_decided_and_at_a_threshold(look, many):
    page_file, rows, _ = many
    counted = "() => Object.fromEntries([...items].map(([tag, line]) => [tagName(tag), line.many.textContent]))"
    with look(page_file) as page:
        when_loaded(page)
        expected = {name: f"{has(rows, name).sum():,}" for name in COCO80.names}
        assert page.evaluate(counted) == {**expected, "(no tag)": f"{sum(not row.tags for row in rows):,}"}
        act(page, "#level", "0.6", "input")
        met = scores_of(rows) >= np.float32(np.float16(0.6))
        expected = {name: f"{count:,}" for name, count in zip(COCO80.names, met.sum(0), strict=True)}
        assert page.evaluate(counted) == {**expected, "(no tag)": f"{(~met.any(1)).sum():,}"}


def test_filter_by_several_tags(look, many):
    page_file, rows, _ = many
    dog, cat = has(rows, "dog", 0.05), has(rows, "cat", 0.05)
    with look(page_file) as page:
        when_loaded(page)
        act(page, "#level", "0.05", "input")
        choose(page, "dog", "cat")
        for choice, expected in (("any", dog | cat), ("all", dog & cat), ("none", ~(dog | cat))):
            page.locator(f"input[name=match][value={choice}]").check()
            assert names(page) == [row.path.name for row, there in zip(rows, expected, strict=True) if there], choice
        assert (dog & cat).any()
        page.locator("#clear").click()
        assert page.evaluate("shown.length") == MANY
        choose(page, "(no tag)")
        expected = scores_of(rows).max(1) < np.float32(np.float16(0.05))
        page.locator("input[name=match][value=any]").check()
        assert page.evaluate("shown.length") == expected.sum()


def test_a_click_on_a_tag_of_an_image_filters_by_it(look, many):
    page_file, rows, _ = many
    tag = rows[0].tags[0].name
    with look(page_file) as page:
        when_loaded(page)
        page.locator(".card").first.locator(".tag").first.click()
        assert page.evaluate("shown.length") == has(rows, tag).sum()
        assert page.locator("#tag-list input:checked").count() == 1
        page.locator(".card").first.locator(".tag").first.click()
        assert page.evaluate("shown.length") == MANY


def test_filter_by_path(look, many):
    page_file, rows, _ = many
    with look(page_file) as page:
        when_loaded(page)
        act(page, "#find", " IMG_0001  photos/000/", "input")
        expected = [row.path.name for row in rows if "img_0001" in row.path.name.lower() and "photos/000/" in str(row.path)]
        assert names(page) == expected and len(expected) == 100
        act(page, "#find", "no such", "input")
        assert page.locator(".card").count() == 0
        assert page.locator("#count").inner_text() == "0 of 5,000 images"


def test_find_a_tag_in_the_list(look, many):
    with look(many[0]) as page:
        when_loaded(page)
        act(page, "#find-tag", "DOG", "input")
        assert page.locator("#tag-list .name").all_inner_texts() == ["dog", "hot dog"]
        act(page, "#find-tag", "animal", "input")
        assert page.locator("#tag-list .name").count() == 10


def test_the_most_uncertain_come_first(look, many):
    page_file, rows, context = many
    probs, thresholds = scores_of(rows), context.thresholds[""]
    with look(page_file) as page:
        when_loaded(page)
        page.locator("#order").select_option("uncertain")
        away = np.abs(probs - thresholds).min(1)
        by_name = dict(zip([row.path.name for row in rows], away, strict=True))
        found = np.array([by_name[name] for name in names(page)])
        assert len(found) == MANY
        near = found[found < 0.2]  # further away are also scores that the page does not have
        assert (np.diff(near) >= -2 / 65535).all() and (found[: len(near)] < 0.2).all() and len(near) > 1000
        first = names(page)[0]
        index = int(np.abs(probs - thresholds)[[row.path.name for row in rows].index(first)].argmin())
        assert COCO80.names[index] in page.locator(".card").first.locator(".tag").first.inner_text()

        choose(page, "dog")  # then it is about dogs
        page.locator("input[name=match][value=none]").check()
        dog = COCO80.index_by_name()["dog"]
        by_name = dict(zip([row.path.name for row in rows], probs[:, dog], strict=True))
        found = np.array([by_name[name] for name in names(page)])
        likely = found[: int((found >= 0.02).sum())]
        assert (likely < thresholds[dog]).all() and (np.diff(likely) <= 2 / 65535).all() and len(likely) > 20
        assert "dog" in page.locator(".card").first.locator(".tag.off").first.inner_text()


def test_order_by_the_score_of_a_tag_and_by_name(look, many):
    page_file, rows, _ = many
    probs = dict(zip([row.path.name for row in rows], scores_of(rows), strict=True))
    with look(page_file) as page:
        when_loaded(page)
        page.locator("#order").select_option("high")
        assert (np.diff([probs[name].max() for name in names(page)]) <= 0).all()
        choose(page, "cat")
        found = [probs[name][COCO80.index_by_name()["cat"]] for name in names(page)]
        assert len(found) > 20 and (np.diff(found) <= 0).all()
        page.locator("#order").select_option("low")
        assert [probs[name][COCO80.index_by_name()["cat"]] for name in names(page)] == sorted(found)
        page.locator("#clear").click()
        page.locator("#order").select_option("name")
        assert names(page) == sorted(probs)


# Keys


def focused(page):
    return page.evaluate("document.activeElement.getAttribute('aria-label')")


def test_keys_move_through_the_images(look, many):
    page_file, rows, _ = many
    with look(page_file) as page:
        when_loaded(page)
        columns = page.evaluate("columns")
        for key, place in (
            *(("ArrowRight", 0), ("ArrowRight", 1), ("ArrowDown", 1 + columns), ("ArrowLeft", columns), ("ArrowUp", 0)),
            *(("ArrowUp", 0), ("ArrowLeft", 0), ("End", MANY - 1), ("ArrowRight", MANY - 1), ("Home", 0)),
        ):
            page.keyboard.press(key)
            assert focused(page) == rows[place].path.name, (key, place)
            box = page.evaluate("document.activeElement.getBoundingClientRect().toJSON()")
            assert box["top"] >= 0 and box["bottom"] <= WIDE["height"]
        for _ in range(30):
            page.keyboard.press("ArrowDown")
        assert focused(page) == rows[30 * columns].path.name
        page.mouse.wheel(0, 30_000)  # the focused card stays in the document after scrolling
        page.wait_for_timeout(200)
        page.keyboard.press("ArrowRight")
        assert focused(page) == rows[30 * columns + 1].path.name


def test_enter_opens_the_original_and_escape_closes_it(look, many):
    page_file, rows, _ = many
    with look(page_file) as page:
        when_loaded(page)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        assert page.locator("#large").is_visible()
        assert page.locator("#large-name").inner_text() == rows[1].path.name
        width = Image.open(rows[1].path).width
        until(page, f"document.getElementById('large-image').naturalWidth === {width}")
        assert page.locator("#large-note").is_hidden()
        on = page.locator("#large-tags .on .name").all_inner_texts()
        assert on == [tag.name for tag in rows[1].tags]
        assert page.locator("#large-tags li").count() == (rows[1].probs >= 0.02).sum()
        for key, place in (
            ("ArrowRight", 2),
            ("ArrowRight", 3),
            ("ArrowLeft", 2),
            ("ArrowLeft", 1),
            ("ArrowLeft", 0),
            ("ArrowLeft", 0),
        ):
            page.keyboard.press(key)
            assert page.locator("#large-name").inner_text() == rows[place].path.name
        assert page.locator("#large-place").inner_text() == "1 of 5,000"
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Escape")
        assert page.locator("#large").is_hidden()
        assert focused(page) == rows[1].path.name


def test_slash_goes_to_the_filter(look, many):
    page_file, _, _ = many
    with look(page_file) as page:
        when_loaded(page)
        page.keyboard.press("/")
        page.keyboard.type("000/img_00001")
        assert page.evaluate("document.activeElement.id") == "find"
        assert page.locator("#find").input_value() == "000/img_00001"
        assert page.evaluate("shown.length") == 10
        page.keyboard.press("Escape")
        assert page.evaluate("shown.length") == MANY
        assert page.evaluate("document.activeElement === document.body")


# Errors


def test_errors_are_listed_with_their_reason(look, many):
    with look(many[0]) as page:
        when_loaded(page)
        page.locator("#show-errors").click()
        assert page.locator("#images").is_hidden()
        cells = [row.split("\t") for row in page.locator("#error-table tbody tr").all_inner_texts()]
        assert [(cell[0].rsplit("/", 1)[1], cell[1], cell[2]) for cell in cells] == [
            ("bad 0.jpg", "empty", "No."),
            ("bad 1.jpg", "truncated", "No."),
            ("bad 2.jpg", "empty", "No."),
        ]
        page.get_by_role("button", name="empty 2").click()
        assert page.locator("#error-table tbody tr").count() == 2
        page.locator("#show-images").click()
        assert len(on_screen(page)) >= 12


# Names

NASTY = [
    *("<img src=x onerror=alert(1)>.jpg", '" onfocus=alert(3) autofocus x=".jpg', "a & b < c; 'd'.jpg", "<script><b>.jpg"),
    *("50% off.jpg", "%41.jpg", "a#b.jpg", "a?b=c.jpg", "a\\b.jpg", "new\nline.jpg", " leading and trailing .jpg", "-.jpg"),
    *(
        "日本語 עברית.jpg",
        "\u202egpj.exe.jpg",
        "\u2028.jpg",
        "`${alert(5)}`.jpg",
        "{{ 7 * 7 }}.jpg",
        "constructor",
        "l" * 240 + ".jpg",
    ),
]
NASTY_TAGS = [*NASTY[:4], "averyveryverylongnamewithoutanyplacetobreakitanywhereinit", "__proto__", "日本語"]


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    """Files, folders, classes and models with nasty names; one file's name is not UTF-8."""
    folder = tmp_path_factory.mktemp("nasty")
    (picture,) = draw_photographs(folder / "photos", 1)
    inner = folder / "photos" / "100% #1?" / os.fsdecode(b"\xe9 <b>")
    inner.mkdir(parents=True)
    paths = [inner / name for name in [*NASTY, os.fsdecode(b"caf\xe9.jpg")]]
    for path in paths:
        os.link(picture, path)
    tiff = folder / "photos" / "scan.tif"
    Image.open(picture).save(tiff)
    paths.append(tiff)
    vocabulary = Vocabulary(tuple(Category(at, name, NASTY_TAGS[at % 2]) for at, name in enumerate(NASTY_TAGS)))
    models = ("<b>one</b>.onnx", "two & three.onnx")
    context = made_context(vocabulary, models)
    rng = np.random.default_rng(3)
    scores = {model: rng.random((len(paths), len(vocabulary))).astype(np.float16) for model in models}
    rows = made_rows(paths, scores, context)
    bad = inner / "bad <i>.jpg"
    bad.write_bytes(b"")
    errors = [Row(bad, status="empty", error=f"{bad}: <b>0</b> bytes", model=model) for model in models]
    write_gallery(lambda: iter([*rows, *errors]), folder / "pages" / "gallery", context)
    return folder / "pages" / "gallery" / "index.html", rows, context


def place_of(address):
    """The file of an address."""
    return Path(os.fsdecode(unquote_to_bytes(address.removeprefix("file://"))))


def test_every_photograph_of_any_name_opens(look, nasty):
    page_file, rows, _ = nasty
    with look(page_file) as page:
        when_loaded(page)
        page.locator(".card .open").first.click()
        for row in rows[:-2:2]:
            until(page, "document.getElementById('large-image').naturalWidth === 640")
            assert place_of(page.locator("#large-link").evaluate("link => link.href")).samefile(row.path)
            page.keyboard.press("ArrowRight")
        assert page.locator("#large-name").inner_text() == "scan.tif"
        page.wait_for_selector("#large-note:visible")  # no browser shows TIFF: the thumbnail stays
        assert page.evaluate("document.getElementById('large-image').naturalWidth") == 288


def test_names_stay_text(look, nasty):
    page_file, _, _ = nasty
    with look(page_file) as page:
        when_loaded(page)
        assert page.locator("b, i, main img[src=x]").count() == 0
        listed = page.locator("#tag-list .name").evaluate_all("all => all.map((one) => one.textContent)")
        assert sorted(listed) == sorted([*NASTY_TAGS, "(no tag)"])
        shown = page.locator(".card .open").evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
        assert shown[: len(NASTY)] == NASTY
        assert shown[len(NASTY)] == "caf\ufffd.jpg"
        page.locator("#show-errors").click()
        assert "bad <i>.jpg" in page.locator("#error-table tbody").inner_text()
        assert "<b>0</b> bytes" in page.locator("#error-table tbody").inner_text()
        href = page.locator("#error-table a").evaluate("link => link.href")
        assert place_of(href).exists()


def test_a_choice_of_model(look, nasty):
    page_file, rows, context = nasty
    with look(page_file) as page:
        when_loaded(page)
        assert page.locator("#model option").all_inner_texts() == list(context.vocabularies)
        choose_first = page.locator("#tag-list input").nth(1)
        choose_first.check()
        tag = page.locator("#tag-list label:has(input:checked) .name").inner_text()
        for place in (0, 1, 0):
            page.locator("#model").select_option(index=place)
            mine = rows[place::2]
            assert page.evaluate("shown.length") == sum(any(one.name == tag for one in row.tags) for row in mine)
            assert page.locator("#tag-list input:checked").count() == 1


def test_an_injected_script_does_not_run(look, nasty):
    page_file, _, _ = nasty
    text = page_file.read_text(encoding="utf-8")
    broken = page_file.with_name("broken.html")
    broken.write_text(
        text.replace("<h1>", "<h1><script>document.title = 'broken into'</script><img src='https://example.org/x'>", 1)
    )
    with pytest.raises(AssertionError, match="Content Security Policy"), look(broken) as page:
        when_loaded(page)
        title = page.title()
    assert title != "broken into"


# Where it lies


@pytest.mark.parametrize("alone", [False, True], ids=["with the photographs", "alone"])
def test_it_can_be_moved(look, tmp_path, alone):
    before, after = tmp_path / "before", tmp_path / "after" / "deep"
    paths = draw_photographs(before / "photos", 2)
    write_gallery(lambda: iter(made_rows(paths, made_scores(2), made_context())), before / "gallery", made_context())
    after.parent.mkdir()
    if alone:
        after.mkdir()
        (before / "gallery").rename(after / "gallery")
    else:
        before.rename(after)
    silent = (
        pytest.raises(AssertionError, match="ERR_FILE_NOT_FOUND") if alone else nullcontext()
    )  # it was looked for there first
    with silent, look(after / "gallery" / "index.html") as page:
        when_loaded(page)
        page.locator(".card .open").first.click()
        until(page, "document.getElementById('large-image').naturalWidth === 640")
        link = place_of(page.locator("#large-link").evaluate("link => link.href"))
    assert link.is_file() and link.is_relative_to(before if alone else after)


def test_the_page_names_missing_data(browser, tmp_path):
    paths = draw_photographs(tmp_path / "photos", 2)
    write_gallery(lambda: iter(made_rows(paths, made_scores(2), made_context())), tmp_path / "gallery", made_context())
    next((tmp_path / "gallery").glob("cocotag/data-*/000000.js")).unlink()
    page = browser.new_page()
    page.goto((tmp_path / "gallery" / "index.html").as_uri())
    page.wait_for_selector("#trouble:visible")
    assert "000000.js" in page.locator("#trouble").inner_text()
    page.close()


def test_more_images_than_a_page_has_room_for_come_in_parts(look, tmp_path):
    count = 20_500
    context, few = made_context(), 500
    rows = made_rows([tmp_path / "gone.jpg"] * few, made_scores(few), context)

    def coming():
        for number in range(count):
            row = rows[number % few]
            yield Row(tmp_path / f"{number:05d}.jpg", tags=row.tags, probs=row.probs)

    write_gallery(coming, tmp_path / "gallery", context)
    with look(tmp_path / "gallery" / "index.html") as page:
        when_loaded(page)
        assert page.locator(".card .thumb").first.inner_text() == "no thumbnail"
        assert "1 to 20,000" in page.locator("#parts").inner_text()
        page.get_by_role("button", name="Next part").click()
        assert on_screen(page)[0] == "20000.jpg"
        assert page.locator(".card").first.get_attribute("aria-posinset") == "20001"
        page.keyboard.press("Tab")
        page.locator(".card .open").first.focus()
        page.keyboard.press("ArrowLeft")
        assert focused(page) == "19999.jpg"
        page.keyboard.press("End")
        assert focused(page) == f"{count - 1}.jpg"


# For everybody

CUT = """() => Array.from(document.querySelectorAll("main *, dialog *")).filter((box) =>
    box.checkVisibility() && !box.closest(".unseen") && !box.title && !box.closest(".tag, .open") && box.clientWidth &&
    getComputedStyle(box).overflowX !== "visible" && box.id !== "tag-list" && !box.matches(".about, .scroll") &&
    (box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1))
  .map((box) => `${box.tagName}.${box.className} ${box.textContent.trim().slice(0, 60)}`)"""
BEYOND = """() => Array.from(document.querySelectorAll("body *")).filter((box) => {
    const place = box.getBoundingClientRect();
    return box.checkVisibility() && place.width && !box.closest(".skip") && (place.right > innerWidth + 1 || place.left < -1);
  }).map((box) => `${box.tagName}.${box.className}`)"""
SHORTENED = """() => Array.from(document.querySelectorAll(".card .name, .card .file"))
  .filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.textContent)"""


@pytest.mark.parametrize("made", ["many", "nasty"])
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["390", "1440"])
def test_nothing_is_cut_and_the_page_does_not_scroll_sideways(look, request, size, made):
    page_file = request.getfixturevalue(made)[0]
    with look(page_file, size) as page:
        when_loaded(page)
        page.evaluate("document.getElementById('tags').open = true")
        act(page, "#level", "0.3", "input")
        for view in ("images", "large", "errors"):
            if view == "large":
                page.locator(".card .open").first.click()
            if view == "errors":
                page.keyboard.press("Escape")
                page.locator("#show-errors").click()
            assert page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]") == [size["width"]] * 2, view
            assert page.evaluate(CUT) == [], view
            assert page.evaluate(BEYOND) == [], view
            if made == "many":
                assert page.evaluate(SHORTENED) == [], view


@pytest.mark.parametrize("made", ["many", "nasty"])
def test_light_and_dark_differ_and_text_stands_out_in_both(look, request, made):
    page_file = request.getfixturevalue(made)[0]
    papers = []
    for scheme in ("light", "dark"):
        with look(page_file, color_scheme=scheme) as page:
            when_loaded(page)
            page.locator("#order").select_option("uncertain")
            papers.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert page.evaluate(CONTRAST) == [], scheme
            page.locator(".card .open").first.click()
            assert page.evaluate(CONTRAST) == [], scheme
    assert papers[0] != papers[1]


UNNAMED = """() => {
  const faults = [], say = (element, what) => faults.push(`${what}: ${element.outerHTML.slice(0, 120)}`);
  const all = (selector) => Array.from(document.querySelectorAll(selector)).filter((one) => one.checkVisibility());
  if (document.documentElement.lang !== "en" || !document.title) say(document.head, "no language or title");
  if (all("h1").length !== 1 || all("main").length !== 1) say(document.body, "not one h1 and one main");
  for (const element of all("button, a[href], summary"))
    if (!(element.getAttribute("aria-label") || element.textContent.trim())) say(element, "no name");
  for (const element of all("input, select"))
    if (!element.getAttribute("aria-label") && !element.labels.length) say(element, "no label");
  for (const element of all("img")) if (!element.hasAttribute("alt")) say(element, "no text instead");
  for (const element of all("nav, section"))
    if (!element.ariaLabel && !element.getAttribute("aria-labelledby")) say(element, "no name");
  const ids = Array.from(document.querySelectorAll("[id]"), (element) => element.id);
  for (const id of ids.filter((id, at) => ids.indexOf(id) !== at)) faults.push(`twice: ${id}`);
  return faults;
}"""


def test_screen_readers_get_names_and_positions(look, nasty):
    with look(nasty[0]) as page:
        when_loaded(page)
        assert page.evaluate(UNNAMED) == []
        page.locator(".card .open").first.click()
        assert page.evaluate(UNNAMED) == []


def test_the_keyboard_reaches_everything_and_the_focus_is_visible(look, nasty):
    with look(nasty[0]) as page:
        when_loaded(page)
        reached = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            where = page.evaluate(
                "document.activeElement.id || document.activeElement.className || document.activeElement.name"
            )
            reached.add(where)
            assert page.evaluate(
                "(() => { const one = document.activeElement, style = getComputedStyle(one);"
                "return one === document.body || (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1); })()"
            ), where
        assert {
            "skip",
            "find",
            "find-tag",
            "order",
            "model",
            "level",
            "decided",
            "open",
            "show-images",
            "show-errors",
        } <= reached


def test_without_scripts_the_counts_can_be_read(look, many, nasty):
    page_file, rows, _ = many
    with look(page_file, java_script_enabled=False) as page:
        text = page.locator("main").inner_text()
        assert "5,000 images" in text and "3 more files could not be tagged" in text
        assert "JavaScript" in text
        counts = dict(row.split("\t") for row in page.locator("tbody tr").all_inner_texts()[: len(COCO80)] if "\t" in row)
        assert counts == {name: f"{has(rows, name).sum():,}" for name in COCO80.names if has(rows, name).any()}
        assert "bad 1.jpg truncated: No." in text
        assert page.locator("button:visible, input:visible").count() == 0
    with look(nasty[0], NARROW, java_script_enabled=False) as page:
        assert page.evaluate("document.scrollingElement.scrollWidth") == NARROW["width"]
