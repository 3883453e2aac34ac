"""The tag gallery, a static page to review tags: `write_gallery`. Does not depend on a network.

Files in the folder of a gallery::

    index.html                          the page, which includes its script and style; written last
    cocotag/.cocotag-gallery            marks the folder as cocotag's; walks skip it
    cocotag/data-DIGEST/000000.js       names, tags and scores of `chunks.CHUNK` images each; a page opened from disk may
                                        load scripts, but not JSON
    cocotag/thumbs/ab/abcdef.jpg        thumbnails, named by path, size and modification time of the photograph

A killed run therefore leaves the previous page and all its files, and the next run makes only the thumbnails of new and
changed photographs.
"""

from __future__ import annotations

from cocotag.tagging.gallery.place import check_gallery
from cocotag.tagging.gallery.write import GallerySummary, write_gallery

__all__ = ["GallerySummary", "check_gallery", "write_gallery"]
