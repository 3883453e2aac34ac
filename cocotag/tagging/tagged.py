"""Tags of many files as an iterator or a DataFrame: `Tagger.tag_folder`. Does not write to disk."""

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
from cocotag.inference.stream import predict_files
from cocotag.inference.tagger import Tagger
from cocotag.inference.tags import Tag, check_top_k, decide, make_tags
from cocotag.photos.walk import Walk

if TYPE_CHECKING:
    import pandas as pd


_ADVICE = "Call tag_folder again, or keep the results in a list."


@dataclass(frozen=True, slots=True)
class Tagged:
    """The result of one file.

    Attributes:
        path: The given path, or the path below a given folder.
        tags: The tags, highest score first; empty with an error or without tags.
        error: Why the file could not be used; None if it could.
    """

    path: Path
    tags: tuple[Tag, ...] = ()
    error: ImageError | None = None

    @property
    def status(self) -> str:
        """``ok``, or the error's code, such as ``truncated``."""
        return "ok" if self.error is None else self.error.code


class TaggedFiles(Iterator[Tagged]):
    """One-pass iterator over the results of many files, in the order of the files, computed lazily.

    To iterate again, keep the results in a list, or call `Tagger.tag_folder` again, which repeats the work. To stop early,
    call ``close`` or use a ``with`` statement; garbage collection closes it too.
    """

    def __init__(self, results: Generator[Tagged]) -> None:
        self._results = results
        self._returned = 0
        self._ended = False

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
        """The results of `Tagger.tag_folder`, with thresholds ``(C,)``."""
        check_top_k(top_k)
        exclude = [exclude] if isinstance(exclude, str) else exclude  # a string is a sequence of strings too
        walk = Walk([paths] if isinstance(paths, Path | str) else paths, exclude=exclude, hidden=hidden)
        files = (Path(os.fsdecode(part.prefix + name)) for part in walk for name in part.names)
        return cls(_tag(tagger, files, thresholds, top_k))

    def __iter__(self) -> Self:
        """Itself.

        Raises:
            RuntimeError: All results were returned, or it is closed.
        """
        if self._ended:
            raise RuntimeError(f"The results were already consumed ({self._returned} were returned). {_ADVICE}")
        return self

    def __next__(self) -> Tagged:
        self._ended = True  # in case this raises
        result = next(self._results)
        self._ended = False
        self._returned += 1
        return result

    def close(self) -> None:
        """Stop the threads; the iteration ends."""
        self._ended = True
        self._results.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def to_frame(self) -> pd.DataFrame:
        """All results, one row per file.

        Returns:
            Columns ``path`` (a Python string, so that a file can be opened even if its name is not UTF-8), ``status``,
            ``tags`` (a list of names, highest score first), ``scores`` and ``supercategories`` (lists in the same order) and
            ``error`` (the message, or an empty string).

        Raises:
            RuntimeError: Some results were already returned, so the frame would lack them.
        """
        import pandas as pd

        if self._returned:
            raise RuntimeError(f"{self._returned} results were already returned, so a frame would lack them. {_ADVICE}")
        rows = [
            {
                "path": str(one.path),
                "status": one.status,
                "tags": [tag.name for tag in one.tags],
                "scores": [tag.score for tag in one.tags],
                "supercategories": [tag.supercategory for tag in one.tags],
                "error": "" if one.error is None else str(one.error),
            }
            for one in self
        ]
        frame = pd.DataFrame(rows, columns=["path", "status", "tags", "scores", "supercategories", "error"], dtype=object)
        return frame.astype({"status": "str", "error": "str"})  # not the paths, which need not be valid UTF-8


def _tag(tagger: Tagger, files: Iterable[Path], thresholds: NDArray[np.floating], top_k: int | None) -> Generator[Tagged]:
    vocabulary = tagger.metadata.vocabulary
    with closing(predict_files(tagger, files)) as predictions:
        for prediction in predictions:
            probs = prediction.probs
            tags = () if probs is None else make_tags(vocabulary, probs, decide(probs, thresholds, top_k))
            yield Tagged(prediction.path, tags, prediction.error)
