"""Early stopping in the last stage, with Lightning's own callback."""

from __future__ import annotations

from typing import Any, cast

from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping

from cocotag.training.loop.module import TaggerModule


class StopEarly(EarlyStopping):
    """Lightning's EarlyStopping, active only in the last stage."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ANN401 (Lightning's hook)
        """Keep a resumed run stopped if it had stopped."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ANN401 (Lightning's hook)
        """Count the epoch if it belongs to the last stage."""
        module = cast(TaggerModule, pl_module)
        if module.stage == len(module.schedule.stages) - 1:
            super().on_validation_end(trainer, pl_module)
