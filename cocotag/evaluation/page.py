"""The page of an evaluation, report.html, of at most `MAX_BYTES` for any data. Computes no measures.

If there is too much for the page, it has fewer table rows, then fewer plots of single classes, then fewer pictures. The CSV
files have all classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from cocotag.evaluation.compare import ENOUGH_SUPPORT
from cocotag.evaluation.findings import MIN_PAIR_IMAGES, findings
from cocotag.evaluation.mistakes import MANY_CLASSES, Example, load_examples
from cocotag.evaluation.result import HEADLINES
from cocotag.metrics import DEFINITIONS, LOWER_IS_BETTER, NOT_FRACTIONS, ClassCurves
from cocotag.pages import plots
from cocotag.pages.heatmap import heatmap
from cocotag.pages.html import render
from cocotag.pages.small_plots import small_calibration, small_curve, small_histogram
from cocotag.pages.values import plain, shorten

if TYPE_CHECKING:
    from cocotag.evaluation.compare import Comparison
    from cocotag.evaluation.result import Evaluation

MAX_BYTES = 5_000_000
"""Size limit of the page."""
SPARE_BYTES = 60_000
"""Reserve, since the sizes of the parts are measured separately."""
LABEL_ISSUES = 40
"""Likely label errors with pictures; ``label_issues.csv`` has all."""
LABEL_ISSUES_BYTES = 300_000
"""Size limit of these, but at most a quarter of the room."""
MISTAKES_BYTES = 1_500_000
"""Reserved for the most confident mistakes before the plots of single classes, but at most half of the room."""
EXAMPLE_BYTES = 6_000
DRAWN_CLASSES = 200
"""Rows of the dot plot; with more classes, those with the most positives."""
SCATTERED = 600
"""Points of the plot against training data; with more classes, those with the most positives."""
TABLE_ROWS = 1200
"""Rows of the class table; with more classes, those with the most positives."""
PAIR_ROWS = 25
COMPARED_DRAWN, COMPARED_ROWS = 40, 400
"""Classes in the plot of differences to a baseline, half of them the worst, and rows of the table."""
HEATED = 60
"""Rows and columns of the heatmap."""
MIN_MISSES = 5
"""Misses that a class needs for a row in the heatmap: with fewer, a share is too uncertain."""
MIN_PAIR = 3
"""A cell of the heatmap with fewer images with both errors is hatched."""
SLICED = {
    "brightness": ("By brightness", "Brightness is the mean luma of the network's input, from 0 (black) to 255 (white)."),
    "labels": ("By number of labels", "The slices are by the number of labels on the image."),
    "largest object": ("By largest object", "The size is the share of the picture in the box of its largest object."),
}
"""Heading of each kind of slice, and the meaning of its values."""


def page(evaluation: Evaluation) -> str:
    """The text of the page, a self-contained HTML file."""
    values = _values(evaluation)
    room = (
        MAX_BYTES
        - SPARE_BYTES
        - len(render("cocotag.evaluation", "evaluation.html.j2", **values, opened=[], examples=[], suspects=[]).encode())
    )
    suspects = _suspects(evaluation, min(LABEL_ISSUES_BYTES, max(0, room) // 4))
    room -= sum(example["weight"] for example in suspects)
    reserved = min(MISTAKES_BYTES, max(0, room) // 2, EXAMPLE_BYTES * len(evaluation.mistakes))
    opened = _opened(evaluation, room - reserved)
    room -= sum(_size(entry) for entry in opened)
    names, folder = evaluation.predictions.file_names.tolist(), evaluation.image_dir
    examples = _by_class(load_examples(evaluation.mistakes, names, folder, budget=max(0, room)), evaluation)
    text = render("cocotag.evaluation", "evaluation.html.j2", **values, opened=opened, examples=examples, suspects=suspects)
    if len(text.encode()) > MAX_BYTES:  # the sum of the measured sizes may be slightly too small
        text = render("cocotag.evaluation", "evaluation.html.j2", **values, opened=opened, examples=[], suspects=[])
    return text


def _values(evaluation: Evaluation) -> dict[str, Any]:
    """The variables of the template, without the largest parts."""
    texts = {column: [shorten(text) for text in evaluation.per_class[column]] for column in ("name", "supercategory")}
    frame = evaluation.per_class.assign(**texts)
    with_support = frame[frame["f1"].notna()].sort_values(["f1", "support"], ascending=[False, False], kind="stable")
    drawn = _most_supported(with_support, DRAWN_CLASSES)
    scattered = _most_supported(with_support, SCATTERED)
    rows = _most_supported(frame, TABLE_ROWS)
    trained = with_support["train_positives"] > 0
    return {
        "summary": plain(evaluation.summary.to_dict("index")),
        "headlines": {key: name for key, name in HEADLINES.items() if key in evaluation.summary.index},
        "measures": _measures(evaluation.summary),
        "rows": plain(rows),
        "classes": len(frame),
        "supported": len(with_support),
        "optimistic": evaluation.optimistic,
        "warnings": evaluation.warnings,
        "findings": findings(evaluation),
        "run": _pairs(evaluation.run),
        "data": _pairs(evaluation.data),
        "images": evaluation.data["images"],
        "expected": evaluation.expected,
        "split": evaluation.data.get("split"),
        "tuned_on": evaluation.config["tuned_on"],
        "config": _pairs(evaluation.config),
        "drawn": len(drawn),
        "untrained": int((~trained).sum()),
        "scattered": int((scattered["train_positives"] > 0).sum()),
        "trained": int(trained.sum()),
        "enough_support": ENOUGH_SUPPORT,
        "comparison": None if evaluation.comparison is None else _compared(evaluation.comparison),
        "co_errors": _co_errors(evaluation),
        "label_issues": len(evaluation.label_issues),
        "slices": _sliced(evaluation.slices),
        "by_class": len(frame) <= MANY_CLASSES,
        "dot_plot": plots.dots(
            drawn["name"].tolist(),
            _percents(drawn["f1"]),
            _percents(drawn["f1_lo"]),
            _percents(drawn["f1_hi"]),
            counts=drawn["support"].tolist(),
            counts_label="positives",
            title="F1 of each class with its 95% interval, best first, and its positives",
            x_label="F1, %",
        ),
        "scatter_plot": plots.scatter(
            scattered["train_positives"].tolist(),
            _percents(scattered["f1"]),
            scattered["name"].tolist(),
            title="F1 of each class against its positives in training",
            x_label="positives in training, images (logarithmic)",
            y_label="F1, %",
            log_x=True,
        ),
    }


def _most_supported(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """The rows with the most support, in their order."""
    return frame[frame["support"].rank(method="first", ascending=False) <= most]


def _measures(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Each measure with its meaning, and its value with undefined counted as 0 if the summary has one."""
    rows = []
    for name, entry in plain(summary.to_dict("index")).items():
        if name.endswith("_zero0"):
            continue
        zero0 = f"{name}_zero0"
        share = name not in NOT_FRACTIONS
        rows.append(
            {
                "name": name,
                **entry,
                "share": share,
                "zero0": plain(summary.loc[zero0, "value"]) if zero0 in summary.index else None,
                "has_zero0": zero0 in summary.index,
                "lower": name in LOWER_IS_BETTER,
                "meaning": DEFINITIONS.get(name, "Share of images whose highest probability is their tag's; no threshold."),
            }
        )
    return rows


def _opened(evaluation: Evaluation, room: int) -> list[dict[str, Any]]:
    """Four plots per class, for the opened rows of the class table: classes with the most support first, up to the room."""
    found: list[dict[str, Any]] = []
    order = evaluation.per_class.sort_values("support", ascending=False, kind="stable")
    for row in plain(order[:TABLE_ROWS]):
        entry = {"index": row["index"], "name": shorten(row["name"]), **_drawings(row, evaluation.curves[row["index"]])}
        room -= _size(entry)
        if room < 0:
            break
        found.append(entry)
    return sorted(found, key=lambda entry: int(entry["index"]))


def _drawings(row: Mapping[str, Any], curves: ClassCurves) -> dict[str, Markup]:
    """The plots of one class. Titles omit the name, since the heading above has it and it would be repeated eight times."""
    both = row["recall"] is not None and row["precision"] is not None
    known = sum(row[count] for count in ("tp", "fp", "fn", "tn"))
    used = (row["threshold"], row["f1"]) if row["f1"] is not None else None
    bins = curves.bins
    return {
        "precision_recall": small_curve(
            curves.recall.tolist(),
            curves.precision.tolist(),
            title="Precision over recall",
            x_label="recall",
            y_label="precision",
            mark=(row["recall"], row["precision"]) if both else None,
            rule=row["support"] / known if known else None,
        ),
        "f1_threshold": small_curve(
            curves.threshold.tolist(),
            curves.f1.tolist(),
            title="F1 over the threshold",
            x_label="threshold",
            y_label="F1",
            mark=used,
        ),
        "scores": small_histogram(
            curves.edges.tolist(),
            curves.positives.tolist(),
            curves.negatives.tolist(),
            names=("with the class", "without"),
            title="Images by probability",
            x_label="probability",
            y_label="images",
        ),
        "calibration": small_calibration(
            bins.predicted.tolist(),
            bins.observed.tolist(),
            bins.lo.tolist(),
            bins.hi.tolist(),
            bins.counts.tolist(),
            title="Fraction of positives by predicted probability",
        ),
    }


def _size(entry: Mapping[str, Any]) -> int:
    """Size on the page of the plots of one class, in bytes."""
    return 900 + sum(len(str(part).encode()) for part in entry.values())


def _suspects(evaluation: Evaluation, budget: int) -> list[dict[str, Any]]:
    """The likeliest label errors with pictures, the likeliest first, at most `LABEL_ISSUES`."""
    top, frame = evaluation.label_issues[:LABEL_ISSUES], evaluation.per_class
    thresholds = frame["threshold"].to_numpy()[top["index"]]
    cells = top.assign(rank=0, threshold=thresholds, surety=top["chance"])
    cells = cells[["index", "kind", "rank", "row", "score", "threshold", "surety"]]
    names = evaluation.predictions.file_names.tolist()
    examples = load_examples(cells, names, evaluation.image_dir, budget=budget)
    return [{**plain(one), "name": shorten(frame["name"][one.index]), "weight": one.weight} for one in examples]


def _by_class(examples: Sequence[Example], evaluation: Evaluation) -> list[dict[str, Any]]:
    """Examples in one group per class, the class with the most confident mistake first; with many classes, in one group."""
    frame = evaluation.per_class
    names = [shorten(name) for name in frame["name"]]
    entries = [{**plain(example), "name": names[example.index]} for example in examples]
    if len(frame) > MANY_CLASSES:
        return [{"name": "", "examples": entries}] if entries else []
    entries.sort(key=lambda entry: (entry["index"], entry["kind"], -entry["surety"]))
    groups = [(names[index], list(group)) for index, group in groupby(entries, key=lambda entry: entry["index"])]
    groups.sort(key=lambda group: -max(entry["surety"] for entry in group[1]))
    return [{"name": name, "examples": group} for name, group in groups]


def _co_errors(evaluation: Evaluation) -> dict[str, Any]:
    """The most common pairs of a missed and a wrongly predicted class, and their heatmap."""
    pairs = evaluation.co_errors
    top = pairs[:PAIR_ROWS].assign(
        missed=[shorten(name) for name in pairs["missed"][:PAIR_ROWS]],
        said=[shorten(name) for name in pairs["said"][:PAIR_ROWS]],
        lift=pairs["lift"][:PAIR_ROWS].where(pairs["images"][:PAIR_ROWS] >= MIN_PAIR_IMAGES),  # with fewer it is chance itself
    )
    missed = evaluation.per_class["fn"].to_numpy()
    enough = pairs[pairs["of"] >= MIN_MISSES]
    rows = sorted(sorted(set(enough["missed_index"].tolist()), key=lambda index: -missed[index])[:HEATED])
    enough = enough[enough["missed_index"].isin(rows)]
    often = enough.groupby("said_index")["images"].max()
    often = often[often >= min(MIN_PAIR, int(often.max()) if len(often) else 0)]
    columns = sorted(often.sort_values(ascending=False, kind="stable").index[:HEATED].tolist())
    enough = enough[enough["said_index"].isin(columns)]
    drawn = None
    if len(rows) >= 2 and len(columns) >= 2:
        share = np.full((len(rows), len(columns)), np.nan)
        few = np.zeros(share.shape, bool)
        cells = np.searchsorted(rows, enough["missed_index"]), np.searchsorted(columns, enough["said_index"])
        share[cells] = enough["share"]
        few[cells] = enough["images"] < MIN_PAIR
        names = [shorten(name) for name in evaluation.per_class["name"]]
        drawn = heatmap(
            [names[index] for index in rows],
            plain(share),
            columns=[names[index] for index in columns],
            hatched=few.tolist(),
            title="Which wrong tag replaces a missed class: the row is missed, the column is wrongly predicted",
            low="rarely",
            high="in most of its misses" if np.nanmax(share) > 0.5 else f"in {100 * np.nanmax(share):.0f}% of its misses",
            show=lambda value: f"{100 * value:.0f}%",
        )
    return {
        "pairs": len(pairs),
        "top": plain(top),
        "heatmap": drawn,
        "min_misses": MIN_MISSES,
        "min_pair": MIN_PAIR,
        "rows": len(rows),
        "enough": int((missed >= MIN_MISSES).sum()),
    }


def _sliced(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """For each kind of slice, a plot of micro-F1 and macro-F1, and the table rows."""
    found = []
    for by, group in frame.groupby("by", sort=False):
        macro = bool(group["macro_f1"].notna().any())
        measures = ("micro", "macro") if macro else ("micro",)
        labels: list[str] = []
        for text in group["slice"]:
            labels += [text, *measures[1:]]
        columns = {
            end: [value for pair in zip(*(_percents(group[f"{m}_f1{end}"]) for m in measures), strict=True) for value in pair]
            for end in ("", "_lo", "_hi")
        }
        found.append(
            {
                "by": by,
                "title": SLICED[str(by)][0],
                "meaning": SLICED[str(by)][1],
                "n_classes": int(group["n_classes"].iloc[0]),
                "rows": plain(group),
                "plot": plots.dots(
                    labels,
                    columns[""],
                    columns["_lo"],
                    columns["_hi"],
                    colors=["c1", "c3"][: len(measures)] * len(group),
                    title=f"F1 with 95% interval by {by}",
                    x_label="F1, %",
                ),
            }
        )
    return found


def _compared(comparison: Comparison) -> dict[str, Any]:
    """The differences to a baseline, regressions first."""
    frame = comparison.per_class.assign(name=[shorten(name) for name in comparison.per_class["name"]])
    judged = frame[frame["f1_difference"].notna() & (frame["verdict"] != "few positives")]
    judged = judged.sort_values("f1_difference", kind="stable")
    half = COMPARED_DRAWN // 2
    drawn = judged if len(judged) <= COMPARED_DRAWN else pd.concat([judged[:half], judged[-half:]])
    colors = {"worse": "c3", "better": "c4"}
    headlines = {name: label for name, label in HEADLINES.items() if name in comparison.summary.index}
    return {
        "names": comparison.names,
        "images": comparison.images,
        "summary": [{"label": label, **plain(comparison.summary.loc[name].to_dict())} for name, label in headlines.items()],
        "verdicts": frame["verdict"].value_counts().to_dict(),
        "rows": plain(frame[:COMPARED_ROWS]),
        "classes": len(frame),
        "drawn": len(drawn),
        "drawable": len(judged),
        "plot": plots.dots(
            drawn["name"].tolist(),
            _percents(drawn["f1_difference"]),
            _percents(drawn["f1_lo"]),
            _percents(drawn["f1_hi"]),
            counts=drawn["support"].tolist(),
            counts_label="positives",
            zero=True,
            colors=[colors.get(verdict, "c7") for verdict in drawn["verdict"]],
            title="Difference of F1 to the baseline with its 95% interval, largest losses first",
            x_label="F1 now minus F1 of the baseline, percentage points",
        ),
    }


def _percents(fractions: pd.Series) -> list[float | None]:
    return [None if np.isnan(value) else round(100 * value, 1) for value in fractions.tolist()]


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values as text; nested values as JSON."""
    made = plain(values)
    return [(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) for name, value in made.items()]
