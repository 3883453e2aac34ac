"""Static pages on which people look the tags over: `write_gallery`. Knows rows of tags and photographs, and no network.

What is in the folder::

    index.html                          the page, with its script and style in it; written last
    cocotag/.cocotag-gallery            says whose folder this is, and keeps walks out of it
    cocotag/data-DIGEST/000000.js       names, tags and scores, `chunks.CHUNK` images in each; a page that is opened as a file
                                        may load scripts, but no JSON
    cocotag/thumbs/ab/abcdef.jpg        small pictures, called by path, size and modification time of the photograph

So a run that is killed leaves the page that was there and all that it needs, and the next run makes only the thumbnails of
new and changed photographs.
"""

from __future__ import annotations

from cocotag.tagging.gallery.place import check_gallery
from cocotag.tagging.gallery.write import GallerySummary, write_gallery

__all__ = ["GallerySummary", "check_gallery", "write_gallery"]
