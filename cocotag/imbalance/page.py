"""The page of the imbalance report: measures -> drawings, tables and texts. Computes no measures.

If there are too many classes for a page, it shows those with the most images. The CSV files have all classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from cocotag.config import LossConfig
from cocotag.imbalance import measures as measure
from cocotag.imbalance.brightness import BIN, Brightness
from cocotag.imbalance.integrity import Integrity
from cocotag.imbalance.result import SHOWN_ROWS
from cocotag.pages import plots
from cocotag.pages.heatmap import heatmap
from cocotag.pages.html import render
from cocotag.pages.values import plain, shorten

if TYPE_CHECKING:
    from cocotag.imbalance.result import Imbalance

MAP_CLASSES = 100
"""Classes of the heatmap; with more, their names are illegible."""
DRAWN_CLASSES = 400
"""Classes of the bar chart."""
SCATTERED = 600
"""Classes of the scatter plots."""
MAX_BYTES = 5_000_000
"""Size limit of the page."""
LEVELS = ((1200, 60), (300, 20))
"""Rows of the class and drift tables, and characters of a name; the second pair if the page would be too large with the
first."""
WEIGHTS_BYTES = 500_000
"""Size limit of the weights that the page offers as a download."""
DRIFT_ROWS = 30
"""Classes of a drift plot: those with the largest z."""
GROUP_COLORS = {"head": "c1", "medium": "c7", "tail": "c3", "absent": "c7"}


def draw_page(
    imbalances: Sequence[Imbalance],
    names: Sequence[str],
    drifts: pd.DataFrame | None,
    brightness: Brightness | None,
    integrity: Integrity | None,
) -> str:
    """The text of ``imbalance.html``.

    Args:
        imbalances: The splits, the main one first.
        names: A unique name for each split.
        drifts: The frame of `cocotag.imbalance.result.drift`; None for a single split.
        brightness: Brightness of the main split's photographs; None if they were not read.
        integrity: Findings in the main split; None if it was not checked.
    """
    text = ""
    for rows, letters in LEVELS:
        text = _page(imbalances, names, drifts, brightness, integrity, rows=rows, letters=letters)
        if len(text.encode()) <= MAX_BYTES:
            break
    return text


def _page(
    imbalances: Sequence[Imbalance],
    names: Sequence[str],
    drifts: pd.DataFrame | None,
    brightness: Brightness | None,
    integrity: Integrity | None,
    *,
    rows: int,
    letters: int,
) -> str:
    main = imbalances[0]
    ranked = main.classes.sort_values("images", ascending=False, kind="stable")
    ranked = _shortened(ranked, letters, "name", "supercategory")
    present = ranked[ranked["images"] > 0]
    pairs = main.pairs
    labelsets = main.labelsets.assign(
        labels=measure.text([shorten(name, letters) for name in labels] for labels in main.labelsets["labels"])
    )
    drifts = None if drifts is None else _shortened(drifts, letters, "name")
    lifted = pairs[pairs["supported"] & (pairs["lift"] > 1)].sort_values("lift", ascending=False, kind="stable")
    weights = weights_address(main.classes)
    return render(
        "cocotag.imbalance",
        "imbalance.html.j2",
        split=main.split,
        measures=main.measures,
        classes=plain(ranked[:rows]),
        drawn=min(len(ranked), DRAWN_CLASSES),
        scattered=min(len(present), SCATTERED),
        most_common=plain(present.head(1)),
        rarest=plain(present.tail(1)),
        absent=ranked.loc[ranked["images"] == 0, "name"].tolist(),
        group_colors=GROUP_COLORS,
        figures=_figures(main, ranked, letters) | _light(brightness),
        mapped=min(len(present), MAP_CLASSES),
        labelsets=plain(labelsets),
        commonest_pairs=_first_pairs(pairs[pairs["count"] > 0], letters),
        lifted_pairs=_first_pairs(lifted, letters),
        missing_pairs=_first_pairs(pairs[pairs["count"] == 0], letters),
        min_pair_images=measure.MIN_PAIR_IMAGES,
        beta=measure.BETA,
        loss=LossConfig(),
        weights=weights if len(weights) <= WEIGHTS_BYTES else None,
        splits=[{"name": name, **entry.to_json()} for name, entry in zip(names, imbalances, strict=True)],
        drift=[] if drifts is None else plain(_largest_z_first(drifts)[:rows]),
        drift_rows=DRIFT_ROWS,
        drift_figures=[] if drifts is None else _drift_figures(drifts, names),
        brightness=brightness,
        largest_error=max((view.error for view in brightness.views), default=0) if brightness else 0,
        integrity=integrity,
    )


def weights_address(classes: pd.DataFrame) -> str:
    """The suggested weights as a CSV file in a ``data:`` address, which a link can offer without a request."""
    columns = ["class_id", "name", "images", "effective_number", "weight", "pos_weight"]
    text = classes[columns].to_csv(index=False, lineterminator="\n").encode("utf-8", "replace")
    return f"data:text/csv;charset=utf-8,{quote(text)}"


def cluster_order(matrix: ArrayLike) -> list[int]:
    """An order of rows and columns with similar ones side by side, so that a heatmap shows blocks.

    Average-linkage clustering (Sokal and Michener 1958): the two groups with the highest mean similarity are merged, until
    one group is left. Merged groups are laid end to end, so that their most similar ends meet.

    Args:
        matrix: Symmetric similarities, ``(C, C)``; the diagonal is ignored, NaN is less than all others.
    """
    similar = np.array(matrix, np.float64)
    count = len(similar)
    similar[np.isnan(similar)] = np.nanmin(similar, initial=0.0) - 1.0
    np.fill_diagonal(similar, -np.inf)
    between, groups = similar.copy(), [[index] for index in range(count)]
    for _ in range(count - 1):
        first, second = sorted(int(index) for index in np.unravel_index(between.argmax(), between.shape))
        one, other = groups[first], groups[second]
        joints = [(a, b) for a in (one, one[::-1]) for b in (other, other[::-1])]
        front, back = max(joints, key=lambda joint: similar[joint[0][-1], joint[1][0]])
        mean = (len(one) * between[first] + len(other) * between[second]) / (len(one) + len(other))
        groups[first] = front + back
        between[first] = between[:, first] = mean
        between[second] = between[:, second] = between[first, first] = -np.inf
    return groups[0] if groups else []


def _shortened(frame: pd.DataFrame, letters: int, *columns: str) -> pd.DataFrame:
    """The frame with names cut to ``letters`` characters."""
    texts = {column: measure.text(shorten(text, letters) for text in frame[column]) for column in columns}
    return frame.assign(**{column: text.set_axis(frame.index) for column, text in texts.items()})


def _first_pairs(pairs: pd.DataFrame, letters: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = plain(_shortened(pairs.head(SHOWN_ROWS), letters, "a", "b"))
    return rows


def _figures(main: Imbalance, ranked: pd.DataFrame, letters: int) -> dict[str, Markup]:
    drawn, scattered = ranked[:DRAWN_CLASSES], ranked[:SCATTERED]
    colors = [GROUP_COLORS[group] for group in scattered["group"]]
    share_of_classes, share_of_labels = measure.lorenz(ranked["images"].to_numpy())
    per_image = main.labels_per_image
    return {
        "images": plots.bars(
            drawn["name"].tolist(),
            drawn["images"].tolist(),
            title="Images of each class, most common first",
            x_label="images with the class (logarithmic)",
            log=True,
            colors=colors[: len(drawn)],
        ),
        "lorenz": plots.curve(
            share_of_classes.tolist(),
            share_of_labels.tolist(),
            title="Lorenz curve of labels over classes",
            x_label="share of the classes, rarest first",
            y_label="share of all labels",
            diagonal=True,
        ),
        "labels_per_image": plots.histogram(
            [edge - 0.5 for edge in range(len(per_image) + 1)],
            per_image,
            title="Images by their number of labels",
            x_label="labels on the image",
            y_label="images",
        ),
        "scumble": plots.scatter(
            scattered["irlbl"].tolist(),
            scattered["scumble"].tolist(),
            scattered["name"].tolist(),
            title="SCUMBLE of each class against its IRLbl",
            x_label="IRLbl (logarithmic)",
            y_label="SCUMBLE",
            log_x=True,
            colors=colors,
        ),
        "instances": plots.scatter(
            scattered["images"].tolist(),
            scattered["instances"].tolist(),
            scattered["name"].tolist(),
            title="Objects of each class against its images",
            x_label="images with the class (logarithmic)",
            y_label="objects of the class (logarithmic)",
            log_x=True,
            log_y=True,
            colors=colors,
        ),
        "lift": _lift_map(main, letters),
    }


def _lift_map(main: Imbalance, letters: int) -> Markup:
    """Heatmap of log2 of the lift of every pair that occurs, with similar classes side by side; unsupported pairs hatched."""
    pairs, ranked = main.pairs, main.classes.sort_values("images", ascending=False, kind="stable")
    names = ranked.loc[ranked["images"] > 0, "name"].head(MAP_CLASSES).tolist()
    index_of = {name: index for index, name in enumerate(names)}
    ends = np.array([[index_of.get(name, -1) for name in pairs[side].tolist()] for side in ("a", "b")], np.int64)
    drawn, (first, second) = pairs[(ends >= 0).all(axis=0)], ends[:, (ends >= 0).all(axis=0)]
    count, expected = drawn["count"].to_numpy(), drawn["expected"].to_numpy(np.float64)

    def square(values: NDArray[Any], fill: float) -> NDArray[Any]:
        full = np.full((len(names), len(names)), fill, values.dtype)
        full[first, second] = full[second, first] = values
        return full

    # Adding 1 to both counts makes the similarity 0 for a pair that is not expected and does not occur.
    order = cluster_order(square(np.log2((count + 1.0) / (expected + 1.0)), 0.0))
    with np.errstate(divide="ignore"):
        lift = square(np.where(count > 0, np.log2(drawn["lift"].to_numpy(np.float64)), np.nan), np.nan)
    ordered = np.ix_(order, order)
    return heatmap(
        [shorten(names[index], letters) for index in order],
        plain(lift[ordered]),
        title="How much more often than by chance two classes share an image (log2 of the lift)",
        low="less often than by chance",
        high="more often",
        hatched=square(~drawn["supported"].to_numpy(bool), False)[ordered].tolist(),
        diverging=True,
        show=_times,
    )


def _times(power: float) -> str:
    """A lift as text, from its log2."""
    return f"{2**power:.3g} times" if power >= 0 else f"1/{2**-power:.3g}"


def _largest_z_first(frame: pd.DataFrame) -> pd.DataFrame:
    largest = frame.filter(regex="^z_").abs().max(axis=1)
    return frame.loc[largest.sort_values(ascending=False, kind="stable").index]


def _drift_figures(drifts: pd.DataFrame, names: Sequence[str]) -> list[Markup]:
    """One plot for each split but the first: the classes with the largest z."""
    figures = []
    for other in names[1:]:
        rows = drifts.loc[drifts[f"z_{other}"].abs().sort_values(ascending=False, kind="stable").index]
        rows = rows[rows[f"z_{other}"].notna()].head(DRIFT_ROWS)
        figures.append(
            plots.dumbbells(
                [f"{name} (z {z:+.1f})" for name, z in zip(rows["name"], rows[f"z_{other}"], strict=True)],
                (100 * rows[f"frequency_{names[0]}"]).tolist(),
                (100 * rows[f"frequency_{other}"]).tolist(),
                names=(names[0], other),
                title=f"Frequency of classes in {names[0]} and {other}",
                x_label="images with the class, % (logarithmic)",
                log=True,
            )
        )
    return figures


def _light(brightness: Brightness | None) -> dict[str, Markup]:
    if brightness is None or not brightness.measures["measured"]:
        return {}
    return {
        "brightness": plots.histogram(
            [BIN * edge for edge in range(len(brightness.counts) + 1)],
            brightness.counts,
            title="Photographs by their mean brightness",
            x_label="mean brightness, 0 (black) to 255 (white)",
            y_label="photographs",
        )
    }
