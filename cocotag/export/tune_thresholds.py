"""A bundle's thresholds, and on request its scores, fitted to labelled images. Does not depend on torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cocotag.bundle import BundleMetadata, write_bundle
from cocotag.data.annotations import AnnotationTable
from cocotag.data.matching import Aliases
from cocotag.data.sources import align
from cocotag.errors import DataError
from cocotag.evaluation.predict import predict_table
from cocotag.export.calibrate_scores import ScoreCalibration, calibrate_scores, last_sigmoid, put_into
from cocotag.inference.tagger import Tagger
from cocotag.thresholds import F1, Rule, choose_thresholds, describe, fixed_thresholds, thresholds_for_precision

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Tuned:
    """The result of tuning.

    Attributes:
        metadata: Metadata of the new bundle.
        images: Number of images the thresholds were tuned on; 0 if the rule needs none.
        changed: Number of classes with a new threshold; the others keep theirs.
        failures: One line per image that could not be read.
        calibration: The correction of the scores; None if they stay as they are.
    """

    metadata: BundleMetadata
    images: int
    changed: int
    failures: list[str]
    calibration: ScoreCalibration | None = None

    def to_text(self) -> str:
        """The result as lines for a terminal."""
        kept = len(self.metadata.vocabulary) - self.changed
        stay = "keep their thresholds" if self.calibration is None else "have theirs moved with the scores"
        rest = f"; classes without positives or without negatives, which {stay}: {kept}" if kept else ""
        how = f"tuned on {self.images} image{'' if self.images == 1 else 's'}" if self.images else "set"
        lines = [
            f"thresholds of {self.changed} class{'' if self.changed == 1 else 'es'} {how}{rest}",
            f"rule: {describe(self.metadata.chosen_by)}",
        ]
        if self.calibration is not None:
            loss = self.calibration.loss
            lines.insert(
                0,
                f"scores calibrated: log loss on held-out images {loss.before:.4f}, then {loss.after:.4f} nats per label "
                f"(standard error of the fall {loss.error:.4f})",
            )
        if self.failures:
            lines.append(f"images left out because they cannot be read: {len(self.failures)}. The first: {self.failures[0]}")
        return "\n".join(lines)


def tune_thresholds(
    tagger: Tagger,
    table: AnnotationTable,
    out: Path,
    *,
    split: str,
    rule: Rule = F1,
    aliases: Aliases | None = None,
    calibrated: bool = False,
    progress: bool = True,
) -> Tuned:
    """Tune thresholds on the images of a split, and write the bundle with them.

    Any later evaluation on these images is marked optimistic. A class that lacks positives or negatives in the split keeps its
    threshold, unless the rule sets the same threshold for all classes.

    Args:
        tagger: The bundle; its file is not changed, unless ``out`` is that file.
        table: The labelled images; classes are matched by name.
        out: The new bundle.
        split: The split's name, recorded in the bundle.
        rule: The rule that thresholds are tuned by. For ``fixed``, which needs no images, use `set_thresholds`.
        aliases: The bundle's names of the table's classes.
        calibrated: Whether to calibrate the scores on these images first, by `cocotag.export.calibrate_scores`. Thresholds that
            are kept are moved with the scores.
        progress: Whether to show a bar on stderr, if it is a terminal.

    Raises:
        DataError: The split has no class in common with the bundle, no class has both positives and negatives, or no image
            can be read. With ``calibrated``, also as `calibrate_scores`, or if the bundle was trained on the split.
        BundleError: With ``calibrated``, the graph does not end in a sigmoid.
        OutputError: ``out`` cannot be written.
    """
    before, model = tagger.metadata, _graph(tagger)
    if calibrated:
        last_sigmoid(model, tagger.path)
        _refuse_training_images(table, before, split)
    aligned = align(table, before.vocabulary, name=split, aliases=aliases)
    predicted = predict_table(tagger, aligned, progress=progress)
    readable, probs = predicted.table, predicted.probs
    tunable = (readable.targets & readable.known).any(axis=0) & (~readable.targets & readable.known).any(axis=0)
    if not tunable.any():
        raise DataError(
            f"No class in split {split!r} has both positives and negatives, so no threshold can be tuned. "
            "Give another split, or list the exhaustively annotated classes under known in the alias file.",
            code="no_tunable_class",
        )
    calibration = None
    if calibrated:
        calibration = calibrate_scores(probs, readable.targets, readable.known)
        put_into(model, calibration, tagger.path)
        probs, before = calibration.corrected(probs), calibration.in_metadata(before, split)
    cells = probs, readable.targets, readable.known
    chosen = choose_thresholds(*cells, rule)
    record, for_precision = chosen.record(), thresholds_for_precision(*cells)
    for wish, one in for_precision.items():
        if wish in before.for_precision:
            one["thresholds"] = np.where(tunable, one["thresholds"], before.for_precision[wish]["thresholds"]).tolist()
            one["untold"] = sorted({*one["untold"]} & {*before.for_precision[wish]["untold"]})
    if rule.name in ("f1:global", "fixed"):
        tunable = np.ones_like(tunable)
    elif not tunable.all():
        record["classes"] = int(tunable.sum())
    tuned_on = {
        **before.tuned_on,
        "split": split,
        "images": len(readable),
        "sha256": table.names_sha256(),
        "sources": [*before.tuned_on.get("sources", []), *_chose_before(before)],
    }
    metadata = replace(before, tuned_on=tuned_on).with_thresholds(
        np.where(tunable, chosen.values, before.threshold_array()), record, for_precision
    )
    write_bundle(model, metadata, out)
    return Tuned(metadata, len(readable), int(tunable.sum()), predicted.failures, calibration)


def set_thresholds(tagger: Tagger, out: Path, rule: Rule) -> Tuned:
    """Write a bundle with one threshold for all classes, as in ``fixed:0.5``.

    The record of the tune images stays: they chose the checkpoint, so figures measured on them remain optimistic.

    Args:
        tagger: The bundle; its file is not changed, unless ``out`` is that file.
        out: The new bundle.
        rule: A ``fixed`` rule.

    Raises:
        ValueError: Any other rule.
        OutputError: ``out`` cannot be written.
    """
    chosen = fixed_thresholds(rule, len(tagger.metadata.vocabulary))
    metadata = tagger.metadata.with_thresholds(chosen.values, chosen.record())
    write_bundle(_graph(tagger), metadata, out)
    return Tuned(metadata, 0, len(metadata.vocabulary), [])


def _refuse_training_images(table: AnnotationTable, metadata: BundleMetadata, split: str) -> None:
    if table.names_sha256() == metadata.tuned_on.get("train_split_sha256"):
        raise DataError(
            f"The bundle was trained on split {split!r}. Its scores are better there than elsewhere, so calibrating on them "
            "would make it too confident. Nothing was written. Give a split that it was not trained on.",
            code="trained_on_split",
        )


def _graph(tagger: Tagger) -> onnx.ModelProto:
    import onnx

    return onnx.load_model(str(tagger.path))


def _chose_before(metadata: BundleMetadata) -> list[dict[str, Any]]:
    """The images that chose the checkpoint and the thresholds so far: figures measured on them stay optimistic."""
    earlier: dict[str, Any] = {key: metadata.tuned_on[key] for key in ("split", "images", "sha256") if key in metadata.tuned_on}
    return [earlier] if "sha256" in earlier else []
