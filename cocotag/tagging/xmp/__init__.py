"""Tags as keywords that photo programs show: in sidecars, and in photographs by exiftool. They can be removed again.

From the outside in: `sidecars` and `embed` find the file of each photograph, and `in_place` replaces it atomically. `packet`
adds keywords to its XMP and removes them, with the help of `fields`, `removal` and the notes of `record`. `document` locates
elements in the text, so that the rest stays unchanged. `keywords` defines when two keywords are the same.
"""

from __future__ import annotations

from cocotag.tagging.xmp.embed import embed_keywords, untag_embedded
from cocotag.tagging.xmp.exiftool import find_exiftool
from cocotag.tagging.xmp.sidecars import SidecarSummary, untag, write_sidecars

__all__ = ["SidecarSummary", "embed_keywords", "find_exiftool", "untag", "untag_embedded", "write_sidecars"]
