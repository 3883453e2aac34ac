"""Tags as keywords that photo programs show: in sidecars, and in photographs by exiftool. Taken out again on request.

From the outside in: `sidecars` and `embed` know which file is whose, `in_place` changes it whole or not at all, `packet` puts
keywords into its XMP and takes them out, by way of `fields`, `removal` and what `record` notes; `document` finds everything in
the text, so that the rest of it stays as it was; `keywords` says which keywords are one.
"""

from __future__ import annotations

from cocotag.tagging.xmp.embed import embed_keywords, untag_embedded
from cocotag.tagging.xmp.exiftool import find_exiftool
from cocotag.tagging.xmp.sidecars import SidecarSummary, untag, write_sidecars

__all__ = ["SidecarSummary", "embed_keywords", "find_exiftool", "untag", "untag_embedded", "write_sidecars"]
