"""Config -> the tables of a run's train and tune images. Does not depend on torch and reads no pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cocotag.config import DataConfig, SourceConfig, root_of
from cocotag.data.annotations import AnnotationTable, load_split
from cocotag.data.coco_fields import only_crowds
from cocotag.data.image_files import Source, check_files
from cocotag.data.layout import Given
from cocotag.data.matching import load_aliases
from cocotag.data.sources import Joined, align, join_sources, some_classes
from cocotag.data.split import stratified_holdout, stratified_sample
from cocotag.errors import DataError
from cocotag.labels import Vocabulary


class Splits:
    """The train and tune images of a run. `of_root` reads the val split, which is only reported on.

    Args:
        config: The data section of a training config.
        seed: Seed for the tune split and for the fraction to keep.

    Attributes:
        train: Table of the train images.
        tune: Table of the tune images, which choose the checkpoint and the thresholds.
        joined: The joined sources; None if there is one data set with its own classes.
        root: The data set of the val and tune splits.
        sources: The data sets of the train images.

    Raises:
        ConfigError: An alias file is missing or damaged.
        DataError: A split is missing or unreadable. `faults` lists its other faults.
    """

    def __init__(self, config: DataConfig, *, seed: int) -> None:
        self.config = config
        self.root = root_of(config) or "."
        self.sources = config.sources or [SourceConfig(self.root, config.train_split)]
        self.given = Given(config.annotations, config.images, config.crowd_is_object)
        self.joined: Joined | None = None
        if config.sources or config.classes != "own":
            self.joined = join_sources(self.sources, config.classes, given=self.given)
        whole = self.joined.table if self.joined else load_split(self.root, config.train_split, self.given)
        folders = self.joined.image_dirs if self.joined else [whole.image_dir]
        self._places = [
            Source(Path(source.root), source.split, folder) for source, folder in zip(self.sources, folders, strict=True)
        ]
        self._train_split_sha256 = whole.names_sha256()
        self._vocabulary = whole.vocabulary
        strata = whole.targets & whole.known
        if self.joined is not None and len(self.sources) > 1:
            strata = np.hstack([strata, self.joined.members])  # stratify by source too: sources annotate different classes
        if config.fraction < 1:
            kept = stratified_sample(strata, config.fraction, seed)
            whole, strata = whole.take(kept), strata[kept]
        if config.tune_split is None:
            held = stratified_holdout(strata, config.tune_fraction, seed)
            self.train, self.tune = whole.take(~held), whole.take(held)
        else:
            self.train, self.tune = whole, self._in_trained_classes(self.of_root(config.tune_split), config.tune_split)

    def _in_trained_classes(self, table: AnnotationTable, split: str) -> AnnotationTable:
        """A split of the root whose file may number the classes otherwise; they are matched by name."""
        if table.vocabulary.ids == self._vocabulary.ids:
            return table
        return align(table, self._vocabulary, name=f"{self.root}, split {split!r},")

    def of_root(self, split: str) -> AnnotationTable:
        """A tune or val split, in the classes of the train images.

        If a source has the same folder, the split has the same exhaustively annotated classes; else all classes that it lists.

        Raises:
            DataError: It is missing, not in COCO's format, or has no class in common with the train images.
        """
        table = load_split(self.root, split, self.given)
        if self.joined is None:
            return table
        name, here = f"{self.root}, split {split!r},", Path(self.root).resolve()
        for source, record in zip(self.sources, self.joined.records, strict=True):
            if Path(source.root).resolve() == here:
                aliases = load_aliases(source.aliases) if source.aliases else None
                return align(table, self.joined.table.vocabulary, name=name, aliases=aliases, looked_for=record.looked_for)
        return align(table, self.joined.table.vocabulary, name=name)

    def faults(self, batch_size: int = 1) -> list[str]:
        """The faults that keep a run from training on these data in batches of this size, each with a remedy; may be empty."""
        return list(self._faults(batch_size))

    def _faults(self, batch_size: int) -> Iterator[str]:
        config = self.config
        train_name = " and ".join(f"split {source.split!r} of {source.root}" for source in self.sources)
        if not config.sources:
            train_name = f"split {config.train_split!r}"
        tune_name = f"split {config.tune_split!r}" if config.tune_split else f"tune part of {train_name}"
        parts = [(train_name, self.train)]
        if config.tune_split or self.train.positives.any():  # else its tune part has none either
            parts.append((tune_name, self.tune))
        for name, table in parts:
            if not table.positives.any():
                crowds = only_crowds(table.vocabulary.names, (~table.known).sum(axis=0).tolist())
                yield (
                    f"The {name} has no positive of any class (images: {len(table)}), so a run cannot use it. "
                    f"{crowds or 'Check its annotations.'}"
                )
        tunable = np.asarray(self.tune.known.all(axis=0) | (self.tune.known & ~self.tune.targets).any(axis=0))
        if self.tune.positives.any() and not (tunable & (self.tune.positives > 0)).any():
            yield (
                f"The {tune_name} has no negatives for any class with positives, so it cannot choose a checkpoint. Give a "
                "data.tune_split with exhaustively annotated classes, or list such classes under known."
            )
        tables = [(self.train, self._places), (self.tune, self._places)]
        if config.tune_split:
            tables[1] = self.tune, [Source(Path(self.root), config.tune_split, self.tune.image_dir)]
        else:  # parts of one split, which is named once
            names = np.concatenate([self.train.file_names, self.tune.file_names])
            tables = [(replace(self.train, file_names=names), self._places)]
        for table, where in tables:
            try:
                check_files(table, where)
            except DataError as error:
                yield str(error)
        if len(self.train) < batch_size:
            yield f"The {train_name} has too few images for batch_size {batch_size}: {len(self.train)}. Lower batch_size."

    @property
    def folders(self) -> list[Path]:
        """Folders that have all images of train and tune: the data sets, and image folders elsewhere."""
        roots = [Path(self.root), *(Path(source.root) for source in self.sources)]
        images = [place.image_dir for place in self._places] + ([self.tune.image_dir] if self.config.tune_split else [])
        inside = [root.absolute() for root in roots]
        return roots + [one for one in images if not any(one.absolute().is_relative_to(root) for root in inside)]

    def remarks(self) -> list[str]:
        """Lines about the classes that training cannot learn, and about the sources if there are several."""
        if self.joined is not None:
            return self.joined.to_lines()
        never = [name for name, count in zip(self.vocabulary.names, self.train.positives.tolist(), strict=True) if not count]
        return [f"{some_classes(never)} on no train image: training cannot learn them."] if never else []

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes."""
        return self.train.vocabulary

    def tuned_on(self) -> dict[str, Any]:
        """A record of the tune images for the bundle: a later evaluation on them, or on the whole split, is optimistic."""
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
