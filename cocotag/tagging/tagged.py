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
from cocotag.inference.stream import predict_files
from cocotag.inference.tagger import Tagger
from cocotag.inference.tags import Tag, check_top_k, decide, make_tags
from cocotag.photos.walk import Walk

if TYPE_CHECKING:
    import pandas as pd


_AGAIN = "Call tag_folder again, or keep the results in a list."


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
    """Results of many files, made while they are asked for, in the order of the files; to be gone through once.

    To go through them again, call `Tagger.tag_folder` again or keep them in a list: it would be all the work once more.
    To leave off early, close it, or use it in a ``with`` statement; what is dropped closes itself.
    """

    def __init__(self, results: Generator[Tagged]) -> None:
        self._results = results
        self._given = 0
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
        """As `Tagger.tag_folder`, with thresholds ``(C,)``."""
        check_top_k(top_k)
        exclude = [exclude] if isinstance(exclude, str) else exclude  # a text is a sequence of texts too
        walk = Walk([paths] if isinstance(paths, Path | str) else paths, exclude=exclude, hidden=hidden)
        files = (Path(os.fsdecode(part.prefix + name)) for part in walk for name in part.names)
        return cls(_tag(tagger, files, thresholds, top_k))

    def __iter__(self) -> Self:
        """Itself, to go on with.

        Raises:
            RuntimeError: All results were given, or it is closed.
        """
        if self._ended:
            raise RuntimeError(f"these results were gone through already ({self._given} were given). {_AGAIN}")
        return self

    def __next__(self) -> Tagged:
        self._ended = True  # if this raises
        result = next(self._results)
        self._ended = False
        self._given += 1
        return result

    def close(self) -> None:
        """End the threads; there are no more results then."""
        self._ended = True
        self._results.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def to_frame(self) -> pd.DataFrame:
        """All results, a row for each file.

        Returns:
            Columns ``path`` (text as Python has it, so that the file can be opened even if its name is not UTF-8), ``status``,
            ``tags`` (a list of names, highest score first), ``scores`` and ``supercategories`` (lists in the same order) and
            ``error`` (the message, empty where there is none).

        Raises:
            RuntimeError: Some results were given already, so the frame would lack them.
        """
        import pandas as pd

        if self._given:
            raise RuntimeError(f"{self._given} of these results were given already, so a frame would lack them. {_AGAIN}")
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
        return frame.astype({"status": "str", "error": "str"})  # a path would not be one where text is stored as UTF-8


def _tag(tagger: Tagger, files: Iterable[Path], thresholds: NDArray[np.floating], top_k: int | None) -> Generator[Tagged]:
    vocabulary = tagger.metadata.vocabulary
    with closing(predict_files(tagger, files)) as predictions:
        for prediction in predictions:
            probs = prediction.probs
            tags = () if probs is None else make_tags(vocabulary, probs, decide(probs, thresholds, top_k))
            yield Tagged(prediction.path, tags, prediction.error)
