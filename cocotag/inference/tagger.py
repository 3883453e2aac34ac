"""A bundle on ONNX Runtime: images -> probs -> tags. Knows no files but the bundle and the one image it is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cocotag.bundle import open_session
from cocotag.errors import ConfigError
from cocotag.inference.providers import Engine, start
from cocotag.inference.tags import Tag, check_top_k, decide, make_tags
from cocotag.photos.decode import load_square, to_square
from cocotag.photos.formats.pillow import from_pillow

if TYPE_CHECKING:
    from cocotag.tagging.tagged import TaggedFiles


class Tagger:
    """A loaded bundle.

    Attributes:
        path: The bundle's file.
        metadata: What it says of itself: vocabulary, input size, thresholds.
        threads: CPU cores that it uses.
    """

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self.metadata = engine.metadata
        self.threads = engine.threads
        self.path = path

    @classmethod
    def load(cls, path: Path | str, *, threads: int = 0, provider: str | None = None) -> Tagger:
        """Load a bundle.

        >>> from cocotag import Tagger
        >>> tagger = Tagger.load("tagger.onnx", provider="cpu", threads=2)
        >>> tagger.runs_on
        'CPU, 2 threads'

        Args:
            path: The ``tagger.onnx`` of a training run, or what ``cocotag export`` wrote.
            threads: CPU cores to use; 0 for all that this process may use.
            provider: What to run on, ``cpu``, ``cuda`` or ``openvino``. ``auto`` takes CUDA or OpenVINO where the installed
                ONNX Runtime has it, it gives what the CPU gives, and it is faster; else the CPU. None for what the environment
                variable ``COCOTAG_PROVIDER`` says, or else ``auto``. One that does not start is replaced by the CPU, with a
                line of warning through `logging`.

        Raises:
            BundleError: No such file, not a bundle, or damaged.
            ConfigError: There is no such provider, or the installed ONNX Runtime is made without it; ``threads`` is below 0.
        """
        if threads < 0:
            raise ConfigError(f"threads is {threads}; it must be at least 1, or 0 for all cores.")
        return cls(start(path, provider=provider, threads=threads), Path(path))

    @property
    def runs_on(self) -> str:
        """What the network runs on: ``CPU, 2 threads``, ``CUDA``."""
        return str(self._engine)

    @property
    def on_cores(self) -> bool:
        """Whether the network runs on CPU cores, which decoding images needs too."""
        return self._engine.on_cores

    @property
    def batch_size(self) -> int:
        """Images per run of `predict_here` that make many images fastest."""
        return self._engine.batch_size

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the network on one batch, with all threads.

        Args:
            images: RGB uint8, ``(N, S, S, 3)`` with ``S`` the bundle's ``image_size``; ``N`` may be 0.

        Returns:
            Probabilities, ``(N, C)`` float32.

        Raises:
            ValueError: Another shape or dtype.
        """
        return self._predict(self._together, images)

    def predict_here(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `predict`, but on the CPU the calling thread works alone: for several threads, each with a batch of its own."""
        return self._predict(self._engine, images)

    @cached_property
    def _together(self) -> Engine:
        """All threads on one batch."""
        if self._engine.provider != "cpu" or self.threads == 1:
            return self._engine
        return replace(self._engine, session=open_session(self.path, threads=self.threads))

    def _predict(self, engine: Engine, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        side = self.metadata.image_size
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (side, side, 3):
            raise ValueError(f"images are {images.dtype} {images.shape}; uint8 (N, {side}, {side}, 3) is needed.")
        if not len(images):
            return np.empty((0, len(self.metadata.vocabulary)), np.float32)
        return engine.run(np.ascontiguousarray(images))

    def thresholds(self, threshold: float | None = None) -> NDArray[np.float32]:
        """The bundle's own thresholds, ``(C,)``, or one for all classes.

        Raises:
            ConfigError: It is not in 0..1.
        """
        if threshold is None:
            return self.metadata.threshold_array()
        if not 0 <= threshold <= 1:
            raise ConfigError(f"threshold is {threshold}; scores are in 0..1, so it must be too.")
        return self.metadata.one_threshold(threshold)

    def tag(
        self,
        image: Path | str | bytes | Image.Image | NDArray[np.uint8],
        *,
        threshold: float | None = None,
        top_k: int | None = None,
    ) -> list[Tag]:
        """Tag one image.

        >>> from cocotag import Tagger
        >>> tagger = Tagger.load("tagger.onnx")
        >>> tags = tagger.tag("photos/1.png", threshold=0, top_k=3)
        >>> [type(tag.name).__name__ for tag in tags]
        ['str', 'str', 'str']
        >>> tags[0].score >= tags[1].score >= tags[2].score
        True

        Args:
            image: A file, the bytes of one, a Pillow image, or an RGB uint8 array ``(H, W, 3)``.
            threshold: One for all classes; None for the bundle's own per class.
            top_k: At most so many tags. For so many whatever their scores, set ``threshold`` to 0.

        Returns:
            The tags, highest score first.

        Raises:
            ImageError: The file cannot be used; its ``reason`` says why.
            ConfigError: ``threshold`` is not in 0..1, or ``top_k`` is below 1.
            ValueError: An array of another shape or dtype.
            TypeError: Something else.
        """
        thresholds = self.thresholds(threshold)
        check_top_k(top_k)
        probs = self.predict(self._square(image)[None])[0]
        return list(make_tags(self.metadata.vocabulary, probs, decide(probs, thresholds, top_k)))

    def tag_folder(
        self,
        paths: Path | str | Iterable[Path | str],
        *,
        threshold: float | None = None,
        top_k: int | None = None,
        exclude: Sequence[str] = (),
        hidden: bool = False,
    ) -> TaggedFiles:
        """Tag the images in folders: one result for every file whatever is in it, in an order that depends on names alone.

        Decoding and the network run on all cores, and memory does not grow with the number of files. Nothing is kept on disk;
        ``cocotag tag`` does, and goes on where it was stopped.

        >>> from cocotag import Tagger
        >>> tagger = Tagger.load("tagger.onnx")
        >>> for result in tagger.tag_folder("photos"):
        ...     print(result.path.name, result.status)
        1.png ok
        2.png ok
        broken.jpg not_an_image
        >>> tagger.tag_folder("photos", top_k=1).to_frame()["status"].tolist()
        ['ok', 'ok', 'not_an_image']

        Args:
            paths: Folders, image files and globs, or one of them.
            threshold: One for all classes; None for the bundle's own per class.
            top_k: At most so many tags of an image.
            exclude: Globs of files and folders to leave out, or one of them, as for ``cocotag tag --exclude``.
            hidden: Files and folders that begin with a dot too.

        Returns:
            An iterator of `cocotag.tagging.tagged.Tagged`, with ``path``, ``tags`` and ``error``, to be gone through once; or
            its ``to_frame()`` gives all as a DataFrame.

        Raises:
            ConfigError: ``threshold`` is not in 0..1, or ``top_k`` is below 1.
            DataError: One of the paths does not exist or is an empty text, or a glob has no match.
        """
        from cocotag.tagging.tagged import TaggedFiles

        return TaggedFiles.of(self, paths, self.thresholds(threshold), top_k, exclude=exclude, hidden=hidden)

    def _square(self, image: object) -> NDArray[np.uint8]:
        side = self.metadata.image_size
        if isinstance(image, Path | str | bytes):
            return load_square(image, side)
        if isinstance(image, Image.Image):
            return to_square(from_pillow(image), side)
        if not isinstance(image, np.ndarray):
            needed = "a path, the bytes of a file, a Pillow image or an RGB uint8 array (H, W, 3) is needed"
            raise TypeError(f"the image is a {type(image).__name__}; {needed}.")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"the image is {image.dtype} {image.shape}; RGB uint8 (H, W, 3) is needed.")
        return to_square(image, side)
