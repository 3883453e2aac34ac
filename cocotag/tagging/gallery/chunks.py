"""Data files of a gallery, which the page loads as scripts. Does not depend on the page.

A file calls ``cocotagChunk`` with: ``folders`` (text, relative address, absolute address); ``where``, runs of images in one
folder as ``[folder, images, ...]``; ``names``; ``thumbs``, eight bytes each, zero without a thumbnail; for each model
``counts``, ``classes`` and ``scores``; and ``errors`` (folder, name, status, message). Numbers are little-endian, in base64.

A score is the bits of its float16. As integers, these have the order of the scores, so the page decides exactly as cocotag
does. The sign bit, which a probability does not need, says whether cocotag decided that the class is a tag.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from cocotag.tagging.decisions.rename import levels
from cocotag.tagging.decisions.rows import Context, Row
from cocotag.tagging.gallery.place import output_errors

CHUNK = 2000
"""Files per chunk: a script of about 150 kB."""

FLOOR = 0.02
"""Lower scores are left out. For a class with a threshold below twice this, the floor is half the threshold."""

DECIDED = np.uint16(0x8000)
_ONE = np.float16(1).view(np.uint16)


class ModelScores:
    """Selection of a model's scores for the page.

    Attributes:
        pairs: Number of selected scores.
        tagged: Number of images with each tag, as cocotag decided, ``(K,)``.
    """

    def __init__(self, context: Context, model: str) -> None:
        self._context = context
        self._tags = context.tags(model)
        self._index = self._tags.index_by_name()
        self.model = model
        self.thresholds = _thresholds(context, model)
        self._floors = np.minimum(FLOOR, self.thresholds / 2)
        self.wide = np.dtype("<u4" if len(self._tags) > 65_535 else "<u2")
        self.pairs = 0
        self.tagged = np.zeros(len(self._tags), np.int64)

    def pick(self, row: Row) -> tuple[NDArray[np.integer], NDArray[np.uint16]]:
        """The selected classes of a row and their scores, highest first."""
        decided = [self._index[tag.name] for tag in row.tags]
        scores = self._context.scores(row)
        if scores is None:
            scores = np.zeros(len(self._tags), np.float32)
            scores[decided] = [tag.score for tag in row.tags]
        kept = scores >= self._floors
        kept[decided] = True
        classes = np.flatnonzero(kept)
        bits = np.abs(scores[classes].astype(np.float16)).view(np.uint16)
        order = np.argsort(-bits.astype(np.int32), kind="stable")
        is_tag = np.zeros(len(self._tags), bool)
        is_tag[decided] = True
        classes = classes[order]
        self.tagged[decided] += 1
        self.pairs += len(classes)
        values = np.minimum(bits[order], _ONE)
        values[is_tag[classes]] |= DECIDED
        return classes, values

    def about(self) -> dict[str, Any]:
        """The model's part of the page's ``about``."""
        made_by = self._context.made_by.get(self.model, {})
        groups = [levels(category) for category in self._tags]
        return {
            "name": self.model,
            "bundle": os.path.basename(str(made_by.get("bundle", ""))),  # noqa: PTH119 (a text)
            "classes": [[names[-1], names[0] if len(names) > 1 else ""] for names in groups],
            "thresholds": [round(float(value), 6) for value in self.thresholds],
            "pairs": self.pairs,
        }


def _thresholds(context: Context, model: str) -> NDArray[np.float64]:
    """The threshold of each tag, ``(K,)``; for a tag merged from several classes, their lowest threshold."""
    own = context.vocabularies[model]
    values = np.asarray(context.thresholds.get(model, np.full(len(own), 0.5)), np.float64)
    if context.rename is None:
        return values
    renamed = context.rename.of(own)
    lowest = np.ones(len(renamed.vocabulary))
    kept = renamed.columns >= 0
    np.minimum.at(lowest, renamed.columns[kept], values[kept])
    return lowest


class Chunks:
    """Writer of the data files.

    Attributes:
        images: Number of images so far.
        errors: Number of files that could not be tagged.
        first_errors: The first of these files, with the reason.
        relative: Whether some paths are relative to the working folder.
        models: The score selection of each model.
    """

    def __init__(self, folder: Path, page_folder: Path, context: Context) -> None:
        """Start with no files.

        Args:
            folder: Folder of the data files.
            page_folder: Folder of the page, to which addresses are relative.
            context: What all rows have in common.
        """
        self._folder = folder
        self._page_folder = os.path.abspath(page_folder)  # noqa: PTH100 (browsers resolve .. as text too)
        self.models = [ModelScores(context, model) for model in context.vocabularies]
        self._digest = hashlib.sha256()
        self.images = self.errors = self.count = 0
        self.relative = False
        self.first_errors: list[tuple[str, str]] = []
        self._clear()

    def _clear(self) -> None:
        self._folders: dict[str, int] = {}
        self._where: list[int] = []
        self._names: list[str] = []
        self._errors: list[tuple[int, str, str, str]] = []
        self._thumbs = array("Q")
        self._counts: list[list[int]] = [[] for _ in self.models]
        self._classes: list[list[NDArray[np.integer]]] = [[] for _ in self.models]
        self._scores: list[list[NDArray[np.uint16]]] = [[] for _ in self.models]

    def add(self, rows: Sequence[Row], thumb: int) -> None:
        """Add a file.

        Args:
            rows: Its rows, one per model, in the order of the models.
            thumb: Key of its thumbnail, or 0.
        """
        path = rows[0].path
        folder = self._folders.setdefault(str(path.parent), len(self._folders))
        failed = next((row for row in rows if row.status != "ok"), None)
        if failed is not None:
            message = failed.error.removeprefix(f"{path}: ")
            self._errors.append((folder, path.name, failed.status, message))
            self.errors += 1
            if len(self.first_errors) < FIRST_ERRORS:
                self.first_errors.append((str(path), f"{failed.status}: {message}"))
        else:
            self._add_image(rows, folder, thumb)
        if len(self._names) + len(self._errors) >= CHUNK:
            self._write()

    def _add_image(self, rows: Sequence[Row], folder: int, thumb: int) -> None:
        self.images += 1
        self._names.append(rows[0].path.name)
        self._thumbs.append(thumb)
        if self._where and self._where[-2] == folder:
            self._where[-1] += 1
        else:
            self._where += [folder, 1]
        for index, (model, row) in enumerate(zip(self.models, rows, strict=True)):
            classes, scores = model.pick(row)
            self._counts[index].append(len(classes))
            self._classes[index].append(classes)
            self._scores[index].append(scores)

    def close(self) -> str:
        """Write the last file.

        Returns:
            A digest of all files, 16 hexadecimal digits.
        """
        if self._names or self._errors:
            self._write()
        return self._digest.hexdigest()[:16]

    def _write(self) -> None:
        chunk = {
            "folders": [self._addresses(folder) for folder in self._folders],
            "where": self._where,
            "names": self._names,
            "thumbs": _base64(np.asarray(self._thumbs, ">u8")),
            "models": [
                {
                    "counts": _base64(np.asarray(self._counts[index], model.wide)),
                    "classes": _base64(np.concatenate([*self._classes[index], np.empty(0, np.intp)]).astype(model.wide)),
                    "scores": _base64(np.concatenate([*self._scores[index], np.empty(0, np.uint16)]).astype("<u2")),
                }
                for index, model in enumerate(self.models)
            ],
            "errors": self._errors,
        }
        text = f"cocotagChunk({script_json(chunk)});\n".encode("ascii")
        self._digest.update(text)
        file = self._folder / chunk_name(self.count)
        with output_errors(file):
            file.write_bytes(text)
        self.count += 1
        self._clear()

    def _addresses(self, folder: str) -> tuple[str, str, str]:
        self.relative |= not os.path.isabs(folder)  # noqa: PTH117 (a text)
        return "" if folder == "." else folder, *addresses(folder, self._page_folder)


def addresses(path: Path | str, page_folder: str) -> tuple[str, str]:
    """The address of a folder or file relative to the page, and the absolute one; both end in a slash.

    The relative address stays valid if the page and the folder or file are moved together.
    """
    absolute = os.path.abspath(path)  # noqa: PTH100 (browsers resolve .. as text too)
    far = f"{Path(absolute).as_uri().rstrip('/')}/"
    try:
        relative = os.path.relpath(absolute, page_folder)
    except ValueError:  # on another drive
        return far, far
    return f"{quote(os.fsencode(relative).replace(os.fsencode(os.sep), b'/'))}/", far


FIRST_ERRORS = 100


def chunk_name(number: int) -> str:
    """The file name of a chunk."""
    return f"{number:06d}.js"


def script_json(value: Any) -> str:  # noqa: ANN401 (plain JSON values)
    """ASCII JSON that is safe in a script, also inline in HTML; lone surrogates are preserved."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
