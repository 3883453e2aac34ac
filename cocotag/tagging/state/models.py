"""The arguments and bundles of a run of ``cocotag tag``, stored so that the bundles are not needed later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from cocotag.bundle import BundleMetadata, fingerprint, network_fingerprint
from cocotag.inference.tagger import Tagger

_FULL = "+full"


@dataclass(frozen=True, slots=True)
class Model:
    """A bundle that a run used.

    Attributes:
        name: Its name in the rows; empty for a single bundle.
        bundle: Its file.
        sha256: SHA-256 of the file.
        fingerprint: What scores depend on: SHA-256 without the metadata, from `cocotag.bundle.network_fingerprint`, and a mark
            if every picture was decoded in full.
        metadata: Its metadata.
    """

    name: str
    bundle: str
    sha256: str
    fingerprint: str
    metadata: BundleMetadata

    @classmethod
    def of(cls, name: str, tagger: Tagger, *, full_decode: bool = False) -> Model:
        """The description of a loaded bundle."""
        path = tagger.path
        network = network_fingerprint(path) + (_FULL if full_decode else "")
        return cls(name, str(path), fingerprint(path), network, tagger.metadata)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = {part.name: getattr(self, part.name) for part in fields(self)}
        return {**plain, "metadata": self.metadata.to_json()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Model:
        """The reverse of `to_json`.

        Raises:
            BundleError: The metadata have another version.
            TypeError: The keys are wrong.
        """
        return cls(**{**plain, "metadata": BundleMetadata.from_json(plain["metadata"])})


@dataclass(frozen=True, slots=True)
class Run:
    """A run of ``cocotag tag``.

    Attributes:
        id: Its number.
        asked: Its arguments, as plain JSON.
        models: The bundles, in the order of their rows.
        whole: Whether it met every file.
    """

    id: int
    asked: Mapping[str, Any]
    models: tuple[Model, ...]
    whole: bool
