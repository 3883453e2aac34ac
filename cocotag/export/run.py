"""A run's checkpoint -> bundle, with thresholds tuned on the run's tune images. Loads no trainer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cocotag.bundle import BundleMetadata
from cocotag.config import TrainConfig
from cocotag.data.splits import Splits
from cocotag.errors import CocotagError, DataError
from cocotag.export.bundles import export_checkpoint
from cocotag.export.checkpoint import check_same, checkpoint_facts, facts_of
from cocotag.export.onnx_graph import OPSETS
from cocotag.thresholds import Rule, parse_rule


def export_run(
    checkpoint: Path,
    out: Path,
    calibration: Iterable[Path] | None = None,
    rule: Rule | None = None,
    opset: int = OPSETS[0],
) -> tuple[BundleMetadata, str | None]:
    """Export a checkpoint with thresholds tuned on its run's tune images.

    Args:
        checkpoint: Checkpoint of a training run.
        out: The ``.onnx`` file.
        calibration: As for `cocotag.export.bundles.export_checkpoint`.
        rule: The rule that thresholds are tuned by; None takes the rule of the run's config.
        opset: As for `cocotag.export.onnx_graph.to_onnx`.

    Returns:
        The bundle's metadata, and a warning if the tune images cannot be read, so that all thresholds are 0.5.

    Raises:
        CocotagError: As `cocotag.export.bundles.export_checkpoint`.
    """
    facts = checkpoint_facts(checkpoint)
    config = TrainConfig.from_json(facts["config"])
    rule = rule or parse_rule(config.thresholds)
    if rule.name == "fixed":  # needs no images
        return export_checkpoint(checkpoint, out, None, calibration, rule, opset), None
    try:
        splits = Splits(config.data, seed=config.seed)  # the val split may be gone
        if faults := splits.faults(config.batch_size):
            raise DataError(" ".join(faults), code="data_faults")
        check_same(facts, facts_of(config, splits))
    except CocotagError as error:
        warning = f"Thresholds stay at 0.5: the tune images cannot be read. {error}"
        return export_checkpoint(checkpoint, out, None, calibration, rule, opset), warning
    return export_checkpoint(checkpoint, out, splits.tune, calibration, rule, opset), None
