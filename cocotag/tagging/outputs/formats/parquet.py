"""Parquet, written with pyarrow: one row of the table per row.

``path`` and ``status`` are strings; ``tags`` (string), ``scores`` (float32) and ``supercategories`` (string) are lists in the
same order, highest score first; ``error`` is null if the status is ``ok``. There is ``model`` if there are several models, and
on request ``all_scores``, a list of float32 in the order of the classes, null if the image could not be used. The metadata key
``cocotag`` of the file has, as JSON, the bundles of the rows, the thresholds and the ``classes`` of each model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cocotag.errors import MissingExtraError
from cocotag.path_text import path_text, plain_text
from cocotag.tagging.decisions.rows import Context, Row
from cocotag.tagging.outputs.formats.cells import shortest

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_GROUP = 20_000
"""Rows per row group. A group is held in memory before it is written: some tens of MB."""
SCORES_PER_GROUP = 4_000_000
"""Scores per row group, if all scores are written: 16 MB of float32."""


class ParquetTable:
    """A Parquet file that is being written."""

    @staticmethod
    def check(out: Path, context: Context) -> None:
        """Check that pyarrow is installed.

        Raises:
            MissingExtraError: It is not installed.
        """
        if find_spec("pyarrow") is None:
            raise MissingExtraError(
                f"{out}: Parquet needs pyarrow, which is not installed. Run: pip install 'cocotag[parquet]'",
                code="missing_pyarrow",
            )

    def __init__(self, path: Path, context: Context) -> None:
        import pyarrow.parquet as pq

        self._context = context
        self._stream = path.open("wb")
        self._schema = _schema(context)
        self._writer = pq.ParquetWriter(self._stream, self._schema, compression="zstd")
        self._held: list[Row] = []
        classes = max(map(len, context.vocabularies.values()), default=0) if context.all_scores else 0
        self._group = max(1, min(ROWS_PER_GROUP, SCORES_PER_GROUP // max(classes, 1)))

    def write(self, rows: Sequence[Row]) -> None:
        """Write some more rows."""
        self._held += rows
        while len(self._held) >= self._group:
            self._write_group(self._held[: self._group])
            del self._held[: self._group]

    def close(self) -> None:
        """Complete the file."""
        if self._held:
            self._write_group(self._held)
        self._writer.close()
        self._stream.close()

    def abandon(self) -> None:
        """Close the file without completing it."""
        self._writer.is_open = False  # otherwise the garbage collector makes it write a footer to the closed stream
        with suppress(OSError):  # on a full disk the buffer is lost
            self._stream.close()

    def _write_group(self, rows: Sequence[Row]) -> None:
        import pyarrow as pa

        counts = [len(row.tags) for row in rows]
        tags = [tag for row in rows for tag in row.tags]
        columns = {
            "path": _strings([path_text(row.path) for row in rows]),
            "status": _strings([row.status for row in rows]),
            "tags": _lists(counts, _strings([tag.name for tag in tags])),
            "scores": _lists(counts, _floats(shortest(np.array([tag.score for tag in tags], np.float32)))),
            "supercategories": _lists(counts, _strings([tag.supercategory for tag in tags])),
            "error": _strings([plain_text(row.error) for row in rows], [bool(row.error) for row in rows]),
        }
        if self._context.several:
            columns["model"] = _strings([plain_text(row.model) for row in rows])
        if self._context.all_scores:
            scores = [self._context.scores(row) for row in rows]
            values = np.concatenate([np.empty(0), *(shortest(one) for one in scores if one is not None)])
            counts = [0 if one is None else len(one) for one in scores]
            columns["all_scores"] = _lists(counts, _floats(values), [one is not None for one in scores])
        self._writer.write_batch(pa.record_batch([columns[field.name] for field in self._schema], schema=self._schema))


def _schema(context: Context) -> pa.Schema:
    import pyarrow as pa

    fields = [
        ("path", pa.string()),
        ("status", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
        ("supercategories", pa.list_(pa.string())),
        ("error", pa.string()),
    ]
    if context.several:
        fields.append(("model", pa.string()))
    if context.all_scores:
        fields.append(("all_scores", pa.list_(pa.float32())))
    about = {**context.about(), "classes": {model: context.tags(model).to_json() for model in context.vocabularies}}
    return pa.schema(fields, metadata={"cocotag": json.dumps(about)})


# Arrays are built from buffers: `pa.array` imports pandas to check for a Series, which takes half a second and 40 MB.


def _strings(values: Sequence[str], valid: Sequence[bool] | None = None) -> pa.Array:
    import pyarrow as pa

    data = [value.encode() for value in values]
    buffers = [_bitmap(valid), pa.py_buffer(_offsets(map(len, data))), pa.py_buffer(b"".join(data))]
    return pa.Array.from_buffers(pa.string(), len(data), buffers)


def _floats(values: NDArray[np.float64]) -> pa.Array:
    import pyarrow as pa

    return pa.Array.from_buffers(pa.float32(), len(values), [None, pa.py_buffer(values.astype(np.float32))])


def _lists(counts: Sequence[int], values: pa.Array, valid: Sequence[bool] | None = None) -> pa.Array:
    import pyarrow as pa

    buffers = [_bitmap(valid), pa.py_buffer(_offsets(counts))]
    return pa.Array.from_buffers(pa.list_(values.type), len(counts), buffers, children=[values])


def _offsets(counts: Iterable[int]) -> NDArray[np.int32]:
    return np.cumsum([0, *counts], dtype=np.int32)


def _bitmap(valid: Sequence[bool] | None) -> pa.Buffer | None:
    """One bit per value, lowest bit first; None if all values are valid."""
    import pyarrow as pa

    return None if valid is None else pa.py_buffer(np.packbits(np.array(valid, bool), bitorder="little"))
