"""A bundle's thresholds, tuned again on labelled images. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cocotag.bundle import BundleMetadata, write_bundle
from cocotag.data.annotations import AnnotationTable
from cocotag.data.matching import Aliases
from cocotag.data.sources import align
from cocotag.errors import DataError
from cocotag.evaluation.predict import predict_table
from cocotag.inference.tagger import Tagger
from cocotag.thresholds import F1, Rule, choose_thresholds, describe, fixed_thresholds, thresholds_for_precision


@dataclass(frozen=True)
class Tuned:
    """What was chosen.

    Attributes:
        metadata: The new bundle's.
        images: On how many; 0 where the rule needs none.
        changed: Classes whose threshold was chosen; the others keep theirs.
        failures: A line for each image that could not be read.
    """

    metadata: BundleMetadata
    images: int
    changed: int
    failures: list[str]

    def to_text(self) -> str:
        """For a terminal."""
        kept = len(self.metadata.vocabulary) - self.changed
        rest = f"; {kept} classes lack positives or negatives and keep their thresholds" if kept else ""
        how = f"tuned on {self.images} images" if self.images else "set"
        lines = [
            f"thresholds of {self.changed} classes {how}{rest}",
            f"rule: {describe(self.metadata.chosen_by)}",
        ]
        if self.failures:
            lines.append(f"{len(self.failures)} images could not be read and are left out. The first: {self.failures[0]}")
        return "\n".join(lines)


def tune_thresholds(
    tagger: Tagger,
    table: AnnotationTable,
    out: Path,
    *,
    split: str,
    rule: Rule = F1,
    aliases: Aliases | None = None,
    progress: bool = True,
) -> Tuned:
    """Choose thresholds on the images of a split, and write the bundle with them.

    Any later evaluation on these images is marked optimistic. A class of which the split does not have both positives and
    negatives keeps its threshold, unless the rule gives all classes the same.

    Args:
        tagger: The bundle; its file is not changed, unless ``out`` is that file.
        table: The labelled images; classes are matched by name.
        out: The new bundle.
        split: The split's name, for the bundle.
        rule: What thresholds are chosen for; for ``fixed``, which needs no images, there is `set_thresholds`.
        aliases: What the table's classes are called in the bundle.
        progress: Show a bar on stderr, if that is a terminal.

    Raises:
        DataError: No class in common, no class that thresholds can be chosen for, or no image can be read.
        OutputError: ``out`` cannot be written.
    """
    before = tagger.metadata
    aligned = align(table, before.vocabulary, name=split, aliases=aliases)
    predicted = predict_table(tagger, aligned, progress=progress)
    readable, probs = predicted.table, predicted.probs
    told = (readable.targets & readable.known).any(axis=0) & (~readable.targets & readable.known).any(axis=0)
    if not told.any():
        raise DataError(
            f"Split {split!r} has no class of which both positives and negatives are known, so it can choose no threshold. "
            "Give another split, or name the classes that were looked for under known in the alias file."
        )
    cells = probs, readable.targets, readable.known
    chosen = choose_thresholds(*cells, rule)
    record, for_precision = chosen.record(), thresholds_for_precision(*cells)
    for wish, one in for_precision.items():
        if wish in before.for_precision:
            one["thresholds"] = np.where(told, one["thresholds"], before.for_precision[wish]["thresholds"]).tolist()
            one["untold"] = sorted({*one["untold"]} & {*before.for_precision[wish]["untold"]})
    if rule.name in ("f1:global", "fixed"):
        told = np.ones_like(told)
    elif not told.all():
        record["classes"] = int(told.sum())
    tuned_on = {
        **before.tuned_on,
        "split": split,
        "images": len(readable),
        "sha256": table.names_sha256(),
        "sources": [*before.tuned_on.get("sources", []), *_chose_before(before)],
    }
    metadata = replace(before, tuned_on=tuned_on).with_thresholds(
        np.where(told, chosen.values, before.threshold_array()), record, for_precision
    )
    _write(tagger, metadata, out)
    return Tuned(metadata, len(readable), int(told.sum()), predicted.failures)


def set_thresholds(tagger: Tagger, out: Path, rule: Rule) -> Tuned:
    """Write a bundle with one threshold for all classes, as ``fixed:0.5`` says.

    Where the checkpoint was chosen stays on record: figures from there remain optimistic.

    Args:
        tagger: The bundle; its file is not changed, unless ``out`` is that file.
        out: The new bundle.
        rule: A rule that chooses nothing.

    Raises:
        ValueError: Another rule.
        OutputError: ``out`` cannot be written.
    """
    chosen = fixed_thresholds(rule, len(tagger.metadata.vocabulary))
    metadata = tagger.metadata.with_thresholds(chosen.values, chosen.record())
    _write(tagger, metadata, out)
    return Tuned(metadata, 0, len(metadata.vocabulary), [])


def _write(tagger: Tagger, metadata: BundleMetadata, out: Path) -> None:
    import onnx

    write_bundle(onnx.load_model(str(tagger.path)), metadata, out)


def _chose_before(metadata: BundleMetadata) -> list[dict[str, Any]]:
    """The images that chose checkpoint and thresholds so far: what is measured there stays optimistic."""
    earlier: dict[str, Any] = {key: metadata.tuned_on[key] for key in ("split", "images", "sha256") if key in metadata.tuned_on}
    return [earlier] if "sha256" in earlier else []
