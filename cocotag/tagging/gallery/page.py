"""What there is to see -> the HTML page, with its script and style in it. Knows no files of the gallery."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from cocotag.pages.html import encodable, environment, page_style, source_hash, template_text
from cocotag.tagging.gallery.chunks import script_json

SCRIPTS = ("data.js", "select.js", "cards.js", "grid.js", "large.js", "errors.js", "page.js")
"""In the order in which they need each other; on the page they are one."""

_PACKAGE = "cocotag.tagging.gallery"


def render(about: dict[str, Any], **values: Any) -> str:  # noqa: ANN401 (a page shows whatever it is given)
    """Make the page.

    Args:
        about: What its script has to know before it loads data.
        **values: What the template shows to who has no script; all of it is escaped.
    """
    return encodable(_environment().get_template("index.html.j2").render(about=Markup(script_json(about)), **values))


@cache
def _environment() -> Environment:
    script = template_text(_PACKAGE, *SCRIPTS)
    style = page_style() + template_text(_PACKAGE, "gallery.css")
    # Only this script runs, and the data that it loads itself ('strict-dynamic'); pictures come from where the page is.
    policy = (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src '{source_hash(style)}'; "
        f"script-src '{source_hash(script)}' 'strict-dynamic'; img-src 'self' file:"
    )
    return environment(_PACKAGE, style=style, script=script, content_security_policy=policy)
