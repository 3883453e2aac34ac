"""The LightningModule that joins network, loss, schedule and freezing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.classification import MultilabelAveragePrecision, MultilabelF1Score

from cocotag.config import TrainConfig
from cocotag.data.loading.dataset import Batch
from cocotag.models.network import TaggerNetwork
from cocotag.training.loop.features import FeatureCache
from cocotag.training.loop.loss import Loss
from cocotag.training.loop.schedule import Schedule
from cocotag.training.loop.stages import apply_freezing

UNKNOWN = -1  # torchmetrics ignores cells with this target
CHECKED_EVERY = 20  # steps between checks of the loss on a GPU


class NotFinite(Exception):
    """The loss is NaN or infinite.

    Attributes:
        value: The loss.
        items: The items of its batch, numbered as in `TaggedImages`.
        epoch: Epoch, from 1.
        batch: Batch of the epoch, from 1.
    """

    def __init__(self, value: float, items: list[int], epoch: int, batch: int) -> None:
        super().__init__(value, items, epoch, batch)
        self.value = value
        self.items = items
        self.epoch = epoch
        self.batch = batch


class TaggerModule(LightningModule):
    """The network of a run and how it is trained.

    Args:
        config: Config of the run.
        network: The network to train.
        schedule: Which layer groups are trained when.
        loss: The loss.
        bundle_facts: Plain values about training that a bundle needs. They are kept in every checkpoint, so that it can be
            exported without the data.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: TaggerNetwork,
        schedule: Schedule,
        loss: Loss,
        bundle_facts: dict[str, Any],
    ) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.schedule = schedule
        self.bundle_facts = bundle_facts
        self.loss = loss
        self.features: FeatureCache | None = None
        self._unwatched: list[tuple[Tensor, Tensor, int]] = []
        self.overflow: NotFinite | None = None
        classes = len(bundle_facts["vocabulary"])
        options: dict[str, Any] = {"num_labels": classes, "ignore_index": UNKNOWN, "average": None}
        self.average_precision = MultilabelAveragePrecision(**options)
        self.f1 = MultilabelF1Score(**options)
        self.micro_f1 = MultilabelF1Score(num_labels=classes, ignore_index=UNKNOWN, average="micro")
        # Positives, negatives and unknown cells of each class. Not a buffer: the moving average would swap it too.
        self.cells = torch.zeros(3, classes, dtype=torch.int64)
        # Sums of loss and hits over images, and the number of images. Lightning's own mean over processes uses integer
        # division on the number of images: 7 and 6 would become 12.
        self.sums = torch.zeros(3)

    def train(self, mode: bool = True) -> TaggerModule:
        """Training mode for the layer groups of the current stage, evaluation mode for frozen ones."""
        super().train(mode)
        if mode:
            stage = self.stage
            keep_norms = self.schedule.stages[stage].keep_norms
            apply_freezing(self.network.layer_groups(), self.schedule.trained(stage), keep_norms=keep_norms)
        return self

    @property
    def stage(self) -> int:
        """The number of the current stage."""
        return self.schedule.stage_at(self.current_epoch if self._trainer is not None else 0)

    def on_train_epoch_start(self) -> None:
        """Freeze and unfreeze: Lightning calls ``train()`` before it increases the epoch."""
        self.train()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ANN401 (Lightning's hook)
        """Seed dropout from the step, so that a resumed run continues like an uninterrupted one."""
        done = self.current_epoch * self.schedule.batches_per_epoch + batch_idx
        torch.manual_seed(self.config.seed * 1_000_003 + done * self.trainer.world_size + self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        logits = self._logits("train", batch)
        loss = self.forward_loss(logits, batch.targets, batch.known)
        self._watch(loss, batch.numbers, batch_idx)
        options: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": len(batch.numbers), "sync_dist": True}
        self.log("train/loss", loss, **options)
        if self.network.exclusive:
            self.log("train/top1", top1(logits, batch.targets), **options)
        return loss

    def forward_loss(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """The loss: logits, multi-hot targets and known mask, each ``(N, C)`` -> scalar."""
        return cast(Tensor, self.loss(logits, targets, known))

    def _logits(self, part: str, batch: Batch) -> Tensor:
        if self.features is None:
            return cast(Tensor, self.network(batch.images))
        return self.network.forward_head(self.features.get(part, batch.numbers, self.device))

    def _watch(self, loss: Tensor, items: Tensor, batch_idx: int) -> None:
        """Stop at a loss that is NaN or infinite, and name its images. On a GPU checking means waiting, so it is rare.

        In fp16 the scaler skips a step that overflowed; the end of the epoch shows whether the weights are finite.
        """
        self._unwatched.append((loss.detach(), items, batch_idx))
        if len(self._unwatched) >= (1 if loss.device.type == "cpu" else CHECKED_EVERY):
            self._look()

    def _look(self) -> None:
        found = [
            NotFinite(float(loss), items.tolist(), self.current_epoch + 1, batch_idx + 1)
            for loss, items, batch_idx in self._unwatched
            if not torch.isfinite(loss)
        ]
        self._unwatched = []
        if self.trainer.precision == "16-mixed":
            self.overflow = found[-1] if found else self.overflow
            return
        if self.trainer.world_size > 1:  # all processes stop, or the others would wait for this one's gradients
            if not self.trainer.strategy.reduce_boolean_decision(bool(found), all=False):
                return
            everywhere: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(everywhere, [error.args for error in found])
            found = [NotFinite(*arguments) for process in everywhere for arguments in process]
        if found:
            raise found[0]

    def on_train_epoch_end(self) -> None:
        """Check the remaining losses."""
        if self._unwatched:
            self._look()

    def on_validation_epoch_start(self) -> None:
        """Reset the counts, and give all processes the same buffers: each gathered its own batch norm statistics."""
        if self.trainer.world_size > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, 0)
        self.cells = torch.zeros_like(self.cells, device=self.device)
        self.sums = torch.zeros_like(self.sums, device=self.device)

    def validation_step(self, batch: Batch, _batch_idx: int) -> None:
        """Loss and metrics of a batch of tune images."""
        targets, known = batch.targets, batch.known
        logits = self._logits("tune", batch).float()
        right = top1(logits, targets) if self.network.exclusive else torch.zeros((), device=self.device)
        self.sums += len(batch.numbers) * torch.stack(
            [self.forward_loss(logits, targets, known), right, torch.ones_like(right)]
        )
        truth = torch.where(known, targets.long(), UNKNOWN)
        # Probabilities, not logits: torchmetrics guesses from the values of a whole batch which they are.
        probs = self.network.probs(logits)
        self.average_precision.update(probs, truth)
        self.f1.update(probs, truth)
        self.micro_f1.update(probs, truth)
        self.cells += torch.stack([(truth == 1).sum(dim=0), (truth == 0).sum(dim=0), (truth == UNKNOWN).sum(dim=0)])

    def on_validation_epoch_end(self) -> None:
        """Log the means over classes with support; torchmetrics would count the others as 0.

        A class with only positives known is left out too: its average precision is 1 whatever the scores.
        """
        loss, right, images = self.trainer.strategy.reduce(self.sums, reduce_op="sum")
        self.log("tune/loss", loss / images, sync_dist=True)
        if self.network.exclusive:
            self.log("tune/top1", right / images, sync_dist=True)
        support, absent, unknown = self.trainer.strategy.reduce(self.cells, reduce_op="sum")
        seen = (support > 0) & ((absent > 0) | (unknown == 0))
        if seen.any():
            # torchmetrics fails on a class without known cells. Such a class gets a negative, which is in no mean.
            truth = torch.where(support + absent > 0, UNKNOWN, 0)[None]
            self.average_precision.update(torch.zeros_like(truth, dtype=torch.float32), truth)
            # The values are equal in every process already; sync_dist only silences Lightning's warning.
            self.log("tune/map", self.average_precision.compute()[seen].mean(), sync_dist=True)
            self.log("tune/macro_f1", self.f1.compute()[seen].mean(), sync_dist=True)
            self.log("tune/micro_f1", self.micro_f1.compute(), sync_dist=True)
        for metric in (self.average_precision, self.f1, self.micro_f1):
            metric.reset()
        self.log("stage", float(self.stage), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW over all layer groups, so that its state survives a change of stage; frozen groups have rate 0."""
        parameters: list[dict[str, Any]] = []
        of_group: list[int] = []
        for number, group in enumerate(self.network.layer_groups()):
            weights = [p for p in group.parameters() if p.ndim > 1]
            others = [p for p in group.parameters() if p.ndim <= 1]  # norms and biases are not decayed
            for params, decay in ((weights, self.config.weight_decay), (others, 0.0)):
                if params:
                    parameters.append({"params": params, "weight_decay": decay})
                    of_group.append(number)
        # The fused step unscales gradients itself, which conflicts with clipping under fp16's scaler.
        fused = self.trainer.precision != "16-mixed"
        optimizer = AdamW(parameters, lr=1.0, fused=fused)
        rates: list[Callable[[int], float]] = [partial(self.schedule.rate, number) for number in of_group]
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, rates), "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the norm of all gradients. Lightning's own clipping refuses a fused optimiser under mixed precision."""
        if gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what a bundle needs beside the weights."""
        checkpoint["cocotag"] = self.bundle_facts


def top1(logits: Tensor, targets: Tensor) -> Tensor:
    """The fraction of images whose highest logit belongs to their tag; both arguments are ``(N, C)``."""
    return (logits.argmax(dim=1) == targets.long().argmax(dim=1)).float().mean()
