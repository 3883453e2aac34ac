"""A tagger's predictions on labelled images, stored beside its report so that taggers can be compared image by image."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.errors import DataError
from cocotag.files import atomic_path

FILE = "predictions.npz"
FORMAT = "cocotag predictions 1"
_DAMAGE = (
    *(ValueError, KeyError, TypeError, IndexError, EOFError, AttributeError, MemoryError, OverflowError),
    *(NotImplementedError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile),
)
"""Exceptions of numpy and zipfile on damaged or foreign files."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Predictions:
    """The probabilities and decisions of one tagger on ``N`` labelled images and ``C`` classes, with the labels.

    Attributes:
        file_names: File names as in the annotation file, ``(N,)`` text.
        class_names: ``C`` names, in index order.
        probs: Probabilities in 0..1, ``(N, C)`` float32.
        predicted: The decisions, ``(N, C)`` bool; they may be based on rounded probabilities.
        targets: The labels, ``(N, C)`` bool.
        known: The mask of known labels, ``(N, C)`` bool.
    """

    file_names: NDArray[np.str_]
    class_names: tuple[str, ...]
    probs: NDArray[np.float32]
    predicted: Bools
    targets: Bools
    known: Bools

    def __post_init__(self) -> None:
        """Convert the fields to their types.

        Raises:
            ValueError: The shapes differ.
        """
        for name, dtype in (("probs", np.float32), ("predicted", bool), ("targets", bool), ("known", bool)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype))
        object.__setattr__(self, "file_names", np.asarray(self.file_names, dtype=np.str_))
        object.__setattr__(self, "class_names", tuple(self.class_names))
        shape = (len(self.file_names), len(self.class_names))
        for name in ("probs", "predicted", "targets", "known"):
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} is {getattr(self, name).shape}; it must be {shape}, images and classes.")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.file_names)

    def save(self, path: Path | str) -> None:
        """Write an ``.npz`` atomically, with numpy arrays only and no Python objects.

        Raises:
            OutputError: The file cannot be written.
        """
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                format=np.asarray(FORMAT),
                file_names=_bytes(self.file_names.tolist()),
                class_names=_bytes(self.class_names),
                probs=self.probs,
                predicted=np.packbits(self.predicted, axis=1),
                targets=np.packbits(self.targets, axis=1),
                known=np.packbits(self.known, axis=1),
            )

    @classmethod
    def load(cls, path: Path | str) -> Predictions:
        """Read a file of `save`. No code from the file is executed.

        Raises:
            DataError: The file is missing, damaged or not from cocotag.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                parts: dict[str, Any] = {name: file[name] for name in file.files}
            if str(parts.pop("format")) != FORMAT:
                raise ValueError("written by another version of cocotag")
            columns = parts["probs"].shape[1]
            for name in ("predicted", "targets", "known"):
                parts[name] = np.unpackbits(parts[name], axis=1, count=columns).astype(bool)
            for name in ("file_names", "class_names"):
                parts[name] = _texts(parts[name])
            if not np.isfinite(parts["probs"]).all():
                raise ValueError("probabilities are NaN or infinite")
            return cls(**parts)
        except FileNotFoundError:
            raise DataError(f"{path} does not exist. Write it with: cocotag evaluate", code="predictions_missing") from None
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error.strerror or error}). Check its permissions.", code="not_readable"
            ) from None
        except _DAMAGE as error:
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise DataError(
                f"{path} is damaged or is not a predictions file ({reason}). Write it again with: cocotag evaluate",
                code="predictions_damaged",
            ) from None


def _bytes(texts: list[str] | tuple[str, ...]) -> NDArray[np.uint8]:
    """Texts as zero-terminated UTF-8. numpy's own text arrays lose trailing zeros and take 4 bytes per letter."""
    joined = "".join(f"{text}\0" for text in (str(text).replace("\0", "\N{REPLACEMENT CHARACTER}") for text in texts))
    return np.frombuffer(joined.encode("utf-8", "surrogatepass"), dtype=np.uint8)


def _texts(array: NDArray[np.uint8]) -> list[str]:
    return array.astype(np.uint8, casting="no").tobytes().decode("utf-8", "surrogatepass").split("\0")[:-1]
