"""What there is to see -> the HTML page, with its script and style in it. Knows no files of the gallery."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cocotag.tagging.gallery.chunks import script_json

SCRIPTS = ("data.js", "select.js", "cards.js", "grid.js", "large.js", "errors.js", "page.js")
"""In the order in which they need each other; on the page they are one."""


def render(about: dict[str, Any], **values: Any) -> str:  # noqa: ANN401 (a page shows whatever it is given)
    """Make the page.

    Args:
        about: What its script has to know before it loads data.
        **values: What the template shows to who has no script; all of it is escaped.
    """
    text = _environment().get_template("index.html.j2").render(about=Markup(script_json(about)), **values)
    return text.encode("utf-8", "replace").decode("utf-8")  # names that are not UTF-8


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cocotag.tagging.gallery", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own = files("cocotag.tagging.gallery") / "templates"
    script = "".join((own / name).read_text(encoding="utf-8") for name in SCRIPTS)
    # The colours and letters of the reports.
    reports = (files("cocotag.reports") / "templates" / "page.css").read_text(encoding="utf-8")
    style = reports + (own / "gallery.css").read_text(encoding="utf-8")
    environment.globals |= {
        "page_css": Markup(style),
        "page_js": Markup(script),
        # Only this script runs, and the data that it loads itself ('strict-dynamic'); pictures come from where the page is.
        "content_security_policy": Markup(
            f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src '{_hash(style)}'; "
            f"script-src '{_hash(script)}' 'strict-dynamic'; img-src 'self' file:"
        ),
    }
    return environment


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
