"""Choice of thresholds, number of tags and names for stored scores. Does not depend on a network or on files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cocotag.bundle import BundleMetadata
from cocotag.errors import ConfigError
from cocotag.inference.tags import check_top_k, decide, make_tags
from cocotag.tagging.decisions.rename import Rename
from cocotag.tagging.decisions.rows import Row
from cocotag.tagging.state.models import Model
from cocotag.tagging.state.store import Result


@dataclass(frozen=True)
class Wish:
    """The requested settings.

    Attributes:
        threshold: One threshold for all classes; None for the bundle's own.
        precision: The minimum precision of every class, as measured when the bundle's thresholds were tuned; None for the
            bundle's own thresholds.
        threshold_for: Thresholds of single classes by the bundle's names; they take precedence.
        top_k: Largest number of tags per image and model.
    """

    threshold: float | None = None
    precision: float | None = None
    threshold_for: Mapping[str, float] = field(default_factory=dict)
    top_k: int | None = None


@dataclass(frozen=True)
class Choice:
    """The thresholds, number of tags and names that `choose` made from a `Wish`.

    Attributes:
        models: The bundles, in the order of their scores.
        thresholds: Thresholds by model name, ``(C,)`` float32.
        top_k: Largest number of tags per image and model.
        rename: New names of the tags; None for the bundle's names.
        remarks: Further information for the user.
    """

    models: tuple[Model, ...]
    thresholds: Mapping[str, NDArray[np.float32]]
    top_k: int | None
    rename: Rename | None
    remarks: tuple[str, ...]

    def rows(self, results: Iterable[Result]) -> Iterator[Row]:
        """The rows of the results, one per result and model."""
        for result in results:
            for index, model in enumerate(self.models):
                if result.status != "ok":
                    yield Row(result.path, result.status, error=result.error, model=model.name)
                    continue
                probs = result.probs[index].astype(np.float32)
                chosen = decide(probs, self.thresholds[model.name], None if self.rename else self.top_k)
                tags = make_tags(model.metadata.vocabulary, probs, chosen)
                if self.rename is not None:
                    tags = self.rename.apply(tags)[: self.top_k]
                yield Row(result.path, tags=tags, probs=probs, model=model.name)


def choose(wish: Wish, models: Sequence[Model], rename: Rename | None = None) -> Choice:
    """The choice of thresholds and names for some bundles.

    Raises:
        ConfigError: The wish is impossible, or a bundle has no thresholds for a precision.
    """
    check_top_k(wish.top_k)
    if wish.threshold is not None and wish.precision is not None:
        raise ConfigError(
            "--threshold and --precision exclude each other. Give one of them; --threshold-for sets single classes.",
            code="flags_contradict",
        )
    if wish.precision is not None and not 0 <= wish.precision <= 1:
        raise ConfigError(f"precision is {wish.precision}; it must be in 0..1.", code="precision_out_of_range")
    for name, value in {"threshold": wish.threshold, **wish.threshold_for}.items():
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(f"{name}: {value} is not in 0..1.", code="threshold_out_of_range")
    unknown = [name for name in wish.threshold_for if not any(name in model.metadata.vocabulary.names for model in models)]
    if unknown:
        names = [name for model in models for name in model.metadata.vocabulary.names]
        near = difflib.get_close_matches(unknown[0], names, 1)
        hint = f"Did you mean {near[0]!r}?" if near else "cocotag info BUNDLE lists the classes."
        raise ConfigError(f"--threshold-for {unknown[0]}: there is no class with this name. {hint}", code="unknown_class")
    remarks: list[str] = []
    thresholds: dict[str, NDArray[np.float32]] = {}
    for model in models:
        values = _for_all(wish, model, remarks)
        index = model.metadata.vocabulary.index_by_name()
        for name, value in wish.threshold_for.items():
            if name in index:
                values[index[name]] = np.float16(value)
        thresholds[model.name] = values
    return Choice(tuple(models), thresholds, wish.top_k, rename, tuple(remarks))


def _for_all(wish: Wish, model: Model, remarks: list[str]) -> NDArray[np.float32]:
    metadata = model.metadata
    if wish.threshold is not None:
        return metadata.one_threshold(wish.threshold)
    if wish.precision is None:
        return metadata.threshold_array()
    precision, entry = _for_precision(wish.precision, metadata, model.bundle)
    values, unmet, unmeasured = np.asarray(entry["thresholds"], np.float32), entry["unmet"], len(entry["untold"])
    prefix = f"{model.name}: " if model.name else ""
    if precision != wish.precision:
        remarks.append(f"{prefix}the bundle has thresholds for a precision of {precision:g}, the next higher one.")
    if unmet:
        remarks.append(f"{prefix}{unmet} of {len(values)} classes cannot reach this precision and have the nearest threshold.")
    if unmeasured:
        remarks.append(f"{prefix}{unmeasured} classes have no measured precision and share one threshold.")
    return values


def _for_precision(wanted: float, metadata: BundleMetadata, bundle: str) -> tuple[float, dict[str, Any]]:
    """The next higher precision for which a bundle has thresholds, and its entry from `thresholds_for_precision`."""
    precisions = sorted(map(float, metadata.for_precision))
    if not precisions:
        raise ConfigError(
            f"{bundle} has no thresholds for a minimum precision, which are tuned on labelled images. Run: "
            f"cocotag tune-thresholds {bundle} --root DATA --split SPLIT --out NEW.onnx. Then run cocotag tag with NEW.onnx; "
            "it reuses the cached scores.",
            code="no_precision_thresholds",
        )
    precision = next((one for one in precisions if one >= wanted), None)
    if precision is None:
        raise ConfigError(
            f"{bundle} has thresholds for precisions up to {precisions[-1]:g}, not {wanted:g}. Choose a lower precision.",
            code="precision_unavailable",
        )
    return precision, metadata.for_precision[str(precision)]
