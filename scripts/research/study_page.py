"""This module helped to make reports/study.md once; it is not part of continuous integration.

It turns the findings of scripts/research/study.py into tables and verdicts. Does not depend on how they were measured.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from study_full import FINALISTS, FREEZING, FREEZING_SIZE, PUBLISHED
from study_heads import FOLDS, SEEDS, VIEWS, Recipe

from cocotag import metrics
from cocotag.data.annotations import AnnotationTable
from cocotag.imbalance.measures import groups

Pair = tuple[NDArray[np.float32], NDArray[np.bool_]]
Found = dict[str, dict[str, Any]]

SHOWN = ("map", "micro_f1", "macro_f1")
GROUPS = ("head_map", "medium_map", "tail_map")


@dataclass(frozen=True)
class Question:
    """What is asked, and the recipes that answer it.

    Attributes:
        title: Of its section.
        about: A sentence on what the options are.
        options: By name; the first is what the others are held against.
    """

    title: str
    about: str
    options: dict[str, Recipe]


def measures(probs: NDArray[np.float32], decisions: NDArray[np.bool_], table: AnnotationTable) -> dict[str, float]:
    """MAP and F1, and mAP over the head, medium and tail classes of the table."""
    nowhere = np.zeros(table.targets.shape[1])
    found = metrics.score(probs, table.targets, table.known, nowhere, predicted=decisions, groups=0)
    values = found.summary["value"]
    group = np.array(groups(table.positives))
    of_group = {
        name: float(np.nanmean(found.per_class["ap"].to_numpy()[group == name.removesuffix("_map")])) for name in GROUPS
    }
    return {**{name: float(values[name]) for name in SHOWN}, **of_group}


def across(runs: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Mean and spread (largest less smallest) over runs, of each measure."""
    return {name: [float(np.mean(part)), float(np.ptp(part))] for name in runs[0] for part in [[one[name] for one in runs]]}


def gap(first: list[Pair], second: list[Pair], table: AnnotationTable) -> dict[str, list[float]]:
    """How much more the second scores, with its interval over images."""
    frame = metrics.difference(first, second, table.targets, table.known).summary
    rows = frame[["value", "lo", "hi"]].to_dict("index")
    return {name: [float(rows[name][part]) for part in ("value", "lo", "hi")] for name in SHOWN}


def own_interval(probs: NDArray[np.float32], decisions: NDArray[np.bool_], table: AnnotationTable) -> dict[str, list[float]]:
    """Value and 95 % interval over images of one run."""
    nowhere = np.zeros(table.targets.shape[1])
    rows = metrics.score(probs, table.targets, table.known, nowhere, predicted=decisions).summary.to_dict("index")
    return {name: [float(rows[name][part]) for part in ("value", "lo", "hi")] for name in SHOWN}


def percent(pair: Sequence[float]) -> str:
    """A mean with its spread."""
    return f"{100 * pair[0]:.1f} ± {100 * pair[1] / 2:.1f}"


def points(gaps: dict[str, list[float]] | None) -> str:
    """A difference in mAP with its interval."""
    if gaps is None:
        return ""
    triple = gaps["map"]
    return f"{100 * triple[0]:+.1f} ({100 * triple[1]:+.1f} to {100 * triple[2]:+.1f})"


def verdict(names: Sequence[str], gaps: Sequence[dict[str, list[float]] | None]) -> str:
    """What folds say: which options are better or worse than the first beyond what other photographs would change."""
    better = [name for name, one in zip(names, gaps, strict=True) if one and one["map"][1] > 0]
    worse = [name for name, one in zip(names, gaps, strict=True) if one and one["map"][2] < 0]
    open_ = [name for name, one in zip(names, gaps, strict=True) if one and name not in (*better, *worse)]
    said = []
    if better:
        said.append(f"better in mAP: {'; '.join(better)}")
    if worse:
        said.append(f"worse: {'; '.join(worse)}")
    if open_:
        said.append(f"not to be told apart: {'; '.join(open_)}")
    return f"**Against {names[0]}:** " + ". ".join(part[0].upper() + part[1:] for part in said) + "."


def section(question: Question, found: Found) -> str:
    """A question with its table."""
    first = next(iter(question.options.values()))
    rows, names = [], []
    gaps: list[dict[str, list[float]] | None] = []
    for name, recipe in question.options.items():
        alone = found.get(f"alone {recipe.key()}")
        if alone is None:
            continue
        against = found.get(f"against {recipe.key()} {first.key()}")
        names.append(name)
        gaps.append(None if against is None else against["folds"])
        folds, val = alone["folds"], alone["val"]
        rows.append(
            f"| {name} | {percent(folds['map'])} | {points(gaps[-1])} | {percent(folds['micro_f1'])} | "
            f"{percent(folds['macro_f1'])} | {' / '.join(f'{100 * folds[group][0]:.0f}' for group in GROUPS)} | "
            f"{percent(val['map'])} | {points(against and against['val'])} | {percent(val['micro_f1'])} |"
        )
    if not rows:
        return f"## {question.title}\n\nNot asked yet.\n"
    return f"""## {question.title}

{question.about}

| | folds: mAP | against the first | micro-F1 | macro-F1 | mAP head / medium / tail | val: mAP | against the first | micro-F1 |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

{verdict(names, gaps)}
"""


def freezing_section(found: Found) -> str:
    """What learns when."""
    rows, names = [], []
    gaps: list[dict[str, list[float]] | None] = []
    for name, stages in FREEZING.items():
        one = found.get(f"freezing {FREEZING_SIZE} {stages}")
        if one is None:
            continue
        names.append(name)
        gaps.append(one.get("against", {}).get("folds"))
        rows.append(
            f"| {name} | {100 * one['folds']['map'][0]:.1f} | {points(gaps[-1])} | "
            f"{100 * one['folds']['micro_f1'][0]:.1f} | {100 * one['folds']['macro_f1'][0]:.1f} | {one['seconds']:.0f} s | "
            f"`{stages}` |"
        )
    if not rows:
        return "## What learns when\n\nNot asked yet.\n"
    return f"""## What learns when

Whole runs of `cocotag train` at {FREEZING_SIZE} px, one on each of {FOLDS} folds, otherwise `configs/coco_mini.yaml`.

| | folds: mAP | against the first | micro-F1 | macro-F1 | training | stages |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

{verdict(names, gaps)}
"""


def final_section(found: Found) -> str:
    """The finalists and the recipes of others."""
    rows = []
    best = found.get(f"finalist {json.dumps(next(iter(FINALISTS.values())))}")
    for label, words in FINALISTS.items():
        one = found.get(f"finalist {json.dumps(words)}")
        if one is not None:
            gap = one.get("against")
            ahead = (
                "" if gap is None else f"{-100 * gap['map'][0]:.1f} ({-100 * gap['map'][2]:.1f} to {-100 * gap['map'][1]:.1f})"
            )
            rows.append(_final_row(f"cocotag, {label}", one["val"], f"{one['seconds']:.0f} s", ahead))
    for recipe, size, epochs in PUBLISHED:
        one = found.get(f"published {recipe} {size} {epochs}")
        if one is not None and best is not None:
            own = one["val"]
            took = f"{own['seconds'][0]:.0f} s, {epochs} epoch{'s' if epochs > 1 else ''}"
            rows.append(
                _final_row(
                    f"{recipe}{f', {size} px' if size else ', its own size'}",
                    own,
                    took,
                    f"{100 * (best['val']['map'][0] - own['map'][0]):.1f}",
                )
            )
    if best is None:
        return "## On val\n\nNot run yet.\n"
    others = """The recipes of others are
re-creations (`scripts/research/recreations.py`; `published_recipes.py` has ASL, CSRA and the hobby original value by
value) with the same photographs and network, for a number of epochs that takes no less training than ours; other work
shared the cores, so seconds are upper bounds. At so few steps recipes that rise slowly or start from nothing are at a
loss: that is what is compared."""
    if len(rows) == len(FINALISTS):
        others = "The recipes of others\n(`scripts/research/recreations.py`) were not run yet."
    inside = {name: f"{100 * lo:.1f} to {100 * hi:.1f}" for name, (_, lo, hi) in best["intervals"].items()}
    return f"""## On val

Whole runs, three seeds each; thresholds chosen on the tenth of train that also chooses the checkpoint. {others}

| | mAP | cocotag ahead by | micro-F1 | macro-F1 | training |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

The first run of `coco_mini`, 95 % over photographs: mAP {inside["map"]}, micro-F1 {inside["micro_f1"]}, macro-F1 \
{inside["macro_f1"]}.
"""


def _final_row(name: str, val: dict[str, list[float]], took: str, ahead: str) -> str:
    return f"| {name} | {percent(val['map'])} | {ahead} | {percent(val['micro_f1'])} | {percent(val['macro_f1'])} | {took} |"


def page(found: Found, questions: Sequence[Question]) -> str:
    """The whole page."""
    return f"""# Which recipe tags best

Written by `.venv/bin/python scripts/research/study.py`, in parts that go on where they were stopped, \
on {os.cpu_count()} CPU cores \
({platform.machine()}). What it found is in `study.json`.

317 COCO photographs to learn from, 150 (*val*) that are only reported on, MobileNetV2 with ImageNet weights. Everything is
chosen on *folds*: train in {FOLDS} parts, each scored by a tagger that learned from the other two and has thresholds from them.
Percent; mean over seeds {", ".join(map(str, SEEDS))} ± half the distance of the highest and the lowest. In brackets 95 %
intervals of the difference over photographs (paired bootstrap); where one holds 0, other photographs might have said the
opposite. Most questions are asked of heads on features of {VIEWS} views of each photograph at {Recipe.size} px
(`study_heads.py`), with one thing changed at a time. Head, medium and tail classes are those of the imbalance report.

{chr(10).join(section(question, found) for question in questions)}
{freezing_section(found)}
{final_section(found)}"""
