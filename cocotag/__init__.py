"""cocotag: train a multi-label image tagger on COCO, tag folders of photographs with it, and report its quality.

The public names are loaded on first use, so that ``import cocotag`` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cocotag.inference.tagger import Tagger
    from cocotag.inference.tags import Tag
    from cocotag.tagging.tagged import Tagged

__version__ = "0.1.0"
__all__ = ["Tag", "Tagged", "Tagger", "__version__"]

_HOMES = {"Tag": "cocotag.inference.tagger", "Tagged": "cocotag.tagging.tagged", "Tagger": "cocotag.inference.tagger"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (a module attribute can be anything)
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'cocotag' has no attribute {name!r}")
