"""A real Chromium for the tests of pages."""

import shutil
from contextlib import contextmanager

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@contextmanager
def chromium():
    """Start the browser that is there, or skip the test."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield started
        started.close()


@contextmanager
def looking(browser, path, size=WIDE, *, alone=False, **options):
    """Open a page from its file, and at the end see that it said nothing and that no request went beyond files.

    Args:
        browser: As `chromium` gives it.
        path: The page.
        size: Of the window.
        alone: Nothing but the page itself may be asked for.
        options: Of the browser's context.
    """
    context = browser.new_context(viewport=size, **options)
    page = context.new_page()
    said, asked = [], []
    own = (path.as_uri(),) if alone else ("file:", "data:")

    def answer(route):
        asked.append(route.request.url)
        route.continue_() if route.request.url.startswith(own) else route.abort()

    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.on("popup", lambda other: asked.append(f"a window: {other.url}"))
    page.route("**/*", answer)
    page.set_default_timeout(60_000)
    page.goto(path.as_uri())
    yield page
    context.close()
    assert said == [], said
    strangers = [url for url in asked if not url.startswith(own)]
    assert strangers == [], strangers


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (color) => {
    if (!known.has(color)) {
      canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
      known.set(color, Array.from(canvas.getImageData(0, 0, 1, 1).data));
    }
    return known.get(color);
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const faults = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = Array.from(element.childNodes).filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
    if (!text || element.closest("script, style, title, desc, option, :disabled") || !element.checkVisibility()) continue;
    let under = element, back = [0, 0, 0, 0];
    while (under && back[3] < 255) { back = rgba(getComputedStyle(under).backgroundColor); under = under.parentElement; }
    const style = getComputedStyle(element), ink = element instanceof SVGElement ? style.fill : style.color;
    const [dim, bright] = [light(rgba(ink)), light(back)].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.6 && Number(style.fontWeight) >= 700);
    const contrast = (bright + 0.05) / (dim + 0.05);
    if (contrast < (large ? 3 : 4.5)) faults.push(`${contrast.toFixed(2)} ${element.tagName} ${text.slice(0, 40)}`);
  }
  return faults;
}"""
"""Texts that do not stand out from what is under them, by WCAG 2's measure."""
