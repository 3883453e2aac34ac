"""Values -> one self-contained HTML page, through jinja2 templates. Knows no metrics; imports neither pandas nor torch."""

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
    """Fill the template of a report page.

    Every value is escaped, so class and file names may hold anything; SVG from `cocotag.pages.plots` goes in as it is.
    A name that the template uses and ``values`` lacks is an error, not an empty place.

    Args:
        package: Whose template, such as ``cocotag.evaluation``.
        template: File name in the package's ``templates``.
        **values: What the template shows.
    """
    text = _report_environment(package).get_template(template).render(**values)
    return encodable(text.replace(_CONTENTS, _contents(text), 1))


def _contents(text: str) -> str:
    """Links to the headings with an id, ``<h2 id="...">``, if there are enough to get lost among."""
    headings = re.findall(r'<h2 id="([^"<>]+)">(.*?)</h2>', text, flags=re.DOTALL)  # data cannot write one: it is escaped
    if len(headings) < _FEW_HEADINGS:
        return ""
    links = "".join(f'<li><a href="#{name}">{title.strip()}</a></li>' for name, title in headings)
    return f'<nav class="contents" aria-label="Contents"><ul>{links}</ul></nav>'


def environment(package: str, *, style: str, script: str, content_security_policy: str) -> Environment:
    """The template environment of one kind of page: the package's own templates, then the shared ones.

    Args:
        package: Has a folder ``templates``, such as ``cocotag.evaluation``.
        style: The page's style sheet.
        script: The page's script.
        content_security_policy: What the browser may load and run on this page.
    """
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(_SHARED)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {
        "page_css": Markup(style),
        "page_js": Markup(script),
        "contents_go_here": Markup(_CONTENTS),
        "content_security_policy": Markup(content_security_policy),
    }
    made.filters |= {"percent": percent, "number": number, "signed": signed, "interval": interval}
    return made


def template_text(package: str, *names: str) -> str:
    """Files in a package's ``templates``, one after the other."""
    folder = files(package) / "templates"
    return "".join((folder / name).read_text(encoding="utf-8") for name in names)


def page_style() -> str:
    """The colours and letters that all pages share."""
    return template_text(_SHARED, "page.css")


def source_hash(text: str) -> str:
    """A script or style as a content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def encodable(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON and file names may carry and a file in UTF-8 may not."""
    return text.encode("utf-8", "replace").decode("utf-8")


@cache
def _report_environment(package: str) -> Environment:
    script = template_text(_SHARED, "page.js")
    # The browser itself holds the page to what it promises: nothing is fetched, and no script runs but this one.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src '{source_hash(script)}'"
    return environment(package, style=page_style(), script=script, content_security_policy=policy)
