"""Many files -> what each came to, one after another or as a DataFrame: `Tagger.tag_folder`. Keeps nothing on disk."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from cocotag.errors import ImageError
from cocotag.tagging.stream import predict_files
from cocotag.tagging.tagger import Tag, Tagger, check_top_k, decide, make_tags
from cocotag.tagging.walk import Walk

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Tagged:
    """What one file came to.

    Attributes:
        path: As it was given, or the given folder and the way from there.
        tags: Highest score first; empty where there is an error, or nothing to see.
        error: Why the file could not be used; None where it could.
    """

    path: Path
    tags: tuple[Tag, ...] = ()
    error: ImageError | None = None

    @property
    def status(self) -> str:
        """``ok``, or the error's reason, such as ``truncated``."""
        return "ok" if self.error is None else self.error.reason


class TaggedFiles(Iterator[Tagged]):
    """Results of many files, made while they are asked for, in the order of the files.

    To leave off early, close it, or use it in a ``with`` statement; what is dropped closes itself.
    """

    def __init__(self, results: Generator[Tagged]) -> None:
        self._results = results

    @classmethod
    def of(
        cls,
        tagger: Tagger,
        paths: Path | str | Iterable[Path | str],
        thresholds: NDArray[np.floating],
        top_k: int | None,
        *,
        exclude: Sequence[str] = (),
        hidden: bool = False,
    ) -> Self:
        """As `Tagger.tag_folder`, with thresholds ``(C,)``."""
        check_top_k(top_k)
        walk = Walk([paths] if isinstance(paths, Path | str) else paths, exclude=exclude, hidden=hidden)
        files = (Path(os.fsdecode(part.prefix + name)) for part in walk for name in part.names)
        return cls(_tag(tagger, files, thresholds, top_k))

    def __next__(self) -> Tagged:
        return next(self._results)

    def close(self) -> None:
        """End the threads; there are no more results then."""
        self._results.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def to_frame(self) -> pd.DataFrame:
        """All results that are left, a row for each file.

        Returns:
            Columns ``path`` (text), ``status``, ``tags`` (a list of names, highest score first), ``scores`` (a list in the same
            order) and ``error`` (the message, empty where there is none).
        """
        import pandas as pd

        rows = [
            {
                "path": str(one.path),
                "status": one.status,
                "tags": [tag.name for tag in one.tags],
                "scores": [tag.score for tag in one.tags],
                "error": "" if one.error is None else str(one.error),
            }
            for one in self
        ]
        return pd.DataFrame(rows, columns=["path", "status", "tags", "scores", "error"])


def _tag(tagger: Tagger, files: Iterable[Path], thresholds: NDArray[np.floating], top_k: int | None) -> Generator[Tagged]:
    vocabulary = tagger.metadata.vocabulary
    with closing(predict_files(tagger, files)) as predictions:
        for prediction in predictions:
            probs = prediction.probs
            tags = () if probs is None else make_tags(vocabulary, probs, decide(probs, thresholds, top_k))
            yield Tagged(prediction.path, tags, prediction.error)
