"""What is in a drawing: an SVG taken apart for the tests, with where everything in it lies."""

import re
import xml.etree.ElementTree as ET

from markupsafe import Markup

from cocotag.pages.drawing import width_of

EVIL = ["<img src=x onerror=alert(1)>", "a\"b'c & d", "\x00\x1b[0m\ud800", "", "長い名前" * 40, "W" * 60, "שלום עולם", "é" * 50]
SLACK = 0.6  # pixels: coordinates are rounded, and lines have a width


def parse(svg):
    """The root of a drawing, after what every drawing owes: escaped, no NaN, nothing outside the box that is seen."""
    assert isinstance(svg, Markup)
    root = ET.fromstring(svg)
    assert root.get("role") == "img"
    assert not re.search(r"\b(nan|inf)\b", str(svg))
    assert "<img" not in svg
    width, height = map(float, root.get("viewBox").split()[2:])
    for left, top, right, bottom, what in bounds(root):
        inside = -SLACK <= left <= right <= width + SLACK and -SLACK <= top <= bottom <= height + SLACK
        assert inside, (what, left, top, right, bottom, width, height)
    return root


def bounds(root):
    """Left, top, right and bottom of every shape and unturned text, and what it is."""
    for node in root.iter():
        kind = node.tag.rpartition("}")[2]
        at = {key: float(node.get(key)) for key in ("x", "y", "cx", "cy", "r", "x1", "x2", "y1", "y2") if node.get(key)}
        if (kind == "circle" and "cx" not in at) or (kind == "rect" and at["x"] < 0):
            continue  # a key, placed by the group that it is in
        if kind == "circle":
            yield at["cx"] - at["r"], at["cy"] - at["r"], at["cx"] + at["r"], at["cy"] + at["r"], "circle"
        elif kind == "rect":
            wide, high = float(node.get("width")), float(node.get("height"))
            yield at["x"], at["y"], at["x"] + wide, at["y"] + high, "rect"
        elif kind == "line":
            (left, right), (top, bottom) = sorted((at["x1"], at["x2"])), sorted((at["y1"], at["y2"]))
            yield left, top, right, bottom, "line"
        elif kind == "path" and node.get("class") != "hatching":
            places = points(node.get("d"))
            x, y = [a for a, _ in places], [b for _, b in places]
            yield min(x), min(y), max(x), max(y), "path"
        elif kind == "text" and "x" in at:
            wide = float(node.get("textLength") or width_of(node.text or ""))
            left = at["x"] - wide * {"middle": 0.5, "end": 1.0}.get(node.get("text-anchor"), 0.0)
            yield left, at["y"] - 9, left + wide, at["y"], f"text {node.text}"


def points(path):
    """The corners of a path of M, L, H, V, h, v and z."""
    x = y = 0.0
    places = []
    for command, numbers in re.findall(r"([MLHVhv])([^MLHVhvz]*)", path):
        values = [float(number) for number in numbers.split()]
        if command in "ML":
            x, y = values
        elif command in "Hh":
            x = values[0] + (x if command == "h" else 0)
        else:
            y = values[0] + (y if command == "v" else 0)
        places.append((x, y))
    return places


def found(root, name, css=None):
    """All elements of a name, or those among them with a CSS class."""
    nodes = root.iter(f"{{http://www.w3.org/2000/svg}}{name}")
    return [node for node in nodes if css is None or css in (node.get("class") or "").split()]


def texts(root):
    """All that is written, in the order in which it is drawn."""
    return [(node.text or "").strip("\N{FIRST STRONG ISOLATE}\N{POP DIRECTIONAL ISOLATE}") for node in found(root, "text")]


def tips(root):
    """The tooltips, without the drawing's own title."""
    return [node.text for node in found(root, "title")[1:]]
