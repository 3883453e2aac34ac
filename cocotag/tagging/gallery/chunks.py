"""Rows -> files of data that the page loads as scripts. Knows no page.

A file calls ``cocotagChunk`` with: ``folders`` (text, address from the page, whole address); ``where``, runs of images in one
folder as ``[folder, images, ...]``; ``names``; ``thumbs``, eight bytes each, zero where there is none; for each model
``counts``, ``classes`` and ``scores``; and ``errors`` (folder, name, status, message). Numbers are little-endian, in base64.

A score is the bits of its float16, which are in order as integers, so that the page decides exactly as cocotag does; the sign
bit, which a probability does not need, says whether it is a tag as cocotag decided.
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
"""Files in one chunk: a script of about 150 kB."""

FLOOR = 0.02
"""Lower scores are left out; also those below half of a threshold that is itself near this."""

DECIDED = np.uint16(0x8000)
_ONE = np.float16(1).view(np.uint16)


class ModelScores:
    """What of a model's scores the page gets.

    Attributes:
        pairs: Scores that were kept.
        tagged: Images with each tag, as cocotag decided, ``(K,)``.
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
        """The classes of a row that matter and their scores, highest first."""
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
        """What the page has to know of the model."""
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
    """By which each tag is decided, ``(K,)``; where several classes became one tag, the lowest of theirs."""
    own = context.vocabularies[model]
    values = np.asarray(context.thresholds.get(model, np.full(len(own), 0.5)), np.float64)
    if context.rename is None:
        return values
    renamed = context.rename.of(own)
    lowest = np.ones(len(renamed.vocabulary))
    there = renamed.columns >= 0
    np.minimum.at(lowest, renamed.columns[there], values[there])
    return lowest


class Chunks:
    """Data that are being written.

    Attributes:
        images: Images so far.
        errors: Files that could not be tagged.
        first_errors: The first of these.
        relative: Some files are named as seen from the working folder.
        models: Of each what was kept.
    """

    def __init__(self, folder: Path, page_folder: Path, context: Context) -> None:
        """Begin.

        Args:
            folder: For the files.
            page_folder: Where the page will be: addresses begin there.
            context: What all rows have in common.
        """
        self._folder = folder
        self._page_folder = os.path.abspath(page_folder)  # noqa: PTH100 (browsers take .. by the letter too)
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
            rows: Of it, one for each model in the order of the models.
            thumb: Key of its thumbnail, 0 if there is none.
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
        for place, (model, row) in enumerate(zip(self.models, rows, strict=True)):
            classes, scores = model.pick(row)
            self._counts[place].append(len(classes))
            self._classes[place].append(classes)
            self._scores[place].append(scores)

    def close(self) -> str:
        """Write what is left.

        Returns:
            A digest of it all, 16 hexadecimal digits.
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
                    "counts": _base64(np.asarray(self._counts[place], model.wide)),
                    "classes": _base64(np.concatenate([*self._classes[place], np.empty(0, np.intp)]).astype(model.wide)),
                    "scores": _base64(np.concatenate([*self._scores[place], np.empty(0, np.uint16)]).astype("<u2")),
                }
                for place, model in enumerate(self.models)
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


def addresses(place: Path | str, page_folder: str) -> tuple[str, str]:
    """The address of a folder or file from the page, which outlasts a move of both, and the whole one; both end in a slash."""
    whole = os.path.abspath(place)  # noqa: PTH100 (browsers take .. by the letter too)
    far = f"{Path(whole).as_uri().rstrip('/')}/"
    try:
        way = os.path.relpath(whole, page_folder)
    except ValueError:  # on another drive
        return far, far
    return f"{quote(os.fsencode(way).replace(os.fsencode(os.sep), b'/'))}/", far


FIRST_ERRORS = 100


def chunk_name(number: int) -> str:
    """The file of a chunk."""
    return f"{number:06d}.js"


def script_json(value: Any) -> str:  # noqa: ANN401 (plain JSON values)
    """JSON in ASCII that may stand in a script, also within HTML; half surrogate pairs stay what they are."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
