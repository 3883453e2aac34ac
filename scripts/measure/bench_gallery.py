"""Time a gallery: writing it, opening it in Chromium from its file, and using every control; write reports/gallery.md.

usage: python scripts/measure/bench_gallery.py [--images 5000 40000] [--report FILE]

The photographs are coco-mini's under the wanted number of names; the scores are random, with as many above 0.02 as those of a
trained tagger. Needs the real data (COCOTAG_DATA, or ../shared/data), playwright and a Chromium.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import sync_playwright

from cocotag.inference.tags import decide, make_tags
from cocotag.labels import COCO80
from cocotag.tagging.decisions.rows import Context, Row
from cocotag.tagging.gallery import write_gallery

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("COCOTAG_DATA") or PROJECT.parent / "shared" / "data")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FIRST_PAINT = 2.0
"""Target seconds for the first paint."""

REPEATS = 5
DIFFERENT = 5000  # number of rows of random scores, which repeat

CONTROLS = {
    "threshold slider": "() => { level.value = String(0.2 + 0.6 * Math.random()); level.oninput(); }",
    "a tag chosen": "() => { toggleTag(0); }",
    "text in the path": "() => { find.value = find.value ? '' : '000/'; find.oninput(); }",
    "order: most uncertain": "() => { wish.order = 'uncertain'; update(); }",
    "order: highest score": "() => { wish.order = 'high'; update(); }",
    "order: file name": "() => { wish.order = 'name'; byName = []; update(); }",
}
"""The timed controls: from the event to the second frame after it, which shows the change."""

TIMED = """async () => {
  const frame = () => new Promise(requestAnimationFrame), act = ACT;
  await frame(); await frame();
  const begun = performance.now();
  act();
  const done = performance.now();
  await frame(); await frame();
  return [done - begun, performance.now() - begun];
}"""


@dataclass
class Measured:
    """The figures of one gallery, in seconds unless the name has another unit."""

    images: int
    written: float = 0.0
    again: float = 0.0
    megabytes: float = 0.0
    data_megabytes: float = 0.0
    paint: list[float] = field(default_factory=list)
    thumbs: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)
    controls: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    heap_megabytes: float = 0.0


def make_scores(classes: int) -> NDArray[np.float16]:
    """Random scores, most of them near zero and a few high, ``(DIFFERENT, classes)``."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-5, 1.2, (DIFFERENT, classes))
    logits[np.arange(DIFFERENT)[:, None], rng.integers(classes, size=(DIFFERENT, 3))] += rng.normal(4.5, 2, (DIFFERENT, 3))
    return (1 / (1 + np.exp(-logits))).astype(np.float16)


def make_rows(paths: list[Path], context: Context) -> Iterator[Row]:
    """One row per path, with random scores."""
    scores = make_scores(len(COCO80))
    for number, path in enumerate(paths):
        probs = scores[number % DIFFERENT].astype(np.float32)
        yield Row(path, tags=make_tags(COCO80, probs, decide(probs, context.thresholds[""])), probs=probs)


def link_photographs(folder: Path, count: int) -> list[Path]:
    """Link coco-mini's photographs under the given number of names, 1,000 per folder; return the paths."""
    photographs = sorted((DATA / "coco-mini").glob("*/*.jpg"))
    if not photographs:
        sys.exit(f"There are no photographs in {DATA / 'coco-mini'}. Set COCOTAG_DATA.")
    paths = [folder / f"{number // 1000:03d}" / f"IMG_{number:06d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(photographs[number % len(photographs)])
    return paths


def measure_writing(measured: Measured, folder: Path) -> Path:
    """Write the gallery twice; return the path of its page."""
    paths = link_photographs(folder / "photographs", measured.images)
    context = Context({"": COCO80}, {"": np.full(len(COCO80), 0.4, np.float32)}, total=measured.images)
    for name in ("written", "again"):
        begun = time.perf_counter()
        summary = write_gallery(lambda: make_rows(paths, context), folder / "gallery", context, progress=True)
        setattr(measured, name, time.perf_counter() - begun)
        print(summary.to_text(), file=sys.stderr)
    files = [path for path in (folder / "gallery").rglob("*") if path.is_file()]
    measured.megabytes = sum(path.stat().st_size for path in files) / 1e6
    measured.data_megabytes = sum(path.stat().st_size for path in files if path.suffix == ".js") / 1e6
    return summary.page


def wait(page: Any, expression: str) -> float:  # noqa: ANN401 (playwright's page)
    """Wait until an expression is true; return the milliseconds since the page was opened."""
    while not page.evaluate(expression):
        page.wait_for_timeout(10)
    return float(page.evaluate("performance.now()"))


def measure_opening(measured: Measured, browser: Any, address: str) -> None:  # noqa: ANN401 (playwright's browser)
    """Open the gallery in a new window, and use every control."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(address)
    seen = "(() => { const all = Array.from(document.querySelectorAll('.card img')).slice(0, 12);"
    seen += "return all.length === 12 && all.every((one) => one.complete && one.naturalWidth); })()"
    measured.thumbs.append(wait(page, seen) / 1000)
    measured.loaded.append(wait(page, "images.count === about.images") / 1000)
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    measured.paint.append(paint / 1000)
    for name, act in CONTROLS.items():
        taken = tuple(page.evaluate(TIMED.replace("ACT", act)))
        measured.controls.setdefault(name, []).append(taken)
    measured.heap_megabytes = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
    context.close()


def measure(images: int) -> Measured:
    """Measure a gallery of one size."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        sys.exit(f"Chromium was not found. Install one of: {', '.join(BROWSERS)}.")
    measured = Measured(images)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = measure_writing(measured, Path(folder))
        browser = playwright.chromium.launch(executable_path=path)
        for _ in range(REPEATS):
            measure_opening(measured, browser, page.as_uri())
        browser.close()
    return measured


def spread(values: list[float], unit: str = "s", digits: int = 2) -> str:
    """Median and range, as text."""
    return f"{statistics.median(values):.{digits}f} {unit} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(all_measured: list[Measured]) -> str:
    """The table, with one column per size."""
    rows: dict[str, list[str]] = {
        "writing, with all thumbnails": [f"{one.written:.1f} s" for one in all_measured],
        "writing again, without new thumbnails": [f"{one.again:.1f} s" for one in all_measured],
        "size of all files": [f"{one.megabytes:.0f} MB" for one in all_measured],
        "size of names and scores": [f"{one.data_megabytes:.1f} MB" for one in all_measured],
        "opening: first paint": [spread(one.paint) for one in all_measured],
        "opening: first 12 thumbnails shown": [spread(one.thumbs) for one in all_measured],
        "opening: all names and scores loaded": [spread(one.loaded) for one in all_measured],
    }
    for name in CONTROLS:
        cells = []
        for one in all_measured:
            done, painted = zip(*one.controls[name], strict=True)
            cells.append(f"{statistics.median(done):.0f} ms; shown after {statistics.median(painted):.0f} ms")
        rows[name] = cells
    rows["JavaScript memory"] = [f"{one.heap_megabytes:.0f} MB" for one in all_measured]
    head = ["", *(f"{one.images:,} images" for one in all_measured)]
    lines = [head, ["---"] * len(head), *([name, *cells] for name, cells in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 40_000], help="sizes of galleries")
    parser.add_argument("--report", type=Path, default=PROJECT / "reports" / "gallery.md")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    all_measured = [measure(images) for images in args.images]
    others = (
        f"Other programs used the same cores (load {load:.1f} before the start), so the times are too high."
        if load > 0.5
        else "No other program used the cores."
    )
    sizes = " ".join(map(str, args.images))
    slowest = max((paint for one in all_measured for paint in one.paint), default=0.0)
    verdict = "always reached" if slowest <= FIRST_PAINT else "not always reached"
    text = f"""# Speed of the gallery

Written by `.venv/bin/python scripts/measure/bench_gallery.py --images {sizes}` on {os.cpu_count()} CPU cores \
({platform.machine()}), Python {platform.python_version()}. {others}

The photographs are coco-mini's under other names; the scores are random. The page is opened from its file {REPEATS} times, in a
window of 1440 x 900 pixels of a Chromium without a GPU; medians, range in brackets. Each control is timed from the event until
its work is done, and until the second frame after it.

{table(all_measured)}

Target for the first paint: {FIRST_PAINT:.0f} s, {verdict}.
"""
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
