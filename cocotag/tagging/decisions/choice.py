"""How stored scores become tags: thresholds as they were asked for, the number of tags, names. Knows no network and no file."""

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
    """What was asked for.

    Attributes:
        threshold: One for all classes; None for the bundle's own.
        precision: The least precision that is wanted of every class, by what the bundle learned of that when its thresholds
            were chosen; None for the bundle's own thresholds.
        threshold_for: Thresholds of single classes, by the bundle's names; they go before the others.
        top_k: At most so many tags per image and model.
    """

    threshold: float | None = None
    precision: float | None = None
    threshold_for: Mapping[str, float] = field(default_factory=dict)
    top_k: int | None = None


@dataclass(frozen=True)
class Choice:
    """What `choose` made of a `Wish`.

    Attributes:
        models: The bundles, in the order of their scores.
        thresholds: Of each by its name, ``(C,)`` float32.
        top_k: At most so many tags per image and model.
        rename: What tags are called; None for the bundle's names.
        remarks: What else the user should know.
    """

    models: tuple[Model, ...]
    thresholds: Mapping[str, NDArray[np.float32]]
    top_k: int | None
    rename: Rename | None
    remarks: tuple[str, ...]

    def rows(self, results: Iterable[Result]) -> Iterator[Row]:
        """A row for every result and model."""
        for result in results:
            for place, model in enumerate(self.models):
                if result.status != "ok":
                    yield Row(result.path, result.status, error=result.error, model=model.name)
                    continue
                probs = result.probs[place].astype(np.float32)
                chosen = decide(probs, self.thresholds[model.name], None if self.rename else self.top_k)
                tags = make_tags(model.metadata.vocabulary, probs, chosen)
                if self.rename is not None:
                    tags = self.rename.apply(tags)[: self.top_k]
                yield Row(result.path, tags=tags, probs=probs, model=model.name)


def choose(wish: Wish, models: Sequence[Model], rename: Rename | None = None) -> Choice:
    """The thresholds of some bundles that a wish comes to.

    Raises:
        ConfigError: It is impossible, or a bundle holds no thresholds for a precision.
    """
    check_top_k(wish.top_k)
    if wish.threshold is not None and wish.precision is not None:
        raise ConfigError("threshold and precision are both given. Give one of them; single classes have --threshold-for.")
    for name, value in {"threshold": wish.threshold, "precision": wish.precision, **wish.threshold_for}.items():
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(f"{name}: {value} is not between 0 and 1.")
    unknown = [name for name in wish.threshold_for if not any(name in model.metadata.vocabulary.names for model in models)]
    if unknown:
        names = [name for model in models for name in model.metadata.vocabulary.names]
        near = difflib.get_close_matches(unknown[0], names, 1)
        hint = f"Did you mean {near[0]!r}?" if near else "cocotag info BUNDLE lists the classes."
        raise ConfigError(f"--threshold-for {unknown[0]}: there is no class of this name. {hint}")
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
    values, unmet, untold = np.asarray(entry["thresholds"], np.float32), entry["unmet"], len(entry["untold"])
    named = f"{model.name}: " if model.name else ""
    if precision != wish.precision:
        remarks.append(f"{named}thresholds are those for a precision of {precision:g}, the next that the bundle holds.")
    if unmet:
        remarks.append(f"{named}no threshold reaches that for {unmet} of {len(values)} classes; they have the nearest.")
    if untold:
        remarks.append(f"{named}nothing is known of the precision of {untold} classes; they have one threshold for all.")
    return values


def _for_precision(wanted: float, metadata: BundleMetadata, bundle: str) -> tuple[float, dict[str, Any]]:
    """The next precision that a bundle holds thresholds for, and these, as `thresholds_for_precision` says."""
    held = sorted(map(float, metadata.for_precision))
    if not held:
        raise ConfigError(
            f"{bundle} holds no thresholds for a wanted precision: they are chosen on labelled images. Run: cocotag tune-thresholds "
            f"{bundle} --root DATA --split SPLIT --out NEW.onnx, then cocotag tag with that; the scores so far are kept."
        )
    precision = next((one for one in held if one >= wanted), None)
    if precision is None:
        raise ConfigError(f"{bundle} holds thresholds for precisions up to {held[-1]:g}, not {wanted:g}. Ask for less.")
    return precision, metadata.for_precision[str(precision)]
