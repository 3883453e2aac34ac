"""The LightningModule: joins network, loss, schedule and freezing. Glue."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.classification import MultilabelAveragePrecision, MultilabelF1Score

from cocotag import losses
from cocotag.config import LossConfig, TrainConfig
from cocotag.models.network import TaggerNetwork
from cocotag.training.freezing import apply_freezing
from cocotag.training.schedule import Schedule

Batch = tuple[Tensor, Tensor, Tensor]
UNKNOWN = -1  # how torchmetrics is told to leave a cell out


class TaggerModule(LightningModule):
    """One training run's network and how it learns.

    Args:
        config: Of the run.
        network: To train.
        schedule: What learns when.
        positive_share: Positives over known cells of each class in training, ``(C,)``.
        bundle_facts: Plain values that a bundle needs from training; kept in every checkpoint, so that one can be exported
            without the data.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: TaggerNetwork,
        schedule: Schedule,
        positive_share: NDArray[np.float64],
        bundle_facts: dict[str, Any],
    ) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.schedule = schedule
        self.bundle_facts = bundle_facts
        self.loss = Loss(config.loss, positive_share)
        classes = len(positive_share)
        options: dict[str, Any] = {"num_labels": classes, "ignore_index": UNKNOWN, "average": None}
        self.average_precision = MultilabelAveragePrecision(**options)
        self.f1 = MultilabelF1Score(**options)
        self.support: Tensor
        self.register_buffer("support", torch.zeros(classes, dtype=torch.int64), persistent=False)
        self.absent: Tensor
        self.register_buffer("absent", torch.zeros(classes, dtype=torch.int64), persistent=False)
        self.unknown: Tensor
        self.register_buffer("unknown", torch.zeros(classes, dtype=torch.int64), persistent=False)

    def train(self, mode: bool = True) -> TaggerModule:
        """Training mode for what learns in the present stage, evaluation mode for what is frozen."""
        super().train(mode)
        if mode:
            apply_freezing(self.network.layer_groups(), self.schedule.trained(self.stage))
        return self

    @property
    def stage(self) -> int:
        """Number of the present stage."""
        return self.schedule.stage_at(self.current_epoch if self._trainer is not None else 0)

    def on_train_epoch_start(self) -> None:
        """Freeze and thaw: Lightning has called ``train()`` before it counted the epoch on."""
        self.train()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ANN401 (Lightning's hook)
        """Make dropout's chances those of the step, so that a resumed run goes on as the unbroken one would have."""
        torch.manual_seed(self.config.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: Batch, _batch_idx: int) -> Tensor:
        """One batch to its loss."""
        images, targets, known = batch
        logits = self.network(images)
        loss: Tensor = self.loss(logits, targets, known)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(images))
        if self.network.exclusive:
            self.log("train/top1", top1(logits, targets), on_step=False, on_epoch=True, batch_size=len(images))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Count anew."""
        self.support.zero_()
        self.absent.zero_()
        self.unknown.zero_()

    def validation_step(self, batch: Batch, _batch_idx: int) -> None:
        """Tune images: loss, and scores for the metrics."""
        images, targets, known = batch
        logits = self.network(images).float()
        self.log("tune/loss", self.loss(logits, targets, known), batch_size=len(images))
        truth = torch.where(known, targets.long(), UNKNOWN)
        # Probabilities: torchmetrics decides by the values of a whole batch whether they are logits.
        probs = self.network.probs(logits)
        self.average_precision.update(probs, truth)
        self.f1.update(probs, truth)
        self.support += (truth == 1).sum(dim=0)
        self.absent += (truth == 0).sum(dim=0)
        self.unknown += (truth == UNKNOWN).sum(dim=0)
        if self.network.exclusive:
            self.log("tune/top1", top1(logits, targets), batch_size=len(images))

    def on_validation_epoch_end(self) -> None:
        """Means over classes with support, as everywhere; torchmetrics would count the others as 0.

        Nor does a class count of which only positives are known: its average precision is 1 whatever the scores.
        """
        seen = (self.support > 0) & ((self.absent > 0) | (self.unknown == 0))
        if seen.any():
            # torchmetrics stops at a class of which nothing is known: it gets a negative, which counts in no mean.
            truth = torch.where(self.support + self.absent > 0, UNKNOWN, 0)[None]
            self.average_precision.update(torch.zeros_like(truth, dtype=torch.float32), truth)
            self.log("tune/map", self.average_precision.compute()[seen].mean())
            self.log("tune/macro_f1", self.f1.compute()[seen].mean())
        self.average_precision.reset()
        self.f1.reset()
        self.log("stage", float(self.stage))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW over all layer groups at once, so that its state survives a stage's change; frozen ones have rate 0."""
        parameters: list[dict[str, Any]] = []
        of_group: list[int] = []
        for number, group in enumerate(self.network.layer_groups()):
            weights = [p for p in group.parameters() if p.ndim > 1]
            others = [p for p in group.parameters() if p.ndim <= 1]  # norms and biases: decay would pull them to no purpose
            for params, decay in ((weights, self.config.weight_decay), (others, 0.0)):
                if params:
                    parameters.append({"params": params, "weight_decay": decay})
                    of_group.append(number)
        # The fused step unscales gradients by itself, which fp16's scaler and clipping cannot both do.
        fused = self.trainer.precision != "16-mixed"
        optimizer = AdamW(parameters, lr=1.0, fused=fused)
        rates: list[Callable[[int], float]] = [partial(self.schedule.rate, number) for number in of_group]
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, rates), "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the norm of all gradients; Lightning's own refuses a fused optimiser under mixed precision."""
        if gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put beside the weights what a bundle needs."""
        checkpoint["cocotag"] = self.bundle_facts


def top1(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of images whose highest logit is their tag's; both ``(N, C)``."""
    return (logits.argmax(dim=1) == targets.long().argmax(dim=1)).float().mean()


class Loss(nn.Module):
    """The loss that a config names.

    Args:
        config: Its name and parameters.
        positive_share: Positives over known cells of each class in training, ``(C,)``.
    """

    def __init__(self, config: LossConfig, positive_share: NDArray[np.float64]) -> None:
        super().__init__()
        self.config = config
        self.pos_weight: Tensor | None
        weight = None
        if config.pos_weight == "inverse":
            share = np.clip(positive_share, 1e-6, 1.0)
            weight = torch.tensor(np.clip((1 - share) / share, 1.0, config.pos_weight_cap), dtype=torch.float32)
        self.register_buffer("pos_weight", weight, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Logits, multi-hot targets and known mask, each ``(N, C)`` -> scalar."""
        config, cells = self.config, (logits, targets, known)
        if config.name == "bce":
            return losses.bce(*cells, pos_weight=self.pos_weight)
        if config.name == "focal":
            return losses.focal(*cells, gamma=config.gamma, alpha=config.alpha)
        if config.name == "cross_entropy":
            return losses.cross_entropy(*cells, smoothing=config.smoothing)
        if config.name == "soft_f1":
            return losses.soft_f1(*cells)
        return losses.asymmetric(*cells, gamma_pos=config.gamma_pos, gamma_neg=config.gamma_neg, shift=config.shift)
