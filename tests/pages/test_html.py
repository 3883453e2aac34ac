import base64
import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import pytest

from cocotag.pages.html import _report_environment, render
from cocotag.pages.values import UNDEFINED, interval, number, percent, plain, signed


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.617, "61.7"), (0, "0.0"), (1.0, "100.0"), (-0.0213, "\N{MINUS SIGN}2.1"), (None, UNDEFINED), (math.nan, UNDEFINED)],
)
def test_percent(value, shown):
    assert percent(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234567, "1,234,567"),
        (4952.0, "4,952"),
        (0, "0"),
        (336.625, "337"),
        (24.827, "24.8"),
        (2.95456, "2.95"),
        (0.0369320, "0.0369"),
        (0.19, "0.190"),
        (-3.5, "\N{MINUS SIGN}3.50"),
        (None, UNDEFINED),
        (math.nan, UNDEFINED),
        (math.inf, UNDEFINED),
    ],
)
def test_number(value, shown):
    assert number(value) == shown


def test_interval():
    assert interval((0.58, 0.6412)) == "58.0 \N{EN DASH} 64.1"
    assert interval((None, 0.6)) == interval((math.nan, 0.6)) == interval(None) == UNDEFINED


def test_plain_is_what_strict_json_takes():
    @dataclass
    class Point:
        x: np.float64
        where: Path

    value = {
        1: np.arange(3),
        "nested": [np.float32(0.5), math.nan, np.float64(math.inf), (np.int64(7), np.bool_(True), None, "ü")],
        "frame": pd.DataFrame({"a": [1, 2], "b": [math.nan, 0.5], "c": ["x", pd.NA]}),
        "series": pd.Series([1.0, math.nan]),
        "time": pd.NaT,
        "point": Point(np.float64(1.5), Path("a/b")),
    }
    expected = {
        "1": [0, 1, 2],
        "nested": [0.5, None, None, [7, True, None, "ü"]],
        "frame": [{"a": 1, "b": None, "c": "x"}, {"a": 2, "b": 0.5, "c": None}],
        "series": [1.0, None],
        "time": None,
        "point": {"x": 1.5, "where": str(Path("a/b"))},
    }
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == expected


def test_plain_refuses_other_types():
    with pytest.raises(TypeError, match="object"):
        plain(object())


def test_the_base_page_loads_nothing():
    page = render("cocotag.pages", "base.html.j2")
    assert page.startswith("<!doctype html>")
    assert not re.search(r"""src\s*=|href\s*=\s*"[^#]|@import|url\(|fetch\(|XMLHttpRequest""", page)


def test_the_page_allows_only_its_own_script():
    page = render("cocotag.pages", "base.html.j2")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)[1]
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1
    assert policy.split("; ") == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        f"script-src 'sha256-{digest}'",
    ]


def test_the_contents_list_the_headings_and_data_cannot_add_any(monkeypatch, tmp_path):
    (tmp_path / "page.html.j2").write_text(
        '{% extends "base.html.j2" %}{% block content %}{% for name in names %}<h2 id="s{{ loop.index }}">{{ name }}</h2>'
        "{% endfor %}<p>{{ said }}</p>{% endblock %}"
    )
    templates = _report_environment("cocotag.pages")
    monkeypatch.setattr(templates, "loader", jinja2.ChoiceLoader([templates.loader, jinja2.FileSystemLoader(tmp_path)]))
    forged = '<h2 id="x">forged</h2><nav></nav>'
    page = render("cocotag.pages", "page.html.j2", names=["One", "Two", "a < b", forged], said=forged)
    links = re.findall(r'<li><a href="#(\w+)">(.*?)</a></li>', page)
    assert [name for name, _ in links] == ["s1", "s2", "s3", "s4"]
    assert links[2][1] == "a &lt; b"
    assert page.count('<nav class="contents"') == 1
    few = render("cocotag.pages", "page.html.j2", names=["One", "Two"], said="")
    assert "<nav" not in few


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.021, "+2.1"),
        (-0.021, "\N{MINUS SIGN}2.1"),
        (0.0001, "0.0"),
        (-0.0001, "0.0"),
        (0.0, "0.0"),
        (None, UNDEFINED),
        (math.nan, UNDEFINED),
    ],
)
def test_signed(value, shown):
    assert signed(value) == shown


def test_a_missing_variable_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        render("cocotag.imbalance", "imbalance.html.j2")
