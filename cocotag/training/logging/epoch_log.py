"""The progress of a run for people, and ``metrics.csv``: one row per epoch, complete after a resume too."""

from __future__ import annotations

import csv
import io
import math
import sys
import time
from pathlib import Path
from typing import Any, cast

from lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from cocotag.files import write_text
from cocotag.training.logging.curves import write_curves
from cocotag.training.loop.module import NotFinite, TaggerModule


class EpochLog(Callback):
    """A progress bar with the remaining time, one line per epoch on stderr, and the rows of ``metrics.csv``.

    The rows are stored in the checkpoint, so that a resumed run has each epoch once.

    Args:
        path: The CSV file.
        best_by: The measure that marks an epoch as the best so far: ``map``, ``loss``, or ``last``, which marks every epoch.
    """

    def __init__(self, path: Path, best_by: str = "map") -> None:
        self.path = path
        self.best_by = best_by
        self.rows: list[dict[str, float]] = []
        self._bar: tqdm[Any] | None = None
        self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the rows of a checkpoint."""
        self.rows = list(state_dict["rows"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the bar at the step of a resumed run."""
        if not trainer.is_global_zero:
            return
        total = int(trainer.estimated_stepping_batches)
        # disable=None shows no bar if stderr is not a terminal; the lines per epoch are printed anyway.
        self._bar = tqdm(total=total, initial=trainer.global_step, unit="step", disable=None, dynamic_ncols=True, leave=False)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self._started = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:  # noqa: ANN401 (Lightning's hook)
        """Advance the bar by one step."""
        if self._bar is not None:
            self._bar.update()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's row; validation has already run."""
        if not trainer.is_global_zero:
            return
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        # fp16's scaler skips a step that overflows, so an infinite loss alone does not mean that the weights are damaged.
        if not math.isfinite(values["train/loss"]) and not all(bool(p.isfinite().all()) for p in pl_module.parameters()):
            known = cast(TaggerModule, pl_module).overflow
            raise known or NotFinite(values["train/loss"], [], trainer.current_epoch + 1, int(trainer.num_training_batches))
        rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
        row = {
            "epoch": trainer.current_epoch + 1,
            "stage": int(values["stage"]) + 1,
            "lr": max(rates),
            "train_loss": values["train/loss"],
            "tune_loss": values["tune/loss"],
            "tune_map": values["tune/map"],
            "tune_macro_f1": values["tune/macro_f1"],
            "tune_micro_f1": values["tune/micro_f1"],
            **{f"{part}_top1": values[f"{part}/top1"] for part in ("train", "tune") if f"{part}/top1" in values},
            "seconds": time.monotonic() - self._started,
        }
        self.rows.append(row)
        self._write()
        write_curves(self.rows, self.path.with_name("curves.svg"), self.best_by)
        line = (
            f"epoch {row['epoch']:3d}/{trainer.max_epochs}  stage {row['stage']}  "
            f"loss {row['train_loss']:.4f}  tune loss {row['tune_loss']:.4f}  "
            f"mAP {row['tune_map'] * 100:5.1f}{'*' if self._is_best(row) else ' '}  "
            f"{self._accuracy(row)}  {row['seconds']:.1f} s  {self._left(trainer)}"
        )
        tqdm.write(line.rstrip(), file=sys.stderr)

    def _is_best(self, row: dict[str, float]) -> bool:
        """Whether this epoch's checkpoint would be exported if training ended now."""
        if self.best_by == "loss":
            return row["tune_loss"] == min(other["tune_loss"] for other in self.rows)
        return self.best_by == "last" or row["tune_map"] == max(other["tune_map"] for other in self.rows)

    @staticmethod
    def _accuracy(row: dict[str, float]) -> str:
        if "tune_top1" in row:
            return f"top-1 {row['train_top1'] * 100:5.1f}, tune {row['tune_top1'] * 100:5.1f}"
        return f"F1 at 0.5 macro {row['tune_macro_f1'] * 100:5.1f}, micro {row['tune_micro_f1'] * 100:5.1f}"

    def _left(self, trainer: Trainer) -> str:
        left = (trainer.max_epochs or 0) - len(self.rows)
        seconds = sorted(row["seconds"] for row in self.rows[-5:])[len(self.rows[-5:]) // 2] * left
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left" if left > 0 else ""

    def _write(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in self.rows)
        write_text(self.path, text.getvalue())

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the bar from the terminal, however the run ended."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
