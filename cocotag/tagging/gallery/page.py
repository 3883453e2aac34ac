"""The HTML page of a gallery, which includes its script and style. Does not depend on the gallery's files."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from cocotag.pages.html import encodable, environment, page_style, source_hash, template_text
from cocotag.tagging.gallery.chunks import script_json

SCRIPTS = ("data.js", "select.js", "cards.js", "grid.js", "large.js", "errors.js", "page.js")
"""In order of dependency; the page has them as one script."""

_PACKAGE = "cocotag.tagging.gallery"


def render(about: dict[str, Any], **values: Any) -> str:  # noqa: ANN401 (a page shows whatever it is given)
    """The HTML text of the page.

    Args:
        about: What the script needs before it loads data.
        **values: What the template shows without scripts; all values are escaped.
    """
    return encodable(_environment().get_template("index.html.j2").render(about=Markup(script_json(about)), **values))


@cache
def _environment() -> Environment:
    script = template_text(_PACKAGE, *SCRIPTS)
    style = page_style() + template_text(_PACKAGE, "gallery.css")
    # Only this script runs, and the data that it loads itself ('strict-dynamic'); pictures come from the page's own location.
    policy = (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src '{source_hash(style)}'; "
        f"script-src '{source_hash(script)}' 'strict-dynamic'; img-src 'self' file:"
    )
    return environment(_PACKAGE, style=style, script=script, content_security_policy=policy)
