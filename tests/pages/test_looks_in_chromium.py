"""The look of both pages in a real browser: light and dark, wide and narrow, in print, and to screen readers."""

import re

import cv2
import numpy as np
import pytest
from in_chromium import CONTRAST, NARROW, WIDE


def test_without_scripts_everything_is_readable(look, path):
    with look(path, java_script_enabled=False) as page:
        assert page.locator("button").count() == 0
        assert page.locator("input.filter:visible").count() == 0
        rows = page.locator("table#classes > tbody > tr")
        assert rows.count() >= 8
        for text in ("h1", "ul.tiles", "table#classes"):
            assert page.locator(text).first.is_visible()
        assert page.locator("details > summary:visible").count() == page.locator("details").count()
        details = page.locator("details").last
        details.locator("> summary").click()
        assert details.locator("> :not(summary)").first.is_visible()
        assert page.locator("details.row-details").count() == page.locator("tr[data-details]").count()


def test_light_and_dark_differ_and_text_stands_out_in_both(look, path):
    papers = []
    for scheme in ("light", "dark"):
        with look(path, color_scheme=scheme) as page:
            page.evaluate("document.querySelectorAll('.opener').forEach((button, at) => at < 2 && button.click())")
            papers.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert page.evaluate(CONTRAST) == [], scheme
    assert papers[0] != papers[1]


CUT = """() => Array.from(document.querySelectorAll("main *")).filter((box) =>
    !(box instanceof SVGElement) && box.getClientRects().length && getComputedStyle(box).overflowX !== "visible" &&
    (box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1))
  .map((box) => `${box.tagName}.${box.className} ${box.textContent.trim().slice(0, 60)}`)"""
PAPER = {"width": 1032, "height": 703}  # A4 landscape without margins, at 96 px per inch


def test_in_print_nothing_is_cut_and_opened_rows_are_included(look, path):
    with look(path, PAPER) as page:
        page.evaluate("document.querySelectorAll('.opener').forEach((button, at) => at < 2 && button.click())")
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate(CUT) == []
        assert (
            page.evaluate("document.scrollingElement.scrollWidth") <= 1.3 * PAPER["width"]
        )  # the browser shrinks it for printing
        assert page.evaluate(CONTRAST) == []
        opened = page.locator("tr.opened .panel")
        assert opened.count() == min(2, page.locator("tr[data-details]").count())
        assert all(panel.is_visible() for panel in opened.all())
        assert page.locator("input.filter:visible, .skip:visible").count() == 0
        paper = page.pdf(prefer_css_page_size=True)
        assert paper.startswith(b"%PDF")
        assert len(re.findall(rb"/Type\s*/Page\b", paper)) >= 2


OUTSIDE = """() => {
  const faults = [];
  for (const svg of document.querySelectorAll("svg")) {
    const frame = svg.getBoundingClientRect();
    if (!frame.width) continue;
    for (const text of svg.querySelectorAll("text")) {
      const box = text.getBoundingClientRect();
      const across = box.left < frame.left - 1 || box.right > frame.right + 1;
      if (box.width && (across || box.top < frame.top - 1 || box.bottom > frame.bottom + 1))
        faults.push(`${text.textContent} in ${svg.getAttribute("aria-label") ?? svg.textContent.slice(0, 60)}`);
    }
  }
  return faults;
}"""
CROWDED = """() => {
  const faults = [], parts = [];
  for (const tile of document.querySelectorAll(".tile")) {
    if (tile.scrollWidth > tile.clientWidth || tile.scrollHeight > tile.clientHeight) faults.push(`cut: ${tile.textContent}`);
    for (const part of tile.querySelectorAll(".value, .label, .interval")) parts.push([part, part.getBoundingClientRect()]);
  }
  for (const [a, p] of parts) for (const [b, q] of parts)
    if (a !== b && p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 1 && q.top < p.bottom - 1)
      faults.push(`${a.textContent} over ${b.textContent}`);
  return faults;
}"""


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1440", "390"])
def test_nothing_overlaps_or_is_cut_and_the_page_does_not_scroll_sideways(look, path, size):
    with look(path, size) as page:
        page.evaluate("document.querySelectorAll('.opener').forEach((button, at) => at < 2 && button.click())")
        assert page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]") == [size["width"]] * 2
        assert page.evaluate(CROWDED) == []
        assert page.evaluate(OUTSIDE) == []
        tiles = page.locator("ul.tiles").first.bounding_box()
        assert tiles["y"] + (tiles["height"] if size is WIDE else 0) < size["height"]  # the first screen shows the tiles
        for panel in page.locator("tr.opened .panel").all():
            assert panel.bounding_box()["width"] <= size["width"]


def lines_across(picture, left):
    """Heights at which a grey line crosses the first pixels of a cell."""
    strip = picture[:, left + 1 : left + 6].astype(int)
    even = (np.ptp(strip, axis=1) == 0).all(axis=1)
    return np.flatnonzero(even & (strip[:, 0].sum(axis=1) < 3 * 245)).tolist()


def test_the_lines_of_sticky_cells_continue_in_the_others(look, real):
    with look(real[0] / "evaluation" / "report.html") as page:
        box = page.locator(".scroll.tall:has(> table#classes)")
        box.evaluate("box => { box.scrollTop = 333; box.scrollIntoView(); }")
        head, frame = (one.bounding_box() for one in (page.locator("table#classes > thead th").first, box))
        cells = page.locator("table#classes > tbody > tr").nth(20).locator("> *")
        picture = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        rows = picture[round(head["y"] + head["height"]) + 2 : round(frame["y"] + frame["height"]) - 20]
        lines = [lines_across(rows, round(cells.nth(at).bounding_box()["x"])) for at in (0, 1)]
    assert len(lines[0]) > 5
    assert lines[0] == lines[1]


BROKEN_NAMES = """() => Array.from(document.querySelectorAll(".photograph"), (one) => one.lastChild).filter((text) => {
  const range = document.createRange();
  range.selectNodeContents(text);
  return range.getClientRects().length > 1;
}).map((text) => text.textContent)"""


def test_a_file_name_of_coco_is_not_broken_under_its_picture(look, real):
    with look(real[0] / "evaluation" / "report.html") as page:
        names = page.locator(".photograph").evaluate_all("all => all.map((one) => one.lastChild.textContent)")
        assert {len(name) for name in names} == {16}
        assert page.evaluate(BROKEN_NAMES) == []


UNNAMED = """() => {
  const faults = [], say = (element, what) => faults.push(`${what}: ${element.outerHTML.slice(0, 120)}`);
  const all = (selector) => document.querySelectorAll(selector);
  if (document.documentElement.lang !== "en") say(document.documentElement, "no language");
  if (!document.title) say(document.head, "no title");
  if (all("h1").length !== 1 || all("main").length !== 1) say(document.body, "not one h1 and one main");
  let last = 1;
  for (const heading of all("h1, h2, h3, h4")) {
    const level = Number(heading.tagName[1]);
    if (level > last + 1) say(heading, "a level is left out");
    last = level;
  }
  for (const cell of all("th")) if (!cell.scope) say(cell, "no scope");
  for (const element of all("[tabindex]")) if (element.tabIndex > 0) say(element, "positive tabindex");
  for (const element of all("button, a[href], summary")) if (!element.textContent.trim()) say(element, "no name");
  for (const element of all("input, select"))
    if (!element.getAttribute("aria-label") && !element.labels.length) say(element, "no label");
  for (const element of all("img")) if (!element.alt) say(element, "no text instead");
  for (const element of all("nav, [role=region]")) if (!element.getAttribute("aria-label")) say(element, "no name");
  for (const svg of all("svg")) {
    const named = svg.getAttribute("aria-label") || svg.querySelector("title") || svg.getAttribute("aria-hidden") === "true";
    if (!named) say(svg, "no name");
  }
  for (const element of all("[onclick], [role=button]")) say(element, "not a real button");
  const ids = Array.from(all("[id]"), (element) => element.id);
  for (const id of ids.filter((id, at) => ids.indexOf(id) !== at)) faults.push(`twice: ${id}`);
  for (const link of all('a[href^="#"]'))
    if (!document.getElementById(decodeURIComponent(link.hash.slice(1)))) say(link, "leads nowhere");
  return faults;
}"""


def test_screen_readers_get_names(look, path):
    with look(path) as page:
        assert page.evaluate(UNNAMED) == []


FOCUS = """() => {
  const element = document.activeElement, style = getComputedStyle(element), box = element.getBoundingClientRect();
  const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
  return [element.tagName, outlined && box.width > 0 && box.right > 0, element.outerHTML.slice(0, 90)];
}"""


def test_the_focus_is_visible_everywhere(look, small):
    with look(small) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
        kinds = set()
        for _ in range(60):
            tag, visible, what = page.evaluate(FOCUS)
            if tag == "BODY":
                break
            assert visible, what
            kinds.add(tag)
            page.keyboard.press("Tab")
        assert {"A", "BUTTON", "INPUT"} <= kinds or len(kinds) >= 2


def test_the_contents_name_every_section(look, small):
    with look(small) as page:
        links = page.locator("nav.contents a")
        headings = page.locator("h2[id]")
        assert links.all_inner_texts() == headings.all_inner_texts()
        assert links.count() >= 4
        links.last.click()
        assert headings.last.bounding_box()["y"] < WIDE["height"]
