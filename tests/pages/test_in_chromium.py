"""Both pages in a real browser: they request nothing, and mouse and keyboard sort, filter and open their rows."""

import pytest


def test_the_page_logs_nothing_and_requests_nothing(look, path):
    with look(path) as page:
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        for details in page.locator("details:visible > summary").all():
            details.click()
        page.wait_for_timeout(200)
        assert page.locator("script").count() == 1
        assert page.evaluate("Array.from(document.images).every((image) => image.complete && image.naturalWidth > 0)")
    assert path.stat().st_size <= 5_000_000


def test_a_request_would_be_detected(look, tmp_path):
    """The check works: this page makes a request."""
    asks = tmp_path / "asks.html"
    asks.write_text("<!doctype html><img src='https://example.org/x.png'>")
    with pytest.raises(AssertionError), look(asks) as page:
        page.wait_for_timeout(200)


def test_an_injected_script_does_not_run(look, small, tmp_path):
    """The content security policy forbids it, even if escaping failed."""
    text = small.read_text(encoding="utf-8").replace("<h1>", "<h1><script>document.title = 'broken into'</script>")
    broken = tmp_path / "broken.html"
    broken.write_text(text, encoding="utf-8")
    with pytest.raises(AssertionError, match="Content Security Policy"), look(broken) as page:
        title = page.title()
    assert title != "broken into"


SORTED = """() => {
  const faults = [], textOf = (table) => Array.from(table.tBodies[0].rows, (row) => row.textContent).sort().join();
  for (const table of document.querySelectorAll("table.sortable")) {
    const before = textOf(table);
    for (const head of table.querySelectorAll("th[data-sort]")) for (const turn of [0, 1]) {
      head.querySelector("button").click();
      const number = head.dataset.sort === "number", down = number === (turn === 0), name = `${table.id}: ${head.textContent}`;
      if (head.getAttribute("aria-sort") !== (down ? "descending" : "ascending")) faults.push(`${name} says otherwise`);
      const found = Array.from(table.tBodies[0].rows, (row) => row.cells[head.cellIndex])
        .map((cell) => (number ? cell.dataset.value : cell.dataset.value ?? cell.textContent.trim()));
      if (number && found.some((value) => value === undefined)) faults.push(`${name}: a cell without its full value`);
      const there = found.findIndex((value) => value === "");
      const values = (there < 0 ? found : found.slice(0, there)).map((value) => (number ? Number(value) : value));
      if (there >= 0 && found.slice(there).some((value) => value !== "")) faults.push(`${name}: undefined ones are not last`);
      for (let at = 1; number && at < values.length; at += 1)
        if (down ? values[at] > values[at - 1] : values[at] < values[at - 1]) faults.push(`${name}: not in order at row ${at}`);
    }
    if (table.querySelectorAll("th[aria-sort]").length !== 1) faults.push(`${table.id}: sorted by several columns at once`);
    if (textOf(table) !== before) faults.push(`${table.id} lost rows`);
  }
  return faults;
}"""


def test_every_sortable_table_sorts_by_every_column_and_keeps_its_rows(look, path):
    with look(path) as page:
        assert page.locator("table.sortable").count() >= 1
        assert page.evaluate(SORTED) == []


def test_sorting_by_mouse_and_by_keyboard(look, small):
    with look(small) as page:
        table = page.locator("table#classes")
        first, second = (table.locator("th[data-sort]").nth(at) for at in (0, 2))
        second.locator("button").click()
        assert second.get_attribute("aria-sort")
        page.locator("input.filter[data-table=classes]").focus()
        for _ in range(3):  # the scrollable box may come before
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.closest('th') !== null"):
                break
        page.keyboard.press("Enter")
        assert first.get_attribute("aria-sort") == "ascending"
        assert second.get_attribute("aria-sort") is None
        names = table.locator("tbody tr > :first-child").all_inner_texts()
        page.keyboard.press("Space")
        assert first.get_attribute("aria-sort") == "descending"
        assert table.locator("tbody tr > :first-child").all_inner_texts() == names[::-1]


def test_the_filter_shows_the_rows_with_the_text(look, small):
    with look(small) as page:
        box, rows = page.locator("input.filter[data-table=classes]"), page.locator("table#classes tbody tr")
        everything = rows.count()
        name = rows.nth(everything // 2).locator("> :first-child").inner_text()
        box.fill(f" {name.upper()} ")
        shown = page.locator("table#classes tbody tr:visible")
        assert 1 <= shown.count() < everything
        assert all(name.lower() in text.lower() for text in shown.all_text_contents())
        assert f"{shown.count()} of {everything}" in page.locator("input.filter[data-table=classes] + output").inner_text()
        box.fill("")
        assert shown.count() == everything


def opener(page, at):
    return page.locator("table#classes tr[data-details]").nth(at).locator("button.opener")


def test_a_row_opens_by_click_and_enter_and_closes_by_escape(look, evaluation):
    with look(evaluation) as page:
        button = opener(page, 0)
        row = page.locator("table#classes tr[data-details]").first
        panel = page.locator("table#classes tr.opened .panel")
        assert button.get_attribute("aria-expanded") == "false"
        button.click()
        assert button.get_attribute("aria-expanded") == "true"
        assert panel.get_attribute("id") == button.get_attribute("aria-controls")
        assert panel.locator("svg").count() >= 3
        assert panel.is_visible()
        button.click()
        assert (panel.count(), button.get_attribute("aria-expanded")) == (0, "false")

        row.locator("td").nth(1).click()  # anywhere in the row
        assert panel.count() == 1
        page.keyboard.press("Escape")  # applies to the focused row
        button.focus()
        page.keyboard.press("Escape")
        assert panel.count() == 0

        page.keyboard.press("Enter")
        assert (panel.count(), button.get_attribute("aria-expanded")) == (1, "true")
        page.keyboard.press("Escape")
        assert panel.count() == 0
        assert button.evaluate("button => button === document.activeElement")
        page.keyboard.press("Space")
        assert panel.locator("svg").count() >= 3  # again

        panel.evaluate("panel => { panel.tabIndex = -1; panel.focus(); }")  # as a focused link in it
        page.keyboard.press("Escape")
        assert panel.count() == 0
        assert button.evaluate("button => button === document.activeElement")  # the focus is not lost


def test_every_row_opens_its_own_details_and_nothing_is_lost(look, evaluation):
    with look(evaluation) as page:
        count = page.locator("table#classes tr[data-details]").count()
        assert count == page.locator("table#classes > tbody > tr").count() >= 8
        ids = page.locator("table#classes tr[data-details]").evaluate_all("rows => rows.map((row) => row.dataset.details)")
        assert len(set(ids)) == count
        size = page.locator("svg").count()
        page.evaluate("document.querySelectorAll('.opener').forEach((button) => button.click())")
        assert page.locator("table#classes tr.opened").count() == count
        assert page.locator("svg").count() == size
        page.evaluate("document.querySelectorAll('.opener').forEach((button) => button.click())")
        assert page.locator("tr.opened").count() == 0
        assert page.locator("svg").count() == size


PLACE = "row => row.previousElementSibling.dataset.details"


def test_opened_details_stay_below_their_row(look, evaluation):
    with look(evaluation) as page:
        rows = page.locator("table#classes tr[data-details]")
        mine, name = rows.nth(1).get_attribute("data-details"), rows.nth(1).locator(".opener").inner_text()
        opener(page, 1).click()
        panel = page.locator("table#classes tr.opened")
        for head in page.locator("table#classes th[data-sort]").all()[:6]:
            for _ in range(2):
                head.locator("button").evaluate("button => button.click()")
                assert panel.evaluate(PLACE) == mine
        box = page.locator("input.filter[data-table=classes]")
        box.fill("no class is called so")
        assert page.locator("table#classes tbody tr:visible").count() == 0
        box.fill(name)
        assert panel.is_visible()
        assert panel.evaluate(PLACE) == mine
        opener_of_mine = page.locator(f"tr[data-details={mine}] .opener")
        opener_of_mine.click()
        assert panel.count() == 0


def test_a_link_to_a_class_opens_its_row(look, evaluation):
    with look(evaluation) as page:
        mine = page.locator("table#classes tr[data-details]").nth(2).get_attribute("data-details")
        page.evaluate("id => { location.hash = id; }", mine)
        page.wait_for_selector("tr.opened")
        assert page.locator("tr.opened").evaluate(PLACE) == mine
