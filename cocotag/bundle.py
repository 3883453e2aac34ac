"""The bundle: one ONNX file with its metadata, read and written without torch.

The graph takes ``images`` uint8 ``(N, H, W, 3)`` RGB and returns ``probs`` float32 ``(N, C)``; normalisation and sigmoid are
part of the graph. The metadata are one JSON document under the key ``cocotag`` of ONNX ``metadata_props``.
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

_METADATA_PROPS, _LENGTH_DELIMITED = 14, 2  # field and wire type in protobuf's ModelProto; its other fields are numbers


@dataclass(frozen=True)
class BundleMetadata:
    """The metadata of a bundle.

    Attributes:
        vocabulary: The classes, in the order of the columns of ``probs``.
        image_size: Side of the square input, pixels.
        thresholds: Threshold per class on ``probs``, met with ``>=``; ``C`` floats.
        positives: Number of training images with the class, ``C`` ints.
        train_images: Number of training images, without the tune images.
        tuned_on: The images on which checkpoint and thresholds were chosen,
            ``{"split", "images", "sha256", "train_split_sha256"}``, and for several data sets ``"sources"``, each
            ``{"split", "images", "sha256"}``. The hashes are those of `AnnotationTable.names_sha256`. A figure measured on any
            of these images is optimistic.
        config: The training config, as plain JSON.
        made_by: Versions and date.
        parity: Largest difference in probability from the torch network, and the number of images it was measured on. It was
            measured before scores were calibrated.
        chosen_by: How thresholds were chosen, as in `cocotag.thresholds.Thresholds.record`. ``"classes"`` is the number of
            classes, unless it was all. Empty in a bundle that does not record it.
        for_precision: Thresholds for some wanted precisions, as in `cocotag.thresholds.thresholds_for_precision`, chosen on
            the same images as the thresholds. May be empty.
        calibrated_scores: How the scores were last calibrated, as in `cocotag.export.calibrate_scores.ScoreCalibration.record`;
            empty if they never were. The calibration itself is part of the graph.
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
    calibrated_scores: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the parts are consistent."""
        if self.image_size < 1:
            raise BundleError(f"image_size is {self.image_size}; it must be at least 1.", code="bundle_damaged")
        for name, values in (("thresholds", self.thresholds), ("positives", self.positives)):
            if len(values) != len(self.vocabulary):
                raise BundleError(
                    f"There are {len(values)} {name} for {len(self.vocabulary)} classes; each class needs one.",
                    code="bundle_damaged",
                )
        if any(len(one["thresholds"]) != len(self.vocabulary) for one in self.for_precision.values()):
            raise BundleError(
                f"for_precision does not have a threshold for each of {len(self.vocabulary)} classes.", code="bundle_damaged"
            )

    def threshold_array(self) -> NDArray[np.float32]:
        """The thresholds, ``(C,)``."""
        return np.asarray(self.thresholds, np.float32)

    def one_threshold(self, value: float) -> NDArray[np.float32]:
        """The same threshold for all classes, ``(C,)``.

        The value is rounded like the scores, so that a score written as 0.2671 meets a threshold of 0.2671 whatever its
        float16 value.
        """
        return np.full(len(self.vocabulary), np.float16(value), np.float32)

    def with_thresholds(
        self, values: ArrayLike, chosen_by: dict[str, Any], for_precision: dict[str, Any] | None = None
    ) -> BundleMetadata:
        """A copy with other thresholds, ``(C,)``, and the record of their choice; ``for_precision`` is kept if None."""
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
        """The inverse of `to_json`.

        Raises:
            BundleError: The schema version is another one, or keys are missing or invalid.
        """
        parts = ("tuned_on", "config", "made_by", "parity", "chosen_by", "for_precision", "calibrated_scores")
        if not isinstance(document, dict) or not all(isinstance(document.get(key, {}), dict) for key in parts):
            raise BundleError("The bundle's metadata are damaged. Export it again.", code="bundle_damaged")
        found = document.get("schema_version")
        if found != SCHEMA_VERSION:
            raise BundleError(
                f"The bundle has schema version {found!r}, but this cocotag reads {SCHEMA_VERSION}. Export it again.",
                code="schema_unsupported",
            )
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
            raise BundleError(
                f"The bundle's metadata are damaged ({error!r}). Export it again.", code="bundle_damaged"
            ) from None


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
        optimise: False loads faster, to read metadata without running the graph.
        spinning: Whether idle threads wait busily for a while, which takes cores from other processes.
        provider: An execution provider and its options. The CPU runs what the provider does not support, and everything if
            this is None.

    Raises:
        BundleError: The file is missing or not ONNX. A provider that does not start raises its own error.
    """
    import onnxruntime

    path = Path(path)
    if not path.is_file():
        raise BundleError(f"{path} is not a file. Give the tagger.onnx of a training run.", code="bundle_missing")
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
        raise BundleError(f"ONNX Runtime cannot load {path} ({reason}). Export it again.", code="not_onnx") from None


def session_metadata(session: onnxruntime.InferenceSession, path: Path | str) -> BundleMetadata:
    """The metadata of a loaded bundle, checked against its graph.

    Raises:
        BundleError: The file was not made by cocotag or is damaged, or graph and metadata disagree.
    """
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise BundleError(
            f"{path} is an ONNX file without cocotag's metadata, so it is not a bundle. Make one with: cocotag export",
            code="not_a_bundle",
        )
    try:
        metadata = BundleMetadata.from_json(json.loads(text))
    except (CocotagError, ValueError) as error:
        code = error.code if isinstance(error, BundleError) else "bundle_damaged"
        raise BundleError(f"{path}: {error}", code=code) from None
    side, classes = metadata.image_size, len(metadata.vocabulary)
    inputs = [(i.name, i.type, i.shape[1:]) for i in session.get_inputs()]
    outputs = [(o.name, o.type, o.shape[1:]) for o in session.get_outputs()]
    wanted = [("images", "tensor(uint8)", [side, side, 3])], [("probs", "tensor(float)", [classes])]
    if (inputs, outputs) != wanted:
        raise BundleError(
            f"{path}: the graph {inputs} -> {outputs} does not match its metadata {wanted}. Export it again.",
            code="bundle_damaged",
        )
    return metadata


def read_metadata(path: Path | str) -> BundleMetadata:
    """The metadata of a bundle, without running it.

    Raises:
        BundleError: As `open_session` and `session_metadata`.
    """
    return session_metadata(open_session(path, optimise=False), path)


def fingerprint(path: Path | str) -> str:
    """SHA-256 of the bundle's bytes, hexadecimal: bundles with the same fingerprint give identical tags."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def network_fingerprint(path: Path | str) -> str:
    """SHA-256 of a bundle without its metadata, hexadecimal: bundles of the same network share it, whatever their thresholds.

    Raises:
        BundleError: The file is not an ONNX file.
    """
    digest = hashlib.sha256()
    data = memoryview(Path(path).read_bytes())
    offset = 0
    try:
        while offset < len(data):
            start = offset
            key, offset = _varint(data, offset)
            if key & 7 == _LENGTH_DELIMITED:
                length, offset = _varint(data, offset)
                offset += length
            else:
                _, offset = _varint(data, offset)
            if key >> 3 != _METADATA_PROPS:
                digest.update(data[start:offset])
    except IndexError:
        raise BundleError(f"{path} is damaged. Export it again.", code="bundle_damaged") from None
    return digest.hexdigest()


def _varint(data: memoryview, offset: int) -> tuple[int, int]:
    """A protobuf number, and the offset of the byte after it."""
    value = shift = 0
    while True:
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7


def write_bundle(model: onnx.ModelProto, metadata: BundleMetadata, path: Path | str) -> None:
    """Write a graph and its metadata to one file, atomically.

    Raises:
        OutputError: The file cannot be written.
    """
    import onnx

    entries = {entry.key: entry.value for entry in model.metadata_props}
    entries[METADATA_KEY] = json.dumps(metadata.to_json(), ensure_ascii=False, allow_nan=False)
    onnx.helper.set_model_props(model, entries)
    with atomic_path(path) as temporary:
        onnx.save_model(model, str(temporary))
