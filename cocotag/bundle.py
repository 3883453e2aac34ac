"""The bundle: one ONNX file and its metadata, read and written without torch.

The graph takes ``images`` uint8 ``(N, H, W, 3)`` RGB and gives ``probs`` float32 ``(N, C)``; normalisation and
sigmoid are inside. The metadata are one JSON document under the key ``cocotag`` of ONNX ``metadata_props``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cocotag.errors import BundleError, CocotagError
from cocotag.files import atomic_path
from cocotag.labels import Vocabulary

if TYPE_CHECKING:
    import onnx
    import onnxruntime

SCHEMA_VERSION = 1
METADATA_KEY = "cocotag"

_METADATA_PROPS, _LENGTH_DELIMITED = 14, 2  # of protobuf's ModelProto; its other fields there are numbers


@dataclass(frozen=True)
class BundleMetadata:
    """What a bundle says of itself.

    Attributes:
        vocabulary: The classes, in the order of the columns of ``probs``.
        image_size: Side of the square input, pixels.
        thresholds: Per class, on probs, met with ``>=``; ``C`` floats.
        positives: Images that were learned from and have the class, ``C`` ints.
        train_images: Images that were learned from, without those that chose.
        tuned_on: Where checkpoint and thresholds were chosen, ``{"split", "images", "sha256", "train_split_sha256"}``, and for
            several data sets ``"sources"``, each ``{"split", "images", "sha256"}``; the hashes are those of
            `AnnotationTable.names_sha256`. A figure taken on any of these is optimistic.
        config: The training config, as plain JSON.
        made_by: Versions and date.
        parity: Largest difference in probability from the torch network, on how many images.
        chosen_by: How thresholds were chosen, as `cocotag.thresholds.Thresholds.record` says, and ``"classes"``, for how many,
            where that was not for all. Empty in a bundle that does not say.
        for_precision: Thresholds for some wanted precisions, as `cocotag.thresholds.thresholds_for_precision` says; chosen on
            the same images as the thresholds. Empty where none were.
    """

    vocabulary: Vocabulary
    image_size: int
    thresholds: tuple[float, ...]
    positives: tuple[int, ...]
    train_images: int
    tuned_on: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    made_by: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    chosen_by: dict[str, Any] = field(default_factory=dict)
    for_precision: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse metadata whose parts do not fit together."""
        if self.image_size < 1:
            raise BundleError(f"image_size is {self.image_size}; it must be at least 1.")
        for name, values in (("thresholds", self.thresholds), ("positives", self.positives)):
            if len(values) != len(self.vocabulary):
                raise BundleError(f"{len(values)} {name} for {len(self.vocabulary)} classes; one each is needed.")
        if any(len(one["thresholds"]) != len(self.vocabulary) for one in self.for_precision.values()):
            raise BundleError(f"for_precision has not a threshold for each of {len(self.vocabulary)} classes.")

    def threshold_array(self) -> NDArray[np.float32]:
        """The thresholds, ``(C,)``."""
        return np.asarray(self.thresholds, np.float32)

    def one_threshold(self, value: float) -> NDArray[np.float32]:
        """The same threshold for all classes, ``(C,)``.

        As scores are: a score that is written 0.2671 meets a threshold of 0.2671, whatever float16 makes of it.
        """
        return np.full(len(self.vocabulary), np.float16(value), np.float32)

    def with_thresholds(
        self, values: ArrayLike, chosen_by: dict[str, Any], for_precision: dict[str, Any] | None = None
    ) -> BundleMetadata:
        """The same with other thresholds, ``(C,)``, and how they were chosen; for other precisions too, if they were."""
        thresholds = tuple(float(value) for value in np.asarray(values, np.float32))
        for_precision = self.for_precision if for_precision is None else for_precision
        return replace(self, thresholds=thresholds, chosen_by=chosen_by, for_precision=for_precision)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        plain = asdict(self)
        plain["vocabulary"] = self.vocabulary.to_json()
        return {"schema_version": SCHEMA_VERSION, **plain}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> BundleMetadata:
        """The reverse of `to_json`.

        Raises:
            BundleError: Another schema version, or keys that are missing or impossible.
        """
        parts = ("tuned_on", "config", "made_by", "parity", "chosen_by", "for_precision")
        if not isinstance(document, dict) or not all(isinstance(document.get(key, {}), dict) for key in parts):
            raise BundleError("the bundle's metadata are damaged. Export it again.")
        found = document.get("schema_version")
        if found != SCHEMA_VERSION:
            raise BundleError(f"the bundle has schema version {found!r}, this cocotag reads {SCHEMA_VERSION}. Export it again.")
        try:
            return cls(
                vocabulary=Vocabulary.from_json(document["vocabulary"]),
                image_size=int(document["image_size"]),
                thresholds=tuple(float(value) for value in document["thresholds"]),
                positives=tuple(int(value) for value in document["positives"]),
                train_images=int(document["train_images"]),
                **{key: document.get(key, {}) for key in parts},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"the bundle's metadata are damaged ({error!r}). Export it again.") from None


def open_session(
    path: Path | str,
    *,
    threads: int = 0,
    optimise: bool = True,
    spinning: bool = True,
    provider: tuple[str, dict[str, str]] | None = None,
) -> onnxruntime.InferenceSession:
    """Load the graph into ONNX Runtime.

    Args:
        path: The bundle.
        threads: Threads within an operator; 0 lets ONNX Runtime choose.
        optimise: False loads faster, for looking rather than running.
        spinning: Threads that have nothing to do wait busily for a while, which takes cores from others.
        provider: An execution provider and its options; what it cannot do, and None, is the CPU's.

    Raises:
        BundleError: Missing, or not an ONNX file. A provider that does not start raises what it will.
    """
    import onnxruntime

    path = Path(path)
    if not path.is_file():
        raise BundleError(f"{path} is not a file. Give the tagger.onnx of a training run.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3 if provider is None else 4
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    providers = [*([] if provider is None else [provider]), "CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors share no base class but Exception
        if provider is not None:
            raise
        reason = str(error).splitlines()[0][:200]
        raise BundleError(f"{path} is not a bundle that ONNX Runtime can load ({reason}). Export it again.") from None


def session_metadata(session: onnxruntime.InferenceSession, path: Path | str) -> BundleMetadata:
    """The metadata of a loaded bundle, checked against its graph.

    Raises:
        BundleError: Not made by cocotag, damaged, or graph and metadata disagree.
    """
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise BundleError(f"{path} is an ONNX file, but not a cocotag bundle: it lacks the metadata. See cocotag export.")
    try:
        metadata = BundleMetadata.from_json(json.loads(text))
    except (CocotagError, ValueError) as error:
        raise BundleError(f"{path}: {error}") from None
    side, classes = metadata.image_size, len(metadata.vocabulary)
    inputs = [(i.name, i.type, i.shape[1:]) for i in session.get_inputs()]
    outputs = [(o.name, o.type, o.shape[1:]) for o in session.get_outputs()]
    wanted = [("images", "tensor(uint8)", [side, side, 3])], [("probs", "tensor(float)", [classes])]
    if (inputs, outputs) != wanted:
        raise BundleError(f"{path}: graph {inputs} -> {outputs} does not fit its metadata {wanted}. Export it again.")
    return metadata


def read_metadata(path: Path | str) -> BundleMetadata:
    """What is in a bundle, without running it.

    Raises:
        BundleError: As `open_session` and `session_metadata`.
    """
    return session_metadata(open_session(path, optimise=False), path)


def fingerprint(path: Path | str) -> str:
    """SHA-256 of the bundle's bytes, hexadecimal: two bundles that tag alike to the bit share it."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def network_fingerprint(path: Path | str) -> str:
    """SHA-256 of a bundle without its metadata, hexadecimal: two bundles of one network share it, whatever their thresholds.

    Raises:
        BundleError: The file is not an ONNX file.
    """
    digest = hashlib.sha256()
    data = memoryview(Path(path).read_bytes())
    place = 0
    try:
        while place < len(data):
            start = place
            key, place = _varint(data, place)
            if key & 7 == _LENGTH_DELIMITED:
                length, place = _varint(data, place)
                place += length
            else:
                _, place = _varint(data, place)
            if key >> 3 != _METADATA_PROPS:
                digest.update(data[start:place])
    except IndexError:
        raise BundleError(f"{path} is damaged. Export it again.") from None
    return digest.hexdigest()


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """A protobuf number, and where what follows it begins."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def write_bundle(model: onnx.ModelProto, metadata: BundleMetadata, path: Path | str) -> None:
    """Write a graph and its metadata as one file, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    import onnx

    entries = {entry.key: entry.value for entry in model.metadata_props}
    entries[METADATA_KEY] = json.dumps(metadata.to_json(), ensure_ascii=False, allow_nan=False)
    onnx.helper.set_model_props(model, entries)
    with atomic_path(path) as temporary:
        onnx.save_model(model, str(temporary))
