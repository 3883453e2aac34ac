"""Tags as keywords that photo programs show: in sidecars, and in photographs by exiftool. They can be removed again.

From the outside in: `sidecars` and `embed` go through the photographs, `siblings` knows the sidecars of one, and `in_place`
replaces a file atomically. `packets` adds keywords to XMP and removes them, and finds whose a keyword is.
"""

from __future__ import annotations

from cocotag.tagging.xmp.embed import embed_keywords, untag_embedded
from cocotag.tagging.xmp.exiftool import find_exiftool
from cocotag.tagging.xmp.sidecars import untag, write_sidecars
from cocotag.tagging.xmp.summary import SidecarSummary

__all__ = ["SidecarSummary", "embed_keywords", "find_exiftool", "untag", "untag_embedded", "write_sidecars"]
