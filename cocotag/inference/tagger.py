"""The `Tagger`: a bundle on ONNX Runtime that turns images into probabilities and tags."""

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
        metadata: The bundle's metadata: vocabulary, input size, thresholds.
        threads: Number of CPU cores that it uses.
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
            path: The ``tagger.onnx`` of a training run, or a bundle written by ``cocotag export``.
            threads: CPU cores to use; 0 for all that this process may use.
            provider: ``cpu``, ``cuda``, ``openvino`` or ``auto``. ``auto`` takes CUDA or OpenVINO if the installed ONNX
                Runtime has it, it agrees with the CPU and it is faster; otherwise the CPU. None takes the value of the
                environment variable ``COCOTAG_PROVIDER``, or else ``auto``. If a provider does not start, the CPU is used
                and `logging` gets a warning.

        Raises:
            BundleError: The file does not exist, is not a bundle or is damaged.
            ConfigError: The provider does not exist, the installed ONNX Runtime does not have it, or ``threads`` is below 0.
        """
        if threads < 0:
            raise ConfigError(f"threads is {threads}; it must be at least 1, or 0 for all cores.", code="threads_out_of_range")
        return cls(start(path, provider=provider, threads=threads), Path(path))

    @property
    def runs_on(self) -> str:
        """The device that runs the network: ``CPU, 2 threads``, ``CUDA``."""
        return str(self._engine)

    @property
    def on_cores(self) -> bool:
        """Whether the network runs on CPU cores, as the decoding of images does."""
        return self._engine.on_cores

    @property
    def batch_size(self) -> int:
        """Images per run of `predict_here` with the highest throughput."""
        return self._engine.batch_size

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the network on one batch, with all threads.

        Args:
            images: RGB uint8, ``(N, S, S, 3)`` with ``S`` the bundle's ``image_size``; ``N`` may be 0.

        Returns:
            Probabilities, ``(N, C)`` float32.

        Raises:
            ValueError: The images have another shape or dtype.
        """
        return self._predict(self._all_threads, images)

    def predict_here(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Like `predict`, but on the CPU only the calling thread computes: for several threads with one batch each."""
        return self._predict(self._engine, images)

    @cached_property
    def _all_threads(self) -> Engine:
        """An engine that runs one batch with all threads."""
        if self._engine.provider != "cpu" or self.threads == 1:
            return self._engine
        return replace(self._engine, session=open_session(self.path, threads=self.threads))

    def _predict(self, engine: Engine, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        side = self.metadata.image_size
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (side, side, 3):
            raise ValueError(f"images are {images.dtype} {images.shape}; uint8 (N, {side}, {side}, 3) is required.")
        if not len(images):
            return np.empty((0, len(self.metadata.vocabulary)), np.float32)
        return engine.run(np.ascontiguousarray(images))

    def thresholds(self, threshold: float | None = None) -> NDArray[np.float32]:
        """The bundle's thresholds, ``(C,)``, or the given one for all classes.

        Raises:
            ConfigError: ``threshold`` is not in 0..1.
        """
        if threshold is None:
            return self.metadata.threshold_array()
        if not 0 <= threshold <= 1:
            raise ConfigError(f"threshold is {threshold}; it must be in 0..1.", code="threshold_out_of_range")
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
            image: An image file, the bytes of one, a Pillow image, or an RGB uint8 array ``(H, W, 3)``.
            threshold: One threshold for all classes; None for the bundle's own.
            top_k: Largest number of tags. To get exactly ``top_k`` tags whatever their scores, set ``threshold`` to 0.

        Returns:
            The tags, highest score first.

        Raises:
            ImageError: The file cannot be used; its ``code`` says why.
            ConfigError: ``threshold`` is not in 0..1, or ``top_k`` is below 1.
            ValueError: An array has another shape or dtype.
            TypeError: ``image`` has another type.
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
        """Tag the images in folders: one result per file, also for broken files, in an order that depends only on names.

        Decoding and the network run on all cores, and memory does not grow with the number of files. Nothing is written to
        disk; ``cocotag tag`` caches results on disk and can resume.

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
            paths: One or several folders, image files and globs.
            threshold: One threshold for all classes; None for the bundle's own.
            top_k: Largest number of tags per image.
            exclude: One or several globs of files and folders to skip, as for ``cocotag tag --exclude``.
            hidden: Include files and folders whose name begins with a dot.

        Returns:
            A one-pass iterator of `cocotag.tagging.tagged.Tagged`, with ``path``, ``tags`` and ``error``; its ``to_frame()``
            returns all results as a DataFrame.

        Raises:
            ConfigError: ``threshold`` is not in 0..1, or ``top_k`` is below 1.
            DataError: A path does not exist or is an empty string, or a glob has no match.
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
            expected = "a path, the bytes of a file, a Pillow image or an RGB uint8 array (H, W, 3)"
            raise TypeError(f"The image is a {type(image).__name__}; it must be {expected}.")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"The image is {image.dtype} {image.shape}; it must be RGB uint8 (H, W, 3).")
        return to_square(image, side)
