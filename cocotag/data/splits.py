"""Which images a run learns from and which it chooses on: config -> tables. No torch, no pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cocotag.config import DataConfig, SourceConfig, root_of
from cocotag.data.annotations import AnnotationTable, load_split
from cocotag.data.image_files import check_files
from cocotag.data.matching import load_aliases
from cocotag.data.sources import Joined, align, join_sources
from cocotag.data.split import stratified_holdout, stratified_sample
from cocotag.errors import DataError
from cocotag.labels import Vocabulary


class Splits:
    """The train and tune images of a run. The split that is only reported on is read by `of_root`.

    Args:
        config: The data part of a training config.
        seed: Of the tune split and of the fraction that is kept.

    Attributes:
        train: Table to learn from.
        tune: Table that the checkpoint and the thresholds are chosen on.
        joined: What became of each source; None where one data set is used with its own classes.
        root: The data set that the val and tune splits belong to.
        sources: The data sets that are learned from.

    Raises:
        ConfigError: An alias file is missing or damaged.
        DataError: A split is missing or unreadable. `faults` lists what else is wrong with it.
    """

    def __init__(self, config: DataConfig, *, seed: int) -> None:
        self.config = config
        self.root = root_of(config) or "."
        self.sources = config.sources or [SourceConfig(self.root, config.train_split)]
        self.joined: Joined | None = None
        if config.sources or config.classes != "own":
            self.joined = join_sources(self.sources, config.classes)
        whole = self.joined.table if self.joined else load_split(self.root, config.train_split)
        self._train_split_sha256 = whole.names_sha256()
        strata = whole.targets & whole.known
        if self.joined is not None and len(self.sources) > 1:
            strata = np.hstack([strata, self.joined.members])  # each source keeps its share too: sources know different classes
        if config.fraction < 1:
            kept = stratified_sample(strata, config.fraction, seed)
            whole, strata = whole.take(kept), strata[kept]
        if config.tune_split is None:
            held = stratified_holdout(strata, config.tune_fraction, seed)
            self.train, self.tune = whole.take(~held), whole.take(held)
        else:
            self.train, self.tune = whole, self.of_root(config.tune_split)

    def of_root(self, split: str) -> AnnotationTable:
        """A split to choose or to report on, in the classes that are learned.

        What the source of the same folder is found to know, this split knows as well; of a folder that is no source's, all
        that it lists.

        Raises:
            DataError: It is missing, not COCO's format, or has no class in common with what is learned.
        """
        table = load_split(self.root, split)
        if self.joined is None:
            return table
        name, here = f"{self.root}, split {split!r},", Path(self.root).resolve()
        for source, record in zip(self.sources, self.joined.records, strict=True):
            if Path(source.root).resolve() == here:
                aliases = load_aliases(source.aliases) if source.aliases else None
                return align(table, self.joined.table.vocabulary, name=name, aliases=aliases, looked_for=record.looked_for)
        return align(table, self.joined.table.vocabulary, name=name)

    def faults(self, batch_size: int = 1) -> list[str]:
        """Every reason why a run cannot learn from these data in batches of this size, each with what to do; empty if none."""
        return list(self._faults(batch_size))

    def _faults(self, batch_size: int) -> Iterator[str]:
        config = self.config
        learned = " and ".join(f"split {source.split!r} of {source.root}" for source in self.sources)
        if not config.sources:
            learned = f"split {config.train_split!r}"
        tune_name = f"split {config.tune_split!r}" if config.tune_split else f"tune part of {learned}"
        if self.tune.vocabulary.ids != self.train.vocabulary.ids:
            yield f"The {tune_name} lists other categories than {learned}. Use one list for both."
            return
        for name, table in ((learned, self.train), (tune_name, self.tune)):
            if not table.positives.any():
                yield f"The {name} has {len(table)} images and no positive of any class, so nothing can be learned there."
        told = np.asarray(self.tune.known.all(axis=0) | (self.tune.known & ~self.tune.targets).any(axis=0))
        if self.tune.positives.any() and not (told & (self.tune.positives > 0)).any():
            yield (
                f"The {tune_name} has only positives of every class that it has any of, so nothing can be chosen on it. Give a "
                "data.tune_split in which somebody looked for the classes, or name them under known."
            )
        places = [(source.root, source.split) for source in self.sources]
        for table, where in (
            (self.train, places),
            (self.tune, [(self.root, config.tune_split)] if config.tune_split else places),
        ):
            try:
                check_files(table, where)
            except DataError as error:
                yield str(error)
        if len(self.train) < batch_size:
            yield f"There are {len(self.train)} images to train on, fewer than batch_size {batch_size}. Lower it."

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes."""
        return self.train.vocabulary

    def tuned_on(self) -> dict[str, Any]:
        """Which images choose, for the bundle: a later evaluation on them, or on all they were taken from, is optimistic."""
        records = self.joined.records if self.joined and self.config.sources else []
        names = [record.name for record in records] or [self.config.train_split]
        sources = [{"split": record.name, "images": record.images, "sha256": record.sha256} for record in records]
        return {
            "split": self.config.tune_split or f"{self.config.tune_fraction:g} of {' + '.join(names)}",
            "images": len(self.tune),
            "sha256": self.tune.names_sha256(),
            "train_split_sha256": self._train_split_sha256,
            **({"sources": sources} if sources else {}),
        }
