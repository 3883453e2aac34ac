"""Rendering of self-contained HTML pages from jinja2 templates. Does not depend on metrics, pandas or torch."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cocotag.pages.values import interval, number, percent, signed

_SHARED = "cocotag.pages"
_CONTENTS = "<nav></nav>"
_FEW_HEADINGS = 4


def render(package: str, template: str, **values: Any) -> str:  # noqa: ANN401 (a page shows whatever it is given)
    """The HTML text of a report page.

    Every value is escaped, so class and file names may contain anything; SVG from `cocotag.pages.plots` is inserted as is.
    A name that the template uses and ``values`` lacks is an error, not an empty string.

    Args:
        package: The package with the template, such as ``cocotag.evaluation``.
        template: File name in the package's ``templates``.
        **values: Variables of the template.
    """
    text = _report_environment(package).get_template(template).render(**values)
    return encodable(text.replace(_CONTENTS, _contents(text), 1))


def _contents(text: str) -> str:
    """A table of contents of the headings with an id, ``<h2 id="...">``; empty if the page has few headings."""
    headings = re.findall(r'<h2 id="([^"<>]+)">(.*?)</h2>', text, flags=re.DOTALL)  # data cannot forge one: it is escaped
    if len(headings) < _FEW_HEADINGS:
        return ""
    links = "".join(f'<li><a href="#{name}">{title.strip()}</a></li>' for name, title in headings)
    return f'<nav class="contents" aria-label="Contents"><ul>{links}</ul></nav>'


def environment(package: str, *, style: str, script: str, content_security_policy: str) -> Environment:
    """The template environment for one kind of page: the package's own templates, then the shared ones.

    Args:
        package: A package with a folder ``templates``, such as ``cocotag.evaluation``.
        style: The page's style sheet.
        script: The page's script.
        content_security_policy: What the browser may load and run on this page.
    """
    templates = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(_SHARED)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {
        "page_css": Markup(style),
        "page_js": Markup(script),
        "contents_go_here": Markup(_CONTENTS),
        "content_security_policy": Markup(content_security_policy),
    }
    templates.filters |= {"percent": percent, "number": number, "signed": signed, "interval": interval}
    return templates


def template_text(package: str, *names: str) -> str:
    """The concatenated text of files in a package's ``templates``."""
    folder = files(package) / "templates"
    return "".join((folder / name).read_text(encoding="utf-8") for name in names)


def page_style() -> str:
    """The style sheet that all pages share."""
    return template_text(_SHARED, "page.css")


def source_hash(text: str) -> str:
    """The hash of a script or style, as a content security policy writes it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def encodable(text: str) -> str:
    """The text without lone surrogates, which JSON and file names may contain but UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


@cache
def _report_environment(package: str) -> Environment:
    script = template_text(_SHARED, "page.js")
    # The browser enforces what the page promises: it fetches nothing and runs no script but this one.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src '{source_hash(script)}'"
    return environment(package, style=page_style(), script=script, content_security_policy=policy)
